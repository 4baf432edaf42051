"""The outbox: what is known of each process, and the events that say so until they are in the stream.
Any thread; one SQLite connection behind a lock of its own. Knows nothing of NATS, waits for the disk alone.
"""

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from ..errors import OutboxError
from ..times import format_time, parse_time
from .outbox_file import (
    ROOM_BYTES,
    SPARE_BYTES,
    SqliteError,
    bring_in,
    bytes_of,
    disk_room,
    give_room,
    make_place,
    open_file,
    open_memory,
    require_sqlite,
)
from .process_queue import ProcessQueue
from .seal import Sealed
from .stack_lock import NoFileError, StackLock, Tell

if TYPE_CHECKING:
    import sqlite3

#: so many events may wait: of one process; in all, unless another limit is set; in all without a file
MOST_OF_PROCESS = 10_000
MOST_EVENTS = 1_000_000
MOST_IN_MEMORY = 20_000
#: and no more than so many bytes for each that may
BYTES_EACH = 1000
#: a file that nothing waits in is made small again from here on
VACUUM_BYTES = 64_000_000

_NOTE = "replace into meta values (?, ?)"


class OutboxEvent(NamedTuple):
    """One sealed event that waits; `id` rises with each event of the file and never comes again."""

    id: int
    process: str
    subject: str
    message_id: str
    payload: bytes


class Record(NamedTuple):
    """What is known of one process, `{namespace token}.{name token}`, from now on; None: it was removed."""

    process: str
    seq: int
    body: bytes | None


