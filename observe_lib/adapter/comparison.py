"""What is known of every process, in one place: a reply or a message is compared with it, and committed.
Poller, push stream and log fetcher call it from their threads; the lock is never held while one waits.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from ..broker.loop import ignore
from ..compose.state import ProcessState
from ..detect.changes import Change, announce, detect, end_unseen, settle
from ..detect.ends import moved
from ..detect.known import Known, leave_out
from ..detect.messages import state_heard
from ..errors import OutboxError
from ..events import OBSERVE, Event, EventType, Key, encode_token
from ..log import Say, log
from ..times import now_utc, seconds_between
from .log_tail import lay_log, lines_wanted
from .observer import observer_event
from .outbox import Outbox, Record
from .parts import LogSource
from .record import History, ProcessRecord, process_token
from .seal import MAX_PAYLOAD, Sealed, seal

#: so many changes of one comparison wait for their logs; the rest goes without at once
LOGS_WAITED_FOR = 100
#: so many messages wait for a log, or for a file that takes no commit
KEPT_MESSAGES = 1000
#: so often the last good reply is written where nothing else is
TOUCH_S = 10.0

Heard = tuple[ProcessState, datetime]


@dataclass(slots=True)
class _Waiting:
    """A change whose log is being fetched; its process is not compared meanwhile."""

    change: Change
    messages: deque[Heard] = field(default_factory=lambda: deque(maxlen=KEPT_MESSAGES))
    newest: Heard | None = None  # what the newest reply showed, and when it came
    tail: Sequence[str] | None = None  # the log that is there, where the file took no commit


class Comparison:
    """Compares with what the outbox's file says is known; that moves on only with a commit.

    `committed(processes)` is called after each commit: these have news. `ring()` asks for a poll at once.
    `born`: when the adapter began.
    `listening_since`: since when the push stream hears everything, None where it does not.
    """

    def __init__(
        self,
        outbox: Outbox,
        stack: str,
        say: Say,
        *,
        born: datetime,
        interval_s: float,
        logs: LogSource | None = None,
        log_lines: int = 20,
        committed: Callable[[Sequence[str]], None],
        ring: Callable[[], None] = ignore,
        clock: Callable[[], datetime] = now_utc,
    ) -> None:
        self._outbox, self._stack, self._say, self._committed = outbox, stack, say, committed
        self._born, self._interval_s, self._clock = born, interval_s, clock
        self._logs, self._log_lines, self._ring = logs, log_lines, ring
        self._lock = threading.RLock()
        self._records: dict[Key, ProcessRecord] = {}
        self._by_token: dict[str, ProcessRecord] = {}
        self._known: dict[Key, Known] = {}
        self._observer: dict[str, tuple[int, Event]] = {}
        self._row_keys: dict[str, tuple[str, ...]] = {}
        self._waiting: dict[Key, _Waiting] = {}
        self._heard: dict[Key, datetime] = {}
        self._unsaved: deque[Heard] = deque(maxlen=KEPT_MESSAGES)
        self._first_look = outbox.made
        self._compared = self._restating = False
        self._skew_s = 0.0
        self._unsettled: set[Key] = set()
        self._touched_at: datetime | None = None
        self.last_good = outbox.last_good
        self._said, self._failed = set[str](), set[str]()
        self._full = False  # that too much waits was said, and is not over
        self.listening_since: datetime | None = None
        self.max_payload = MAX_PAYLOAD
        for row in outbox.records():
            self._recall(row)

    # --- what is known ---

    @property
    def known(self) -> Mapping[Key, Known]:
        """What is known of each process just now."""
        with self._lock:
            return dict(self._known)

    @property
    def is_compared(self) -> bool:
        """Whether a reply was compared, since it was begun anew."""
        return self._compared

    def observed(self, process: str) -> Event | None:
        """Return the last event of one of the observer's own processes."""
        found = self._observer.get(process)
        return found[1] if found else None

    def processes(self) -> list[str]:
        """Return the tokens of all processes that are known, as `rows` takes them."""
        with self._lock:
            return [process_token(*key) for key in self._records]

    def rows(self, process: str) -> list[tuple[str, bytes]]:
        """Return keys and payloads (b"": to be deleted) of what the bucket is to hold of a process now."""
        with self._lock:
            record = self._by_token.get(process)
            before = self._row_keys.pop(process, (process,))
            if record is None:
                return [(self._row_key(one), b"") for one in before if one not in self._by_token]
            payload, state = record.row_json(self._stack, self._clock()), record.known.state
            now = tuple(process_token(space, state.name) for space in state.namespaces) or (process,)
            self._row_keys[process] = now
            gone = [
                (self._row_key(one), b"") for one in before if one not in now and one not in self._by_token
            ]
        return [*((self._row_key(one), payload) for one in now), *gone]

    def row_keys(self) -> set[str]:
        """Return every key that the bucket may hold of this stack, but for the observer's own."""
        with self._lock:
            states = [record.known.state for record in self._records.values()]
        pairs = ((space, state.name) for state in states for space in state.namespaces or (state.namespace,))
        return {self._row_key(process_token(*pair)) for pair in pairs}

    def _row_key(self, process: str) -> str:
        return f"{encode_token(self._stack)}.{process}"

    # --- comparing ---

    def note_good(self, at: datetime) -> None:
        """process-compose answered: written with the next commit, or every 10 s."""
        with self._lock:
            self.last_good = at
            if self._touched_at is None or seconds_between(self._touched_at, at) >= TOUCH_S:
                self._touched_at = at
                try:
                    self._outbox.touch(at)
                except OutboxError as error:
                    self._say_once(str(error), error.hint)

    @property
    def look_again_s(self) -> float | None:
        """In how many seconds something that is not settled has to be looked at again; None: nothing is."""
        with self._lock:
            waits = [wait for key in self._unsettled if (wait := self._known[key].look_again_s)]
        return min(waits, default=None)

    def compare(self, after: Mapping[Key, ProcessState], asked_at: datetime, skew_s: float) -> list[Change]:
        """Compare a whole reply, that was asked for at `asked_at`; return what was committed of it.

        `skew_s`: how far process-compose's clock is ahead. OutboxError is said, and nothing moves on then.
        """
        with self._lock:
            self._skew_s, now = skew_s, self._clock()
            self._try_again()
            if self._is_full():
                return []
            known, after = self._comparable(after, asked_at, now)
            changes = self._detect(known, after, now)
            told = self._commit(self._held_back(changes))
            if told is not None:
                self._first_look, self._compared = False, True
                if self._restating:
                    self.restate()
            self._heard = {key: at for key, at in self._heard.items() if at > asked_at}
            return told or []

    def hear(self, state: ProcessState, at: datetime) -> None:
        """Compare what a push message that arrived `at` says of one process."""
        with self._lock:
            key = Key(state.namespace, state.name)
            if waiting := self._waiting.get(key):
                waiting.messages.append((state, at))
            elif key in self._unsaved_keys() or not self._hear(state, at):
                self._unsaved.append((state, at))

    def tell(self, process: str, event_type: EventType, **extra: Any) -> bool:
        """Commit an event of the observer's own; False where the file takes no commit."""
        with self._lock:
            event = observer_event(process, event_type, self._clock(), **extra)
            token, seq = f"{OBSERVE}.{encode_token(process)}", self._observer.get(process, (0, event))[0] + 1
            sealed = seal(event, self._stack, seq, self.max_payload)
            if not self._write([Record(token, seq, event.to_json())], [sealed]):
                return False
            self._observer[process] = seq, event
        self._committed(())
        return True

    def restate(self) -> None:
        """Announce once more what is alive, to a server that does not know this stack; compared first."""
        with self._lock:
            told = (
                self._commit(announce(self._known, self._clock(), self._skew_s)) if self._compared else None
            )
            self._restating = told is None

    def end_unseen(self) -> None:
        """process-compose is gone for good, and nobody listens: what was being stopped has ended."""
        with self._lock:
            known = {key: found for key, found in self._known.items() if key not in self._waiting}
            self._commit(self._held_back(end_unseen(known, self._clock(), self._skew_s)))

    def forget(self, born: datetime | None = None) -> int:
        """Begin anew: somebody else was the adapter meanwhile. Return how many events waited.

        `born`: what began before is announced, not counted; None: as it was. OutboxError: nothing is done.
        """
        with self._lock:
            waited = self._outbox.forget()
            for table in (self._records, self._known, self._by_token, self._observer, self._waiting):
                table.clear()
            self._heard.clear()
            self._unsaved.clear()
            self._unsettled.clear()
            self._first_look, self._compared, self._restating = True, False, False
            self._born = born or self._born
            return waited

    def settle(self) -> None:
        """Commit what still waits for its log without it, and fetch none any more."""
        with self._lock:
            self._logs = None
            for key in list(self._waiting):
                self._settled(key, ())

    # --- under the lock ---

    def _comparable(
        self, after: Mapping[Key, ProcessState], asked_at: datetime, now: datetime
    ) -> tuple[Mapping[Key, Known], Mapping[Key, ProcessState]]:
        """Leave out whose change waits for its log, names that show its pid, and what was heard of since."""
        for key, waiting in self._waiting.items():
            waiting.newest = (after[key], now) if key in after else None
        heard = (key for key, at in self._heard.items() if at >= asked_at)
        return leave_out(self._known, after, {*self._waiting, *self._unsaved_keys(), *heard})

    def _unsaved_keys(self) -> set[Key]:
        return {Key(state.namespace, state.name) for state, _ in self._unsaved}

    def _hear(self, state: ProcessState, at: datetime) -> bool:
        """Compare a message; False where the file takes no commit."""
        key = Key(state.namespace, state.name)
        before = self._known.get(key)
        laid = state_heard(before, state)
        if laid is None or self._is_full():
            return True
        known = {key: before} if before else {}
        if self._commit(self._held_back(self._detect(known, {key: laid}, at))) is None:
            return False
        self._heard[key] = at
        return True

    def _detect(
        self, known: Mapping[Key, Known], after: Mapping[Key, ProcessState], now: datetime
    ) -> list[Change]:
        return detect(
            known,
            after,
            now,
            born=moved(self._born, self._skew_s) if self._first_look else None,
            interval_s=self._interval_s,
            skew_s=self._skew_s,
            listening_since=self.listening_since,
            last_good=self.last_good,
            on_failure=self._leave_out,
        )

    def _leave_out(self, key: Key, error: Exception) -> None:
        """A fault of ours, or a process that makes no sense: said once, and harms no other."""
        text = f"{key} cannot be compared and is left out: {error!r}"
        if text not in self._failed:
            self._failed.add(text)
            log.error("%s", text, exc_info=error if log.isEnabledFor(logging.INFO) else None)

    def _held_back(self, changes: Sequence[Change]) -> list[Change]:
        """Return the changes that can be committed now; have the logs fetched that others wait for."""
        ready, asked = [], len(self._waiting)
        for change in changes:
            lines = lines_wanted(change, self._log_lines) if _may_wait(change) else 0
            if change.events and self._outbox.is_full(process_token(*change.key)):
                self._say_full()
            elif not lines or self._logs is None or asked >= LOGS_WAITED_FOR:
                ready.append(settle(change, ()) if change.needs_log else change)
            else:
                asked += 1
                self._waiting[change.key] = _Waiting(change)
                fetched = self._logs.fetch(change.key.process, lines)
                fetched.add_done_callback(partial(self._log_is_there, change.key))
        return ready

    def _is_full(self) -> bool:
        """Whether so much waits in all that nothing is compared."""
        if full := self._outbox.is_full():
            self._say_full()
        elif not self._outbox.waiting():
            self._full = False
        return full

    def _say_full(self) -> None:
        if not self._full:
            self._full = True
            self._say(
                "outbox", "too many events wait for NATS: what happens meanwhile comes as one, with a count"
            )

    def _log_is_there(self, key: Key, fetched: "Future[list[str]]") -> None:
        """Called by a log thread; a fetcher that is being ended cancels what it has not begun."""
        with self._lock:
            self._settled(key, () if fetched.cancelled() else fetched.result())
        self._ring()

    def _settled(self, key: Key, tail: Sequence[str]) -> None:
        """Commit a change with what its log says, then compare what was kept meanwhile, in its order."""
        waiting = self._waiting.pop(key, None)
        if waiting is None:  # committed without it, at the end
            return
        if self._commit([lay_log(waiting.change, tail, self._log_lines)]) is None:
            waiting.tail = tail
            self._waiting[key] = waiting
            return
        for state, at in waiting.messages:
            self.hear(state, at)  # one of them may have to wait for the log again
        known = self._known.get(key)
        if known and waiting.newest and not waiting.messages and not self._is_full():
            newest, at = waiting.newest
            self._commit(self._held_back(self._detect({key: known}, {key: newest}, at)))

    def _try_again(self) -> None:
        """Commit what the file did not take the last time."""
        for key, tail in [(key, one.tail) for key, one in self._waiting.items() if one.tail is not None]:
            self._settled(key, tail)
        while self._unsaved:  # in their order, whosever they are
            state, at = self._unsaved[0]
            if waiting := self._waiting.get(Key(state.namespace, state.name)):
                waiting.messages.append((state, at))
            elif not self._hear(state, at):
                return
            self._unsaved.popleft()

    def _commit(self, changes: Sequence[Change]) -> list[Change] | None:
        """Write all of it, then take it over; None, and nothing of it, where the file takes no commit."""
        rows, events, records, told = [], list[Sealed](), [], []
        for change in changes:
            process = process_token(*change.key)
            try:
                record, sealed, seq = self._seal(change, self._records.get(change.key))
                rows.append(Record(process, seq, record.body() if record else None))
            except Exception as error:  # what cannot be written of one process must not hold up all others
                self._leave_out(change.key, error)
                continue
            events += sealed
            records.append((change.key, process, record))
            told.append(change)
        if not told:
            return []
        if not self._write(rows, events):
            return None
        for key, process, record in records:
            self._take_over(key, process, record)
        self._committed([process for _, process, _ in records])
        return told

    def _seal(
        self, change: Change, before: ProcessRecord | None
    ) -> tuple[ProcessRecord | None, list[Sealed], int]:
        """Return what is to be known after a change, the events that say so, and the last one's seq."""
        seq, sealed = before.seq if before else 0, []
        for event in change.events:
            seq += 1
            sealed.append(seal(event, self._stack, seq, self.max_payload))
        if change.known is None:
            return None, sealed, seq
        past = before or self._renamed(change)
        history = past.history if past else History()
        return ProcessRecord(change.known, history.after(change.events), seq), sealed, seq

    def _write(self, rows: Sequence[Record], events: Sequence[Sealed]) -> bool:
        try:
            self._outbox.commit(rows, events, self.last_good)
        except OutboxError as error:
            self._say_once(str(error), error.hint)
            return False
        self._said.clear()
        return True

    def _take_over(self, key: Key, process: str, record: ProcessRecord | None) -> None:
        if record is None:
            for table in (self._records, self._known, self._heard):
                table.pop(key, None)
            self._by_token.pop(process, None)
        else:
            self._records[key] = self._by_token[process] = record
            self._known[key] = record.known
        if record is not None and record.known.look_again_s:
            self._unsettled.add(key)
        else:
            self._unsettled.discard(key)

    def _renamed(self, change: Change) -> ProcessRecord | None:
        """Return the record of the name that this one had before."""
        for name in (event.renamed_from for event in change.events if event.renamed_from):
            slashes = [at for at, letter in enumerate(name) if letter == "/"]  # a name may hold some itself
            keys = [Key(change.key.namespace, name), *(Key(name[:at], name[at + 1 :]) for at in slashes)]
            return next((self._records[key] for key in keys if key in self._records), None)
        return None

    def _recall(self, row: Record) -> None:
        """Take over what the file knows of one process; what nobody can read is begun anew, and said."""
        try:
            if row.process.startswith(f"{OBSERVE}."):
                event = Event.from_json(row.body or b"")
                self._observer[event.process] = row.seq, event
            else:
                record = ProcessRecord.from_body(row.body or b"", row.seq)
                self._take_over(
                    Key(record.known.state.namespace, record.known.state.name), row.process, record
                )
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            self._say("outbox", f"what is known of {row.process} cannot be read and is begun anew: {error}")

    def _say_once(self, text: str, hint: str = "") -> None:
        if text not in self._said:
            self._said.add(text)
            self._say("outbox", text)
            if hint:
                self._say("", hint)


def _may_wait(change: Change) -> bool:
    """Whether a change may be committed later than the others of its comparison.

    Not at a first look: a kill in between would make the next start count a past; nor with another name.
    """
    return bool(change.events) and not any(one.initial or one.renamed_from for one in change.events)
