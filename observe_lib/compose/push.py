"""The push stream: hands over what process-compose says of a process as it happens, and wakes the poller.
A thread for each connection: one, or several for many names; they never compare and never ask.
"""

import json
import logging
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any
from urllib.parse import quote

from ..log import Say, log
from ..settings import ComposeSettings
from ..times import now_utc
from .client import TOKEN_HEADER, dial

#: a connection asks for so many names at most: the stream's first burst breaks above 256 processes
NAMES_AT_ONCE = 200
#: how long to wait before connecting again, for ever: how late a new process-compose is seen at most
RECONNECT_AFTER_S = 0.1
#: the same for one that has no push stream: it may be stopped, and a newer one begun
NO_STREAM_AFTER_S = 30.0
#: the same for one that wants another token, or answers otherwise
REFUSED_AFTER_S = 1.0
#: after this much silence the other side is pinged, after twice that it is given up
SILENCE_S = 5.0
CONNECT_S = 3.0

_NO_STREAM = "process-compose before 1.110 has no push stream: a quick stop can look like a crash"

OnMessage = Callable[[Mapping[str, Any], datetime], None]


class PushStream:
    """Listens to every process named in the last reply; all callbacks come from its own threads.

    `on_message(state, arrived_at)` gets the state of each message, as it came; `wake()` is called after it,
    and when a connection was made or lost; `on_listening(since)` since when it hears all of them, None when
    it no longer does. ImportError where websocket-client is missing.
    """

    def __init__(
        self,
        settings: ComposeSettings,
        on_message: OnMessage,
        on_listening: Callable[[datetime | None], None],
        wake: Callable[[], None],
    ) -> None:
        import websocket

        self._websocket: Any = websocket
        self._settings, self._on_message, self._wake = settings, on_message, wake
        self._on_listening = on_listening
        self._lock = threading.Lock()
        self._queries: list[str] | None = None
        self._connections: list[_Connection] = []
        self._retiring: list[_Connection] = []  # they listen on until those that come after them do
        self._stopped = False

    def listen(self, names: Iterable[str]) -> None:
        """Listen to these processes; called after each reply, does something only where the names changed."""
        queries = _queries(names)
        if queries == self._queries or self._stopped:
            return
        self._queries = queries
        new = [_Connection(self._websocket, self._settings, query, self) for query in queries]
        with self._lock:
            over, self._retiring, self._connections = self._retiring, self._connections, new
        for connection in over:
            connection.stop()
        for connection in new:
            connection.start()

    def stop(self) -> None:
        """End every connection."""
        self._stopped = True
        with self._lock:
            connections = [*self._connections, *self._retiring]
        for connection in connections:
            connection.stop()
        for connection in connections:
            connection.join(1.0)

    # --- called by the connections ---

    def take(self, message: Any, arrived_at: datetime) -> None:
        """Hand one message over. What a snapshot shows ended may have ended long ago: a poll tells."""
        state = message.get("state") if isinstance(message, dict) else None
        if isinstance(state, dict) and isinstance(state.get("name"), str):
            if not message.get("snapshot") or state.get("status") == "Terminating":
                self._on_message(state, arrived_at)
            self._wake()

    def turned(self) -> None:
        """One is connected now, or no longer: what it missed, or that the API is gone, a poll will tell."""
        over: list[_Connection] = []
        with self._lock:
            all_there = all(one.connected for one in self._connections)
            before = bool(self._retiring) and all(one.connected for one in self._retiring)
            if all_there:
                over, self._retiring = self._retiring, over
                self._on_listening(now_utc())
            elif not before:
                self._on_listening(None)
        for connection in over:
            connection.stop()
        self._wake()


def open_push_stream(
    settings: ComposeSettings,
    say: Say,
    on_message: OnMessage,
    on_listening: Callable[[datetime | None], None],
    wake: Callable[[], None],
) -> PushStream | None:
    """Return a push stream that does not listen yet; None where websocket-client is missing: that is said."""
    try:
        return PushStream(settings, on_message, on_listening, wake)
    except ImportError:
        say("push", "websocket-client missing: a quick stop can look like a crash")
        say("", f"{sys.executable} -m pip install websocket-client")
        return None


