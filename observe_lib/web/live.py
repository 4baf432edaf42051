"""What `web` streams: one hello with all that is known, then what changes, the same bytes for every listener.
Its thread "observe-web" looks at the states and folds events; it waits for no listener and never for NATS.
"""

import hashlib
import heapq
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..events import Event, dump_json
from ..log import log
from ..reader.board import Board, figures_of, note_events
from ..reader.states import States, stale_stacks_of
from ..rows import CONDITIONS, Place, ProcessRow
from ..text.words import detail
from ..times import format_time, now_utc
from .lines import WebLines
from .metrics import metrics_text

if TYPE_CHECKING:
    from ..reader.consumer import Consumer
    from ..reader.states_reader import StatesReader

#: so many events can be resumed after; a page that comes anew gets this many
RING = 2000
LATEST_SENT = 200
#: as much of an event's words as a line or two can show: a log line may be endless
WORDS = 1000
#: so many streams at most, and so many bytes waiting for one of them
STREAMS = 100
WAITING_BYTES = 8 * 1024 * 1024
#: how long events are gathered before they are sent, and how often there is a look without any
GATHER_S = 0.05
LIVE_LOOK_S = 0.5
#: and it rests so many times as long as a look took: most of a core is for others
LOOK_REST = 4
#: so many rows go out at once, those in trouble first
ROWS_AT_ONCE = 2000
#: crashes of a day grow fewer without an event
RECOUNT_S = 60.0
#: around each time in an event's words: the page prints them in its own zone
TIME_MARK = "\u2063"
#: what the page has no use for
_NOT_SENT = frozenset(("events", "crash_hours", "last_event", "last_crash"))


