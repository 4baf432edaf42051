// Prints events as they are stored, a line each: the last hour, then live. Ends after COUNT events where it is set.
// npm install @nats-io/transport-node @nats-io/jetstream; NATS_URL=nats://127.0.0.1:4222 node events.mjs crashed
import { connect } from "@nats-io/transport-node";
import { DeliverPolicy, jetstream } from "@nats-io/jetstream";

const type = process.argv[2] ?? "*";
let left = Number(process.env.COUNT ?? Infinity);

const connection = await connect({ servers: process.env.NATS_URL ?? "nats://127.0.0.1:4222" });
const consumer = await jetstream(connection).consumers.get("PROCESS_EVENTS", {
  filter_subjects: [`core.process.*.*.${type}`],
  deliver_policy: DeliverPolicy.StartTime,
  opt_start_time: new Date(Date.now() - 3600_000).toISOString(),
});
for await (const message of await consumer.consume()) {
  const event = message.json();
  console.log(event.timestamp, `${event.stack}/${event.namespace}/${event.process}`, event.type, event.seq);
  if (--left <= 0) break;
}
await connection.drain();
