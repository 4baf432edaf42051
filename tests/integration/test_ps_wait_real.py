"""ps, wait, show, forget and the library's states with a real process-compose: two of them, on one NATS.

The processes of both have the same names, so that every test sees whether they are told apart.
"""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nats
import pytest

from observe_lib import Consumer
from observe_lib.reader.states import States
from observe_lib.reader.wait import GoalMissedError, TimedOutError
from observe_lib.rows import Place
from tests.nats_server import RealNats
from tests.real_compose import MISSING, RealCompose
from tests.running import ROOT, Ran, RunningAdapter, environ_for, run_observe, start_observe
from tests.test_docs import wrong_row

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

#: generous: the machine may be loaded
PATIENCE_S = 30.0
FOREVER = "exec sleep 1000"


def project(directory: Path) -> dict[str, Any]:
    ready = directory / "ready"
    probe = {"exec": {"command": f"test -e {ready}"}, "period_seconds": 1, "failure_threshold": 100}
    return {
        "processes": {
            "web": {"command": FOREVER},
            "db": {"command": FOREVER, "namespace": "shop", "readiness_probe": probe},
            "once": {"command": "sleep 0.3"},
            "bad": {"command": "sleep 0.3; echo out of luck; exit 3"},
            "loop": {
                "command": "sleep 1; exit 7",
                "availability": {"restart": "on_failure", "backoff_seconds": 1},
            },
            "pool": {"command": FOREVER},
        }
    }


class Stage:
    """Two process-composes, an adapter for each, and the NATS between them and the verbs."""

    def __init__(self, directory: Path) -> None:
        self.nats = RealNats(directory / "nats")
        self.composes, self.adapters, self.ready = {}, {}, {}
        for stack in ("host-a", "host-b"):
            home = directory / stack
            home.mkdir()
            compose = RealCompose(project(home) if stack == "host-a" else TWIN, home)
            self.composes[stack] = compose
            self.adapters[stack] = RunningAdapter(self.nats.url, compose.port, stack, directory)
            self.ready[stack] = home / "ready"

    def __enter__(self) -> "Stage":
        try:
            self.nats.start()
            for adapter in self.adapters.values():  # first: what begins after them is no surprise to them
                adapter.start()
            self.until(lambda states: len(states.stacks) == 2)
            for compose in self.composes.values():
                compose.start()
            self.until(lambda states: len(states.rows) == 7)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for part in (*self.adapters.values(), *self.composes.values()):
            part.stop()
        self.nats.kill()

    def run(self, *words: str) -> Ran:
        return run_observe(self.nats.url, *words)

    def until(self, condition: Callable[[States], Any]) -> States:
        with Consumer(self.nats.url) as consumer:
            end = time.monotonic() + PATIENCE_S
            while not condition(states := consumer.states()):
                assert time.monotonic() < end, [(p.stack, str(p), r.status) for p, r in states.rows.items()]
                time.sleep(0.05)
        return states

    def start_waiting(self, *words: str) -> "subprocess.Popen[str]":
        """Start a `wait`, and return once it follows the states: what was before is not its business."""
        before = asyncio.run(self._readers())
        waiting = start_observe(self.nats.url, "wait", *words)
        end = time.monotonic() + PATIENCE_S
        while asyncio.run(self._readers()) <= before:
            assert time.monotonic() < end and waiting.poll() is None, words
            time.sleep(0.05)
        return waiting

    async def _readers(self) -> set[str]:
        client = await nats.connect(self.nats.url)
        try:
            return {one.name for one in await client.jetstream().consumers_info("KV_PROCESS_STATES")}
        finally:
            await client.close()


TWIN = {"processes": {"web": {"command": FOREVER}}}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(tmp_path_factory.mktemp("stage")) as found:
        yield found