def _queries(names: Iterable[str]) -> list[str]:
    """Return what each connection asks for: everything, while one can take it, else so many names each.

    The query is split at commas and its parts are trimmed: some names can only be polled then.
    """
    ordered = sorted(set(names))
    if len(ordered) <= NAMES_AT_ONCE:
        return [""]
    named = [name for name in ordered if name == name.strip() and "," not in name]
    parts = (named[at : at + NAMES_AT_ONCE] for at in range(0, len(named), NAMES_AT_ONCE))
    return [f"?name={quote(','.join(part))}" for part in parts]


class _Connection:
    """One connection, made again for ever, and its thread."""

    def __init__(self, websocket: Any, settings: ComposeSettings, query: str, stream: PushStream) -> None:
        self._websocket, self._settings, self._query, self._stream = websocket, settings, query, stream
        self._open: Any = None
        self._trouble = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="observe-push", daemon=True)
        self.start, self.join = self._thread.start, self._thread.join
        self.connected = False

    def stop(self) -> None:
        self._stop.set()
        if (connection := self._open) is not None:
            connection.abort()  # wakes the thread that reads

    def _run(self) -> None:
        while not self._stop.is_set():
            after_s = RECONNECT_AFTER_S
            try:
                self._open = self._connect()
                self._turn(True)
                self._read(self._open)
            except self._websocket.WebSocketBadStatusException as error:
                after_s = self._refused(error.status_code)
            except (OSError, ValueError, self._websocket.WebSocketException) as error:
                self._say(logging.INFO, str(error))
            except Exception:  # the thread's top
                log.exception("push: a message could not be taken")
            self._turn(False)
            if (connection := self._open) is not None:
                with suppress(OSError, self._websocket.WebSocketException):
                    connection.shutdown()
            self._stop.wait(after_s)

    def _refused(self, status: int) -> float:
        """Return how long to wait after an answer that is no push stream."""
        if status == 404:
            self._say(logging.WARNING, _NO_STREAM)
            return NO_STREAM_AFTER_S
        self._say(logging.INFO, f"answers {status}")  # polling tells people of that
        return REFUSED_AFTER_S

    def _say(self, level: int, trouble: str) -> None:
        """Log a trouble that is not the last one again."""
        if trouble != self._trouble:
            log.log(level, "%s", trouble)
        self._trouble = trouble

    def _connect(self) -> Any:
        """Connect over a socket of our own: the library's would go through a proxy of the environment."""
        settings = self._settings
        host = f"[{settings.address}]" if ":" in settings.address else settings.address
        where = "localhost" if settings.socket else f"{host}:{settings.port}"
        return self._websocket.create_connection(
            f"ws://{where}/process/states/ws{self._query}",
            socket=dial(settings.socket or (settings.address, settings.port), CONNECT_S),
            header={TOKEN_HEADER: settings.token} if settings.token else {},
            redirect_limit=0,
            enable_multithread=True,
        )

    def _read(self, connection: Any) -> None:
        """Take messages until the connection ends, or is silent although pinged."""
        connection.settimeout(SILENCE_S)
        pinged = False
        while not self._stop.is_set():
            try:
                code, payload = connection.recv_data(control_frame=True)
            except self._websocket.WebSocketTimeoutException:
                if pinged:
                    raise
                pinged = True
                connection.ping()
                continue
            pinged = False
            if code == self._websocket.ABNF.OPCODE_TEXT:
                self._stream.take(json.loads(payload), now_utc())
            elif code == self._websocket.ABNF.OPCODE_CLOSE:
                return

    def _turn(self, connected: bool) -> None:
        if self.connected != connected:
            self.connected = connected
            self._stream.turned()
