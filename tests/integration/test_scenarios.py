"""A scenario in the lab's form, run by a real process-compose with push: every end told as it was."""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from observe_lib.times import parse_time
from tests.integration.faults import faults_of, read_back
from tests.integration.test_push_real import RealAdapter
from tests.nats_server import RealNats
from tests.real_compose import MISSING, RealCompose

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

SCENARIO = Path(__file__).parent / "scenarios" / "endings_in_backoff.json"
#: what is told of each process but its status: type, reason, exit code, `~` for inferred, `...` for starting
TOLD = {
    "anchor": ["started"],
    # a stop in the back-off is no second crash
    "first_backoff": ["started", "crashed exit 3"],
    "second_backoff": ["started", "crashed exit 3", "restarted", "crashed exit 3"],
    # their launcher's exit code is 0
    "daemon_once": ["started", "crashed probe"],
    "daemon_always": ["started", "crashed probe", "restarted"],
    "daemon_stopped": ["started", "stopped requested 0"],
    # it leaves /processes 1.5 s before it ends; then comes back with the reload
    "pool-1": ["started", "stopped requested 0", "started"],
    "pool-0": ["started", "started"],
    "pool": ["stopped requested 0"],
    "by_hand": ["started", "stopped requested -1", "restarted", "crashed exit 4", "restarted"],
    "changed": ["started", "stopped requested 0", "restarted"],
    "slow_start": ["started", "unhealthy ...", "healthy"],
    "only_liveness": ["started"],
}


def line(event: dict[str, Any]) -> str:
    words = [event["type"], event.get("reason"), event.get("exit_code")]
    marks = ["~"] * event.get("inferred", False) + ["..."] * event.get("starting", False)
    return " ".join([str(word) for word in words if word is not None] + marks)


def play(scenario: dict[str, Any], compose: RealCompose) -> dict[str, float]:
    """Do the steps at their times; return when each was done, by what it was."""
    begun, done = time.time(), {}
    for seconds, method, what in scenario["steps"]:
        time.sleep(max(0.0, begun + seconds - time.time()))
        done[what] = time.time()
        if method == "sh":
            subprocess.run(what, shell=True, check=False, timeout=20)
        else:
            compose.call(method, what)
    time.sleep(max(0.0, begun + scenario["seconds"] - time.time()))
    return done


def test_every_end_is_told_as_it_was(tmp_path):
    scenario = json.loads(SCENARIO.read_text().replace("@OUT@", str(tmp_path)))
    (tmp_path / "nats").mkdir()
    with RealNats(tmp_path / "nats") as nats:
        compose = RealCompose(scenario["compose"], tmp_path)
        with RealAdapter(compose.port, nats.url, tmp_path, stack="scenario") as adapter:
            adapter.says("trying again")  # so that all runs are younger than it, and count
            with compose:
                done = play(scenario, compose)
                assert adapter.stop() == 0
        events = [one.event for one in read_back(nats.url, "scenario")]
        assert faults_of(read_back(nats.url, "scenario")) == []
    found: dict[str, list[str]] = {name: [] for name in TOLD}
    for event in events:
        if event["namespace"] != "_observe" and event["type"] != "status_changed":
            found[event["process"]].append(line(event))
    assert found == TOLD
    (end,) = [event for event in events if event["process"] == "pool-1" and event["type"] == "stopped"]
    ended_after_s = parse_time(end["timestamp"]).timestamp() - done["/process/scale/pool-0/1"]
    assert 1.4 < ended_after_s < 3 and "inferred" not in end
