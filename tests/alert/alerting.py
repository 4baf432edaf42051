"""`observe.py alert` as a process of its own, and rows written into the bucket as an adapter writes them."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from observe_lib.broker.bucket import Bucket
from observe_lib.broker.loop import Bridge
from observe_lib.broker.session import Session
from observe_lib.broker.stream import StreamOptions, ensure
from observe_lib.settings import NatsSettings
from observe_lib.subjects import encode_token
from observe_lib.times import format_time, now_utc
from tests.alert.rows import Process
from tests.running import ROOT, environ_for


class RunningAlert:
    """What it says goes to a file; `more` goes into its environment."""

    def __init__(
        self, nats_url: str, directory: Path, *words: str, more: dict[str, str] | None = None
    ) -> None:
        self._environ = {**environ_for(nats_url), **(more or {})}
        self._words, self._log = words, directory / f"alert-{id(self)}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "RunningAlert":
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "observe.py", "alert", *self._words],
                cwd=ROOT,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self

    @property
    def said(self) -> str:
        return self._log.read_text()

    def wait_said(self, text: str, timeout_s: float = 30.0) -> "RunningAlert":
        end = time.monotonic() + timeout_s
        while text not in self.said:
            assert time.monotonic() < end, self.said
            assert self.process is None or self.process.poll() is None, self.said
            time.sleep(0.05)
        return self

    def wait_started(self, timeout_s: float = 30.0) -> "RunningAlert":
        """Start it unless it runs, and wait until it watches."""
        if self.process is None:
            self.start()
        return self.wait_said("watching all", timeout_s)

    def end(self, how: signal.Signals = signal.SIGTERM) -> int | None:
        process, self.process = self.process, None
        if process is None:
            return None
        process.send_signal(how)
        try:
            return process.wait(15)
        finally:
            with suppress(OSError):
                process.kill()

    def __enter__(self) -> "RunningAlert":
        return self if self.process is not None else self.start()

    def __exit__(self, *_: object) -> None:
        self.end(signal.SIGKILL)


class Rows:
    """Writes rows and a lease into the bucket."""

    def __init__(self, nats_url: str) -> None:
        self._bridge = Bridge()
        self._bridge.start()
        self._session = Session(NatsSettings(nats_url), "rows of a test")
        self._bridge.run(self._session.open(), 20)
        self._bridge.run(ensure(self._session.js, StreamOptions()), 20)
        self.bucket = Bucket(self._session)

    def put(self, key: str, value: dict[str, Any]) -> None:
        self._bridge.run(
            self._session.until_done(lambda _: self.bucket.put(key, json.dumps(value).encode())), 30
        )

    def get(self, key: str) -> bytes:
        return self._bridge.run(self.bucket.get(key), 10)[1]

    def write(self, *processes: Process) -> None:
        for one in processes:
            key = ".".join(encode_token(part) for part in one.place)
            self.put(key, {"schema": 2, "row": one.row(), "seq": one.seq, "at": format_time(now_utc())})

    def lease(self, stack: str = "host-a", **more: Any) -> None:
        self.put(f"{stack}._observe.lease", {"owner": "test", "at": format_time(now_utc()), **more})

    def beat(self, stacks: Iterable[str] = ("host-a",)) -> None:
        for stack in stacks:
            self.lease(stack)

    def close(self) -> None:
        self._bridge.run(self._session.close(), 5)
        self._bridge.stop()
