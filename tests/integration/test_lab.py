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

    def play(self) -> subprocess.Popen[bytes]:
        self._begun = time.monotonic()
        return subprocess.Popen(
            [sys.executable, str(LAB / "lab.py"), str(LAB / "zoo.json"), str(self.out), "--port"]
            + [str(self.compose_port)],
            stdout=subprocess.DEVNULL,
        )

    def at(self, seconds: float) -> None:
        time.sleep(max(0.0, self._begun + seconds - time.monotonic()))


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
    stage.adapter.start()
    stage.at(10.5)
    stage.adapter.kill()
    stage.at(12)
    stage.adapter.start()


def ends_the_adapter_and_starts_it_again(stage: Stage) -> None:
    stage.at(9)
    assert stage.adapter.stop() == 0
    stage.adapter.start()


def without_pid_no_health(trace: Path) -> None:
    """On a loaded machine a launch may be Ready before it has a pid: the score would take that for a run."""
    rows = [json.loads(line) for line in trace.read_text().splitlines()]
    for row in rows:
        for state in row.get("data", ()):
            state["is_ready"] = state["is_ready"] if state["pid"] else "-"
    trace.write_text("".join(json.dumps(row) + "\n" for row in rows))


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
    events = tmp_path / "events.jsonl"
    with events.open("w") as lines:
        for message in messages:
            kept = {"t": message.metadata.timestamp.timestamp(), "event": json.loads(message.data)}
            lines.write(json.dumps(kept) + "\n")
    without_pid_no_health(stage.out / "trace.jsonl")
    command = [sys.executable, str(LAB / "score.py"), str(stage.out), str(events)]
    score = subprocess.run(command, capture_output=True, text=True)
    print(score.stdout)
    assert score.returncode == 0, f"{score.stdout}\n{stage.adapter.said}"
