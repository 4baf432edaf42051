"""Alerts on a real process-compose, with a real adapter and nats-server between them."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.alert.alerting import RunningAlert
from tests.alert.hook import Hook, listening
from tests.documents import file_in_docs
from tests.nats_server import RealNats
from tests.real_compose import MISSING, RealCompose
from tests.running import RunningAdapter

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

LOOP = "test -f {ok} && exec sleep 1000; echo 'bind: address already in use'; sleep 1; exit 3"


class Scene(NamedTuple):
    """What a test plays on."""

    directory: Path
    compose: RealCompose
    nats: RealNats
    hook: Hook

    def alert(self, *words: str) -> RunningAlert:
        return RunningAlert(self.nats.url, self.directory, "--webhook", self.hook.url, *words)

    def settle(self) -> None:
        (self.directory / "ok").touch()


@pytest.fixture
def scene(
    nats_server: RealNats, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scene]:
    monkeypatch.setenv("OBSERVE_STATE_DIR", str(tmp_path / "state"))
    project = request.param(tmp_path) if callable(request.param) else request.param
    with RealCompose(project, tmp_path) as compose, listening() as hook:
        adapter = RunningAdapter(nats_server.url, compose.port, "host-a", tmp_path).start()
        end = time.monotonic() + 60
        while "ready" not in adapter.said:
            assert time.monotonic() < end, adapter.said
            time.sleep(0.1)
        try:
            yield Scene(tmp_path, compose, nats_server, hook)
        finally:
            adapter.stop()


def looping(directory: Path) -> dict[str, Any]:
    """One process that waits until `go` is there, then crashes again and again until `ok` is."""
    command = f"while ! test -f {directory}/go; do sleep 0.1; done; " + LOOP.format(ok=directory / "ok")
    again = {"restart": "always", "backoff_seconds": 1}
    return {"processes": {"api": {"command": command, "namespace": "shop", "availability": again}}}


def kinds(hook: Hook) -> list[tuple[str, str]]:
    return [(status, process) for status, _, process in hook.alerts]


@pytest.mark.parametrize("scene", [looping], indirect=True)
@pytest.mark.parametrize("seconds", [25, pytest.param(300, marks=pytest.mark.long)])
def test_a_crash_loop_is_one_message_and_one_recovery(scene, seconds):
    settle = ("--settle", "5s") if seconds < 60 else ()
    with scene.alert(*settle).wait_started() as alert:
        (scene.directory / "go").touch()
        time.sleep(seconds)
        scene.settle()
        scene.hook.wait(2, 120)
        time.sleep(8)
        said = alert.said
    assert kinds(scene.hook) == [("firing", "api"), ("resolved", "api")], said
    firing, resolved = (payload["alerts"][0] for payload in scene.hook.taken)
    assert firing["annotations"]["summary"].endswith("exit 3: bind: address already in use")
    assert resolved["labels"]["alertname"] == "flapping"
    crashes = int(resolved["annotations"]["summary"].partition("after ")[2].split()[0])
    assert crashes >= seconds / 4, resolved


@pytest.mark.parametrize("scene", [looping], indirect=True)
@pytest.mark.parametrize("seconds", [10, pytest.param(120, marks=pytest.mark.long)])
def test_faults_lose_nothing_and_double_nothing(scene, seconds):
    words = ("--settle", "5s", "--type", "crashed,flapping")
    scene.hook.status = 503
    with scene.alert(*words).wait_started() as alert:
        (scene.directory / "go").touch()
        alert.wait_said("503, trying again")
        alert.end(signal.SIGKILL)  # with its message under way, and the webhook down
    scene.nats.kill()
    time.sleep(seconds / 2)
    scene.nats.start()
    with scene.alert(*words) as alert:
        alert.wait_said("503, trying again")
        time.sleep(seconds / 2)
        scene.hook.status = 200
        scene.hook.wait(1, 90)
        alert.wait_said("sent")
        scene.nats.kill()
        scene.settle()
        time.sleep(3)
        scene.nats.start()
        scene.hook.wait(2, 120)
        time.sleep(8)
        said = alert.said
    found = kinds(scene.hook)
    assert found[0] == ("firing", "api") and found[-1] == ("resolved", "api"), said
    assert len(found) <= 3 and len(set(found)) == 2, said


def many(count: int) -> dict[str, Any]:
    return {"processes": {f"web-{at}": {"command": "exec sleep 1000"} for at in range(count)}}


@pytest.mark.parametrize(
    "scene", [many(60), pytest.param(many(1000), marks=pytest.mark.long)], indirect=True, ids=["60", "1000"]
)
def test_processes_that_crash_at_once_are_two_messages_at_most(scene):
    def states() -> list[dict[str, Any]]:
        return scene.compose.call("GET", "/processes")["data"]

    end = time.monotonic() + 120
    while not all(one["is_running"] and one["pid"] for one in states()):
        assert time.monotonic() < end
        time.sleep(0.5)
    pids = [one["pid"] for one in states()]
    time.sleep(5)
    with scene.alert("--type", "crashed").wait_started() as alert:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + 120
        while len(scene.hook.alerts) < len(pids) and time.monotonic() < end:
            time.sleep(0.2)
        said = alert.said
    assert len(set(scene.hook.alerts)) == len(scene.hook.alerts) == len(pids), said
    assert len(scene.hook.taken) <= 2, said


def probed(directory: Path) -> dict[str, Any]:
    """One process that is Ready for as long as `ready` is there, which its start puts there."""
    probe = {
        "exec": {"command": f"test -f {directory}/ready"},
        "period_seconds": 1,
        "failure_threshold": 100,
        "success_threshold": 1,
    }
    command = f"touch {directory}/ready; echo begun >> {directory}/begun; exec sleep 1000"
    return {"processes": {"api": {"command": command, "readiness_probe": probe}}}


@pytest.mark.parametrize("scene", [probed], indirect=True)
def test_the_recipe_restarts_what_is_not_healthy(scene):
    script = scene.directory / "restart.sh"
    script.write_text(file_in_docs("restart.sh"))
    script.chmod(0o755)
    scene.compose.wait_state("api", is_ready="Ready")
    time.sleep(2)
    words = ("--type", "unhealthy", "--for", "1s", "--limit", "3/h", "--exec", f"{script} {{process}}")
    port = {"PC_PORT_NUM": str(scene.compose.port)}
    with RunningAlert(scene.nats.url, scene.directory, *words, more=port).wait_started() as alert:
        (scene.directory / "ready").unlink()
        end = time.monotonic() + 60
        while (scene.directory / "begun").read_text().count("begun") < 2:
            assert time.monotonic() < end, (alert.said, scene.compose.state("api"))
            time.sleep(0.2)
        scene.compose.wait_state("api", is_ready="Ready")
        alert.wait_said("resolved")
    assert (scene.directory / "begun").read_text().count("begun") == 2, "not restarted when it was well"
