"""A scripted stand-in for process-compose's HTTP API: serves what a test says, misbehaves on demand.

with StandIn([make_state("web")]) as stand_in:
    client = ComposeClient(port=stand_in.port)
    stand_in.set_states([make_state("web", pid=0, status="Completed", is_running=False, exit_code=3)])
    stand_in.mode = "hang"                       # any of MODES, "" again for good behaviour
    stand_in.answer([make_state("a")], 400)      # the next two /processes replies, then as before
    stand_in.refuse(); stand_in.reopen()         # gone as after kill -9, back on the same port
"""

import json
import os
import socket
import threading
import time
from collections import Counter, deque
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

#: how it can misbehave; "" is well. An HTTP status is given as `stand_in.status = 500`.
MODES = (
    "hang",
    "html",
    "truncated",
    "half_json",
    "no_data",
    "garbage",
    "huge",
    "drip",
    "drip_headers",
    "cut",
    "not_http",
)

State = dict[str, Any]


def make_state(name: str, **fields: Any) -> State:
    """Return one process as process-compose 1.122 sends it: Running, unless `fields` say otherwise."""
    state = {
        "name": name,
        "namespace": "default",
        "status": "Running",
        "system_time": "5s",
        "age": 5_000_000_000,
        "is_ready": "-",
        "has_ready_probe": False,
        "restarts": 0,
        "exit_code": 0,
        "pid": 4711,
        "is_elevated": False,
        "password_provided": False,
        "mem": 7561216,
        "cpu": 0.5,
        "is_running": True,
        "process_start_time": "2026-11-23T15:13:59.358255428Z",
        "process_ready_time": "2026-11-23T15:13:59.358255428Z",
        **fields,
    }
    return {key: value for key, value in state.items() if value is not None}  # Go's omitempty


class StandIn:
    """The stand-in: an HTTP server on 127.0.0.1 (or a Unix socket), its own threads, ended by `stop()`.

    `requests` counts requests by path, `logs` holds each process's lines, `token` is wanted if set, `project`
    None is an old version that does not tell it.
    """

    def __init__(
        self,
        states: list[State] | None = None,
        *,
        port: int = 0,
        socket_path: str | None = None,
        token: str | None = None,
        project: str | None = "host/stand-in",
    ) -> None:
        self.port = port
        self.socket_path = socket_path
        self.token = token
        self.project = project
        self.mode = ""
        self.status = 200
        self.delay_s = 0.0
        self.date: str | None = None  # the Date header, where it shall not be this machine's time
        self.logs: dict[str, list[str]] = {}
        self.requests: Counter[str] = Counter()
        self.connections = 0
        self._script: deque[list[State] | int | str] = deque()
        self._changed = threading.Condition()
        self._server: _Server | None = None
        self.set_states(states or [])

    @property
    def url(self) -> str:
        return f"unix:{self.socket_path}" if self.socket_path else f"http://127.0.0.1:{self.port}"

    def set_states(self, states: list[State]) -> None:
        """Serve these from now on; the bytes are made once: 10,000 of them cost no time per request."""
        self._body = _body_of(states)

    def answer(self, *replies: list[State] | int | str) -> None:
        """Serve these to the next /processes requests, one each: states, an HTTP status, or one of MODES."""
        self._script.extend(replies)

    def wait_polls(self, more: int = 1, timeout_s: float = 10.0) -> None:
        """Wait until so many more /processes requests have been answered; AssertionError if they are not."""
        with self._changed:
            goal = self.requests["/processes"] + more
            met = self._changed.wait_for(lambda: self.requests["/processes"] >= goal, timeout_s)
            assert met, f"{self.requests['/processes']} polls, {goal} expected"

    def start(self) -> "StandIn":
        self.reopen()
        return self

    def reopen(self) -> None:
        """Listen (again), on the same port."""
        kind, where = (
            (_UnixServer, self.socket_path) if self.socket_path else (_Server, ("127.0.0.1", self.port))
        )
        self._server = kind(where, _Handler)  # type: ignore[arg-type]
        self._server.stand_in = self
        if not self.socket_path:
            self.port = self._server.server_address[1]
        serve = self._server.serve_forever
        threading.Thread(target=serve, args=(0.02,), name="stand-in", daemon=True).start()

    def refuse(self) -> None:
        """Stop listening and cut every connection, as if killed."""
        server, self._server = self._server, None
        if server:
            server.shutdown()
            server.cut_connections()
            server.server_close()
            if self.socket_path:
                os.unlink(self.socket_path)

    stop = refuse

    def __enter__(self) -> "StandIn":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def next_reply(self) -> tuple[int, str, bytes]:
        """Return status, mode and body of the /processes reply that is due."""
        reply = self._script.popleft() if self._script else None
        if isinstance(reply, int):
            return reply, "", b'{"error":"no such process: scaling"}'
        if isinstance(reply, str):
            return 200, reply, self._body
        if reply is not None:
            return 200, "", _body_of(reply)
        error = b'{"error":"scripted"}'
        return self.status, self.mode, self._body if self.status == 200 else error

    def count(self, path: str) -> None:
        with self._changed:
            self.requests[path] += 1
            self._changed.notify_all()