class PageListener:
    """What waits for one stream. One that takes too little is ended; it comes again and goes on there.

    `rest` makes what may come after the first chunk, one at a time, when nothing else waits.
    """

    def __init__(self, first: bytes, rest: Iterator[bytes] | None = None) -> None:
        self._chunks, self._size = deque([first]), 0
        self._rest = rest or iter(())
        self._changed = threading.Condition()
        self._ended = False

    def offer(self, chunk: bytes) -> bool:
        """Add a chunk, and return whether it goes on; never waits."""
        with self._changed:
            if self._size and self._size + len(chunk) > WAITING_BYTES:
                self._ended = True
                self._chunks.clear()
            elif not self._ended:
                self._chunks.append(chunk)
                self._size += len(chunk)
            self._changed.notify_all()
            return not self._ended

    def end(self) -> None:
        """Nothing more will come."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def take(self, timeout_s: float) -> bytes | None:
        """Return what waits, b"" if nothing came in time, None at the end."""
        if not self._chunks and (more := next(self._rest, None)) is not None:
            return None if self._ended else more
        with self._changed:
            self._changed.wait_for(lambda: self._chunks or self._ended, timeout_s)
            if self._ended:
                return None
            found = b"".join(self._chunks)
            self._chunks.clear()
            self._size = 0
            return found


class LiveStates:
    """The states as a stream of updates; `hear` is to be given every event once, in stream order."""

    def __init__(self, source: "Consumer", states: "StatesReader", since: datetime) -> None:
        self._source, self._states = source, states
        self._lock = threading.Lock()
        self._inbox: deque[Event] = deque()
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="observe-web", daemon=True)
        # from here on under the lock
        self._shown, self._board = States(), Board()
        self._unsent: dict[Place, None] = {}  # their rows have changed
        self._lines = WebLines(since.timestamp())
        self._ring: deque[dict[str, Any]] = deque(maxlen=RING)
        self._listeners: set[PageListener] = set()
        self._head: dict[str, Any] = {}
        self._hello_rows: tuple[bytes, list[Place]] | None = None
        self._recount_at = 0.0

    def start(self, history: Iterable[Event] = ()) -> "LiveStates":
        """Take over the latest stored events, and begin; `hear` may have been called already."""
        with self._lock:
            self._take_over(list(history))
            self._look(now_utc(), [])
        self._thread.start()
        return self

    def stop(self) -> None:
        """End the thread and all streams."""
        self._stop.set()
        self._wake.set()
        if self._thread.ident:
            self._thread.join(5.0)
        with self._lock:
            for listener in self._listeners:
                listener.end()

    def hear(self, event: Event) -> None:
        """Take one more event, in any thread."""
        self._inbox.append(event)
        self._wake.set()

    def listen(self, last_id: str = "") -> PageListener | None:
        """Return a new listener that goes on after the event of that id; None if there are too many."""
        with self._lock:
            if len(self._listeners) >= STREAMS or self._stop.is_set():
                return None
            hello = self._hello(last_id)
            assert self._hello_rows is not None
            listener = PageListener(hello, self._further_rows(self._hello_rows[1]))
            self._listeners.add(listener)
            return listener

    def leave(self, listener: PageListener) -> None:
        """Forget a listener."""
        with self._lock:
            self._listeners.discard(listener)

    @property
    def connected(self) -> bool:
        """Whether NATS is there just now."""
        return self._source.connected

    def states_json(self) -> dict[str, Any]:
        """Return all processes and stacks, for programs."""
        with self._lock:
            states, board, now = self._states.states, self._board, now_utc()
        stale_stacks = stale_stacks_of(states, now)
        rows = [row.to_dict(now, stale_stacks.get(row.place.stack)) for row in states.select()]
        return {"now": format_time(now), **_head_of(states, board, now), "processes": rows}

    def metrics(self) -> str:
        """Return the OpenMetrics page."""
        return metrics_text(self._states.states, now_utc())

    # --- in its thread ---

    def _run(self) -> None:
        took_s = 0.0
        while not self._stop.is_set():
            self._wake.wait(LIVE_LOOK_S)
            self._stop.wait(max(GATHER_S, LOOK_REST * took_s))
            self._wake.clear()
            begun = time.monotonic()
            events = [self._inbox.popleft() for _ in range(len(self._inbox))]
            try:
                with self._lock:
                    self._take_over(events)
                    self._look(now_utc(), events)
            except Exception:  # the top of this thread
                log.exception("web cannot show what is new")
            took_s = time.monotonic() - begun

    def _take_over(self, events: Sequence[Event]) -> None:
        self._board = note_events(self._board, events)
        for event in events:
            self._lines.note(event)
            if not event.companion:
                self._ring.append(page_event(event))

    def _look(self, now: datetime, events: Sequence[Event]) -> None:
        """Send what changed since the last look; a stack becomes stale without any event."""
        states, update = self._states.states, dict[str, Any]()
        before, self._shown = self._shown, states
        if states is not before and (gone := before.rows.keys() - states.rows.keys()):
            update["gone"] = [list(place) for place in gone]
            self._lines.forget(states)
        self._note_changed(before, now)
        if self._unsent:
            rows = self._in_trouble_first(self._unsent, now, ROWS_AT_ONCE)
            for row in rows:
                self._unsent.pop(row.place, None)
            update["rows"] = [self._row_json(row, now, *self._lines.take_fresh(row)) for row in rows]
            if self._unsent:
                self._wake.set()
        if fresh := [page_event(event) for event in events if not event.companion]:
            update["events"] = fresh
        head = self._head_json(states, now)
        if head != self._head:
            self._head = update["head"] = head
        if update:
            self._hello_rows = None
            self._broadcast({"now": now.timestamp(), **update}, fresh[-1]["id"] if fresh else "")

    def _note_changed(self, before: States, now: datetime) -> None:
        recount = now.timestamp() >= self._recount_at
        if recount:
            self._recount_at = now.timestamp() + RECOUNT_S
        old, rows = before.rows, self._shown.rows
        if before is not self._shown or recount:
            changed = [
                place for place, row in rows.items() if old.get(place) is not row or (recount and row.crashes)
            ]
            self._unsent.update(dict.fromkeys(changed))
        self._unsent.update((place, None) for place in self._lines.with_fresh() if place in rows)

    def _in_trouble_first(self, places: Iterable[Place], now: datetime, number: int) -> list[ProcessRow]:
        """Return the rows of so many of these processes, or of all (0), in order of their trouble."""
        rows = [row for place in places if (row := self._shown.rows.get(place))]
        stale = stale_stacks_of(self._shown, now)

        def rank(row: ProcessRow) -> int:
            return CONDITIONS.index(row.condition(now, stale.get(row.place.stack)))

        return heapq.nsmallest(number, rows, key=rank) if len(rows) > number > 0 else sorted(rows, key=rank)

    def _broadcast(self, update: Mapping[str, Any], last_id: str) -> None:
        chunk = _sse("update", dump_json(update), last_id)
        self._listeners = {listener for listener in self._listeners if listener.offer(chunk)}

    def _hello(self, last_id: str) -> bytes:
        now = now_utc()
        if self._hello_rows is None:
            rows = self._in_trouble_first(self._shown.rows, now, 0)
            told = [self._row_json(row, now, self._lines.points(row)) for row in rows[:ROWS_AT_ONCE]]
            self._hello_rows = dump_json(told), [row.place for row in rows[ROWS_AT_ONCE:]]
        missed = self._missed(last_id)
        rest = {
            "now": now.timestamp(),
            "since": self._lines.since,
            "head": self._head,
            "resumed": missed is not None,
            "events": list(self._ring)[-LATEST_SENT:] if missed is None else missed,
        }
        data = dump_json(rest)[:-1] + b',"rows":' + self._hello_rows[0] + b"}"
        return b"retry: 1000\n" + _sse("hello", data, self._ring[-1]["id"] if self._ring else "")

    def _further_rows(self, places: Sequence[Place]) -> Iterator[bytes]:
        """Yield the rows that had no room in a hello, in updates; called by the listener's thread."""
        for at in range(0, len(places), ROWS_AT_ONCE):
            with self._lock:
                now = now_utc()
                found = [self._shown.rows.get(place) for place in places[at : at + ROWS_AT_ONCE]]
                rows = [self._row_json(row, now, self._lines.points(row)) for row in found if row]
            yield _sse("update", dump_json({"now": now.timestamp(), "rows": rows}), "")

    def _missed(self, last_id: str) -> list[dict[str, Any]] | None:
        """Return the events after the one of that id; None if it is not known any more."""
        missed = list[dict[str, Any]]()
        for found in reversed(self._ring) if last_id else ():
            if found["id"] == last_id:
                return missed[::-1]
            missed.append(found)
        return None

    def _head_json(self, states: States, now: datetime) -> dict[str, Any]:
        gaps = self._lines.gaps(stale_stacks_of(states, now), now.timestamp())
        spans = {
            name: [[start, end if end < now.timestamp() else None] for start, end in found]
            for name, found in gaps.items()
        }
        return {"nats": self._source.connected, **_head_of(states, self._board, now), "blind": spans}

    def _row_json(
        self, row: ProcessRow, now: datetime, points: Sequence[object], whole: bool = True
    ) -> dict[str, Any]:
        found = {name: value for name, value in row.to_dict(now).items() if name not in _NOT_SENT}
        return {**found, "condition": row.condition(now), "points": points, "whole": whole}


