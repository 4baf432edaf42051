"""The doorbell: listens to process-compose's push stream, rings for a poll, and hands over last words.
One manager's listeners, a thread each; they only hear, comparing stays with the poller.
"""

import json
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any
from urllib.parse import quote

from .bridge import log
from .config import ComposeSettings
from .process_compose import TOKEN_HEADER, ProcessState
from .times import now_utc

#: the stream's first burst breaks above 256 processes; so many names at most share a connection
NAMES_AT_ONCE = 200
ALL_AT_ONCE = 250
#: waits before connecting again; the last one goes on for ever, and is how late a new start is seen at most
RECONNECT_AFTER_S = (0.1, 0.2, 0.3)
#: after this much silence the other side is pinged, after twice that it is given up
SILENCE_S = 5.0
CONNECT_S = 3.0


class Doorbell:
    """Hears of every process named in the last reply.

    `hear(state, at)` gets each message's state, `ring()` is called after it; `on_change(pushed)` when
    it begins to hear all of them, or no longer does. ImportError where websocket-client is missing.
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
        self._listeners: list[_Listener] = []
        self._names: frozenset[str] | None = None

    def listen(self, names: Iterable[str]) -> None:
        """Listen to these processes; called after each reply, does something only where the names changed."""
        wanted = frozenset(names)
        several = len(wanted) > ALL_AT_ONCE
        if self._names is not None and (
            wanted == self._names or not (several or len(self._names) > ALL_AT_ONCE)
        ):
            self._names = wanted
            return
        self._names = wanted
        ordered = sorted(wanted)
        parts = range(0, len(ordered), NAMES_AT_ONCE) if several else range(1)
        before, self._listeners = self._listeners, []
        for at in parts:
            part = ordered[at : at + NAMES_AT_ONCE] if several else []
            self._listeners.append(_Listener(self._websocket, self._settings, part, self._take, self._noted))
        for listener in self._listeners:
            listener.start()
        for listener in before:
            listener.stop()

    def stop(self) -> None:
        """End every listener."""
        for listener in self._listeners:
            listener.stop()
        for listener in self._listeners:
            listener.join(1.0)

    def _take(self, message: Any, at: datetime) -> None:
        """Hand one message over. What a snapshot shows ended may have ended long ago: the poll will tell."""
        try:
            state = ProcessState.from_raw(message["state"])
        except (ValueError, TypeError, KeyError) as error:
            log.info("push: not a state: %s", error)
            return
        if not message.get("snapshot") or state.status == "Terminating":
            self._hear(state, at)
        self._ring()

    def _noted(self, connected: bool) -> None:
        if connected:
            self._ring()
        self._on_change(bool(self._listeners) and all(listener.connected for listener in self._listeners))


class _Listener:
    """One connection, made again for ever; all processes, or those named."""

    def __init__(
        self,
        websocket: Any,
        settings: ComposeSettings,
        names: Sequence[str],
        take: Callable[[Any, datetime], None],
        noted: Callable[[bool], None],
    ) -> None:
        self._websocket, self._settings, self._take, self._noted = websocket, settings, take, noted
        self._query = f"?name={quote(','.join(names))}" if names else ""
        self._socket: Any = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="observe-doorbell", daemon=True)
        self.connected = False

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        found = self._socket
        if found is not None:
            with suppress(OSError, self._websocket.WebSocketException):
                found.shutdown()

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                self._socket = self._connect()
                failures = 0
                self._turn(True)
                self._read(self._socket)
            except (OSError, ValueError, self._websocket.WebSocketException) as error:
                log.info("push: %s", error)
            except Exception:  # the thread's top
                log.exception("push: a message could not be taken")
            self._turn(False)
            self._close()
            self._stop.wait(RECONNECT_AFTER_S[min(failures, len(RECONNECT_AFTER_S) - 1)])
            failures += 1

    def _connect(self) -> Any:
        settings = self._settings
        options: dict[str, Any] = {"timeout": CONNECT_S, "enable_multithread": True, "http_no_proxy": ["*"]}
        if settings.token:
            options["header"] = [f"{TOKEN_HEADER}: {settings.token}"]
        host = f"[{settings.address}]" if ":" in settings.address else settings.address
        where = f"{host}:{settings.port}"
        if settings.socket:
            options["socket"] = plain = socket.socket(socket.AF_UNIX)
            plain.settimeout(CONNECT_S)
            plain.connect(settings.socket)
            where = "localhost"
        return self._websocket.create_connection(f"ws://{where}/process/states/ws{self._query}", **options)

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
        found, self._socket = self._socket, None
        if found is not None:
            with suppress(OSError, self._websocket.WebSocketException):
                found.shutdown()

    def _turn(self, connected: bool) -> None:
        if self.connected != connected:
            self.connected = connected
            self._noted(connected)
