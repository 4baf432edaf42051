"""The HTTP server of `web`: who may ask, what for, and how the answer is sent. Standard library only.
One thread per connection, "observe-http"; knows neither NATS nor states, never lets a browser trust a text.
"""

import hashlib
import hmac
import io
import ipaddress
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from ..errors import ObserveError, UsageError
from ..events import dump_json
from ..log import log
from ..settings import VERSION
from .live import PageListener

#: so many connections at most; a further one takes the place of who has been silent for longest
CONNECTIONS = 256
#: a connection that waits for its next request, or takes nothing, for so long is closed
IDLE_S = 20.0
#: a request's head is there within, however it trickles in
HEAD_S = 5.0
#: the place of a connection that is closed for another one is free within
PLACE_S = 1.0
#: a stream gives a sign of life this often
SIGN_S = 10.0
SIGN = b"event: sign\ndata: 1\n\n"
#: no line of a query is longer than a page needs
QUERY_FIELDS = 50
COOKIE = "observe_web"
COOKIE_S = 30 * 86400

JSON_TYPE = "application/json; charset=utf-8"
TEXT_TYPE = "text/plain; charset=utf-8"
HTML_TYPE = "text/html; charset=utf-8"
STREAM_TYPE = "text/event-stream"

_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::[0-9]{1,5})?")
_NOTHING_ALLOWED = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
#: what goes with every answer; a page brings a policy of its own
_SAFE_HEADERS = {
    "Content-Security-Policy": _NOTHING_ALLOWED,
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
#: a redirect that another site began would not carry a SameSite=Strict cookie, a fresh look of our own does
_LET_IN = b'<!doctype html><meta http-equiv="refresh" content="0;url=/"><title>observe</title>\n'
_WANTS_TOKEN = "this page wants a token: open /?token=..., or send Authorization: Bearer ..."

Query = Mapping[str, list[str]]


class Answer(NamedTuple):
    """What a route answers."""

    body: bytes
    kind: str = JSON_TYPE
    status: int = HTTPStatus.OK
    headers: Mapping[str, str] = {}


@dataclass(frozen=True)
class Guard:
    """Who may ask: `hosts` are names that the Host header may hold beside addresses and localhost."""

    hosts: frozenset[str] = frozenset()
    token: str | None = field(default=None, repr=False)

    def knows_host(self, header: str | None) -> bool:
        """Whether the browser was sent here by a name of ours: another's may point at us (rebinding)."""
        match = _HOST.fullmatch(header or "")
        host = (match.group(1) or match.group(2)).lower().rstrip(".") if match else ""
        if host == "localhost" or host.endswith(".localhost") or host in self.hosts:
            return True
        try:
            ipaddress.ip_address(host)
            return True
        except ValueError:
            return False

    def admits(self, authorization: str, cookies: str) -> bool:
        """Whether the token, or the cookie that stands for it, was sent along."""
        if self.token is None:
            return True
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() == "bearer" and self.is_token(given.strip()):
            return True
        found = (one.strip().partition("=") for one in cookies.split(";"))
        return any(name == COOKIE and _same(value, self.cookie()) for name, _, value in found)

    def is_token(self, given: str) -> bool:
        """Whether it is the token; takes as long for any that is not."""
        return self.token is not None and _same(given, self.token)

    def cookie(self) -> str:
        """Return what a browser keeps in the token's place; it outlives a restart and tells nothing."""
        return hmac.new((self.token or "").encode(), COOKIE.encode(), hashlib.sha256).hexdigest()


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))


@dataclass(frozen=True)
class Site:
    """What there is to be had: an answer per path, and the stream."""

    routes: Mapping[str, Callable[[Query], Answer]]
    listen: Callable[[str], PageListener | None]
    leave: Callable[[PageListener], object]


class _Head(io.RawIOBase):
    """What a connection receives; a head's last byte has to come within HEAD_S of its first."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._end, self._begun = 0.0, False

    def expect(self, begun: bool) -> None:
        """Another head comes: a connection's first one has begun with the connection."""
        self._end, self._begun = time.monotonic() + (HEAD_S if begun else IDLE_S), begun

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connection.settimeout(max(0.001, self._end - time.monotonic()))
        count = self._connection.recv_into(buffer)
        self._connection.settimeout(IDLE_S)
        if not self._begun:
            self.expect(begun=True)
        return count


