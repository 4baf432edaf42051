"""What the fault suite is made of besides the storm: the adapter over it, and the judge of the stream.

The storm knows what really happened; the judge reads the stream back and holds one against the other.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from observe_lib.adapter.adapter import AdapterOptions, run_adapter
from observe_lib.adapter.parts import AdapterParts
from observe_lib.broker.stream import BUCKET, STREAM, StreamOptions
from observe_lib.compose.logs import log_fetcher
from observe_lib.errors import ObserveError
from observe_lib.settings import ComposeSettings, NatsSettings
from tests.integration.storm import Storm
from tests.nats_server import RealNats

ROOT = Path(__file__).resolve().parents[2]
STACK = "storm"
#: flags of an adapter that a storm is too short for otherwise
QUICKLY = ("--poll-interval", "100ms", "--no-push", "--log-lines", "0")
#: generous: the machine may be loaded
PATIENCE_S = 40.0


def wait_until(condition: Callable[[], Any], what: Any, timeout_s: float = PATIENCE_S) -> Any:
    """Return what the condition returns once that is true; AssertionError if it never is."""
    end = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {timeout_s:g}s: {what}"
        time.sleep(0.02)
    return found


@dataclass
class Missing:
    """What was waited for in vain, put into words only then."""

    text: str
    adapter: Any

    def __str__(self) -> str:
        return f"{self.text!r} in:\n{self.adapter.said}"


# --- who watches ---


class Adapter:
    """The real adapter as a subprocess, over a stand-in and a NATS of the test's; what it said is `said`."""

    def __init__(
        self,
        watched: Storm | int,
        url: str,
        directory: Path,
        *flags: str,
        stack: str = STACK,
        usual: tuple[str, ...] = QUICKLY,
        program: tuple[str, ...] = (sys.executable, str(ROOT / "observe.py")),
    ) -> None:
        port = watched if isinstance(watched, int) else watched.stand_in.port
        self.command = [
            *(*program, "adapter", "--nats-url", url, "--stack", stack),
            *("-p", str(port), "--no-embedded", *usual, *flags),
            *(() if "--state-dir" in flags else ("--state-dir", str(directory / "state"))),
        ]
        self._err = directory / f"adapter-{id(self)}.err"
        self._process: subprocess.Popen[bytes] | None = None
        self._before = 0

    @property
    def said(self) -> str:
        return self._err.read_text() if self._err.exists() else ""

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def start(self) -> "Adapter":
        """Launch it; do not wait for anything."""
        environ = {name: text for name, text in os.environ.items() if not name.startswith(("NATS", "PC_"))}
        self._before = len(self.said)
        with self._err.open("ab") as err:
            self._process = subprocess.Popen(
                self.command, stderr=err, stdout=err, stdin=subprocess.DEVNULL, env=environ, cwd=ROOT
            )
        return self

    def ready(self) -> "Adapter":
        """Wait until it says, since its last start, that it is ready."""
        return self.says("ready")

    def says(self, text: str) -> "Adapter":
        """Wait until it has said a text since its last start."""
        wait_until(lambda: text in self.said[self._before :], Missing(text, self))
        return self

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self, how: signal.Signals = signal.SIGTERM, timeout_s: float = 20.0) -> int:
        """End it as an operator would; return its exit code."""
        return self._end(how, timeout_s)

    def ended(self, timeout_s: float = 30.0) -> int:
        """Wait until it ends by itself; return its exit code."""
        assert self._process
        return self._process.wait(timeout_s)

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def _end(self, how: signal.Signals, timeout_s: float = 20.0) -> int:
        process = self._process
        if process is None:
            return 0
        if process.poll() is None:
            pid = self.pid
            os.kill(pid, how)
            with suppress(ProcessLookupError):  # it may be gone by now
                os.kill(pid, signal.SIGCONT)
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"it did not end within {timeout_s:g}s:\n{self.said}") from None

    def __enter__(self) -> "Adapter":
        return self.start()

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            self._end(signal.SIGKILL)


