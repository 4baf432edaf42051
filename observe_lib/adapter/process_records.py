"""What is known of every process, and its row: read from the outbox's file, moved on by its commits alone.
Any thread, behind one lock; who compares holds the same lock meanwhile.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ..detect.changes import Change
from ..detect.known import Known
from ..errors import OutboxError
from ..events import Event, EventType, Key, dump_json
from ..log import Say, log
from ..subjects import OBSERVE, encode_token
from ..times import now_utc, seconds_between
from .observer import observer_event
from .outbox import Outbox, Record
from .record import History, ProcessRecord, process_token
from .seal import MAX_PAYLOAD, Sealed, seal

#: so often the last good reply is written where nothing else is
TOUCH_S = 10.0


class ProcessRecords:
    """Of each process its record; of the observer's own the last event.

    `committed(processes)` is called after each commit: these have news. `last_good`: when process-compose
    last gave a good reply. `max_payload`: as large as the JSON of an event may be.
    """

    def __init__(
        self,
        outbox: Outbox,
        stack: str,
        say: Say,
        committed: Callable[[Sequence[str]], None],
        clock: Callable[[], datetime] = now_utc,
    ) -> None:
        self._outbox, self._stack, self._say, self._committed = outbox, stack, say, committed
        self._clock = clock
        self.lock = threading.RLock()
        self._records: dict[str, ProcessRecord] = {}  # by `{namespace token}.{name token}`
        self._known: dict[Key, Known] = {}
        self._observer: dict[str, tuple[int, Event]] = {}
        self._row_keys: dict[str, tuple[str, ...]] = {}
        self._unsettled: set[Key] = set()
        self._touched_at: datetime | None = None
        self._said, self._failed = set[str](), set[str]()
        self.last_good = outbox.last_good
        self.max_payload = MAX_PAYLOAD
        for row in outbox.records():
            self._recall(row)

    # --- what is known ---

    @property
    def known(self) -> Mapping[Key, Known]:
        """What is known of each process just now."""
        with self.lock:
            return dict(self._known)

    @property
    def live(self) -> Mapping[Key, Known]:
        """The same as it is at any moment, for who holds the lock."""
        return self._known

    def observed(self, process: str) -> Event | None:
        """Return the last event of one of the observer's own processes."""
        found = self._observer.get(process)
        return found[1] if found else None

    def processes(self) -> list[str]:
        """Return the tokens of all processes that are known, as `rows` takes them."""
        with self.lock:
            return list(self._records)

    def rows(self, process: str) -> list[tuple[str, bytes]]:
        """Return keys and payloads (b"": to be deleted) of what the bucket is to hold of a process now."""
        with self.lock:
            record, payload = self._records.get(process), b""
            before, now = self._row_keys.pop(process, (process,)), _row_tokens(record)
            if record is not None:
                payload = record.row_json(self._stack, self._clock())
                self._row_keys[process] = now
            gone = [one for one in before if one not in now and one not in self._records]
        return [(self._row_key(one), payload) for one in now] + [(self._row_key(one), b"") for one in gone]

    def row_keys(self) -> set[str]:
        """Return every key that the bucket may hold of this stack, but for the observer's own."""
        with self.lock:
            return {self._row_key(one) for record in self._records.values() for one in _row_tokens(record)}

    def _row_key(self, process: str) -> str:
        return f"{encode_token(self._stack)}.{process}"

    @property
    def look_again_s(self) -> float | None:
        """In how many seconds something that is not settled has to be looked at again; None: nothing is."""
        with self.lock:
            waits = [wait for key in self._unsettled if (wait := self._known[key].look_again_s)]
        return min(waits, default=None)

    # --- what changes it ---

    def note_good(self, at: datetime) -> None:
        """process-compose answered: written with the next commit, or every 10 s."""
        with self.lock:
            self.last_good = at
            if self._touched_at is None or seconds_between(self._touched_at, at) >= TOUCH_S:
                self._touched_at = at
                try:
                    self._outbox.touch(at)
                except OutboxError as error:
                    self.say_once(str(error), error.hint)

    def tell(self, process: str, event_type: EventType, **extra: Any) -> bool:
        """Commit an event of the observer's own; False where the file takes no commit."""
        with self.lock:
            event = observer_event(process, event_type, self._clock(), **extra)
            token, seq = f"{OBSERVE}.{encode_token(process)}", self._observer.get(process, (0, event))[0] + 1
            sealed = seal(event, self._stack, seq, self.max_payload)
            if not self._write([Record(token, seq, event.to_json())], [sealed]):
                return False
            self._observer[process] = seq, event
        self._committed(())
        return True

    def forget(self) -> int:
        """Know nothing any more; return how many events waited. OutboxError: nothing is forgotten."""
        with self.lock:
            waited = self._outbox.forget()
            for table in (self._records, self._known, self._observer):
                table.clear()
            self._unsettled.clear()
            return waited

    def commit(self, changes: Sequence[Change]) -> list[Change] | None:
        """Write all of it, then take it over; None, and nothing of it, where the file takes no commit."""
        rows, events, records, told = [], list[Sealed](), [], []
        for change in changes:
            process = process_token(*change.key)
            try:
                record, sealed, row = self._seal(process, change)
            except Exception as error:  # what cannot be written of one process must not hold up all others
                self.leave_out(change.key, error)
                continue
            rows.append(row)
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

    def leave_out(self, key: Key, error: Exception) -> None:
        """A fault of ours, or a process that makes no sense: said once, and harms no other."""
        text = f"{key} cannot be compared and is left out: {error!r}"
        if text not in self._failed:
            self._failed.add(text)
            log.error("%s", text, exc_info=error if log.isEnabledFor(logging.INFO) else None)

    def _seal(self, process: str, change: Change) -> tuple[ProcessRecord | None, list[Sealed], Record]:
        """Return what is to be known after a change, the events that say so, and what the file keeps."""
        before = self._records.get(process)
        seq, sealed = before.seq if before else 0, []
        shown = change.known.state.raw if change.known else None
        state = dump_json(shown) if shown else None
        for event in change.events:
            seq += 1
            same = state if event.state is shown else None
            sealed.append(seal(event, self._stack, seq, self.max_payload, same))
        if change.known is None:
            return None, sealed, Record(process, seq, None)
        past = before or self._renamed(change)
        history = past.history if past else History()
        record = ProcessRecord(change.known, history.after(change.events), seq)
        return record, sealed, Record(process, seq, record.body(state))

    def _write(self, rows: Sequence[Record], events: Sequence[Sealed]) -> bool:
        try:
            self._outbox.commit(rows, events, self.last_good)
        except OutboxError as error:
            self.say_once(str(error), error.hint)
            return False
        self._said.clear()
        return True

    def _take_over(self, key: Key, process: str, record: ProcessRecord | None) -> None:
        self._unsettled.discard(key)
        if record is None:
            self._records.pop(process, None)
            self._known.pop(key, None)
        else:
            self._records[process], self._known[key] = record, record.known
            if record.known.look_again_s:
                self._unsettled.add(key)

    def _renamed(self, change: Change) -> ProcessRecord | None:
        """Return the record of the name that this one had before."""
        for name in (event.renamed_from for event in change.events if event.renamed_from):
            slashes = [at for at, letter in enumerate(name) if letter == "/"]  # a name may hold some itself
            pairs = [(change.key.namespace, name), *((name[:at], name[at + 1 :]) for at in slashes)]
            tokens = [process_token(*pair) for pair in pairs]
            return next((self._records[token] for token in tokens if token in self._records), None)
        return None

    def _recall(self, row: Record) -> None:
        """Take over what the file knows of one process; what nobody can read is begun anew, and said."""
        try:
            if row.process.startswith(f"{OBSERVE}."):
                event = Event.from_json(row.body or b"")
                self._observer[event.process] = row.seq, event
            else:
                record = ProcessRecord.from_body(row.body or b"", row.seq)
                state = record.known.state
                self._take_over(Key(state.namespace, state.name), row.process, record)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            self._say("outbox", f"what is known of {row.process} cannot be read and is begun anew: {error}")

    def say_once(self, text: str, hint: str = "") -> None:
        if text not in self._said:
            self._said.add(text)
            self._say("outbox", text)
            if hint:
                self._say("", hint)


def _row_tokens(record: ProcessRecord | None) -> tuple[str, ...]:
    """Return the process under each of its namespaces, as the bucket's keys have it; () for none."""
    if record is None:
        return ()
    state = record.known.state
    return tuple(process_token(space, state.name) for space in state.namespaces or (state.namespace,))
