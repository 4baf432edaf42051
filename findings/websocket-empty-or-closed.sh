#!/usr/bin/env bash
# websocket-client 1.9.2: what recv() returns when the peer closes.
# One would guess: an exception, or None.
# What is: an empty text, exactly what an empty message is. Only the next recv() raises. The close code and reason are
# not to be had from recv(); recv_data() gives them, as the payload of a frame with the operation code 8.
. "$(dirname "$0")/common.bash"
pip_install websocket-client==1.9.2 websockets==17.4
python >"$temp/seen" <<'PY'
import threading
import websocket
from websockets.sync.server import serve


def handle(peer):
    peer.send("")
    peer.close(4001, "enough")


with serve(handle, "127.0.0.1", 0) as server:
    threading.Thread(target=server.serve_forever).start()
    url = "ws://127.0.0.1:%d" % server.socket.getsockname()[1]
    client = websocket.create_connection(url, timeout=5)
    print("an empty message:", repr(client.recv()))
    print("a close:", repr(client.recv()))
    try:
        client.recv()
    except websocket.WebSocketConnectionClosedException:
        print("after it: WebSocketConnectionClosedException")
    client = websocket.create_connection(url, timeout=5)
    client.recv()
    print("with recv_data:", client.recv_data())
    server.shutdown()
PY
seen "$temp/seen" <<'EXPECTED'
an empty message: ''
a close: ''
after it: WebSocketConnectionClosedException
with recv_data: (8, b'\x0f\xa1enough')
EXPECTED
