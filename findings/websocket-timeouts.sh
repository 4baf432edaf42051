#!/usr/bin/env bash
# websocket-client 1.9.2: what timeout= bounds, and what is raised.
# One would guess: create_connection(timeout=0.5) is over in half a second, and a timeout is a TimeoutError or OSError.
# What is: the bound is for each read of the handshake, which is read byte by byte: a peer that is
# slow, not silent, is waited for. And WebSocketTimeoutException is neither TimeoutError nor OSError, while a refused
# connection is an OSError: a handler needs both families.
. "$(dirname "$0")/common.bash"
pip_install websocket-client==1.9.2 websockets==17.4
python >"$temp/seen" <<'PY'
import base64, hashlib, socket, threading, time
import websocket

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def shake_hands_slowly(listener):
    peer = listener.accept()[0]
    key = next(line for line in peer.recv(4096).split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
    accept = base64.b64encode(hashlib.sha1(key.split()[1] + GUID).digest())
    peer.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nServer: ")
    for _ in range(10):
        peer.sendall(b"x")
        time.sleep(0.2)
    peer.sendall(b"\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n")
    time.sleep(3)
    peer.close()


listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=shake_hands_slowly, args=(listener,), daemon=True).start()
begun = time.monotonic()
client = websocket.create_connection("ws://127.0.0.1:%d" % listener.getsockname()[1], timeout=0.5)
print("connected after more than 1.5 s:", time.monotonic() - begun > 1.5)
try:
    client.recv()
except Exception as error:
    print(f"{type(error).__name__}: TimeoutError {isinstance(error, TimeoutError)}, OSError {isinstance(error, OSError)}")
client.shutdown()
listener.close()
try:
    websocket.create_connection("ws://127.0.0.1:%d" % socket.create_server(("127.0.0.1", 0)).getsockname()[1], timeout=5)
except Exception as error:
    print(f"refused: OSError {isinstance(error, OSError)}, WebSocketException {isinstance(error, websocket.WebSocketException)}")
PY
seen "$temp/seen" <<'EXPECTED'
connected after more than 1.5 s: True
WebSocketTimeoutException: TimeoutError False, OSError False
refused: OSError True, WebSocketException False
EXPECTED
