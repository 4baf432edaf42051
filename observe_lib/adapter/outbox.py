"""The outbox: what is known of each process, and the events that say so until they are in the stream.
Any thread; one SQLite connection behind a lock of its own. Knows nothing of NATS, waits for the disk alone.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from uuid import uuid4

from ..errors import OutboxError
from ..times import format_time, parse_time
from .outbox_file import (
    ROOM_BYTES,
    SPARE_BYTES,
    SqliteError,
    bring_in,
    disk_room,
    file_bytes,
    free_bytes,
    give_room,
    make_place,
    open_file,
    open_memory,
    require_sqlite,
)
from .process_queue import ProcessQueue, WaitingEvents
from .seal import Sealed
from .stack_lock import NoFileError, StackLock, Tell

if TYPE_CHECKING:
    import sqlite3

Stored = TypeVar("Stored")

#: a file that nothing waits in is made small again from here on
VACUUM_BYTES = 64_000_000
#: so many events are read with one statement
READ_AT_ONCE = 200


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


class Limits(NamedTuple):
    """How much may wait: events of one process, events and bytes in all, events in all without a file."""

    of_process: int = 10_000
    events: int = 1_000_000
    size: int = 1_000_000_000
    in_memory: int = 20_000


class Outbox:
    """The file of one stack, open and locked; `path` is None where memory has to do.

    `made`: this start made it, so nothing was known. `owner`: this start, among all that ever had the file.
    `last_good`: when process-compose last gave a good reply.
    """

    def __init__(
        self,
        connection: "sqlite3.Connection",
        lock: StackLock | None,
        path: Path | None,
        made: bool,
        limits: Limits,
    ) -> None:
        self._connection, self._stack_lock, self.path, self.made = connection, lock, path, made
        self._limits = limits if path else limits._replace(events=limits.in_memory)
        self._lock = threading.Lock()
        self._checkpoint_due = False
        self.owner = str(uuid4())
        self._write(lambda: self._note({f"owner {self.owner}": "", "owner": self.owner}))
        found = self._read(lambda: self._meta("last_good"))
        self.last_good: datetime | None = parse_time(found) if found else None
        self._queue, self._last_id = self._read(self._read_waiting)

    @classmethod
    def open(
        cls, directory: Path | None, stack: str, *, takeover: bool, say: Tell, limits: Limits | None = None
    ) -> "Outbox":
        """Open or make the file of a stack; StackHeldError if another process has it, else OutboxError.

        Where there can be no file (no directory, read-only, no locks, no write-ahead log) it is memory.
        """
        require_sqlite()
        limits = limits or Limits()
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
                cost = f"in memory alone, and lost at the end; {limits.in_memory:,} events may wait"
                say("outbox", f"{error}: what is known and what waits is {cost} (--state-dir names another)")
                connection, made = open_memory(stack), True
            return cls(connection, lock, path, made, limits)
        except BaseException:
            if lock:
                lock.close()
            raise

    def had_owner(self, owner: str) -> bool:
        """Whether that start, this one included, had the file."""
        with self._lock:
            return self._read(lambda: self._meta(f"owner {owner}")) is not None

    def records(self) -> list[Record]:
        """Return all that is known."""
        with self._lock:
            rows = self._read(lambda: self._connection.execute("select * from known").fetchall())
        return [Record(*row) for row in rows]

    def commit(self, records: Sequence[Record], events: Sequence[Sealed], last_good: datetime | None) -> None:
        """Store all of it in one transaction; OutboxError, and nothing changed, where that fails."""
        kept = [record for record in records if record.body is not None]
        gone = [(record.process,) for record in records if record.body is None]
        with self._lock:
            numbered = enumerate(events, self._last_id + 1)
            rows = [(id, *one[:3], len(one.payload), one.payload) for id, one in numbered]
            self._see_room(sum(len(one.body or b"") for one in kept) + sum(row[4] for row in rows))

            def store() -> None:
                self._connection.executemany("replace into known values (?, ?, ?)", kept)
                self._connection.executemany("delete from known where process = ?", gone)
                self._connection.executemany("insert into outbox values (?, ?, ?, ?, ?, ?)", rows)
                self._note_last_good(last_good)

            self._write(store)
            self._last_id += len(rows)
            self._checkpoint_due = True
            self.last_good = last_good or self.last_good
            for id, process, _, _, size, _ in rows:
                self._queue.add(id, process, size)

    def touch(self, last_good: datetime) -> None:
        """Store when process-compose last gave a good reply; and bring what was written to the disk."""
        with self._lock:
            self._write(lambda: self._note_last_good(last_good))
            self.last_good = last_good
            with suppress(SqliteError):
                self._tidy_up()

    def take(self, done: Sequence[int], count: int, size: int) -> list[OutboxEvent]:
        """Delete these events in one commit, and return the next ones, `count` and `size` bytes at most.

        Of each process with nothing taken it is the oldest, in the order of their ids; one that is larger
        than `size` comes alone. OutboxError where the deletion fails: then ask again with the same ids.
        """
        with self._lock:
            if done:
                self._delete(done)
            return self._read(lambda: self._next(count, size))

    def put_back(self, ids: Iterable[int]) -> None:
        """Let these, taken and not deleted, be taken again."""
        with self._lock:
            self._queue.put_back(ids)

    def cut(self, id: int, payload: bytes) -> None:
        """Give an event that waits a smaller JSON."""
        change = "update outbox set payload = ?, size = ? where id = ?"
        with self._lock:
            if found := self._find(id):
                self._write(lambda: self._connection.execute(change, (payload, len(payload), id)))
                self._queue.resize(id, found[1], len(payload))

    @property
    def last_id(self) -> int:
        """The id of the newest event that ever waited in this file."""
        return self._last_id

    def next_id(self) -> int | None:
        """Return the id of the event that `take` gives next; None: none."""
        with self._lock:
            return self._queue.next_id()

    def waiting(self) -> int:
        """Return how many events wait in all, the taken ones included."""
        return self._queue.waiting

    def waiting_of(self, process: str) -> int:
        """Return how many events of a process wait."""
        return self._queue.count_of(process)

    def size(self) -> int:
        """Return the bytes of JSON that wait."""
        return self._queue.size

    def is_full(self, process: str | None = None) -> bool:
        """Whether no more should be stored: in all, or (without asking for all) of this process."""
        if process is not None:
            return self.waiting_of(process) >= self._limits.of_process
        return self.waiting() >= self._limits.events or self.size() >= self._limits.size

    def forget(self) -> int:
        """Drop what is known and what waits; return how many events waited."""

        def drop() -> None:
            self._connection.execute("delete from known")
            self._connection.execute("delete from outbox")

        with self._lock:
            waited = self.waiting()
            self._write(drop)
            self._queue = ProcessQueue()
            return waited

    def close(self) -> None:
        """Close the file, then let its lock go; what waits is in it."""
        with self._lock:
            with suppress(SqliteError):
                self._connection.close()
            if self._stack_lock:
                self._stack_lock.close()

    def _meta(self, name: str) -> str | None:
        row = self._connection.execute("select value from meta where name = ?", (name,)).fetchone()
        return row[0] if row else None

    def _note(self, values: dict[str, str]) -> None:
        self._connection.executemany("replace into meta values (?, ?)", list(values.items()))

    def _note_last_good(self, moment: datetime | None) -> None:
        if moment is not None:
            self._note({"last_good": format_time(moment)})

    def _read_waiting(self) -> tuple[ProcessQueue, int]:
        """Return all that is in memory of what waits, and the last id that was given."""
        waiting = "select process, count(*), sum(size), min(id) from outbox group by process"
        queue = ProcessQueue(map(WaitingEvents._make, self._connection.execute(waiting)))
        last = self._connection.execute("select seq from sqlite_sequence where name = 'outbox'").fetchone()
        return queue, last[0] if last else 0

    def _find(self, id: int) -> tuple[str, int] | None:
        """Return the process and the bytes of an event that waits."""
        if found := self._queue.taken(id):
            return found
        row = "select process, size from outbox where id = ?"
        return self._read(lambda: self._connection.execute(row, (id,)).fetchone())  # type: ignore[no-any-return]

    def _delete(self, done: Sequence[int]) -> None:
        found = {id: one for id in done if (one := self._find(id)) is not None}
        more = [
            process
            for id, (process, _) in found.items()
            if self._queue.is_oldest(id, process) and self._queue.count_of(process) > 1
        ]
        following = "select min(id) from outbox where process = ?"

        def delete() -> dict[str, int]:
            self._connection.executemany("delete from outbox where id = ?", [(id,) for id in found])
            return {one: self._connection.execute(following, (one,)).fetchone()[0] for one in more}

        self._queue.remove(found, self._write(delete))
        self._checkpoint_due = True

    def _next(self, count: int, size: int) -> list[OutboxEvent]:
        events: list[OutboxEvent] = []
        while len(events) < count and (ids := self._queue.pop(min(count - len(events), READ_AT_ONCE))):
            last = 0
            try:
                for event in self._payloads(ids):
                    size -= len(event.payload)
                    if size < 0 and events:
                        self._queue.put_back(id for id in ids if id > last)
                        return events
                    self._queue.take(event.id, len(event.payload))
                    events.append(event)
                    last = event.id
            except SqliteError:
                self._queue.put_back([*(event.id for event in events), *(id for id in ids if id > last)])
                raise
        return events

    def _payloads(self, ids: Sequence[int]) -> Iterator[OutboxEvent]:
        """Yield these events one by one, oldest first; what is not asked for is not read."""
        columns, marks = ", ".join(OutboxEvent._fields), ",".join("?" * len(ids))
        rows = f"select {columns} from outbox where id in ({marks}) order by id"
        with closing(self._connection.execute(rows, ids)) as found:
            yield from map(OutboxEvent._make, found)

    def _see_room(self, size: int) -> None:
        """OutboxError where the file would have to grow on a full disk: the log could not be emptied then."""
        room = disk_room(self.path) if self.path else None
        if room is None or room >= 4 * size + 2 * ROOM_BYTES:
            return
        if self._read(lambda: free_bytes(self._connection)) < 2 * size + SPARE_BYTES:
            raise self._error("the disk is full")

    def _write(self, work: Callable[[], Stored]) -> Stored:
        """Do it in one transaction; where that fails once more, with the log brought into the file first."""
        for again in (False, True):
            try:
                self._connection.execute("begin immediate")
                found = work()
                self._connection.execute("commit")
                return found
            except SqliteError as error:
                self._undo()
                if again or self.path is None:
                    raise self._error(error) from error
                with suppress(SqliteError):
                    bring_in(self._connection)
            except BaseException:
                self._undo()
                raise
        raise AssertionError("the second time returns or raises")

    def _read(self, work: Callable[[], Stored]) -> Stored:
        try:
            return work()
        except SqliteError as error:
            raise self._error(error) from error

    def _undo(self) -> None:
        with suppress(SqliteError):
            if self._connection.in_transaction:
                self._connection.execute("rollback")

    def _error(self, error: object) -> OutboxError:
        room = disk_room(self.path) if self.path else None
        if room is not None and (room < 2 * ROOM_BYTES or "full" in str(error)):
            hint = f"free some room on the disk of {self.path}: {room / 1e6:.1f} MB are left"
        else:
            hint = "it is tried again; if that goes on, see whether the disk is in order, and start anew"
        return OutboxError(f"the outbox {self.path or 'in memory'} cannot be used ({error})", hint)

    def _tidy_up(self) -> None:
        """Bring the log into the file and onto the disk: a loss of power takes only what is newer."""
        if self.path is None:
            return
        if self._checkpoint_due:
            bring_in(self._connection)
            self._checkpoint_due = False
        if not self.waiting() and file_bytes(self._connection) > VACUUM_BYTES:
            self._connection.execute("vacuum")
            bring_in(self._connection)
            give_room(self._connection, self.path)
