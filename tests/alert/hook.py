"""A webhook of a test's own: takes what is posted, or refuses it, and remembers both."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Hook:
    """What was posted: `taken` are the bodies that were answered with 200, `refused` counts the others."""

    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.bodies: list[bytes] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.refused, self.status = 0, 200
        self.url = ""

    @property
    def alerts(self) -> list[tuple[str, str, str]]:
        """Status, kind and process of each alert that was taken."""
        return [
            (one["status"], one["labels"]["alertname"], one["labels"]["process"])
            for payload in self.taken
            for one in payload["alerts"]
        ]

    def wait(self, count: int, timeout_s: float = 30.0) -> list[Any]:
        """Wait until so many were taken, and return them."""
        end = time.monotonic() + timeout_s
        while len(self.taken) < count:
            assert time.monotonic() < end, f"{len(self.taken)} of {count}: {self.alerts}"
            time.sleep(0.05)
        return self.taken


@contextmanager
def listening(port: int = 0) -> Iterator[Hook]:
    """Listen on 127.0.0.1 until the block ends."""
    hook = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            hook.paths.append(self.path)
            hook.headers.append(dict(self.headers))
            if hook.status == 200:
                hook.bodies.append(body)
                try:
                    hook.taken.append(json.loads(body))
                except ValueError:
                    hook.taken.append(body.decode())
            else:
                hook.refused += 1
            self.send_response(hook.status)
            if hook.status in (301, 302):
                self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    hook.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hook
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
