"""process-compose fails in every way it can: what it shows afterwards is told, and nothing that was not."""

import time
from collections import Counter

import pytest

from tests.integration.faults import (
    Adapter,
    agree,
    faults_of,
    forgotten,
    judge,
    last_wrong,
    read_back,
    sums,
    wait_until,
)
from tests.integration.storm import Storm
from tests.stand_in import make_state

long = pytest.mark.long


@pytest.fixture
def storm():
    """Only such processes as can be told exactly after an outage: the restart count shows what was missed."""
    with Storm(policy=20, hand=0, pool=0) as storm:
        yield storm


@pytest.fixture
def adapter(nats_server, storm, tmp_path):
    with Adapter(storm, nats_server.url, tmp_path) as adapter:
        yield adapter.ready()


def removed(server):
    found = (one.event for one in read_back(server.url) if one.event["type"] == "status_changed")
    return [event["process"] for event in found if event["new_status"] == "Removed"]


def of_source(stored):
    return [one.event["type"] for one in stored if one.key == "_observe.process-compose"]


def test_refused_for_a_while(nats_server, storm, adapter):
    storm.blow()
    time.sleep(0.5)
    storm.stand_in.refuse()
    adapter.says("connection refused")
    time.sleep(2)
    storm.stand_in.reopen()
    adapter.says("answers again")
    stored = judge(nats_server, storm, adapter)
    assert of_source(stored) == ["started", "unhealthy", "healthy"]
    healthy = next(one.event for one in stored if one.event["type"] == "healthy" and one.key.startswith("_o"))
    assert healthy["blind_seconds"] > 2


@long
def test_hanging(nats_server, storm, adapter):
    """One request that hangs for 10 s is an outage, and is told once."""
    storm.blow()
    storm.stand_in.mode = "hang"
    adapter.says("no answer within 10s")
    storm.stand_in.mode = ""
    adapter.says("answers again")
    assert of_source(judge(nats_server, storm, adapter)) == ["started", "unhealthy", "healthy"]


ANSWERS = [
    400,
    "truncated",
    "html",
    *(pytest.param(mode, marks=long) for mode in ("half_json", "cut", "no_data")),
]


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_bad_answer_now_and_then(nats_server, storm, adapter, answer):
    """A 400 while scaling, or half a reply, is no outage and no event."""
    storm.blow()
    for _ in range(4):
        storm.stand_in.answer(answer)
        storm.stand_in.wait_polls(3)
    assert of_source(judge(nats_server, storm, adapter)) == ["started"]
    assert "answers again" not in adapter.said


@pytest.mark.parametrize(("status", "mode"), [pytest.param(500, "", marks=long), (200, "half_json")])
def test_bad_answers_that_last(nats_server, storm, adapter, status, mode):
    storm.blow()
    storm.stand_in.status, storm.stand_in.mode = status, mode
    adapter.says("trying again")
    storm.stand_in.status, storm.stand_in.mode = 200, ""
    adapter.says("answers again")
    assert of_source(judge(nats_server, storm, adapter)) == ["started", "unhealthy", "healthy"]


def test_names_used_again_while_it_does_not_answer(nats_server, storm, adapter):
    """Another project under the same names: other pids, restarts begun anew. One end, one begin each."""
    storm.blow()
    time.sleep(1)
    storm.calm()
    wait_until(lambda: not agree(read_back(nats_server.url), storm), "the sums")
    before = len(read_back(nats_server.url))
    storm.stand_in.refuse()
    adapter.says("connection refused")
    states = []
    for number, process in enumerate(storm.processes):
        process.state = make_state(process.name, pid=90_000 + number, process_start_time=None, age=1)
        process.begins, process.ends = process.begins + 1, process.ends + 1
        states.append(process.state)
    storm.stand_in.set_states(states)
    storm.stand_in.reopen()
    stored = judge(nats_server, storm, adapter)
    new = Counter(one.event["type"] for one in stored[before:] if one.event["namespace"] == "default")
    assert new["stopped"] == new["started"] + new["restarted"] == len(storm.processes)
    assert not new["crashed"]


def test_a_whole_project_is_replaced(nats_server, storm, adapter):
    """All names go, others come; then the old ones are back: each one's sequence begins anew."""
    old = [process.state for process in storm.processes]
    storm.stand_in.set_states([make_state(f"new-{i}", pid=70_000 + i) for i in range(20)])
    wait_until(lambda: len(removed(nats_server)) == 20, "the old ones gone")
    storm.stand_in.set_states([{**state, "pid": state["pid"] + 50_000} for state in old])
    wait_until(lambda: len(removed(nats_server)) == 40, "the new ones gone")
    wait_until(lambda: sum(sums(read_back(nats_server.url), "started").values()) == 60, "the old ones back")
    assert adapter.stop() == 0
    stored = read_back(nats_server.url)
    assert not faults_of(stored)
    kinds = Counter((one.event["type"], one.event["process"][:4]) for one in stored)
    assert kinds["started", "poli"] == 40 and kinds["stopped", "poli"] == 20
    assert kinds["started", "new-"] == kinds["stopped", "new-"] == 20


@pytest.mark.parametrize("number", [2000, pytest.param(10_000, marks=long)])
def test_ten_thousand_processes(nats_server, tmp_path, number):
    """All are announced, a change among them is told, and a restarted adapter says nothing new."""
    with Storm(policy=number, hand=0, pool=0) as storm:
        with Adapter(storm, nats_server.url, tmp_path, "--poll-interval", "1s") as adapter:
            adapter.ready()
            wait_until(lambda: not agree(read_back(nats_server.url), storm), "all announced", 120)
            for i in range(5):
                storm.change(f"policy-{i * 7}")
            judge(nats_server, storm, adapter)
        assert not forgotten(nats_server.url, storm)
        seen = len(read_back(nats_server.url))
        begun = time.monotonic()
        with Adapter(storm, nats_server.url, tmp_path, "--poll-interval", "1s") as again:
            again.ready()
            print(f"{number} known processes: ready after {time.monotonic() - begun:.1f}s")
            assert again.stop() == 0
        stored = read_back(nats_server.url)
        assert {one.event["namespace"] for one in stored[seen:]} == {"_observe"}
        assert not faults_of(stored) and not last_wrong(stored, storm)
