"""A real process-compose for the integration tests: on a free port, ended with all that it started."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import requests

from tests.nats_server import free_port

BINARY = os.environ.get("PROCESS_COMPOSE") or shutil.which("process-compose")
#: why tests with a real process-compose are skipped, "" where there is one
MISSING = "" if BINARY else "process-compose is neither in $PROCESS_COMPOSE nor on PATH"

_MARK = "OBSERVE_TEST_COMPOSE"
_TOKEN_HEADER = "X-PC-Token-Key"


class RealCompose:
    """One process-compose with one project: `{"processes": {"web": {"command": "..."}}}`.

    It keeps running when its processes have ended unless `keep` is False. `stop()` ends everything within
    about 15 s: what outlives process-compose (after `kill()`) is found by a mark in its environment.
    """

    def __init__(
        self,
        project: dict[str, Any],
        directory: Path | str,
        *,
        port: int | None = None,
        socket_path: str | None = None,
        token: str | None = None,
        keep: bool = True,
    ) -> None:
        self.directory = Path(directory)
        self.port = port or free_port()
        self.socket_path = socket_path
        self.token = token
        self.keep = keep
        self.url = f"http://127.0.0.1:{self.port}"
        self._mark = uuid.uuid4().hex
        self._process: subprocess.Popen[bytes] | None = None
        self._file = self.directory / "process-compose.yaml"
        self.write(project)

    def write(self, project: dict[str, Any]) -> None:
        """Write the project file (JSON is YAML), to be read at the next start or reload."""
        self._file.write_text(json.dumps(project))

    def start(self, timeout_s: float = 20.0) -> "RealCompose":
        """Launch it and wait until its API answers."""
        where = (
            ["-u", self.socket_path] if self.socket_path else ["--address", "127.0.0.1", "-p", str(self.port)]
        )
        keep = ["--keep-project"] if self.keep else []
        log = str(self.directory / "process-compose.log")
        command = [
            str(BINARY),
            "-f",
            str(self._file),
            *where,
            "-t=false",
            *keep,
            "-L",
            log,
            "--disable-dotenv",
            "up",
        ]
        environ = {name: text for name, text in os.environ.items() if not name.startswith("PC_")}
        environ |= {_MARK: self._mark, **({"PC_API_TOKEN": self.token} if self.token else {})}
        with open(self.directory / "process-compose.out", "ab") as out:
            self._process = subprocess.Popen(
                command, env=environ, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        end = time.monotonic() + timeout_s
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise AssertionError((self.directory / "process-compose.out").read_text()[-2000:])
            time.sleep(0.02)
        return self

    def call(self, method: str, path: str, **named: Any) -> Any:
        """Send a command over TCP, as `call("PATCH", "/process/stop/web")`, and return its JSON."""
        headers = {_TOKEN_HEADER: self.token} if self.token else {}
        with requests.Session() as session:
            session.trust_env = False
            reply = session.request(method, self.url + path, headers=headers, timeout=30, **named)
            reply.raise_for_status()
            return reply.json()

    def state(self, name: str) -> dict[str, Any]:
        """Return one process as /processes shows it, {} if it does not."""
        states = self.call("GET", "/processes")["data"]
        return next((state for state in states if state["name"] == name), {})

    def wait_state(self, name: str, timeout_s: float = 15.0, **fields: Any) -> dict[str, Any]:
        """Wait until a process has these fields, as `status="Completed"`, and return it."""
        end = time.monotonic() + timeout_s
        while True:
            state = self.state(name)
            if fields.items() <= state.items():
                return state
            assert time.monotonic() < end, f"{name} is not {fields}: {state}"
            time.sleep(0.02)

    def halt(self) -> None:
        """Stop process-compose itself as Ctrl-Z does: it still accepts connections, and answers nothing."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)
        os.waitpid(self._process.pid, os.WUNTRACED)

    def resume(self) -> None:
        """Let it go on after `halt()`."""
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill process-compose with -9: what it started stays alive until `stop()`."""
        if self._process:
            self._process.kill()
            self._process.wait(10)

    def stop(self) -> None:
        """End process-compose as Ctrl-C does, and whatever is left."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.send_signal(signal.SIGCONT)  # where it was halted
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
        self.kill()
        self._process = None
        end = time.monotonic() + 5
        while (left := self._left()) and time.monotonic() < end:
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)

    def __enter__(self) -> "RealCompose":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _answers(self) -> bool:
        family, where = (socket.AF_UNIX, self.socket_path) if self.socket_path else (socket.AF_INET, None)
        with socket.socket(family) as probe:
            probe.settimeout(1)
            return probe.connect_ex(where or ("127.0.0.1", self.port)) == 0

    def _left(self) -> list[int]:
        """Return the processes with this one's mark; none can be told where there is no /proc."""
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if f"{_MARK}={self._mark}".encode() in path.read_bytes():
                    found.append(int(path.parent.name))
        return found