class InProcess:
    """The adapter in a thread of the test's own process, where a test wants other constants."""

    def __init__(
        self, storm: Storm, settings: NatsSettings | str, state_dir: Path | None = None, **options: Any
    ) -> None:
        self._lines: list[str] = []
        self._stop = threading.Event()
        nats_settings = NatsSettings(settings, url_given=True) if isinstance(settings, str) else settings
        chosen = {"log_lines": 0, "poll_interval_s": 0.1, **options}
        self._options = AdapterOptions(
            compose=ComposeSettings(port=storm.stand_in.port),
            nats=nats_settings,
            stack=STACK,
            state_dir=state_dir,
            **{"stream": StreamOptions(), "version": "test", **chosen},
        )
        self._logs = log_fetcher(self._options.compose)
        self.failure: ObserveError | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def said(self) -> str:
        return "\n".join(self._lines)

    def start(self) -> "InProcess":
        self._thread.start()
        return self

    def ready(self) -> "InProcess":
        return self.says("ready")

    def says(self, text: str) -> "InProcess":
        wait_until(lambda: text in self.said, Missing(text, self))
        return self

    def stop(self) -> int:
        self._stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive(), self.said
        return 0

    def _run(self) -> None:
        try:
            say = lambda *words: self._lines.append(" ".join(words))  # noqa: E731
            run_adapter(self._options, say, self._stop, AdapterParts(logs=self._logs))
        except ObserveError as error:
            self.failure = error

    def __enter__(self) -> "InProcess":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class Config:
    """A configuration file of nats-server that a test changes, and has read again."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "nats.conf"

    def write(self, text: str) -> None:
        self.path.write_text(text)

    def reload(self, server: RealNats, text: str) -> None:
        """Have the server read it, and wait until it has: it throws out whom it does not know any more."""
        said = server.store_dir / "server.log"
        before = said.read_text().count(RELOADED)
        self.write(text)
        os.kill(server.pid, signal.SIGHUP)
        wait_until(lambda: said.read_text().count(RELOADED) > before, "reloaded")


#: what nats-server logs when it has read its configuration again
RELOADED = "Reloaded server configuration"
#: a configuration with one user, who may do all, or all but publish to something
ALL = "authorization {users: [{user: u, password: p}]}"
ALL_BUT = 'authorization {users: [{user: u, password: p, permissions: {publish: {allow: ">", deny: [%s]}}}]}'


def admin(url: str, task: Callable[[JetStreamContext], Awaitable[Any]]) -> Any:
    """Do what an operator does, with a connection of his own."""

    async def work() -> Any:
        client = await nats.connect(url, allow_reconnect=False)
        try:
            return await task(client.jetstream())
        finally:
            await client.close()

    return asyncio.run(work())


# --- who judges ---


@dataclass(frozen=True)
class Stored:
    """One message as it is in the stream."""

    message_id: str
    key: str  # {namespace}.{name}
    event: dict[str, Any]


def read_back(url: str, stack: str = STACK) -> list[Stored]:
    """Return every event of the stack in the stream, from the first to the last."""
    found = [_stored(message) for message in asyncio.run(read_stream(url, STREAM))]
    return [one for one in found if one.event["stack"] == stack]


def records(url: str) -> dict[str, dict[str, Any]]:
    """Return the bucket's records by `{stack}.{namespace}.{name}`."""
    messages = asyncio.run(read_stream(url, f"KV_{BUCKET}"))
    live = (message for message in messages if not (message.headers or {}).get("KV-Operation"))
    return {message.subject.split(".", 2)[2]: json.loads(message.data) for message in live}


async def read_stream(url: str, stream: str = STREAM) -> list[Any]:
    """Return every message of a stream."""
    client = await nats.connect(url, connect_timeout=5, allow_reconnect=False)
    try:
        js = client.jetstream()
        config = ConsumerConfig(deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.NONE)
        try:
            info = await js.add_consumer(stream, config)
        except NotFoundError:
            return []
        subscription = await js.pull_subscribe_bind(info.name, stream)
        found: list[Any] = []
        while len(found) < (info.num_pending or 0):
            found += await subscription.fetch(min(500, info.num_pending - len(found)), timeout=5)
        await js.delete_consumer(stream, info.name)
        return found
    finally:
        await client.close()


