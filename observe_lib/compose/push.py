"""The push stream: listens to process-compose, asks for a poll at each message, and hands over last words.
One manager's listeners, a thread each; they only hear, comparing stays with the poller.
"""

import json
import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any
from urllib.parse import quote

from ..log import Say, log
from ..settings import ComposeSettings
from ..times import now_utc
from .client import TOKEN_HEADER
from .state import ProcessState

#: the stream's first burst breaks above 256 processes; so many names at most share a connection
NAMES_AT_ONCE = 200
ALL_AT_ONCE = 250
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


class PushStream:
    """Hears of every process named in the last reply.

    `hear(state, at)` gets each message's state, `ring()` is called after it, and when a connection was made
    or lost; `on_change(pushed)` when it begins to hear all of them, or no longer does. ImportError where
    websocket-client is missing.
    """

    def __init__(
        self,
        settings: ComposeSettings,
        hear: Callable[[ProcessState, datetime], None],
        ring: Callable[[], None],
        on_change: Callable[[bool], None],
    ) -> None:
        import websocket

        self._websocket: Any = websocket
        self._settings, self._hear, self._ring, self._on_change = settings, hear, ring, on_change
        self._lock = threading.Lock()
        self._names: frozenset[str] | None = None
        self._parts: list[list[str]] = []
        self._listeners: list[_Listener] = []
        self._retiring: list[_Listener] = []  # they listen on until those that come after them do
        self._ending: list[_Listener] = []  # told to stop, perhaps not yet gone
        self._stopped = False

    def listen(self, names: Iterable[str]) -> None:
        """Listen to these processes; called after each reply, does something only where the names changed."""
        wanted = frozenset(names)
        if wanted == self._names or self._stopped:
            return
        self._names, parts = wanted, _parts(wanted)
        if parts == self._parts:
            return
        self._parts = parts
        new = [_Listener(self._websocket, self._settings, part, self._take, self._noted) for part in parts]
        with self._lock:
            over, self._retiring, self._listeners = self._retiring, self._listeners, new
        self._end(over)
        for listener in new:
            listener.start()

    def stop(self) -> None:
        """End every listener."""
        self._stopped = True
        with self._lock:
            listeners = [*self._listeners, *self._retiring]
        self._end(listeners)
        for listener in self._ending:
            listener.join(1.0)

    def _end(self, listeners: Iterable["_Listener"]) -> None:
        for listener in listeners:
            listener.stop()
        self._ending = [one for one in [*self._ending, *listeners] if one.is_alive()]

    def _take(self, message: Any, at: datetime) -> None:
        """Hand one message over. What a snapshot shows ended may have ended long ago: the poll will tell."""
        try:
            state = ProcessState.from_raw(message["state"])
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            log.info("push: not a state: %s", error)
            return
        if not message.get("snapshot") or state.status == "Terminating":
            self._hear(state, at)
        self._ring()

    def _noted(self) -> None:
        """One is connected now, or no longer: what it missed, or that the API is gone, a poll will tell."""
        over: list[_Listener] = []
        with self._lock:
            pushed = all(listener.connected for listener in self._listeners)
            if pushed:
                over, self._retiring = self._retiring, over
        self._end(over)
        self._on_change(pushed)
        self._ring()


def open_push_stream(
    settings: ComposeSettings,
    say: Say,
    hear: Callable[[ProcessState, datetime], None],
    ring: Callable[[], None],
    on_change: Callable[[bool], None],
) -> PushStream | None:
    """Return a push stream that does not listen yet; None where websocket-client is missing: that is said."""
    try:
        return PushStream(settings, hear, ring, on_change)
    except ImportError:
        say("push", "websocket-client missing: a quick stop can look like a crash")
        say("", f"{sys.executable} -m pip install websocket-client")
        return None


def _parts(names: Iterable[str]) -> list[list[str]]:
    """Return the names that each connection asks for: none, which are all, while one can take them.

    The query is split at commas and its parts are trimmed: some names can only be polled then.
    """
    ordered = sorted(names)
    if len(ordered) <= ALL_AT_ONCE:
        return [[]]
    named = [name for name in ordered if name == name.strip() and "," not in name]
    return [named[at : at + NAMES_AT_ONCE] for at in range(0, len(named), NAMES_AT_ONCE)]


class _Listener:
    """One connection, made again for ever; all processes, or those named."""

    def __init__(
        self,
        websocket: Any,
        settings: ComposeSettings,
        names: Sequence[str],
        take: Callable[[Any, datetime], None],
        noted: Callable[[], None],
    ) -> None:
        self._websocket, self._settings, self._take, self._noted = websocket, settings, take, noted
        self._query = f"?name={quote(','.join(names))}" if names else ""
        self._connection: Any = None
        self._trouble = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="observe-push", daemon=True)
        self.connected = False

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        connection = self._connection
        if connection is not None:
            connection.abort()  # wakes the thread that reads

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stop.is_set():
            after_s = RECONNECT_AFTER_S
            try:
                self._connection = self._connect()
                self._turn(True)
                self._read(self._connection)
            except self._websocket.WebSocketBadStatusException as error:
                after_s = self._refused(error)
            except (OSError, ValueError, self._websocket.WebSocketException) as error:
                self._say(logging.INFO, str(error))
            except Exception:  # the thread's top
                log.exception("push: a message could not be taken")
            self._turn(False)
            self._close()
            self._stop.wait(after_s)

    def _refused(self, error: Any) -> float:
        """Return how long to wait after an answer that is no push stream."""
        if error.status_code == 404:
            self._say(logging.WARNING, _NO_STREAM)
            return NO_STREAM_AFTER_S
        self._say(logging.INFO, f"answers {error.status_code}")  # polling tells people of that
        return REFUSED_AFTER_S

    def _say(self, level: int, trouble: str) -> None:
        """Log a trouble that is not the last one again."""
        if trouble != self._trouble:
            log.log(level, "push: %s", trouble)
        self._trouble = trouble

    def _connect(self) -> Any:
        """Connect over a socket of our own: the library's would go through a proxy of the environment."""
        settings = self._settings
        token = {TOKEN_HEADER: settings.token} if settings.token else {}
        host = f"[{settings.address}]" if ":" in settings.address else settings.address
        where = "localhost" if settings.socket else f"{host}:{settings.port}"
        return self._websocket.create_connection(
            f"ws://{where}/process/states/ws{self._query}",
            socket=_dial(settings),
            header=token,
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
                self._take(json.loads(payload), now_utc())
            elif code == self._websocket.ABNF.OPCODE_CLOSE:
                return

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(OSError, self._websocket.WebSocketException):
                connection.shutdown()

    def _turn(self, connected: bool) -> None:
        if self.connected != connected:
            self.connected = connected
            self._noted()


def _dial(settings: ComposeSettings) -> socket.socket:
    if not settings.socket:
        plain = socket.create_connection((settings.address, settings.port), CONNECT_S)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return plain
    plain = socket.socket(socket.AF_UNIX)
    try:
        plain.settimeout(CONNECT_S)
        plain.connect(settings.socket)
    except OSError:
        plain.close()
        raise
    return plain
