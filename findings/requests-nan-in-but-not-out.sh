#!/usr/bin/env bash
# requests 2.34.2: NaN in JSON.
# One would guess: the library is strict both ways, or neither.
# What is: json= refuses to send NaN (InvalidJSONError), response.json() reads it. What was read cannot be passed on.
. "$(dirname "$0")/common.bash"
pip_install requests==2.34.2
python >"$temp/seen" <<'PY'
import http.server, threading
import requests


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"age": NaN}')

    def log_message(self, *args):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = "http://127.0.0.1:%d" % server.server_port
with requests.Session() as session:
    session.trust_env = False
    found = session.get(url, timeout=5).json()
    print("read:", found)
    try:
        session.post(url, json=found, timeout=5)
    except requests.exceptions.InvalidJSONError as error:
        print("sent:", type(error).__name__)
server.shutdown()
PY
seen "$temp/seen" <<'EXPECTED'
read: {'age': nan}
sent: InvalidJSONError
EXPECTED
