"""The outbox's file: its place, and how it is opened: owner-only, whole, this stack's, with room.
Any thread. What cannot be mended here is an OutboxError, or a NoFileError: then memory has to do.
"""

import os
import shutil
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from ..errors import OutboxError
from ..subjects import TOKEN_CUT, TOKEN_MAX, encode_token
from ..times import now_utc
from .stack_lock import NoFileError, StackLock, Tell, lock_of

try:
    import sqlite3
except ImportError:  # a Python that was built without it
    sqlite3 = None  # type: ignore[assignment]
#: whatever SQLite raises
SqliteError: type[Exception] = sqlite3.Error if sqlite3 else OSError
#: the version of the tables that this code makes and reads
FILE_SCHEMA = 1
#: a commit needs so much of the free pages for what it moves about in the tables
SPARE_BYTES = 200_000
#: so much room the file and its log are given at the start, for when the disk is full
ROOM_BYTES = 4_000_000
#: the log is brought into the file when it has so many pages, and cut back to so many bytes then
LOG_PAGES = 4000
LOG_FILE_BYTES = 16_000_000
#: so much of the file is in memory at most: a commit that is larger writes some of its pages twice
CACHE_KB = 8000
#: a file with no tables is not larger
EMPTY_BYTES = 4096
#: how long another program's writing in the file is waited for
BUSY_S = 1.0

_TABLES = """
begin immediate;
create table meta (name text primary key, value);
create table known (process text primary key, seq integer, body blob);
create table outbox (id integer primary key autoincrement, process text, subject text, message_id text,
    size integer, payload blob);
create index oldest on outbox (process, id, size);
"""


def outbox_path(directory: Path, stack: str) -> Path:
    """Return the file of a stack; a name that no file system takes is cut as a token is."""
    name = encode_token(stack).replace("/", "=2F")
    if len(name) > TOKEN_MAX:
        name = f"{name[:TOKEN_CUT]}=={sha256(name.encode()).hexdigest()[:16]}"
    return directory / f"{name}.sqlite"


def log_of(path: Path) -> Path:
    """Return SQLite's write-ahead log beside the file."""
    return path.with_name(path.name + "-wal")


def companions(path: Path) -> list[Path]:
    """Return the file and what SQLite keeps beside it."""
    return [path, log_of(path), path.with_name(path.name + "-shm")]


def make_place(directory: Path | None, stack: str) -> Path:
    """Return the file of a stack, in a directory that is there, made the owner's alone if it was not."""
    if directory is None:
        raise NoFileError("there is no home directory")
    try:
        if not directory.is_dir():
            directory.mkdir(mode=0o700, parents=True)
            directory.chmod(0o700)
    except OSError as error:
        raise NoFileError(f"{directory} cannot be made: {error.strerror}") from error
    return outbox_path(directory, stack)


def open_file(path: Path, stack: str, tell: Tell) -> "tuple[sqlite3.Connection, bool]":
    """Return a connection to the file, and whether it was made now; a corrupt one is set aside first."""
    _make_private(path)
    try:
        return _open(path, stack)
    except sqlite3.OperationalError as error:  # the disk, the file system, another program
        raise _refusal(path, error) from error
    except sqlite3.DatabaseError as error:
        aside = _set_aside(path)
        then = "all is told as found, what waited stays in there"
        tell("outbox", f"{path} is corrupt ({error}), set aside as {aside.name}, begun anew: {then}")
        return open_file(path, stack, tell)


def open_memory(stack: str) -> "sqlite3.Connection":
    """Return the same in memory alone."""
    connection = _connect(":memory:")
    _make_tables(connection, stack)
    return connection


def open_reader(path: Path) -> "sqlite3.Connection":
    """Return a connection that only reads; OutboxError where this Python has no sqlite3."""
    require_sqlite()
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_S)


def require_sqlite() -> None:
    """OutboxError where this Python has no sqlite3."""
    if sqlite3 is None:
        hint = "run observe with another one (python.org's, uv's, or your distribution's with its sqlite3)"
        raise OutboxError("this Python was built without sqlite3, which the outbox needs", hint)


def disk_room(path: Path) -> int | None:
    """Return how many bytes are free on the disk; None where that is not known."""
    try:
        return shutil.disk_usage(path.parent).free
    except OSError:
        return None