def _body_of(states: list[State]) -> bytes:
    return json.dumps({"data": states}, separators=(",", ":")).encode()


class _Server(ThreadingHTTPServer):
    stand_in: StandIn
    request_queue_size = 64

    def __init__(self, *args: Any) -> None:
        self.over = threading.Event()
        self.live: set[socket.socket] = set()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.live.add(request)
        self.stand_in.connections += 1
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.live.discard(request)
        super().shutdown_request(request)

    def handle_error(self, *_: Any) -> None:
        pass  # a client that went away is no news here

    def cut_connections(self) -> None:
        self.over.set()
        for connection in list(self.live):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _UnixServer(_Server):
    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        self.socket.bind(self.server_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = False
    server: _Server

    def setup(self) -> None:
        if self.server.address_family != socket.AF_UNIX:
            self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().setup()

    def log_message(self, *_: Any) -> None:
        pass

    def date_time_string(self, timestamp: float | None = None) -> str:
        return self.server.stand_in.date or super().date_time_string(timestamp)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Answer /processes, /project/name, /process/logs/{name}/{endOffset}/{limit} as the real one does."""
        stand_in = self.server.stand_in
        if stand_in.token and self.headers.get("X-PC-Token-Key") != stand_in.token:
            self._send(401, b"")
        elif self.path == "/processes":
            self._processes(stand_in)
        elif self.path == "/project/name" and stand_in.project:
            self._send(200, json.dumps({"projectName": stand_in.project}).encode())
        elif self.path.startswith("/process/logs/"):
            name, offset, limit = self.path.removeprefix("/process/logs/").split("/")
            self._log(stand_in.logs.get(unquote(name)), int(offset), int(limit))
        else:
            self._send(404, b"404 page not found", "text/plain")
        stand_in.count(self.path)

    def _processes(self, stand_in: StandIn) -> None:
        status, mode, body = stand_in.next_reply()
        self.server.over.wait(stand_in.delay_s)
        if mode:
            self.close_connection = mode not in (
                "html",
                "half_json",
                "no_data",
                "garbage",
            )  # those are whole replies
            getattr(self, f"_{mode}")(body)
        else:
            self._send(status, body)

    def _log(self, lines: list[str] | None, offset: int, limit: int) -> None:
        if lines is None:
            self._send(400, b'{"error":"process is not found"}')
            return
        end = len(lines) - offset
        tail = lines[max(0, end - limit) if limit else 0 : end]
        self._send(200, json.dumps({"logs": tail}).encode())

    def _send(self, status: int, body: bytes, kind: str = "application/json; charset=utf-8") -> None:
        """Send a whole reply; chunked if it is long, as Go does."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if len(body) > 2048:
            self.send_header("Transfer-Encoding", "chunked")
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _head(self, length: int) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def _hang(self, body: bytes) -> None:
        self.server.over.wait(60)

    def _html(self, body: bytes) -> None:
        self._send(200, b"<!DOCTYPE html><html><body>Welcome to nginx!</body></html>", "text/html")

    def _truncated(self, body: bytes) -> None:
        self._head(len(body))
        self.wfile.write(body[: len(body) // 2])

    def _half_json(self, body: bytes) -> None:
        self._send(200, body[: len(body) // 2])

    def _no_data(self, body: bytes) -> None:
        self._send(200, b'{"data":{"web":1}}')

    def _garbage(self, body: bytes) -> None:
        self._send(200, b"x" * 50_000_000)

    def _huge(self, body: bytes) -> None:
        self._head(1 << 40)
        self.wfile.write(b'{"data":[')
        while not self.server.over.is_set():
            self.wfile.write(b" " * (1 << 20))

    def _drip(self, body: bytes) -> None:
        self._head(len(body))
        self._slowly(body)

    def _drip_headers(self, body: bytes) -> None:
        self._slowly(b"HTTP/1.1 200 OK\r\n" + b"X-Filler: 1\r\n" * 50)

    def _slowly(self, data: bytes) -> None:
        end = time.monotonic() + 60
        for byte in data:
            if self.server.over.wait(0.02) or time.monotonic() > end:
                return
            self.wfile.write(bytes([byte]))

    def _cut(self, body: bytes) -> None:
        """Close the connection without a word."""

    def _not_http(self, body: bytes) -> None:
        self.wfile.write(b'INFO {"server_id":"NA","version":"2.15.1"}\r\n')
