"""How the outbox's file is opened, and what is said of one that cannot be: nothing is lost without a word."""

import os
import sqlite3
from pathlib import Path

import pytest

from observe_lib.adapter import outbox_file, stack_lock
from observe_lib.adapter.outbox import Outbox, Record
from observe_lib.adapter.outbox_facts import look
from observe_lib.adapter.outbox_file import companions, log_of, outbox_path, remove_file
from observe_lib.adapter.seal import Sealed
from observe_lib.errors import OutboxError, StackHeldError
from observe_lib.times import now_utc

EVENT = Sealed("d.a", "core.process.d.a.started", "host-a.d.a.1.1760631979002", b"{}")


class Opened:
    """An outbox, and what was said while it was opened."""

    def __init__(self, directory: Path | None, stack: str = "host-a") -> None:
        self.said: list[str] = []
        self.outbox = Outbox.open(directory, stack, takeover=False, say=self._say)

    def _say(self, topic: str, text: str) -> None:
        assert topic == "outbox"
        self.said.append(text)

    def __enter__(self) -> "Opened":
        return self

    def __exit__(self, *_: object) -> None:
        self.outbox.close()


def filled(directory: Path, stack: str = "host-a") -> Path:
    """Return a closed file with one record and one event in it."""
    with Opened(directory, stack) as found:
        found.outbox.commit([Record("d.a", 1, b"1")], [EVENT], now_utc())
        assert found.outbox.path
        return found.outbox.path


def in_memory(found: Opened) -> str:
    """Return the warning of one that had to do with memory, and does."""
    assert found.outbox.path is None
    assert found.outbox.made
    found.outbox.commit([Record("d.a", 1, b"1")], [EVENT], now_utc())
    found.outbox.touch(now_utc())
    (event,) = found.outbox.take([], 9, 99)
    assert found.outbox.take([event], 9, 99) == []
    assert found.outbox.records() == [Record("d.a", 1, b"1")]
    (said,) = found.said
    assert "in memory alone, and lost at the end; 20,000 events may wait" in said
    return said


# --- the file ---


def test_its_name():
    base = Path("/s")
    assert outbox_path(base, "host-a") == base / "host-a.sqlite"
    assert outbox_path(base, "a/b c.d") == base / "a=2Fb=20c=2Ed.sqlite"
    long = [outbox_path(base, "/" * 100), outbox_path(base, "/" * 101), outbox_path(base, "x" * 300)]
    assert len(set(long)) == 3
    assert all(len(one.name) < 200 for one in long)


@pytest.mark.parametrize("umask", [0, 0o777])
def test_all_of_it_is_its_owners_alone(tmp_path, umask):
    directory = tmp_path / "state"
    before = os.umask(umask)
    try:
        with Opened(directory) as found:
            found.outbox.commit([], [EVENT], None)
            modes = {one.name: one.stat().st_mode & 0o777 for one in directory.iterdir()}
    finally:
        os.umask(before)
    assert directory.stat().st_mode & 0o777 == 0o700
    names = ("host-a.sqlite", "host-a.sqlite-shm", "host-a.sqlite-wal", "host-a.sqlite.lock")
    assert modes == dict.fromkeys(names, 0o600)


def test_a_directory_that_is_there_is_left_as_it_is_and_a_file_is_made_private(tmp_path):
    path = filled(tmp_path)
    tmp_path.chmod(0o755)
    path.chmod(0o644)
    with Opened(tmp_path) as found:
        assert not found.said
        assert all(one.stat().st_mode & 0o777 == 0o600 for one in companions(path))
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_room_is_given_at_each_start(tmp_path):
    for _ in range(3):
        with Opened(tmp_path) as found:
            path = found.outbox.path
            assert 4_000_000 < path.stat().st_size < 4_500_000
            assert 4_000_000 < log_of(path).stat().st_size < 4_500_000


def test_two_stacks_have_two_files(tmp_path):
    with Opened(tmp_path), Opened(tmp_path, "host-b") as other, pytest.raises(StackHeldError):
        Opened(tmp_path)
    assert other.outbox.made


# --- refused ---


def refused(directory: Path, stack: str = "host-a") -> str:
    """Return the two lines with which it is refused; the lock is free again then."""
    with pytest.raises(OutboxError) as caught:
        Opened(directory, stack)
    assert caught.value.hint
    assert "\n" not in f"{caught.value}{caught.value.hint}"
    assert not stack_lock.is_locked(outbox_path(directory, stack))
    return f"{caught.value}\n{caught.value.hint}"


def change(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement)
    connection.close()


def test_one_of_a_newer_version(tmp_path):
    path = filled(tmp_path)
    change(path, "update meta set value = 2 where name = 'schema'")
    before = path.read_bytes()
    assert "was written by a newer observe (schema 2)\nuse that one" in refused(tmp_path)
    assert path.read_bytes() == before


