"""A comparison over a real outbox, on a clock that tests move; and scripted states."""

import json
from concurrent.futures import Future
from datetime import datetime, timedelta, timezone
from pathlib import Path

from observe_lib.adapter.comparison import Comparison
from observe_lib.adapter.outbox import Outbox, OutboxEvent
from observe_lib.adapter.publisher import WINDOW_BYTES
from observe_lib.compose.state import ProcessState
from observe_lib.errors import OutboxError
from observe_lib.events import Event, Key
from tests.stand_in import make_state

T0 = datetime(2026, 1, 5, 12, 0, 0, tzinfo=timezone.utc)
STACK = "host-a"


def moment(seconds: float) -> str:
    return (T0 + timedelta(seconds=seconds)).isoformat()


def running(name: str, pid: int = 7, began: float = -100.0, **fields) -> dict:
    usual = {"age": None, "process_start_time": moment(began), "process_ready_time": None, "pid": pid}
    return make_state(name, **{**usual, **fields})


def ended(name: str, pid: int = 7, code: int = 0, **fields) -> dict:
    over = {"status": "Completed", "is_running": False, "process_end_time": None}
    return running(name, pid, exit_code=code, **{**over, **fields})


def stopping(name: str, pid: int = 7, **fields) -> dict:
    return running(name, pid, status="Terminating", is_running=False, **fields)


def state_of(raw: dict) -> ProcessState:
    return ProcessState.from_raw(raw)


class Clock:
    """Tells what the test sets."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> datetime:
        return T0 + timedelta(seconds=self.seconds)


class Logs:
    """A log fetcher whose fetches end when the test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, Future]] = []

    def fetch(self, process: str, lines: int) -> "Future[list[str]]":
        fetched: Future[list[str]] = Future()
        self.asked.append((process, lines, fetched))
        return fetched

    def stop(self) -> None:
        pass

    def answer(self, *lines: str) -> None:
        """Let the oldest fetch end with these lines."""
        self.asked.pop(0)[2].set_result(list(lines))


class Bench:
    """A comparison and its outbox; `again()` is the next start of the adapter."""

    def __init__(
        self,
        directory: Path | None = None,
        *,
        clock: Clock | None = None,
        logs: Logs | None = None,
        **options,
    ) -> None:
        self.clock, self.logs, self._options = clock or Clock(), logs, (directory, options)
        self.said: list[str] = []
        self.outbox = Outbox.open(directory, STACK, takeover=False, say=self._say)
        self.said.clear()
        self.refuses = False
        self._commit = self.outbox.commit
        self.outbox.commit = self._commit_or_not  # type: ignore[method-assign]
        self.woken: list[str] = []
        self.rings = 0
        self._states: dict[str, tuple[dict, ProcessState]] = {}
        self.comparison = Comparison(
            self.outbox,
            STACK,
            self._say,
            interval_s=2.0,
            logs=logs,
            committed=self.woken.extend,
            ring=self._ring,
            clock=self.clock,
            **{"born": self.clock(), **options},
        )

    def _say(self, topic: str, text: str) -> None:
        self.said.append(text)

    def _ring(self) -> None:
        self.rings += 1

    def _commit_or_not(self, *arguments) -> None:
        if self.refuses:
            raise OutboxError("the outbox cannot be used (full)", "free some room")
        self._commit(*arguments)

    def again(self) -> "Bench":
        directory, options = self._options
        self.outbox.close()
        return Bench(directory, clock=self.clock, logs=self.logs, **options)

    def reply(self, *raws: dict, after_s: float = 2.0, took_s: float = 0.0, skew_s: float = 0.0) -> None:
        """Compare one reply, that came `after_s` after the last thing that happened."""
        self.clock.seconds += after_s
        asked_at = self.clock()
        self.clock.seconds += took_s
        states = [self._read(raw) for raw in raws]
        after = {Key(state.namespace, state.name): state for state in states}
        self.comparison.compare(after, asked_at, skew_s)
        self.comparison.records.note_good(self.clock())

    def _read(self, raw: dict) -> ProcessState:
        """Return the very object of before where nothing changed, as the poller does."""
        before = self._states.get(raw["name"])
        if before is None or before[0] != raw:
            before = self._states[raw["name"]] = raw, state_of(raw)
        return before[1]

    def hear(self, raw: dict, after_s: float = 0.1) -> None:
        """Compare a push message."""
        self.clock.seconds += after_s
        self.comparison.hear(state_of(raw), self.clock())

    def take(self) -> list[Event]:
        """Take what waits as the publisher does, in order; return it without companions."""
        found: dict[int, Event] = {}
        done: list[OutboxEvent] = []
        while events := self.outbox.take(done, 1000, WINDOW_BYTES):
            found.update((one.id, Event.from_json(one.payload)) for one in events)
            done = events
        return [event for _, event in sorted(found.items()) if not event.companion]

    def told(self) -> list[tuple]:
        """Return (process, type, and what else tells it) of each event that waits, taking it."""
        return [
            (event.process, event.type, *filter(None, (event.reason, event.initial and "initial")))
            for event in self.take()
        ]

    def row(self, process: str) -> dict:
        (key, payload), *_ = self.comparison.records.rows(f"default.{process}")
        return json.loads(payload)["row"]
