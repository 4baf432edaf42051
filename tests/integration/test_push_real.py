"""The whole adapter over a real process-compose, at the default interval with push: what only push can tell.

Each thing is done in rounds: a few of them, 20 with --long.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.integration.faults import ROOT, Adapter, faults_of, read_back, wait_until
from tests.nats_server import RealNats, free_port
from tests.push_stand_in import CuttingProxy
from tests.real_compose import MISSING, RealCompose

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

STACK = "real"
BEGINS, ENDS = ("started", "restarted"), ("stopped", "crashed")
SLEEPER = {"command": "exec sleep 1000"}  # dies of SIGTERM as most programs do
POLICY = {"availability": {"restart": "always", "backoff_seconds": 1}}


class RealAdapter(Adapter):
    """The adapter as users run it: every default, but for where things are."""

    def __init__(self, port: int, url: str, directory: Path, *flags: str, stack: str = STACK) -> None:
        super().__init__(SimpleNamespace(stand_in=SimpleNamespace(port=port)), url, directory)
        observe = (sys.executable, str(ROOT / "observe.py"), "adapter", "--nats-url", url)
        where = ("-p", str(port)) if port else ()
        state = ("--state-dir", str(directory / "state"))
        self.command = [*observe, *where, "--stack", stack, *state, *flags]


class Told:
    """The stream as it grows."""

    def __init__(self, url: str, stack: str = STACK) -> None:
        self.url, self.stack = url, stack

    def all(self, process: str, *types: str) -> list[dict[str, Any]]:
        """Return the events of a process (`_observe/...` for the observer's own) of these types."""
        space, _, name = process.rpartition("/")
        return [
            one.event
            for one in read_back(self.url, self.stack)
            if (one.event["process"], one.event["namespace"]) == (name, space or "default")
            and (not types or one.event["type"] in types)
        ]

    def wait(self, process: str, *types: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait until there are so many."""
        wait_until(lambda: len(self.all(process, *types)) >= count, f"{count} {types} of {process}")
        return self.all(process, *types)

    def balance(self) -> dict[str, tuple[int, int]]:
        """Return begins and ends of each process."""
        begins: Counter[str] = Counter()
        ends: Counter[str] = Counter()
        for one in read_back(self.url, self.stack):
            event = one.event
            if event["namespace"] != "_observe":
                begins[event["process"]] += event.get("count", 1) * (event["type"] in BEGINS)
                ends[event["process"]] += event.get("count", 1) * (event["type"] in ENDS)
        return {name: (begins[name], ends[name]) for name in begins | ends}


def probed(flag: Path) -> dict[str, Any]:
    """A process that is ready while the file is there, and makes it when it begins."""
    probe = {"exec": {"command": f"test -f {flag}"}, "initial_delay_seconds": 1, "period_seconds": 1}
    limits = {"failure_threshold": 2, "success_threshold": 1, "timeout_seconds": 2}
    return {"command": f"touch {flag}; exec sleep 1000", "readiness_probe": {**probe, **limits}}


def crasher(words: Path) -> dict[str, Any]:
    """A process that says what is in the file once it is there, and exits with 3."""
    return {"command": f"while [ ! -e {words} ]; do sleep 0.05; done; cat {words}; exit 3"}


@pytest.fixture(scope="module")
def rounds(request) -> int:
    return 20 if request.config.getoption("--long") else 4


@pytest.fixture(scope="module")
def nats(tmp_path_factory) -> Iterator[RealNats]:
    with RealNats(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(scope="module")
def stack(tmp_path_factory, nats, rounds):
    """One process-compose with several processes of each kind, and the adapter over it."""
    there = tmp_path_factory.mktemp("project")
    processes: dict[str, Any] = {}
    for nth in range(rounds):
        processes |= {
            f"stop-{nth}": SLEEPER,
            f"kill-{nth}": SLEEPER,
            f"loop-{nth}": {**probed(there / f"loop-{nth}"), **POLICY},
            f"once-{nth}": probed(there / f"once-{nth}"),
            f"crash-{nth}": crasher(there / f"crash-{nth}"),
        }
    with RealCompose({"processes": processes}, there) as compose:
        for name in processes:
            compose.wait_state(name, timeout_s=60, is_running=True)
        with RealAdapter(compose.port, nats.url, there) as adapter:
            adapter.ready()
            second = RealAdapter(compose.port, nats.url, there).start()  # looked at in the end
            told, balance = Told(nats.url), {}
            yield SimpleNamespace(
                compose=compose, adapter=adapter, second=second, told=told, there=there, balance=balance
            )
            second.kill()
            # after what was tested here, whatever that was, every sequence is whole
            assert faults_of(read_back(nats.url, STACK)) == []
            known = told.balance()
            assert len(known) == 5 * rounds
            assert {
                name: both
                for name, both in known.items()
                if both != balance.get(name.partition("-")[0], both)
            } == {}


def test_a_stop_of_a_process_without_a_handler(stack, rounds):
    for nth in range(rounds):
        stack.compose.call("PATCH", f"/process/stop/stop-{nth}")
    for nth in range(rounds):
        (event,) = stack.told.wait(f"stop-{nth}", *ENDS)
        assert (event["type"], event["reason"]) == ("stopped", "requested"), event
        assert "inferred" not in event
    stack.balance["stop"] = (1, 1)


def test_a_kill_from_outside(stack, rounds):
    for nth in range(rounds):
        os.kill(stack.compose.state(f"kill-{nth}")["pid"], signal.SIGKILL)
    for nth in range(rounds):
        (event,) = stack.told.wait(f"kill-{nth}", *ENDS)
        assert (event["type"], event["reason"]) == ("crashed", "killed"), event
        assert "inferred" not in event
    stack.balance["kill"] = (1, 1)


def test_a_crash_brings_the_end_of_its_log(stack, rounds):
    for nth in range(rounds):
        words = stack.there / "words"
        words.write_text(f"first\n\x1b[31mlast words {nth}\x1b[0m\n")
        words.rename(stack.there / f"crash-{nth}")
    for nth in range(rounds):
        (event,) = stack.told.wait(f"crash-{nth}", *ENDS)
        assert (event["type"], event["reason"], event["exit_code"]) == ("crashed", "exit", 3)
        assert event["log_tail"] == ["first", f"last words {nth}"]
    stack.balance["crash"] = (1, 1)


@pytest.mark.parametrize("kind", ["loop", "once"])
def test_a_kill_by_its_readiness_probe(stack, rounds, kind):
    """With a restart policy the states tell, without one the log."""
    for nth in range(rounds):
        stack.compose.wait_state(f"{kind}-{nth}", timeout_s=40, is_ready="Ready")
    for nth in range(rounds):
        stack.told.wait(f"{kind}-{nth}", "healthy")
        (stack.there / f"{kind}-{nth}").unlink()
    for nth in range(rounds):
        (end,) = stack.told.wait(f"{kind}-{nth}", *ENDS)
        assert (end["type"], end["reason"]) == ("crashed", "probe"), end
        told = stack.told.all(f"{kind}-{nth}", "unhealthy")
        (unhealthy,) = [event for event in told if not event.get("starting")]  # not before it was Ready
        assert unhealthy["seq"] < end["seq"] and unhealthy["health"] == "Not Ready"
        assert any("readiness check fail" in line for line in end["log_tail"])
    if kind == "loop":
        for nth in range(rounds):
            assert [event["type"] for event in stack.told.wait(f"loop-{nth}", *BEGINS, count=2)] == [
                "started",
                "restarted",
            ]
    stack.balance[kind] = (2, 1) if kind == "loop" else (1, 1)


def test_a_second_adapter_is_refused_by_name(stack):
    assert stack.second.ended() == 1
    holder = f"observe: stack {STACK} is held by pid {stack.adapter.pid} on "
    told = stack.second.said[stack.second.said.index(holder) :].splitlines()
    assert told[1] == f"name this one (--stack {STACK}-2), or replace that one (--takeover)"


# --- with a process-compose of its own ---


def test_a_crash_that_ends_the_project(nats, tmp_path, rounds):
    """The API dies with it: each time a fresh process-compose, a few side by side.

    process-compose does not wait until its last messages are sent: another process takes 0.2 s to end, so
    that the crash is told, and what may be lost is that one's very last state.
    """
    fatal = {"command": "sleep 0.6; echo goodbye; exit 7", "availability": {"restart": "exit_on_failure"}}
    anchor = {"command": "trap 'sleep 0.2; exit 0' TERM; sleep 1000 & wait"}
    side_by_side = 4

    def run(lane: int) -> None:
        stack, there = f"fatal-{lane}", tmp_path / str(lane)
        there.mkdir()
        compose = RealCompose({"processes": {"anchor": anchor, "fatal": fatal}}, there, keep=False)
        told = Told(nats.url, stack)
        with RealAdapter(compose.port, nats.url, there, stack=stack) as adapter:
            adapter.says("trying again")
            for nth in range(1, rounds // side_by_side + 1):
                with compose:
                    crash = told.wait("fatal", *ENDS, count=nth)[-1]
                    stop = told.wait("anchor", *ENDS, count=nth)[-1]
                    source = told.wait("_observe/process-compose", "stopped", count=nth)[-1]
                assert (crash["type"], crash["reason"], crash["exit_code"]) == ("crashed", "exit", 7), crash
                assert (stop["type"], stop["reason"]) == ("stopped", "requested"), stop
                assert source["error"] and source["since"]
                assert told.balance() == {"fatal": (nth, nth), "anchor": (nth, nth)}
            assert adapter.stop() == 0

    with ThreadPoolExecutor(side_by_side) as lanes:
        for done in [lanes.submit(run, lane) for lane in range(side_by_side)]:
            done.result()


class Watch:
    """`observe.py watch --json` with these flags, and what it shows."""

    def __init__(self, url: str, *flags: str) -> None:
        command = (sys.executable, str(ROOT / "observe.py"), "watch", "--nats-url", url, "--json", "--new")
        self.events: list[tuple[str, str]] = []
        self._process = subprocess.Popen(
            [*command, *flags], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            event = json.loads(line)
            self.events.append((event["process"], event["type"]))

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


def test_killed_and_back(nats, tmp_path, request):
    """One unhealthy, one healthy, every process ended and begun once; and who sees that in `watch`."""
    away_s = 10 if request.config.getoption("--long") else 3
    stack = "killed"
    names = [f"p{nth}" for nth in range(6)]
    compose = RealCompose({"processes": dict.fromkeys(names, SLEEPER)}, tmp_path)
    told = Told(nats.url, stack)
    types = ("--type", "started,healthy,unhealthy,stopped,crashed", "--stack", stack)
    filters = [("--stack", stack), types, (*types, "--process", "_observe/*")]
    watches = [Watch(nats.url, *flags) for flags in filters]
    with compose, RealAdapter(compose.port, nats.url, tmp_path, stack=stack) as adapter:
        adapter.ready()
        wait_until(lambda: all(told.all(name, "started") for name in names), "all are started")
        with RealAdapter(compose.port, nats.url, tmp_path, stack="eyes") as eyes:
            eyes.ready()
        compose.kill()
        told.wait("_observe/process-compose", "unhealthy")
        time.sleep(away_s)
        compose.start()
        told.wait("_observe/process-compose", "healthy")
        wait_until(
            lambda: set(told.balance().values()) == {(2, 1)}, f"begun twice, ended once: {told.balance()}"
        )
        for watch in watches[::2]:
            wait_until(lambda watch=watch: ("process-compose", "healthy") in watch.events, "it is shown")
        wait_until(lambda: ("p5", "stopped") in watches[1].events, "it is shown")
        assert adapter.stop() == 0
    for watch in watches:
        watch.stop()
    source = [event["type"] for event in told.all("_observe/process-compose")]
    assert source == ["started", "unhealthy", "healthy"]
    unhealthy, healthy = told.all("_observe/process-compose", "unhealthy", "healthy")
    assert "refused" in unhealthy["error"] or "closed" in unhealthy["error"] or "reset" in unhealthy["error"]
    assert away_s <= healthy["blind_seconds"] <= away_s + 15
    for name in names:
        (end,) = told.all(name, *ENDS)
        assert (end["type"], end["reason"], end["inferred"]) == ("stopped", "replaced", True)
        assert "exit_code" not in end
    everything, typed, named = ({name for name, _ in watch.events} for watch in watches)
    assert {"process-compose", "p0"} <= everything
    assert "p0" in typed and not typed & {"process-compose", "adapter"}
    assert "process-compose" in named and not named & set(names)


def test_another_project_on_the_same_port(nats, tmp_path):
    """What it had ends once, what the other one has begins once, and a name that both have does both."""
    stack, port = "moved", free_port()
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir(), second.mkdir()
    told = Told(nats.url, stack)
    with RealAdapter(port, nats.url, tmp_path, stack=stack) as adapter:
        with RealCompose({"processes": {"a": SLEEPER, "both": SLEEPER}}, first, port=port) as compose:
            told.wait("both", "started")
            compose.kill()
            told.wait("_observe/process-compose", "unhealthy")
            other = RealCompose({"processes": {"b": SLEEPER, "both": SLEEPER}}, second, port=port)
            with other:
                told.wait("b", "started")
                told.wait("a", "stopped")
                told.wait("_observe/process-compose", "healthy")
                wait_until(
                    lambda: told.balance() == {"a": (1, 1), "both": (2, 1), "b": (1, 0)}, "the balance"
                )
            told.wait("_observe/process-compose", "stopped")
        assert adapter.stop() == 0
    assert told.balance() == {"a": (1, 1), "both": (2, 2), "b": (1, 1)}
    assert [event["reason"] for event in told.all("both", *ENDS)] == ["replaced", "requested"]
    assert [event["reason"] for event in told.all("a", *ENDS)] == ["removed"]
    assert faults_of(read_back(nats.url, stack)) == []


def test_a_unix_socket_with_a_token(nats, tmp_path):
    """What ends with process-compose is heard there too."""
    stack, where, token = "socket", str(tmp_path / "pc.sock"), "a-token-of-twenty-or-more"
    (tmp_path / "token").write_text(token + "\n")
    told = Told(nats.url, stack)
    flags = ("-v", "-u", where, "--token-file", str(tmp_path / "token"))
    project = {"processes": {"web": SLEEPER, "once": {"command": "sleep 1; exit 4"}}}
    with RealAdapter(0, nats.url, tmp_path, *flags, stack=stack) as adapter:
        adapter.says("trying again")  # so that all runs are younger than it, and count
        with RealCompose(project, tmp_path, socket_path=where, token=token):
            adapter.says("push: connected")
            assert told.wait("once", *ENDS)[0]["exit_code"] == 4
        (end,) = told.wait("web", *ENDS)
        assert (end["type"], end["reason"]) == ("stopped", "requested")
        told.wait("_observe/process-compose", "stopped")
        assert adapter.stop() == 0 and token not in adapter.said
    assert told.balance() == {"web": (1, 1), "once": (1, 1)}


def test_the_push_stream_cut_every_second(nats, tmp_path, request):
    """Nothing is missed that polling sees, and process-compose is not run down."""
    seconds = 40 if request.config.getoption("--long") else 6
    stack = "cut"
    crash = {"command": "sleep 0.7; exit 1", **POLICY}
    looping, standing = [f"loop{nth}" for nth in range(6)], [f"stand{nth}" for nth in range(6)]
    project = {"processes": {**dict.fromkeys(looping, crash), **dict.fromkeys(standing, SLEEPER)}}
    told = Told(nats.url, stack)
    compose = RealCompose(project, tmp_path)
    with CuttingProxy(compose.port, cut_s=1.0) as proxy:
        with RealAdapter(proxy.port, nats.url, tmp_path, stack=stack) as adapter:
            adapter.says("trying again")  # so that all runs are younger than it, and count
            with compose:
                adapter.ready()
                end = time.monotonic() + seconds
                restarts = 0
                while time.monotonic() < end:
                    compose.call(
                        "POST", f"/process/restart/{standing[restarts % len(standing)]}"
                    )  # takes 1 s
                    restarts += 1
                for name in (*looping, *standing):
                    compose.call("PATCH", f"/process/stop/{name}")
                counts = {name: compose.state(name)["restarts"] for name in looping}
                ended = [compose.wait_state(name, is_running=False)["pid"] for name in standing]
                wait_until(lambda: all(a == b for a, b in told.balance().values()), "all has ended")
                assert adapter.stop() == 0
        assert proxy.cuts >= seconds * 0.7 and all(ended)
        assert proxy.busiest_second <= 25, proxy.busiest_second
    balance = told.balance()
    for name in looping:  # stopped either while it ran, or while it waited for its restart
        assert balance[name][0] in (counts[name], counts[name] + 1), (name, balance[name], counts[name])
    assert sum(balance[name][0] for name in standing) == len(standing) + restarts
    assert faults_of(read_back(nats.url, stack)) == []


def test_after_kill_9_the_next_begins_at_once_and_a_takeover_ends_the_first(nats, tmp_path):
    stack = "held"
    told = Told(nats.url, stack)
    with RealCompose({"processes": {"a": SLEEPER, "b": SLEEPER}}, tmp_path) as compose:
        first = RealAdapter(compose.port, nats.url, tmp_path, stack=stack).start().ready()
        told.wait("_observe/adapter", "started")
        first.kill()
        begin = time.monotonic()
        with RealAdapter(compose.port, nats.url, tmp_path, stack=stack) as second:
            second.ready()
            assert time.monotonic() - begin < 8  # 15 s it is where nobody can tell
            assert "was held by" not in second.said
            assert told.wait("_observe/adapter", "started", count=2)[1]["last_alive"]
            with RealAdapter(compose.port, nats.url, tmp_path, "--takeover", stack=stack) as third:
                third.ready()
                assert second.ended() == 0  # it was asked to
                assert f"stack {stack} is held by pid {second.pid} on " in third.said
                compose.call("PATCH", "/process/stop/a")
                (end,) = told.wait("a", *ENDS)
                assert (end["type"], end["reason"]) == ("stopped", "requested")
                assert third.stop() == 0
    assert told.balance() == {"a": (1, 1), "b": (1, 0)}
    assert faults_of(read_back(nats.url, stack)) == []