def test_one_of_another_stack(tmp_path):
    filled(tmp_path).rename(tmp_path / "host-b.sqlite")
    assert "is the outbox of stack host-a, not of host-b\nname that stack" in refused(tmp_path, "host-b")


def test_one_that_another_program_writes_into(tmp_path, monkeypatch):
    monkeypatch.setattr(outbox_file, "BUSY_S", 0.01)
    other = sqlite3.connect(filled(tmp_path))
    other.execute("begin exclusive")
    assert "locked" in refused(tmp_path)
    other.rollback()
    other.close()
    with Opened(tmp_path) as found:
        assert found.outbox.waiting() == 1


def test_a_python_without_sqlite(tmp_path, monkeypatch):
    monkeypatch.setattr(outbox_file, "sqlite3", None)
    assert "built without sqlite3, which the outbox needs\nrun observe with another one" in refused(tmp_path)


def test_a_full_disk_under_a_file_with_something_in_it(tmp_path, monkeypatch):
    """To go on in memory would leave behind what is known and what waits."""
    filled(tmp_path)
    monkeypatch.setattr(outbox_file, "disk_room", lambda path: 4096)
    monkeypatch.setattr(outbox_file, "_connect", FailingConnection.connect("database or disk is full"))
    assert "the disk is full" in refused(tmp_path)


# --- set aside ---


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"this is no database" * 1000,
        lambda content: content[:20_000] + b"\xff" * 20_000 + content[40_000:],
        lambda content: content[:100] + bytes(4000) + content[4100:],
        lambda content: content[:4096],
        lambda content: content[:9000],
    ],
    ids=["another file", "in the middle", "its first page", "cut after a page", "cut within a page"],
)
def test_a_corrupt_one_is_set_aside_and_begun_anew(tmp_path, damage):
    path = filled(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    log_of(path).write_bytes(b"old log")
    with Opened(tmp_path) as found:
        assert (found.outbox.made, found.outbox.records(), found.outbox.waiting()) == (True, [], 0)
        (said,) = found.said
        assert f"{path} is corrupt (" in said
        aside = sorted(one.name for one in tmp_path.glob("*corrupt*"))
        assert aside[0] in said
        found.outbox.commit([], [EVENT], None)
    with Opened(tmp_path) as found:
        assert (found.said, found.outbox.waiting()) == ([], 1)


def test_an_empty_file_is_a_new_one(tmp_path):
    (tmp_path / "host-a.sqlite").touch()
    with Opened(tmp_path) as found:
        assert (found.said, found.outbox.made) == ([], True)


def test_a_log_that_is_lost_takes_only_what_is_newer(tmp_path):
    first = Opened(tmp_path)
    first.outbox.commit([Record("d.a", 1, b"1")], [EVENT], now_utc())
    first.outbox.touch(now_utc())
    first.outbox.commit([Record("d.a", 2, b"2")], [EVENT], now_utc())
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "host-a.sqlite").write_bytes((tmp_path / "host-a.sqlite").read_bytes())
    with Opened(copy) as found:
        assert (found.said, found.outbox.made) == ([], False)
        assert found.outbox.records() == [Record("d.a", 1, b"1")]
        assert found.outbox.waiting() == 1
    first.outbox.close()


def test_a_file_removed_under_the_adapter(tmp_path):
    first = Opened(tmp_path)
    first.outbox.commit([Record("d.a", 1, b"1")], [EVENT], now_utc())
    for one in tmp_path.iterdir():
        one.unlink()
    first.outbox.commit([Record("d.a", 2, b"2")], [EVENT], now_utc())
    first.outbox.touch(now_utc())
    (event,) = first.outbox.take([], 9, 99)
    first.outbox.take([event], 9, 99)
    with Opened(tmp_path) as found:
        assert (found.said, found.outbox.made, found.outbox.records()) == ([], True, [])
        found.outbox.commit([Record("d.b", 1, b"1")], [], now_utc())
        first.outbox.close()  # and harms the next one's file in no way
        found.outbox.commit([Record("d.c", 1, b"1")], [], now_utc())
    with Opened(tmp_path) as found:
        assert {record.process for record in found.outbox.records()} == {"d.b", "d.c"}


# --- memory has to do ---


class FailingConnection(sqlite3.Connection):
    """A connection to which the file system says no."""

    says = ""

    @classmethod
    def connect(cls, says: str):
        kind = type("Failing", (cls,), {"says": says})

        def connect(path: object) -> sqlite3.Connection:
            factory = sqlite3.Connection if path == ":memory:" else kind
            return sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=factory)

        return connect

    def execute(self, statement, *values):
        if statement.startswith("pragma journal_mode"):
            if self.says:
                raise sqlite3.OperationalError(self.says)
            return super().execute("select 'delete'")
        return super().execute(statement, *values)