class Outbox:
    """The file of one stack, open and locked; `path` is None where memory has to do.

    `made`: this start made it, so nothing was known. `owner`: this start, among all that ever had the file.
    `most_events`, `most_bytes`: so much may wait in all.
    Found in it were `last_good`, when process-compose last gave a good reply, and `had_sent`: an event of it
    was stored in a stream, or dropped.
    """

    def __init__(
        self,
        connection: "sqlite3.Connection",
        lock: StackLock | None,
        path: Path | None,
        made: bool,
        most_events: int,
    ) -> None:
        self._connection, self._stack_lock, self.path, self.made = connection, lock, path, made
        self.most_events = most_events if path else min(most_events, MOST_IN_MEMORY)
        self.most_bytes = most_events * BYTES_EACH
        self._lock = threading.Lock()
        self.owner = str(uuid4())
        with self._using():
            self._write((_NOTE, [(f"owner {self.owner}", ""), ("owner", self.owner)]))
            found = self._meta("last_good")
            self.last_good: datetime | None = parse_time(found) if found else None
            self.queue, self._last_id = self._read_waiting()
            self.had_sent = self.queue.waiting < self._last_id

    @classmethod
    def open(
        cls,
        directory: Path | None,
        stack: str,
        *,
        takeover: bool,
        say: Tell,
        most_events: int = MOST_EVENTS,
    ) -> "Outbox":
        """Open or make the file of a stack; StackHeldError if another process has it, else OutboxError.

        Where there can be no file (no directory, read-only, no locks, no write-ahead log) it is memory.
        """
        require_sqlite()
        lock: StackLock | None = None
        path: Path | None = None
        try:
            try:
                place = make_place(directory, stack)
                lock = StackLock(place, stack)
                lock.hold(takeover, say)
                connection, made = open_file(place, stack, say)
                path = place
                if not give_room(connection, place):
                    say("outbox", f"the disk of {place.parent} is almost full: free some room")
            except NoFileError as error:
                cost = f"in memory alone, and lost at the end; {MOST_IN_MEMORY:,} events may wait"
                say("outbox", f"{error}: what is known and what waits is {cost} (--state-dir names another)")
                connection, made = open_memory(stack), True
            return cls(connection, lock, path, made, most_events)
        except BaseException:
            if lock:
                lock.close()
            raise

    def had_owner(self, owner: str) -> bool:
        """Whether that start, this one included, had the file."""
        with self._using():
            return self._meta(f"owner {owner}") is not None

    def records(self) -> list[Record]:
        """Return all that is known."""
        with self._using() as connection:
            return [Record(*row) for row in connection.execute("select * from known")]

    def commit(self, records: Sequence[Record], events: Sequence[Sealed], last_good: datetime | None) -> None:
        """Store all of it in one transaction; OutboxError, and nothing changed, where that fails."""
        kept = [record for record in records if record.body is not None]
        gone = [(record.process,) for record in records if record.body is None]
        with self._using():
            numbered = enumerate(events, self._last_id + 1)
            rows = [(id, *one[:3], len(one.payload), one.payload) for id, one in numbered]
            self._see_room(sum(len(one.body or b"") for one in kept) + sum(row[4] for row in rows))
            self._write(
                ("replace into known values (?, ?, ?)", kept),
                ("delete from known where process = ?", gone),
                ("insert into outbox values (?, ?, ?, ?, ?, ?)", rows),
                (_NOTE, [("last_good", format_time(last_good))] if last_good else []),
            )
            self._last_id += len(rows)
            for id, process, _, _, size, _ in rows:
                self.queue.add(id, process, size)

    def touch(self, last_good: datetime) -> None:
        """Store when process-compose last gave a good reply; and bring what was written to the disk."""
        with self._using():
            self._write((_NOTE, [("last_good", format_time(last_good))]))
            with suppress(SqliteError):
                self._tidy_up()

    def take(
        self, done: Sequence[OutboxEvent], count: int, size: int, back: Iterable[OutboxEvent] = ()
    ) -> list[OutboxEvent]:
        """Delete `done` in one commit, then return the next ones, `count` and `size` bytes at most.

        Of each process with nothing taken it is the oldest, in the order of their ids; one that is larger
        than `size` comes alone. What comes `back` may be taken again. OutboxError where the deletion fails,
        and nothing happened then.
        """
        with self._using():
            if done:
                self._write(("delete from outbox where id = ?", [(event.id,) for event in done]))
            for event in done:
                self.queue.remove(event.id, event.process, len(event.payload))
            for event in back:
                self.queue.put_back(event.id, event.process)
            return self._next(count, size)

    def cut(self, event: OutboxEvent, payload: bytes) -> None:
        """Give an event that was taken a smaller JSON."""
        with self._using():
            if self.queue.is_oldest(event.id, event.process):
                new = [(payload, len(payload), event.id)]
                self._write(("update outbox set payload = ?, size = ? where id = ?", new))
                self.queue.size += len(payload) - len(event.payload)

    def waiting(self) -> int:
        """Return how many events wait in all, the taken ones included."""
        return self.queue.waiting

    def is_full(self, process: str | None = None) -> bool:
        """Whether no more should be stored: in all, or (without asking for all) of this process."""
        if process is not None:
            return self.queue.count_of(process) >= MOST_OF_PROCESS
        return self.queue.waiting >= self.most_events or self.queue.size >= self.most_bytes

    def forget(self) -> int:
        """Drop what is known and what waits; return how many events waited."""
        with self._using():
            waited = self.queue.waiting
            self._write(("delete from known", [()]), ("delete from outbox", [()]))
            self.queue = ProcessQueue()
            return waited

    def close(self) -> None:
        """Close the file, then let its lock go; what waits is in it."""
        with self._lock:
            with suppress(SqliteError):
                self._connection.close()
            if self._stack_lock:
                self._stack_lock.close()

    # --- under the lock ---

    @contextmanager
    def _using(self) -> "Iterator[sqlite3.Connection]":
        with self._lock:
            try:
                yield self._connection
            except SqliteError as error:
                raise self._error(error) from error

    def _meta(self, name: str) -> str | None:
        row = self._connection.execute("select value from meta where name = ?", (name,)).fetchone()
        return row[0] if row else None

    def _read_waiting(self) -> tuple[ProcessQueue, int]:
        """Return all that is in memory of what waits, and the last id that was given."""
        queue = ProcessQueue()
        for row in self._connection.execute("select id, process, size from outbox order by process, id"):
            queue.add(*row)
        last = self._connection.execute("select seq from sqlite_sequence where name = 'outbox'").fetchone()
        return queue, last[0] if last else 0

    def _next(self, count: int, size: int) -> list[OutboxEvent]:
        events: list[OutboxEvent] = []
        row = f"select {', '.join(OutboxEvent._fields)} from outbox where id = ?"
        cursor = self._connection.cursor()
        while len(events) < count and (id := self.queue.next_id()) is not None:
            try:
                event = OutboxEvent._make(cursor.execute(row, (id,)).fetchone())
            except SqliteError:
                if events:
                    return events
                raise
            size -= len(event.payload)
            if size < 0 and events:
                return events
            self.queue.take()
            events.append(event)
        return events

    def _see_room(self, size: int) -> None:
        """OutboxError where the file would have to grow on a full disk: the log could not be emptied then."""
        room = disk_room(self.path) if self.path else None
        if room is None or room >= 4 * size + 2 * ROOM_BYTES:
            return
        if bytes_of(self._connection, "freelist_count") < 2 * size + SPARE_BYTES:
            raise self._error("the disk is full")

    def _write(self, *statements: tuple[str, Sequence[Sequence[Any]]]) -> None:
        """Do it in one transaction; where that fails once more, with the log brought into the file first."""
        try:
            self._transact(statements)
        except SqliteError:
            with suppress(SqliteError):
                bring_in(self._connection)
            self._transact(statements)

    def _transact(self, statements: Iterable[tuple[str, Sequence[Sequence[Any]]]]) -> None:
        try:
            self._connection.execute("begin immediate")
            for statement, rows in statements:
                self._connection.executemany(statement, rows)
            self._connection.execute("commit")
        except BaseException:
            with suppress(SqliteError):
                self._connection.execute("rollback")
            raise

    def _error(self, error: object) -> OutboxError:
        room = disk_room(self.path) if self.path else None
        if room is not None and (room < 2 * ROOM_BYTES or "full" in str(error)):
            hint = f"free some room on the disk of {self.path}: {room / 1e6:.1f} MB are left"
        else:
            hint = "it is tried again; if that goes on, see whether the disk is in order, and start anew"
        return OutboxError(f"the outbox {self.path or 'in memory'} cannot be used ({error})", hint)

    def _tidy_up(self) -> None:
        """Bring the log into the file and onto the disk: a loss of power takes only what is newer."""
        bring_in(self._connection)
        if self.path and not self.waiting() and bytes_of(self._connection, "page_count") > VACUUM_BYTES:
            self._connection.execute("vacuum")
            bring_in(self._connection)
            give_room(self._connection, self.path)