def _stored(message: Any) -> Stored:
    key = ".".join(message.subject.split(".")[2:4])
    return Stored(message.headers["Nats-Msg-Id"], key, json.loads(message.data))


def sums(stored: list[Stored], *types: str) -> Counter[str]:
    """Return how often that happened to each process, an event with a count counting for so many."""
    found: Counter[str] = Counter()
    for one in stored:
        if one.event["type"] in types and one.event["namespace"] != "_observe":
            found[one.event["process"]] += one.event.get("count", 1)
    return found


def agree(stored: list[Stored], storm: Storm) -> str:
    """Return where begins and ends are not what happened, "" where they are."""
    begins, ends = sums(stored, "started", "restarted"), sums(stored, "stopped", "crashed")
    wrong = [
        f"{process.name}: {begins[process.name]} begins and {ends[process.name]} ends told,"
        f" {process.begins} and {process.ends} there were"
        for process in storm.processes
        if (begins[process.name], ends[process.name]) != (process.begins, process.ends)
    ]
    return "; ".join(wrong)


def faults_of(stored: list[Stored], wiped: bool = False) -> list[str]:
    """Return what is wrong with ids and seq; `wiped`: a sequence may begin anywhere."""
    ids = Counter(one.message_id for one in stored)
    found = [f"id twice: {message_id}" for message_id, number in ids.items() if number > 1]
    lanes: dict[str, list[Stored]] = defaultdict(list)
    for one in stored:
        lanes[one.key].append(one)
    for key, lane in lanes.items():
        removed, before = True, lane[0].event["seq"] - 1 if wiped else 0
        for one in lane:
            seq = one.event["seq"]
            if seq != before + 1 and not (seq == 1 and removed):
                found.append(f"{key}: seq {seq} after {before}")
            removed, before = one.event.get("new_status") == "Removed", seq
    return found


def last_wrong(stored: list[Stored], storm: Storm) -> list[str]:
    """Return whose last status or health in the stream is not what it is now."""
    states: dict[str, dict[str, Any]] = {}
    health: dict[str, str] = {}
    for one in stored:
        event = one.event
        if event["namespace"] == "_observe":
            continue
        states[event["process"]] = event
        if "health" in event:
            health[event["process"]] = event["health"]
        elif event["type"] in ("started", "restarted", "stopped", "crashed"):
            health.pop(event["process"], None)
    found = []
    for process in storm.processes:
        event = states.get(process.name)
        if event is None:
            continue
        status = process.state["status"] if process.there else "Removed"
        told = event["new_status"] if event.get("new_status") == "Removed" else event["state"]["status"]
        if told != status:
            found.append(f"{process.name}: {told} told, {status} it is")
        now = process.state["is_ready"] if process.there else "-"
        if health.get(process.name, "-") != now:
            found.append(f"{process.name}: health {health.get(process.name, '-')} told, {now} it is")
    return found


def judge(server: RealNats, storm: Storm, adapter: Adapter | InProcess) -> list[Stored]:
    """Wait until the stream tells all that happened, end the adapter, hold all of the stream to the truth."""
    storm.calm()
    with suppress(AssertionError):
        wait_until(lambda: not agree(read_back(server.url), storm), "the sums")
    assert adapter.stop() == 0, adapter.said
    stored = read_back(server.url)
    faults = [agree(stored, storm), *faults_of(stored), *last_wrong(stored, storm)]
    assert not any(faults), f"seed {storm.seed}: {list(filter(None, faults))[:8]}\n{adapter.said[-3000:]}"
    assert "Traceback" not in adapter.said, adapter.said
    return stored


def forgotten(url: str, storm: Storm) -> list[str]:
    """Return which processes the bucket does not show as they are."""
    found = records(url)
    wrong = []
    for process in storm.processes:
        told = found.get(f"{STACK}.default.{process.name}")
        shown = _mark(told["row"]) if told else ()
        state = process.state
        health = None if state.get("is_ready", "-") == "-" else state["is_ready"]
        if shown != (now := (state["status"], state["restarts"], health) if process.there else ()):
            wrong.append(f"{process.name}: shown as {shown}, it is {now}")
    return wrong


def _mark(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["status"], row["restarts"], row.get("health")
