"""The lock of a stack on this host: one adapter has it for its life, and says in it who that is.
Any thread; decides at once. Knows nothing of what the lock is for.
"""

import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..broker.lease import identity
from ..errors import StackHeldError
from ..events import dump_json, read_json

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

#: a lock that somebody only looks at is free again within this time
LOCK_LOOK_S = 0.2
LOCK_POLL_S = 0.02
#: whoever is asked to end by a takeover has so long
TAKEOVER_S = 15.0

Tell = Callable[[str, str], None]


class NoFileError(Exception):
    """There can be no file; `str()` says why."""


def lock_of(path: Path) -> Path:
    """Return the lock beside a file."""
    return path.with_name(path.name + ".lock")


class StackLock:
    """The lock of a stack on this host, held until it is closed or its process ends.

    Children have no part in it. Where there can be no lock, `hold` raises NoFileError.
    """

    def __init__(self, path: Path, stack: str) -> None:
        self._path, self._stack = lock_of(path), stack
        self._file: int | None = None

    def hold(self, takeover: bool, tell: Tell) -> None:
        """Get it at once, or after asking its holder to end; StackHeldError if that is another's."""
        if fcntl is None:
            tell("outbox", f"no file locks here: see to it that stack {self._stack} has one adapter alone")
        elif not self._within(LOCK_LOOK_S):
            pid, where = self._holder()
            held = f"stack {self._stack} is held by {where}"
            if not takeover:
                hint = f"name this one (--stack {self._stack}-2), or replace that one (--takeover)"
                raise StackHeldError(held, hint)
            if pid is None or not _ask_to_end(pid):
                raise StackHeldError(f"{held}, out of this one's reach", "end that one, where it runs")
            tell("stack", f"{held}, asked to end")
            if not self._within(TAKEOVER_S):
                hint = f"see what it does, or end it: kill -9 {pid}"
                raise StackHeldError(f"{held}, and did not end within {TAKEOVER_S:g}s", hint)

    def close(self) -> None:
        """Let it go."""
        if self._file is not None:
            with suppress(OSError):
                os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = None

    def _within(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not self._try():
            if time.monotonic() > end:
                return False
            time.sleep(LOCK_POLL_S)
        return True

    def _try(self) -> bool:
        try:
            found = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise NoFileError(f"{self._path} cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(found).st_ino == os.stat(self._path).st_ino:  # nobody removed it meanwhile
                self._file = found
        except (BlockingIOError, FileNotFoundError):
            pass
        except OSError as error:
            raise NoFileError(f"{self._path.parent} has no file locks: {error.strerror}") from error
        finally:
            if self._file is None:
                os.close(found)
        if self._file is not None:
            self._sign(self._file)
        return self._file is not None

    def _sign(self, file: int) -> None:
        """Write into it who has it; a full disk, or another owner's file, takes the signature only."""
        with suppress(OSError):
            os.ftruncate(file, 0)
            os.write(file, dump_json(identity()))
            os.fchmod(file, 0o600)

    def _holder(self) -> tuple[int | None, str]:
        """Return the holder's pid, if it is one of this system's that can be sent a signal, and its name."""
        found = read_holder(self._path)
        pid = found.get("pid")
        where = f"pid {pid} on {found.get('host')}" if pid else "another process"
        reachable = isinstance(pid, int) and {**identity(pid), "host": None} == {**found, "host": None}
        return (pid if reachable else None), where


def _ask_to_end(pid: int) -> bool:
    """Whether it may be asked; it may have just ended, too."""
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        pass
    except OSError:
        return False
    return True


def read_holder(path: Path) -> Mapping[str, Any]:
    """Return what the holder of a lock wrote into it, {} where that is not known."""
    try:
        return read_json(path.read_bytes())
    except (OSError, ValueError):
        return {}


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock of the outbox's file."""
    if fcntl is None:
        return False
    try:
        with lock_of(path).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False
