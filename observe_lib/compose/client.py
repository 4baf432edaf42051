"""The REST client of process-compose.
Runs in whichever thread calls it, one request at a time; never retries, never follows a redirect.
"""

import json
import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException, IncompleteRead, RemoteDisconnected
from math import inf
from typing import Any
from urllib.parse import quote

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

from ..errors import ComposeError
from ..times import UTC

#: a longer reply is not read to its end
MAX_REPLY_BYTES = 64 * 1024 * 1024
#: the request header that carries the token
TOKEN_HEADER = "X-PC-Token-Key"

_HINTS = {
    "refused": "is it running, and is this where it listens (--compose-port, --compose-socket)?",
    "timeout": "it may be busy or halted: see whether `process-compose list` on the same port answers",
    "garbage": "something else may listen there: see --compose-port, --compose-socket",
    "too_large": "something else may listen there: see --compose-port, --compose-socket",
    "status": "see process-compose's own log (its flag -L)",
}


@dataclass(frozen=True)
class Reply:
    """What `/processes` answered: the states just as they came, and the sender's clock where it told."""

    states: list[dict[str, Any]]
    date: datetime | None


class ComposeClient:
    """One process-compose, over TCP or, where `socket_path` is given, over a Unix socket.

    Every call ends within its timeout, even if the other side sends a byte at a time, and raises
    `ComposeError` of kind refused, timeout, status, too_large (over `max_bytes`) or garbage.
    """

    def __init__(
        self,
        address: str = "127.0.0.1",
        port: int = 28081,
        socket_path: str | None = None,
        token: str | None = None,
        timeout_s: float = 10.0,
        max_bytes: int = MAX_REPLY_BYTES,
    ) -> None:
        host = f"[{address}]" if ":" in address else address
        self._base = "http://localhost" if socket_path else f"http://{host}:{port}"
        self.url = f"unix:{socket_path}" if socket_path else self._base
        self._where = socket_path or (address, port)
        self._timeout_s, self._max_bytes = timeout_s, max_bytes
        self._deadline = 0.0
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy and no .netrc from the environment
        self._session.headers.update(
            {"Accept-Encoding": "identity", **({TOKEN_HEADER: token} if token else {})}
        )
        self._session.mount("http://", _adapter(host, None if socket_path else port, self._dial))

    def processes(self, timeout_s: float | None = None) -> Reply:
        """Return every process, in the random order in which they come."""
        found, date = self._get("/processes", timeout_s)
        states = found.get("data", "") if isinstance(found, dict) else ""
        states = [] if states is None else states
        if not isinstance(states, list) or set(map(type, states)) - {dict}:
            raise self._error("garbage", "sent JSON without a list of processes")
        return Reply(states, date)

    def project_name(self, timeout_s: float | None = None) -> str:
        """Return the project's name, `host/directory` by default; "" from a version that does not tell."""
        try:
            found, _ = self._get("/project/name", timeout_s)
        except ComposeError as error:
            if error.kind in ("refused", "timeout"):
                raise
            found = {}
        return str(found.get("projectName") or "") if isinstance(found, dict) else ""

    def logs(self, name: str, lines: int, timeout_s: float | None = None) -> list[str]:
        """Return the last lines of a process's log, oldest first (process-compose keeps 1,000)."""
        found, _ = self._get(f"/process/logs/{quote(name, safe='')}/0/{max(1, lines)}", timeout_s)
        tail = found.get("logs") if isinstance(found, dict) else None
        return [line for line in tail if isinstance(line, str)] if isinstance(tail, list) else []

    def reason(self, error: ComposeError) -> str:
        """Return the error's message without the address: `connection refused`, `wants a token (401)`."""
        return str(error).removeprefix(f"process-compose at {self.url}").lstrip(": ")

    def interrupt(self) -> None:
        """End the request in flight, from any thread: it raises ComposeError at once."""
        if self._socket is not None:
            with suppress(OSError):  # closed already
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the request in flight and close the connection; calls after it raise ComposeError."""
        self.interrupt()
        self._session.close()

    def _get(self, path: str, timeout_s: float | None) -> tuple[Any, datetime | None]:
        timeout_s = timeout_s or self._timeout_s
        if not self._lock.acquire(timeout=timeout_s):
            raise self._error("timeout", f"no answer within {timeout_s:g}s")
        try:
            self._deadline = time.monotonic() + timeout_s
            body, response = self._fetch(path, timeout_s)
        except (requests.RequestException, OSError, UnicodeError) as error:
            if time.monotonic() >= self._deadline:
                raise self._error("timeout", f"no answer within {timeout_s:g}s") from error
            raise self._error(*_cause(error)) from error
        finally:
            self._lock.release()
        if response.status_code != 200:
            raise self._refusal(response.status_code, body)
        try:
            return _parsed(body), _date(response.headers.get("Date", ""))
        except (ValueError, RecursionError) as error:
            kind = re.sub(r"[^\w/.+-].*", "", response.headers.get("Content-Type", "")) or "something"
            raise self._error("garbage", f"sent {len(body)} bytes of {kind} that are no JSON") from error

    def _fetch(self, path: str, timeout_s: float) -> tuple[bytearray, requests.Response]:
        body = bytearray()
        with self._session.get(
            self._base + path, timeout=timeout_s, stream=True, allow_redirects=False
        ) as response:
            for part in response.iter_content(256 * 1024):
                body += part
                if len(body) > self._max_bytes:
                    raise self._error("too_large", f"sent more than {self._max_bytes >> 20} MiB at once")
        return body, response

    def _dial(self) -> socket.socket:
        plain = dial(self._where, self._remaining_s())
        self._socket = bounded = _BoundedSocket(fileno=plain.detach())
        bounded.remaining_s = self._remaining_s
        return bounded

    def _remaining_s(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def _refusal(self, status: int, body: bytearray) -> ComposeError:
        if status == 401:
            has_token = TOKEN_HEADER in self._session.headers
            text = "refuses this token (401)" if has_token else "wants a token (401)"
            return self._error(
                "status", text, status, "set PC_API_TOKEN_PATH=/path/to/token, or --token-file"
            )
        told = re.search(rb'"error": *"([^"]{1,200})', body)
        text = f"answers {status}" + (f", {ascii(told.group(1).decode('utf-8', 'replace'))}" if told else "")
        return self._error("status", text, status, "" if status in (400, 500) else _HINTS["garbage"])

    def _error(self, kind: str, text: str, status: int = 0, hint: str = "") -> ComposeError:
        joint = " " if status else ": "
        message = f"process-compose at {self.url}{joint}{text}"
        return ComposeError(message, hint or _HINTS[kind], kind=kind, status=status)


def dial(where: str | tuple[str, int], timeout_s: float) -> socket.socket:
    """Return a connection to a host and port, or to a Unix socket; OSError."""
    if isinstance(where, tuple):
        plain = socket.create_connection(where, timeout_s)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return plain
    plain = socket.socket(socket.AF_UNIX)
    plain.settimeout(timeout_s)
    plain.connect(where)
    return plain


def other_answers(address: str, port: int = 8080) -> int | None:
    """Return how many processes a process-compose has that answers there, None if none does within 1 s."""
    client = ComposeClient(address, port, timeout_s=1.0)
    try:
        return len(client.processes().states)
    except ComposeError:
        return None
    finally:
        client.close()


def _parsed(body: bytearray) -> Any:
    """Return the JSON; a number of thousands of digits spoils its process, not the reply."""
    try:
        return json.loads(body)
    except ValueError:
        return json.loads(body, parse_int=lambda digits: int(digits) if len(digits) < 30 else inf)


def _date(text: str) -> datetime | None:
    with suppress(TypeError, ValueError, OverflowError):
        return parsedate_to_datetime(text).astimezone(UTC)
    return None


def _cause(error: BaseException | None) -> tuple[str, str]:
    """Return the kind and the words for a failed request: the innermost system error in its chain tells."""
    words = "closed the connection"
    while error is not None:
        if isinstance(error, HTTPException) and not isinstance(error, (RemoteDisconnected, IncompleteRead)):
            return "garbage", "sent something that is not HTTP"
        if isinstance(error, OSError) and error.strerror:
            words = error.strerror.lower()
        error = error.__cause__ or error.__context__
    return "refused", words


class _BoundedSocket(socket.socket):
    """A socket whose every read ends by one deadline: a plain timeout would begin anew with each byte."""

    remaining_s: Callable[[], float]

    def recv_into(self, *args: Any, **named: Any) -> int:
        self.settimeout(self.remaining_s())
        return super().recv_into(*args, **named)


def _adapter(host: str, port: int | None, dial: Callable[[], socket.socket]) -> HTTPAdapter:
    """Return what makes requests use one kept-alive connection that `dial` opens, whatever the URL."""

    class Connection(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            try:
                return dial()
            except BrokenPipeError as error:  # urllib3 would go on without a socket
                raise ConnectionResetError(error.errno, "connection reset by peer") from error

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    class Adapter(HTTPAdapter):
        def get_connection_with_tls_context(self, *args: Any, **named: Any) -> HTTPConnectionPool:
            return pool

        def close(self) -> None:
            pool.close()

    pool = Pool(host, port, maxsize=1)
    return Adapter()
