#!/usr/bin/env bash
# websocket-client 1.9.2: WebSocketApp when the peer closes with code 1000, "normal".
# One would guess: on_close is called, on_error is for errors.
# What is: on_error comes first, with a WebSocketConnectionClosedException that says "closed normally", then on_close.
# What is more, run_forever() then returns False: no error.
. "$(dirname "$0")/common.bash"
pip_install websocket-client==1.9.2 websockets==17.4
python 2>/dev/null >"$temp/seen" <<'PY'
import threading
import websocket
from websockets.sync.server import serve

with serve(lambda peer: peer.close(1000), "127.0.0.1", 0) as server:
    threading.Thread(target=server.serve_forever).start()
    app = websocket.WebSocketApp(
        "ws://127.0.0.1:%d" % server.socket.getsockname()[1],
        on_error=lambda app, error: print(f"on_error: {type(error).__name__}: {error}"),
        on_close=lambda app, code, reason: print("on_close:", code),
    )
    print("run_forever:", app.run_forever())
    server.shutdown()
PY
seen "$temp/seen" <<'EXPECTED'
on_error: WebSocketConnectionClosedException: Connection closed normally (code 1000)
on_close: 1000
run_forever: False
EXPECTED