def _make_private(path: Path) -> None:
    """Make the file, its owner's alone whatever the umask, before SQLite does; or see that it is so."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise NoFileError(f"{path} cannot be written: {error.strerror}") from error
    for one in companions(path):
        with suppress(OSError):  # not there, or another's, and yet ours to write
            one.chmod(0o600)


def _connect(path: Path | str) -> "sqlite3.Connection":
    return sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)


def _open(path: Path, stack: str) -> "tuple[sqlite3.Connection, bool]":
    connection = _connect(path)
    try:
        made = not _check(connection, path, stack)
        if connection.execute("pragma journal_mode = wal").fetchone()[0] != "wal":
            raise NoFileError(f"{path.parent} is on a file system on which SQLite has no write-ahead log")
        connection.execute("pragma synchronous = normal")
        connection.execute(f"pragma journal_size_limit = {LOG_FILE_BYTES}")
        connection.execute(f"pragma wal_autocheckpoint = {LOG_PAGES}").fetchall()
        connection.execute(f"pragma cache_size = -{CACHE_KB}")
        connection.execute("pragma temp_store = memory")
        connection.execute("pragma secure_delete = off")  # or what becomes free is written
        if made:
            _make_tables(connection, stack)
        return connection, made
    except BaseException:
        connection.close()
        raise


def _check(connection: "sqlite3.Connection", path: Path, stack: str) -> bool:
    """Whether there is something in the file; sqlite3.DatabaseError if it is corrupt, else OutboxError."""
    tables = {name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")}
    if not tables:
        return False
    meta = dict(connection.execute("select name, value from meta where name in ('schema', 'stack')"))
    if meta.get("schema") != FILE_SCHEMA:
        hint = f"use that one, or move the file away (what waits in it is not sent): mv {path} {path}.old"
        raise OutboxError(f"{path} was written by a newer observe (schema {meta.get('schema')})", hint)
    if meta.get("stack") != stack:
        hint = "name that stack (--stack), or another directory for this one (--state-dir)"
        raise OutboxError(f"{path} is the outbox of stack {meta.get('stack')}, not of {stack}", hint)
    (found,) = connection.execute("pragma quick_check(1)").fetchone()
    if found != "ok":
        raise sqlite3.DatabaseError(found.replace("\n", ": "))
    return True


def _make_tables(connection: "sqlite3.Connection", stack: str) -> None:
    connection.executescript(_TABLES)
    meta = [("schema", FILE_SCHEMA), ("stack", stack)]
    connection.executemany("insert into meta values (?, ?)", meta)
    connection.execute("commit")


def _set_aside(path: Path) -> Path:
    stamp = f"{now_utc():%Y%m%dT%H%M%S}"
    aside = path.with_name(f"{path.name}.corrupt-{stamp}")
    try:
        for one in companions(path):
            if one.exists():
                one.rename(one.with_name(aside.name + one.name[len(path.name) :]))
    except OSError as error:
        raise NoFileError(f"{path} is corrupt and cannot be set aside: {error.strerror}") from error
    return aside


def _refusal(path: Path, error: "sqlite3.Error") -> Exception:
    """Return what it means that SQLite cannot open the file; what is in it is not left behind for memory."""
    room, empty = disk_room(path), path.stat().st_size <= EMPTY_BYTES
    if room is not None and room < ROOM_BYTES and not (empty or "readonly" in str(error)):
        hint = f"free {2 * ROOM_BYTES // 1_000_000} MB on the disk of {path.parent}"
        return OutboxError(f"the disk is full: {path} cannot be opened ({error})", hint)
    if "locked" in str(error) and "protocol" not in str(error):
        return OutboxError(f"{path} is locked by another program", "end what has it open")
    return NoFileError(f"{path} cannot be used: {error}")


def bytes_of(connection: "sqlite3.Connection", which: str) -> int:
    """Return the bytes of the file without its log (page_count), or how many are free (freelist_count)."""
    (count,), (size,) = (connection.execute(f"pragma {one}").fetchone() for one in (which, "page_size"))
    return int(count) * int(size)


def give_room(connection: "sqlite3.Connection", path: Path) -> bool:
    """Have free pages in the file, and a log of that size already on the disk; False where that has no room.

    What is then written while the disk is full goes where the disk was taken before: a commit into the log,
    whose beginning is written over once all of it is in the file, and from there into the free pages.
    """
    room = disk_room(path)
    try:
        connection.execute("drop table if exists room")
        if bytes_of(connection, "freelist_count") >= ROOM_BYTES and log_of(path).stat().st_size >= ROOM_BYTES:
            return True
        if room is not None and room < 3 * ROOM_BYTES:
            return False
        connection.execute("begin immediate")
        connection.execute("create table room (bytes blob)")
        connection.execute("insert into room values (zeroblob(?))", (ROOM_BYTES,))
        connection.execute("commit")
        bring_in(connection)
        connection.execute("drop table room")
        return True
    except (sqlite3.Error, OSError):
        with suppress(sqlite3.Error):
            connection.execute("rollback")
        return False


def bring_in(connection: "sqlite3.Connection") -> None:
    """Write what is in the log into the file and onto the disk, so that the log begins anew."""
    connection.execute("pragma wal_checkpoint(passive)").fetchall()


def remove_file(path: Path, stack: str) -> None:
    """Remove the file of a stack with all that belongs to it; StackHeldError while an adapter has it."""
    lock = StackLock(path, stack)
    lock.hold(False, lambda topic, text: None)
    for one in (*companions(path), lock_of(path)):
        one.unlink(missing_ok=True)
    lock.close()