def page_event(event: Event) -> dict[str, Any]:
    """Return an event as the page shows it, its detail in words; `TIME_MARK` is around the times in them."""
    words = detail(event, lambda rfc3339: f"{TIME_MARK}{rfc3339}{TIME_MARK}")
    return {
        "id": hashlib.sha256(event.to_json()).hexdigest()[:32],  # before and after a restart of ours
        "type": event.type,
        "stack": event.stack or "-",
        "namespace": event.namespace,
        "process": event.process,
        "timestamp": event.timestamp,
        "words": words[:WORDS],
        **({"starting": True} if event.starting else {}),
    }


def _head_of(states: States, board: Board, now: datetime) -> dict[str, Any]:
    stacks: dict[str, dict[str, Any]] = {name: {"name": name} for name in sorted(states.stacks)}
    for name, stale in stale_stacks_of(states, now).items():
        since = format_time(stale.since) if stale.since else None
        told = {"about": stale.about, "kind": stale.reason, "since": since, "error": stale.error}
        stacks[name]["silence"] = {key: text for key, text in told.items() if text}
    silences = [one.to_dict() for one in states.silences if now < one.until]
    figures = figures_of(states, board, now)._asdict()
    return {"figures": figures, "stacks": list(stacks.values()), "silences": silences}


def _sse(name: str, data: bytes, last_id: str) -> bytes:
    head = f"event: {name}\n" + (f"id: {last_id}\n" if last_id else "")
    return head.encode("ascii", "replace") + b"data: " + data + b"\n\n"
