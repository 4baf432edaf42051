"""The demo's stand-in for process-compose: real child processes behind the API that is polled."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from observe_lib.compose.client import ComposeClient
from observe_lib.compose.state import ProcessState
from observe_lib.demo.stand_in import StandInCompose


class Running:
    """A stand-in at work, and the adapter's own client for it."""

    def __init__(self, compose: StandInCompose) -> None:
        self.client = ComposeClient(port=compose.port)
        self._url = f"http://127.0.0.1:{compose.port}"

    def call(self, method: str, path: str) -> requests.Response:
        return requests.request(method, self._url + path, timeout=30)

    def state(self, name: str = "one") -> ProcessState:
        states = [ProcessState.from_raw(raw) for raw in self.client.processes().states]
        return next(state for state in states if state.name == name)

    def wait(self, met: Callable[[ProcessState], object], name: str = "one") -> ProcessState:
        end = time.monotonic() + 20
        while not met(state := self.state(name)):
            assert time.monotonic() < end, state
            time.sleep(0.01)
        return state

    def wait_status(self, status: str) -> ProcessState:
        return self.wait(lambda state: state.status == status)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    @contextmanager
    def running(command: str, **spec: Any) -> Iterator[Running]:
        compose = StandInCompose({"one": {"command": command, **spec}}, tmp_path)
        compose.start()
        found = Running(compose)
        try:
            yield found
        finally:
            found.client.close()
            compose.stop()

    return running


def test_a_one_shot(run):
    with run("echo first; echo last; exit 3", namespace="shop") as running:
        state = running.wait_status("Completed")
        assert (state.namespace, state.exit_code, state.is_running) == ("shop", 3, False)
        assert state.pid > 0 and state.start and state.ended_at
        assert running.client.logs("one", 1) == ["last"]
        assert running.client.logs("one", 9) == ["first", "last"]
        assert running.client.project_name() == "stand-in"


def test_a_crash_loop_counts_its_restarts(run):
    policy = {"restart": "on_failure", "backoff_seconds": 0.2}
    with run("sleep 0.1; exit 1", availability=policy) as running:
        first = running.wait(lambda state: state.is_running)
        state = running.wait(lambda state: state.restarts > 1 and state.status == "Restarting")
        assert (state.exit_code, state.start, state.ended_at) == (1, first.start, None)
        assert state.pid != first.pid
        running.call("PATCH", "/process/stop/one")
        state = running.wait_status("Completed")
        assert state.ended_at and not state.is_running


def test_stop_and_start(run):
    with run("exec sleep 1000") as running:
        first = running.wait(lambda state: state.age_ns > 0)
        assert running.call("PATCH", "/process/stop/one").json() == {"name": "one"}
        assert running.wait_status("Completed").exit_code == -1
        running.call("POST", "/process/start/one")
        second = running.wait_status("Running")
        assert second.pid != first.pid and second.start != first.start and second.restarts == 0


def test_health_flips(run, tmp_path):
    probe = {"exec": {"command": "test ! -e sick"}, "period_seconds": 0.1}
    with run("exec sleep 1000", readiness_probe=probe) as running:
        assert running.state().has_ready_probe
        running.wait(lambda state: state.is_ready == "Ready")
        (tmp_path / "sick").touch()
        running.wait(lambda state: state.is_ready == "Not Ready")
        (tmp_path / "sick").unlink()
        running.wait(lambda state: state.is_ready == "Ready")


def test_killed_from_outside(run):
    with run("exec sleep 1000", availability={"restart": "no"}) as running:
        os.kill(running.wait(lambda state: state.is_running).pid, signal.SIGKILL)
        assert running.wait_status("Completed").exit_code == -1


@pytest.mark.parametrize(
    ("method", "path"),
    [("PATCH", "/process/stop/two"), ("GET", "/nowhere"), ("GET", "/process/logs/one/0/x")],
)
def test_what_there_is_not(run, method, path):
    with run("exec sleep 1000") as running:
        assert running.call(method, path).status_code == 404


def test_nothing_is_left_of_one_that_ignores_the_request(run, monkeypatch):
    monkeypatch.setattr("observe_lib.demo.stand_in.KILL_AFTER_S", 0.2)
    with run("trap '' TERM; echo deaf; while :; do sleep 0.1; done") as running:
        pid = running.wait(lambda state: running.client.logs("one", 1) == ["deaf"]).pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