class WebServer(ThreadingHTTPServer):
    """Serves a site until `stop()`; `OSError` where the address cannot be had."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: str, port: int, site: Site, guard: Guard) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.site, self.guard = site, guard
        self._places = threading.BoundedSemaphore(CONNECTIONS)
        self.silent: dict[socket.socket, None] = {}  # they wait for a head, the longest one first
        super().__init__((address, port), _Handler)
        self._thread = threading.Thread(
            target=self.serve_forever, args=(0.1,), name="observe-http-accept", daemon=True
        )

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def server_bind(self) -> None:
        """Bind, without the look into the DNS that `HTTPServer` takes."""
        socket.socket.setsockopt(self.socket, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.port

    def start(self) -> "WebServer":
        self._thread.start()
        return self

    def stop(self) -> None:
        """Take no further connection; streams end with their listeners."""
        self.shutdown()
        self.server_close()
        self._thread.join(5.0)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin a thread for a connection, if there is a place for it or can be made."""
        if self._places.acquire(blocking=False) or self._make_place():
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def _make_place(self) -> bool:
        """Close who has sent no whole request for longest, and take its place."""
        with suppress(StopIteration, RuntimeError, OSError):  # none, or it has just gone by itself
            next(iter(self.silent)).shutdown(socket.SHUT_RDWR)
            return self._places.acquire(timeout=PLACE_S)
        return False

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        threading.current_thread().name = "observe-http"
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is none; whatever else it was must not end the server."""
        log.debug("a connection of web ended", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    """One connection: each request is checked, answered, and forgotten."""

    server: WebServer
    protocol_version = "HTTP/1.1"
    timeout = IDLE_S
    wbufsize = -1

    def setup(self) -> None:
        super().setup()
        self._head, self._first = _Head(self.connection), True
        self.rfile = io.BufferedReader(self._head)

    def handle_one_request(self) -> None:
        """Wait for a head, for no longer than one may take, and answer it."""
        self._head.expect(begun=self._first)
        self._first = False
        self.server.silent[self.connection] = None
        try:
            super().handle_one_request()
        finally:
            self.server.silent.pop(self.connection, None)

    def parse_request(self) -> bool:
        """Read the request's head; False if it was answered already."""
        if not super().parse_request():
            return False
        self.server.silent.pop(self.connection, None)
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # a body is read by nobody
        if self.command not in ("GET", "HEAD"):
            self.close_connection = True
            self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "only GET is served here", {"Allow": "GET, HEAD"})
            return False
        self.page, _, text = self.path.partition("?")
        try:
            self.query = parse_qs(text, keep_blank_values=True, max_num_fields=QUERY_FIELDS)
        except ValueError:
            self._refuse(HTTPStatus.BAD_REQUEST, "the query cannot be read")
            return False
        return self._is_welcome()

    def do_GET(self) -> None:
        route = self.server.site.routes.get(self.page)
        if self.page == "/api/stream":
            self._stream()
        elif route is None:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")
        else:
            self._send(self._answer(route))

    do_HEAD = do_GET

    def _is_welcome(self) -> bool:
        guard, headers = self.server.guard, self.headers
        site, mode = headers.get("Sec-Fetch-Site", "none"), headers.get("Sec-Fetch-Mode", "navigate")
        if not guard.knows_host(headers.get("Host")):
            hint = "the Host header names neither an address nor localhost (--allow-host NAME permits a name)"
            self._refuse(HTTPStatus.FORBIDDEN, hint)
        elif site in ("cross-site", "same-site") and mode != "navigate":
            self._refuse(HTTPStatus.FORBIDDEN, "other sites may only link here")
        elif self.page == "/" and any(map(guard.is_token, self.query.get("token", []))):
            cookie = f"{COOKIE}={guard.cookie()}; Path=/; Max-Age={COOKIE_S}; HttpOnly; SameSite=Strict"
            self._send(Answer(_LET_IN, HTML_TYPE, headers={"Set-Cookie": cookie}))
        elif not guard.admits(headers.get("Authorization", ""), "; ".join(headers.get_all("Cookie", []))):
            self.close_connection = True  # who has no token keeps no place
            self._refuse(HTTPStatus.UNAUTHORIZED, _WANTS_TOKEN, {"WWW-Authenticate": "Bearer"})
        else:
            return True
        return False

    def _answer(self, route: Callable[[Query], Answer]) -> Answer:
        try:
            return route(self.query)
        except UsageError as error:
            return error_answer(HTTPStatus.BAD_REQUEST, error)
        except ObserveError as error:
            return error_answer(HTTPStatus.SERVICE_UNAVAILABLE, error)
        except Exception as error:  # the top of this request
            log.exception("web cannot answer %r", self.path)
            return error_answer(HTTPStatus.INTERNAL_SERVER_ERROR, ObserveError(type(error).__name__))

    def _stream(self) -> None:
        last_id = self.headers.get("Last-Event-ID") or self.query.get("last", [""])[-1]
        if self.command == "HEAD":
            return self._send(Answer(b"", STREAM_TYPE))
        listener = self.server.site.listen(last_id)
        if listener is None:
            return self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many streams", {"Retry-After": "5"})
        try:
            self.close_connection = True
            self._begin(Answer(b"", STREAM_TYPE), {})
            while (chunk := listener.take(SIGN_S)) is not None:
                self.wfile.write(chunk or SIGN)
                self.wfile.flush()
        finally:
            self.server.site.leave(listener)

    # --- sending ---

    def _send(self, answer: Answer) -> None:
        self._begin(answer, {"Content-Length": str(len(answer.body))})
        if self.command != "HEAD":
            self.wfile.write(answer.body)
        self.wfile.flush()

    def _begin(self, answer: Answer, size: Mapping[str, str]) -> None:
        self.send_response(answer.status)
        closing = {"Connection": "close"} if self.close_connection else {}
        found = {"Content-Type": answer.kind, **size, **closing, **_SAFE_HEADERS, **answer.headers}
        for name, text in found.items():
            self.send_header(name, text)
        self.end_headers()

    def _refuse(self, status: int, why: str, headers: Mapping[str, str] | None = None) -> None:
        self._send(Answer(f"{why}\n".encode(), TEXT_TYPE, status, headers or {}))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what the library itself finds wrong, without repeating any of it."""
        self.close_connection = True
        self.command = getattr(self, "command", None) or ""
        self._refuse(code, HTTPStatus(code).phrase)

    def version_string(self) -> str:
        return f"observe/{VERSION}"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is logged: a path may hold a token."""


def error_answer(status: int, error: ObserveError) -> Answer:
    """Return an error as JSON: what happened, and what to do about it."""
    return Answer(
        json_body({"error": str(error), **({"hint": error.hint} if error.hint else {})}), status=status
    )


def json_body(found: Mapping[str, Any]) -> bytes:
    """Return a JSON answer, one line."""
    return dump_json(found) + b"\n"
