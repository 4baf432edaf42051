"""A stand-in for process-compose's push stream, with the framing of RFC 6455 written out: no library needed.

with PushStandIn() as push:
    push.wait_connections(1)
    push.send(make_state("web", status="Terminating"))
    push.cut()                                  # every connection, as if process-compose had been killed
"""

import base64
import hashlib
import json
import socket
import struct
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.stand_in import State

_MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class PushStandIn:
    """Listens on 127.0.0.1, or on a Unix socket; `snapshot` is what each new connection is sent first.

    `asked` holds the names of each connection's query (() for all), `answers` False: no pong comes back,
    `status` another one than 101: the handshake is refused with it.
    """

    def __init__(self, socket_path: str | None = None, token: str | None = None) -> None:
        self.socket_path, self.token = socket_path, token
        self.port = 0
        self.snapshot: list[State] = []
        self.asked: list[tuple[str, ...]] = []
        self.pings = 0
        self.answers = True
        self.status = 101
        self._open: dict[socket.socket, tuple[str, ...]] = {}
        self._changed = threading.Condition()

    def __enter__(self) -> "PushStandIn":
        self._server = socket.socket(socket.AF_UNIX if self.socket_path else socket.AF_INET)
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._server.bind(self.socket_path or ("127.0.0.1", self.port))
        self._server.listen()
        self.port = self.port or (0 if self.socket_path else self._server.getsockname()[1])
        threading.Thread(target=self._accept, args=(self._server,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)  # wakes accept
        self._server.close()
        self.cut()
        if self.socket_path:
            Path(self.socket_path).unlink(missing_ok=True)

    def send(self, state: State, snapshot: bool = False) -> None:
        """Send one message to every connection that wants to hear of this process."""
        self.send_raw(json.dumps(_message(state, snapshot)).encode(), state["name"])

    def send_raw(self, payload: bytes, name: str = "", opcode: int = 1) -> None:
        with self._changed:
            for connection, names in self._open.items():
                if not names or not name or name in names:
                    with suppress(OSError):
                        connection.sendall(_frame(payload, opcode))

    def cut(self) -> None:
        """Break every connection."""
        with self._changed:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def wait_connections(self, count: int, timeout_s: float = 10.0) -> None:
        """Wait until so many connections are open."""
        self.wait(lambda: len(self._open) == count, timeout_s)

    def wait(self, condition: Any, timeout_s: float = 10.0) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, timeout_s), (self.asked, len(self._open), self.pings)

    def _accept(self, server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError, ConnectionError):
            head = b""
            while b"\r\n\r\n" not in head:
                head += _receive(connection, 1)
            request, *lines = head.decode().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines if ": " in line)
            url = urlsplit(request.split()[1])
            wanted = self.token is None or headers.get("X-PC-Token-Key") == self.token
            status = self.status if wanted else 401
            if status != 101 or url.path != "/process/states/ws":
                connection.sendall(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status)
                return
            digest = hashlib.sha1((headers["Sec-WebSocket-Key"] + _MAGIC).encode()).digest()
            accept = base64.b64encode(digest).decode()
            upgrade = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade"
            names = tuple(",".join(parse_qs(url.query).get("name", [])).split(",")) if url.query else ()
            with self._changed:
                connection.sendall(f"{upgrade}\r\nSec-WebSocket-Accept: {accept}\r\n\r\n".encode())
                for state in self.snapshot:
                    if not names or state["name"] in names:
                        connection.sendall(_frame(json.dumps(_message(state, True)).encode()))
                self._open[connection] = names
                self.asked.append(names)
                self._changed.notify_all()
            try:
                self._hear(connection)
            finally:
                with self._changed:
                    del self._open[connection]
                    self._changed.notify_all()

    def _hear(self, connection: socket.socket) -> None:
        while True:
            first, second = _receive(connection, 2)
            mask_and_payload = _receive(connection, 4 + (second & 127))  # clients send short, masked frames
            if first & 15 == 9:
                with self._changed:
                    self.pings += 1
                    self._changed.notify_all()
                payload = bytes(b ^ mask_and_payload[i % 4] for i, b in enumerate(mask_and_payload[4:]))
                if self.answers:
                    connection.sendall(_frame(payload, 10))
            elif first & 15 == 8:
                return


class CuttingProxy:
    """A TCP proxy in front of a port: counts HTTP requests by second, cuts push streams every `cut_s`."""

    def __init__(self, port: int, cut_s: float = 0.0) -> None:
        self.target, self.cut_s = port, cut_s
        self.requests: list[float] = []
        self.cuts = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "CuttingProxy":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    @property
    def busiest_second(self) -> int:
        """The most requests that came within any second."""
        return max(sum(begin <= at < begin + 1 for at in self.requests) for begin in self.requests)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._join, args=(client,), daemon=True).start()

    def _join(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self.target))
        except OSError:
            client.close()
            return
        threading.Thread(target=self._pump, args=(server, client, False), daemon=True).start()
        self._pump(client, server, True)

    def _pump(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if counted and data.startswith((b"GET ", b"POST ", b"PATCH ")):
                    self.requests.append(time.monotonic())
                    if b"/process/states/ws" in data and self.cut_s:
                        threading.Timer(self.cut_s, self._cut, (source, sink)).start()
                sink.sendall(data)
        self._end(source, sink)

    def _cut(self, *both: socket.socket) -> None:
        self.cuts += 1
        self._end(*both)

    def _end(self, *both: socket.socket) -> None:
        for one in both:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


def _message(state: State, snapshot: bool) -> dict[str, Any]:
    return {"state": state, **({"snapshot": True} if snapshot else {})}


def _frame(payload: bytes, opcode: int = 1) -> bytes:
    size = len(payload)
    length = bytes([size]) if size < 126 else b"\x7e" + struct.pack(">H", size)
    if size > 65535:
        length = b"\x7f" + struct.pack(">Q", size)
    return bytes([128 | opcode]) + length + payload


def _receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionError
        data += part
    return data
