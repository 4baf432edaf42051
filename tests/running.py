"""The command line as its users run it: a verb to its end, or an adapter that goes on until it is ended."""

import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Ran(NamedTuple):
    """How a verb ended."""

    code: int
    out: str
    err: str


def environ_for(nats_url: str) -> dict[str, str]:
    """Return an environment in which nothing but this NATS is known."""
    bare = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith(("NATS_", "PC_", "OBSERVE_STACK"))
    }
    nowhere = str(Path(tempfile.gettempdir()) / "observe-has-no-state-here")  # not the user's own
    return {"OBSERVE_STATE_DIR": nowhere, **bare, "NATS_URL": nats_url, "TZ": "UTC"}


def run_observe(nats_url: str, *words: str, timeout_s: float = 60.0) -> Ran:
    """Run a verb to its end, without standard input."""
    done = subprocess.run(
        [sys.executable, "observe.py", *words],
        cwd=ROOT,
        env=environ_for(nats_url),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def start_observe(nats_url: str, *words: str) -> "subprocess.Popen[str]":
    """Start a verb whose end is for later."""
    return subprocess.Popen(
        [sys.executable, "observe.py", *words],
        cwd=ROOT,
        env=environ_for(nats_url),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class RunningAdapter:
    """`observe.py adapter` as a process of its own, quick to poll; what it says goes to a file."""

    def __init__(self, nats_url: str, compose_port: int, stack: str, directory: Path) -> None:
        self._words = ["--stack", stack, "--compose-port", str(compose_port), "--poll-interval", "200ms"]
        self._words += ["--state-dir", str(directory / "state")]
        self._nats_url, self._log = nats_url, directory / f"{stack}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "RunningAdapter":
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "observe.py", "adapter", *self._words],
                cwd=ROOT,
                env=environ_for(self._nats_url),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self

    def stop(self) -> None:
        """End it as Ctrl-C does."""
        if self._process is not None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
            self.kill()

    def kill(self) -> None:
        """End it with SIGKILL: it says goodbye to nobody."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    @property
    def said(self) -> str:
        return self._log.read_text()
