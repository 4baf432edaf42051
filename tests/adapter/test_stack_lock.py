"""One adapter of a stack on one host: real processes, real locks."""

import errno
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from observe_lib.adapter import stack_lock
from observe_lib.adapter.stack_lock import NoFileError, StackLock, is_locked, lock_of, read_holder
from observe_lib.errors import StackHeldError

ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import signal, sys, time
from pathlib import Path
from observe_lib.adapter.stack_lock import StackLock
from observe_lib.errors import StackHeldError
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
lock = StackLock(Path(sys.argv[1]), "host-a")
time.sleep(max(0, float(sys.argv[2]) - time.time()))
try:
    lock.hold(False, print)
    print("held", flush=True)
    sys.stdin.read()
except StackHeldError as error:
    print(error, flush=True)
"""


def start(path: Path, at: float = 0.0, *words: str) -> "subprocess.Popen[str]":
    """Start a process that holds the lock of a file, from a moment on, until its standard input ends."""
    command = [sys.executable, "-c", HOLD, str(path), str(at), *words]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@contextmanager
def holder(path: Path, *words: str):
    """Another process that holds the lock."""
    with start(path, 0.0, *words) as child:
        assert child.stdout.readline() == "held\n"
        try:
            yield child
        finally:
            child.kill()


def silent(topic: str, text: str) -> None:
    raise AssertionError(text)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "host-a.sqlite"


def test_the_second_is_told_who_has_it(path):
    with holder(path) as child:
        lock = StackLock(path, "host-a")
        with pytest.raises(StackHeldError, match=rf"^stack host-a is held by pid {child.pid} on ") as caught:
            lock.hold(False, silent)
        assert caught.value.hint == "name this one (--stack host-a-2), or replace that one (--takeover)"
        assert is_locked(path)
        child.kill()  # nothing of it is left then
        child.wait()
        lock.hold(False, silent)
        assert read_holder(lock_of(path))["pid"] == os.getpid()
        lock.close()
    assert not is_locked(path)
    assert read_holder(lock_of(path)) == {}


def test_started_in_the_same_millisecond_exactly_one_has_it(path):
    for _ in range(3):
        children = [start(path, time.time() + 1.0) for _ in range(4)]
        said = sorted(child.stdout.readline() for child in children)
        for child in children:
            child.communicate("")
        assert said[0] == "held\n"
        assert all(text.startswith("stack host-a is held by pid") for text in said[1:])


def test_a_takeover_ends_the_holder(path):
    said = []
    with holder(path) as child:
        lock = StackLock(path, "host-a")
        lock.hold(True, lambda topic, text: said.append(text))
        assert child.wait(10) == -signal.SIGTERM
        assert read_holder(lock_of(path))["pid"] == os.getpid()
        assert said[0].startswith(f"stack host-a is held by pid {child.pid} on ")
        lock.close()


def test_a_takeover_of_one_that_does_not_end(path, monkeypatch):
    monkeypatch.setattr(stack_lock, "TAKEOVER_S", 0.2)
    with holder(path, "stubborn") as child:
        with pytest.raises(StackHeldError, match="did not end within") as caught:
            StackLock(path, "host-a").hold(True, lambda topic, text: None)
        assert f"kill -9 {child.pid}" in caught.value.hint
        assert child.poll() is None


@pytest.mark.parametrize("name", ["pid_namespace", "boot_id", "pid_started"])
def test_a_takeover_signals_no_other_process_of_that_number(path, name, monkeypatch):
    """A container beside this one with the same volume, or a number that another process has by now."""
    with holder(path) as child:
        signed = {**read_holder(lock_of(path)), name: "another"}
        monkeypatch.setattr(stack_lock, "read_holder", lambda path: signed)
        with pytest.raises(StackHeldError, match="out of this one's reach"):
            StackLock(path, "host-a").hold(True, silent)
        assert child.poll() is None


def test_a_child_has_no_part_in_it(path):
    lock = StackLock(path, "host-a")
    lock.hold(False, silent)
    command = [sys.executable, "-c", "print(flush=True); input()"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, close_fds=False) as child:
        child.stdout.readline()  # it runs
        lock.close()
        assert not is_locked(path)
        child.communicate(b"\n")


def test_a_lock_that_was_removed_is_made_anew(path):
    first, second = StackLock(path, "host-a"), StackLock(path, "host-a")
    first.hold(False, silent)
    lock_of(path).unlink()
    second.hold(False, silent)
    with pytest.raises(StackHeldError):
        StackLock(path, "host-a").hold(False, silent)
    first.close()
    second.close()


def test_it_is_its_owners_alone(path):
    before = os.umask(0)
    try:
        lock = StackLock(path, "host-a")
        lock.hold(False, silent)
        assert lock_of(path).stat().st_mode & 0o777 == 0o600
        lock.close()
    finally:
        os.umask(before)


def test_a_file_system_without_locks(path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(stack_lock.fcntl, "flock", refuse)
    with pytest.raises(NoFileError, match="has no file locks: No locks available"):
        StackLock(path, "host-a").hold(False, silent)
    assert not is_locked(path)


def test_a_directory_that_takes_no_file(tmp_path):
    with pytest.raises(NoFileError, match=r"/proc/host-a\.sqlite\.lock cannot be written"):
        StackLock(Path("/proc/host-a.sqlite"), "host-a").hold(False, silent)


def test_a_system_without_file_locks_goes_on_and_says_so(path, monkeypatch):
    monkeypatch.setattr(stack_lock, "fcntl", None)
    said = []
    lock = StackLock(path, "host-a")
    lock.hold(False, lambda topic, text: said.append((topic, text)))
    assert said == [("outbox", "no file locks here: see to it that stack host-a has one adapter alone")]
    assert not is_locked(path)
    lock.close()
