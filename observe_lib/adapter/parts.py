"""What an adapter is handed and can do without: push stream, logs, a NATS server of its own, systemd.
Only the shapes of these things; what they are is for who hands them in.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from ..broker.loop import ignore


class PushListener(Protocol):
    """Who hears what process-compose pushes about the processes named last, from the first `listen` on."""

    def listen(self, names: Iterable[str]) -> None: ...

    def stop(self) -> None: ...


#: given `on_message(state, arrived_at)`, `on_listening(since)`, `wake()`: returns who will call them, None if
#: nobody can
OpenPush = Callable[
    [
        Callable[[Mapping[str, Any], datetime], None],
        Callable[[datetime | None], None],
        Callable[[], None],
    ],
    PushListener | None,
]


class LogSource(Protocol):
    """Who fetches the last lines of a process's log: [] where they are not to be had soon; never raises."""

    def fetch(self, process: str, lines: int) -> "Future[list[str]]": ...

    def stop(self) -> None: ...


class OwnServer(Protocol):
    """Who sees that there is a NATS; `settled` is set when it is clear whose it will be."""

    settled: threading.Event

    def start(self) -> None: ...

    def answered(self, names: Iterable[str]) -> None: ...

    def connected(self, url: str, version: str) -> None: ...

    def stop(self) -> None: ...


def _wait(stop: threading.Event, works: Callable[[], bool]) -> None:
    stop.wait()


@dataclass(frozen=True)
class AdapterParts:
    """What an adapter can do without; it starts and ends what it is handed.

    `notify` gets READY=1 and STOPPING=1, `stay` waits for the event and may ask whether the threads turn.
    """

    push: OpenPush | None = None
    logs: LogSource | None = None
    server: OwnServer | None = None
    notify: Callable[[str], object] = ignore
    stay: Callable[[threading.Event, Callable[[], bool]], None] = _wait