def test_no_home():
    with Opened(None) as found:
        assert in_memory(found).startswith("there is no home directory: ")


def test_where_no_directory_can_be():
    with Opened(Path("/proc/observe")) as found:
        assert in_memory(found).startswith("/proc/observe cannot be made: ")


def test_where_no_file_can_be():
    with Opened(Path("/proc")) as found:
        assert "/proc/host-a.sqlite.lock cannot be written: " in in_memory(found)


def test_a_directory_in_its_place(tmp_path):
    (tmp_path / "host-a.sqlite").mkdir()
    with Opened(tmp_path) as found:
        assert "host-a.sqlite cannot be written: Is a directory" in in_memory(found)


@pytest.mark.parametrize("below", ["file", "file/state"])
def test_a_file_in_the_directorys_place(tmp_path, below):
    (tmp_path / "file").write_text("")
    with Opened(tmp_path / below) as found:
        assert "cannot be made: " in in_memory(found)


def test_the_database_of_another_program(tmp_path):
    change(tmp_path / "host-a.sqlite", "create table theirs (x)")
    before = (tmp_path / "host-a.sqlite").read_bytes()
    with Opened(tmp_path) as found:
        assert "host-a.sqlite cannot be used: no such table: meta" in in_memory(found)
    assert (tmp_path / "host-a.sqlite").read_bytes() == before


def test_anothers_directory(tmp_path):
    tmp_path.chmod(0o500)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        with Opened(tmp_path) as found:
            assert "Permission denied" in in_memory(found)
    finally:
        if root:
            os.seteuid(0)


def test_where_there_are_no_locks(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(stack_lock.fcntl, "flock", refuse)
    with Opened(tmp_path) as found:
        assert "has no file locks: Operation not supported" in in_memory(found)


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        ("", "SQLite has no write-ahead log"),
        ("attempt to write a readonly database", "readonly"),
        ("locking protocol", "locking protocol"),
        ("disk I/O error", "disk I/O error"),
    ],
)
def test_where_there_is_no_write_ahead_log(tmp_path, monkeypatch, says, reason):
    monkeypatch.setattr(outbox_file, "_connect", FailingConnection.connect(says))
    with Opened(tmp_path) as found:
        assert reason in in_memory(found)
        assert stack_lock.is_locked(tmp_path / "host-a.sqlite")  # of one host all the same
    assert not stack_lock.is_locked(tmp_path / "host-a.sqlite")


def test_memory_has_its_own_limit():
    with Opened(None) as found:
        events = [EVENT._replace(process=f"d.{number % 40}") for number in range(19_999)]
        found.outbox.commit([], events, None)
        assert not found.outbox.is_full()
        found.outbox.commit([], events[:1], None)
        assert found.outbox.is_full()


# --- what others see ---


def test_nothing_to_see(tmp_path):
    assert look(tmp_path, "host-a") is None
    assert look(tmp_path / "none", "host-a") is None


def test_what_others_see_of_one_that_is_held_and_of_one_that_is_not(tmp_path):
    with Opened(tmp_path) as found:
        found.outbox.commit([], [EVENT, EVENT], None)
        facts = look(tmp_path, "host-a")
        assert (facts.path, facts.held, facts.pid) == (found.outbox.path, True, os.getpid())
        assert (facts.waiting, facts.owner, facts.trouble) == (2, found.outbox.owner, "")
        assert facts.oldest.isoformat() == "2025-10-16T16:26:19.002000+00:00"
        assert facts.size > 8_000_000
        assert facts.room > 0
        found.outbox.commit([], [EVENT], None)  # not disturbed
    facts = look(tmp_path, "host-a")
    assert (facts.held, facts.pid, facts.waiting) == (False, None, 3)
    with Opened(tmp_path) as found:
        assert (found.said, found.outbox.waiting()) == ([], 3)


def test_what_others_see_of_a_corrupt_one(tmp_path):
    path = filled(tmp_path)
    path.write_bytes(b"this is no database" * 1000)
    assert look(tmp_path, "host-a").trouble == "file is not a database"


# --- removed ---


def test_it_is_removed_with_all_that_belongs_to_it_but_not_while_it_is_held(tmp_path):
    path = filled(tmp_path)
    filled(tmp_path, "host-b")
    with Opened(tmp_path), pytest.raises(StackHeldError):
        remove_file(path, "host-a")
    assert look(tmp_path, "host-a").waiting == 1
    remove_file(path, "host-a")
    assert {one.name for one in tmp_path.iterdir()} == {"host-b.sqlite", "host-b.sqlite.lock"}
    with Opened(tmp_path) as found:
        assert (found.said, found.outbox.made) == ([], True)
