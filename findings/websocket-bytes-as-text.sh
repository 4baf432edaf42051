#!/usr/bin/env bash
# websocket-client 1.9.2: send() with bytes.
# One would guess: bytes go as a binary message, as with the websockets library and in browsers.
# What is: they go as a text message; the other side gets a str. send_binary() or an operation code makes them binary.
. "$(dirname "$0")/common.bash"
pip_install websocket-client==1.9.2 websockets==17.4
python >"$temp/seen" <<'PY'
import threading
import websocket
from websockets.sync.client import connect
from websockets.sync.server import serve


def handle(peer):
    for message in peer:
        peer.send(type(message).__name__)


with serve(handle, "127.0.0.1", 0) as server:
    threading.Thread(target=server.serve_forever).start()
    url = "ws://127.0.0.1:%d" % server.socket.getsockname()[1]
    client = websocket.create_connection(url, timeout=5)
    for send in (client.send, client.send_binary, client.send_bytes):
        send(b"abc")
        print(f"websocket-client, {send.__name__}(b'abc'): {client.recv()}")
    client.close()
    with connect(url) as other:
        other.send(b"abc")
        print(f"websockets, send(b'abc'): {other.recv()}")
    server.shutdown()
PY
seen "$temp/seen" <<'EXPECTED'
websocket-client, send(b'abc'): str
websocket-client, send_binary(b'abc'): bytes
websocket-client, send_bytes(b'abc'): bytes
websockets, send(b'abc'): bytes
EXPECTED
