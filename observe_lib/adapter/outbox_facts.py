"""What others may know of a stack's outbox, for `doctor` and `forget`.
Any thread; only reads, and disturbs no running adapter.
"""

from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import OutboxError
from ..times import UTC
from .outbox_file import SqliteError, companions, disk_room, open_reader, outbox_path
from .stack_lock import is_locked, lock_of, read_holder

if TYPE_CHECKING:
    import sqlite3


class OutboxFacts(NamedTuple):
    """What others may know of an outbox; `trouble` says why nothing of its content is known, else ""."""

    path: Path
    size: int  # bytes on the disk, its log included
    room: int  # bytes free on that disk
    held: bool
    pid: int | None  # who holds it, where that is known
    owner: str | None  # the last adapter that opened it
    waiting: int = 0
    oldest: datetime | None = None  # when the oldest event that waits was observed
    trouble: str = ""


def look(directory: Path, stack: str) -> OutboxFacts | None:
    """Return what can be seen of a stack's outbox without changing anything; None if there is none."""
    path = outbox_path(directory, stack)
    try:
        size = sum(one.stat().st_size for one in companions(path)[:2] if one.exists())
        if not path.is_file():
            return None
    except OSError:
        return None
    held = is_locked(path)
    pid = read_holder(lock_of(path)).get("pid") if held else None
    facts = OutboxFacts(path, size, disk_room(path) or 0, held, pid, None)
    try:
        with closing(open_reader(path)) as connection:
            return _read_facts(connection, facts)
    except (SqliteError, OutboxError) as error:
        return facts._replace(trouble=str(error))


def _read_facts(connection: "sqlite3.Connection", facts: OutboxFacts) -> OutboxFacts:
    (waiting,) = connection.execute("select count(*) from outbox").fetchone()
    first = connection.execute("select message_id from outbox order by id limit 1").fetchone()
    owner = connection.execute("select value from meta where name = 'owner'").fetchone()
    millis = first[0].rpartition(".")[2] if first else ""
    oldest = datetime.fromtimestamp(int(millis) / 1000, UTC) if millis.isdigit() else None
    return facts._replace(waiting=waiting, oldest=oldest, owner=owner[0] if owner else None)