def test_wait_in_a_shell_script(stage: Stage) -> None:
    """As a CI job would use it: `set -e`, and what comes after it only where it came out well."""
    script = """
    set -e
    "$PYTHON" observe.py wait once --for completed --timeout 30s
    echo migrated
    if "$PYTHON" observe.py wait bad --timeout 30s; then echo never; else echo "code $?"; fi
    "$PYTHON" observe.py wait nope --timeout 300ms || test $? = 124
    "$PYTHON" observe.py wait bad
    echo never
    """
    environ = {**environ_for(stage.nats.url), "PYTHON": sys.executable}
    done = subprocess.run(
        ["sh", "-c", script], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=PATIENCE_S * 2
    )
    assert done.returncode == 3
    told = [line for line in done.stdout.splitlines() if not line.startswith("default/")]
    assert told == ["migrated", "code 3"]


def test_a_stack_from_its_first_process_to_its_end(stage: Stage) -> None:
    """One long story, since starting everything takes longest."""
    compose = stage.composes["host-a"]

    # once ended well, bad did not, web has no probe, db's probe fails, and nope is not there
    for words, code, out, err in (
        (["once", "--for", "completed"], 0, "default/once      completed ", ""),
        (["once"], 0, "default/once      ready ", ""),
        (["bad"], 3, "exit 3: out of luck", "default/bad crashed before it was ready"),
        (["web"], 0, "default/web (host-", ""),
        (["web", "--stack", "host-b", "--for", "running"], 0, "default/web       running   already", ""),
        (["web", "--stack", "host-a", "--for", "healthy"], 3, "no probe", "has no readiness probe"),
        (["shop/db", "--timeout", "500ms"], 124, "", "shop/db was not ready within 0.5s (Running"),
        (["nope", "--timeout", "500ms"], 124, "", "no process matched 'nope' within 0.5s"),
        (
            ["loop", "--for", "completed", "--fail-on", "crashed"],
            3,
            "exit 7",
            "crashed before it was completed",
        ),
    ):
        ran = stage.run("wait", *words)
        assert (ran.code, out in ran.out, err in ran.err) == (code, True, True), (words, ran)

    # an adapter that is killed in the middle of it harms nobody: the next one goes on
    stage.adapters["host-a"].kill()
    assert "no word from its adapter since" in stage.run("ps").err
    stage.adapters["host-a"].start()

    # db becomes healthy while somebody waits
    waiting = stage.start_waiting("shop/db", "--for", "healthy", "--timeout", "60s")
    stage.ready["host-a"].touch()
    out, err = waiting.communicate(timeout=PATIENCE_S)
    assert (waiting.returncode, err) == (0, "") and out.startswith("shop/db  healthy ")

    # ps tells the two webs apart
    rows = {
        (row["stack"], f"{row['namespace']}/{row['process']}"): row
        for row in map(json.loads, stage.run("ps", "--json").out.splitlines())
    }
    assert [text for row in rows.values() for text in wrong_row(row)] == []
    web_a, web_b = rows["host-a", "default/web"], rows["host-b", "default/web"]
    assert web_a["pid"] == compose.state("web")["pid"] != web_b["pid"]
    assert rows["host-a", "shop/db"]["health"] == "Ready"
    assert (rows["host-a", "default/bad"]["exit_code"], rows["host-a", "default/bad"]["crashes_24h"]) == (
        3,
        1,
    )
    assert rows["host-a", "default/loop"]["restarts"] >= 1
    table = stage.run("ps", "--stack", "host-b").out.splitlines()
    assert len(table) == 2 and "STACK" not in table[0] and table[1].split()[:2] == ["default/web", "Running"]

    # stopped and started by hand
    waiting = stage.start_waiting("web", "--stack", "host-a", "--for", "stopped")
    compose.call("PATCH", "/process/stop/web")
    assert waiting.communicate(timeout=PATIENCE_S)[0].startswith("default/web       stopped   ")
    compose.call("POST", "/process/start/web")
    assert stage.run("wait", "web", "--stack", "host-a", "--for", "running").code == 0

    # killed: the other stack's web lives on
    stage.until(lambda states: states.rows[Place("host-a", "default", "web")].alive)
    waiting = stage.start_waiting("default/web", "--for", "stopped", "--fail-on", "crashed")
    os.kill(compose.state("web")["pid"], signal.SIGKILL)
    out, err = waiting.communicate(timeout=PATIENCE_S)
    assert waiting.returncode == 3 and "killed by" in out
    assert stage.run("wait", "web", "--stack", "host-b").code == 0

    # scaled up and down: the new names are waited for, and those that go are gone
    waiting = stage.start_waiting("pool-2", "--for", "running")
    compose.call("PATCH", "/process/scale/pool/3")
    assert waiting.communicate(timeout=PATIENCE_S)[0].startswith("default/pool-2    running ")
    compose.call("PATCH", "/process/scale/pool-0/1")
    stage.until(lambda states: not any("pool-" in row.place.process for row in states.select()))
    assert "pool" in stage.run("ps").out and "pool-2" not in stage.run("ps").out

    # show knows the crash and its log
    shown = stage.run("show", "default/bad")
    assert shown.code == 0 and "out of luck" in shown.out and "last crash, " in shown.out
    both = [json.loads(line) for line in stage.run("show", "web", "--json").out.splitlines()]
    assert [one["stack"] for one in both] == ["host-a", "host-b"]
    assert {event["stack"] for event in both[0]["events"]} == {"host-a"}

    # the range that was, read back
    past = stage.run("watch", "bad", "--since", "1h", "--no-follow")
    # on a busy machine it was seen before it had a pid, too
    assert past.code == 0 and "exit 3" in past.out and re.match("[23] events, from ", past.err), past
    assert len(stage.run("watch", "-n", "3", "--no-follow", "--json").out.splitlines()) == 3

    # a living stack is not forgotten
    assert stage.run("forget", "host-a", "--yes").code == 1

    # process-compose goes, while somebody waits for what cannot come any more
    stage.ready["host-a"].unlink()
    stage.until(lambda states: states.rows[Place("host-a", "shop", "db")].health == "Not Ready")
    waiting = stage.start_waiting("shop/db", "--for", "healthy", "--timeout", "60s")
    compose.stop()
    _, err = waiting.communicate(timeout=PATIENCE_S)
    assert waiting.returncode == 3 and "shop/db" in err
    assert stage.run("wait", "shop/db", "--for", "stopped").code == 0
    ran = stage.run("ps", "--stack", "host-a")
    assert "Running" not in ran.out and "host-a: its process-compose is gone since " in ran.err

    # its adapter too: then it may be forgotten, and only its states are
    stage.adapters["host-a"].stop()
    assert "its adapter was stopped" in stage.run("ps", "--stack", "host-a").err
    assert stage.run("forget", "host-a").code == 2
    assert stage.run("forget", "host-a", "--yes").code == 0
    titles, *left = stage.run("ps").out.splitlines()
    assert "STACK" not in titles and len(left) == 1
    assert [json.loads(line)["stack"] for line in stage.run("ps", "--json").out.splitlines()] == ["host-b"]
    assert "exit 3" in stage.run("watch", "bad", "--since", "1h", "--no-follow").out


def test_the_library_waits_and_keeps_its_states_current(stage: Stage) -> None:
    compose, web = stage.composes["host-b"], Place("host-b", "default", "web")
    with Consumer(stage.nats.url) as consumer:
        assert consumer.states().rows[web].alive
        stopper = threading.Timer(0.2, compose.call, ("PATCH", "/process/stop/web"))
        stopper.start()
        outcomes = consumer.wait_for("default/web", ["stopped"], stack="host-b", timeout_s=PATIENCE_S)
        stopper.join()
        assert [(one.place, one.word) for one in outcomes] == [(web, "stopped")]
        end = time.monotonic() + PATIENCE_S
        while consumer.states().rows[web].alive:
            assert time.monotonic() < end
            time.sleep(0.02)
        with pytest.raises(GoalMissedError, match="default/web stopped before it was running"):
            consumer.wait_for("web", "running", stack="host-b")  # host-a may have been forgotten, or not yet
        with pytest.raises(TimedOutError, match="no process matched 'nope'"):
            consumer.wait_for(["nope"], ["ready"], timeout_s=0.3)
        stage.adapters["host-b"].kill()
        while not consumer.states().stacks["host-b"].dead:
            assert time.monotonic() < end
            time.sleep(0.1)
