"""What is kept of one process, and the row that readers see of it."""

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from observe_lib.adapter.record import History, ProcessRecord, process_token
from observe_lib.compose.state import ProcessState
from observe_lib.detect.known import Known, Run
from observe_lib.events import Event
from observe_lib.times import format_time
from tests.stand_in import make_state

T0 = datetime(2026, 1, 5, 12, 0, 0, tzinfo=timezone.utc)
START = "2026-01-05T11:59:00Z"


def moment(seconds: float) -> str:
    return format_time(T0 + timedelta(seconds=seconds))


def known(alive: bool = True, health: str = "-", was_ready: bool = False, **fields) -> Known:
    """Return what is known of `web`: run 7 that is alive, or over."""
    shown = {} if alive else {"status": "Completed", "is_running": False}
    usual = {"name": "web", "pid": 7, "process_start_time": START, "process_ready_time": None}
    raw = make_state(**{**usual, **shown, **fields})
    run = Run(7, START, T0 - timedelta(seconds=60), 0) if raw["pid"] else None
    state = ProcessState.from_raw(raw)
    return Known(state, state.restarts, run, ended=not alive, health=health, was_ready=was_ready)


def event(kind: str, seconds: float = 0.0, **fields) -> Event:
    at = moment(seconds)
    return Event(kind, "web", "default", timestamp=at, observed_at=at, **fields)


def row(what: Known, *events: Event) -> dict:
    return ProcessRecord(what, History().after(events)).row("host-a")


# --- the row ---


@pytest.mark.parametrize(
    "what, events, expected",
    [
        # a run that is alive
        (known(), [], {"status": "Running", "alive": True, "pid": 7, "since": moment(-60), "restarts": 0}),
        (known(), [], {"health": None, "starting": None, "ended_well": None, "exit_code": None}),
        (known(), [], {"flapping_until": None, "crash_hours": None, "last_event": None, "events": None}),
        (known(exit_code=3, restarts=1), [], {"exit_code": None, "restarts": 1}),  # the run before it
        (known(health="Ready"), [], {"health": "Ready", "starting": None}),
        (known(health="Not Ready"), [], {"health": "Not Ready", "starting": True}),
        (known(health="Not Ready", was_ready=True), [], {"health": "Not Ready", "starting": None}),
        (known(), [event("healthy")], {"was_healthy": True}),
        # one that is over, as its event told it
        (
            known(False, exit_code=3),
            [event("crashed", 5, exit_code=3, reason="exit")],
            {"alive": False, "pid": None, "since": None, "exit_code": 3, "reason": "exit"},
        ),
        (known(False), [event("crashed", 5, exit_code=3, reason="exit")], {"ended_at": moment(5)}),
        (known(False), [event("stopped", exit_code=0, reason="completed")], {"ended_well": True}),
        (known(False), [event("stopped", exit_code=0, reason="requested")], {"ended_well": None}),
        (
            known(False),
            [event("stopped", reason="removed")],
            {"ended_well": None, "exit_code": None, "reason": "removed"},
        ),
        (
            known(False, status="Restarting", exit_code=1),
            [event("crashed", exit_code=1, reason="exit")],
            {"status": "Restarting", "alive": False, "ended_well": None, "exit_code": 1},
        ),
        # how it ended is forgotten with the next begin
        (known(), [event("crashed", exit_code=3, reason="exit"), event("restarted")], {"reason": None}),
        # one that was over when it was first seen
        (known(False, exit_code=0), [], {"exit_code": 0, "ended_well": True, "ended_at": None}),
        (known(False, exit_code=3), [], {"exit_code": 3, "ended_well": None}),
        (known(False, exit_code=3, success_exit_codes=[3]), [], {"exit_code": 3, "ended_well": True}),
        (known(False, status="Skipped", exit_code=1, pid=0), [], {"exit_code": None, "ended_well": None}),
        (known(False, status="Disabled", pid=0), [], {"exit_code": None, "ended_well": None}),
        (known(False, status="Scheduled"), [event("stopped", reason="completed")], {"ended_well": True}),
        # what it is called
        (known(), [], {"stack": "host-a", "namespace": "default", "process": "web", "namespaces": None}),
        (known(namespace=["shop", "data"]), [], {"namespace": "shop", "namespaces": ["shop", "data"]}),
        # probes
        (known(has_ready_probe=True), [], {"has_ready_probe": True}),
        (known(has_ready_probe=True, process_ready_time=START), [], {"has_ready_probe": None}),  # liveness
        (
            known(has_ready_probe=True, process_ready_time=START, is_ready="Ready"),
            [],
            {"has_ready_probe": True},
        ),
    ],
    ids=str,
)
def test_row(what, events, expected):
    found = row(what, *events)
    assert {name: found.get(name) for name in expected} == expected
    assert None not in found.values()


CRASH = {"exit_code": 1, "reason": "exit"}


@pytest.mark.parametrize(
    "crashes, until",
    [
        ([(0, 1), (60, 1)], None),
        ([(0, 1), (60, 1), (120, 1)], 600),
        ([(0, 1), (300, 1), (601, 1)], None),
        ([(0, 1), (300, 1), (600, 1)], 600),
        ([(0, 1), (300, 1), (601, 1), (700, 1)], 900),  # the last three
        ([(0, 3)], 600),  # one event with a count
        ([(0, 50), (1, 1)], 600),
        ([(0, 2)], None),
    ],
)
def test_flapping(crashes, until):
    events = [event("crashed", at, count=count, **CRASH) for at, count in crashes]
    assert row(known(), *events, event("restarted", 800)).get("flapping_until") == (
        None if until is None else moment(until)
    )


@pytest.mark.parametrize(
    "crashes, hours",
    [
        ([(0, 1)], {"2026-01-05T12": 1}),
        ([(0, 1), (10, 4)], {"2026-01-05T12": 5}),
        ([(0, 1), (3600, 2)], {"2026-01-05T12": 1, "2026-01-05T13": 2}),
        ([(0, 1), (24 * 3600, 1)], {"2026-01-05T12": 1, "2026-01-06T12": 1}),  # the 25th hour still
        ([(0, 1), (25 * 3600, 1)], {"2026-01-06T13": 1}),
    ],
)
def test_crashes_by_hour(crashes, hours):
    events = [event("crashed", at, count=count, **CRASH) for at, count in crashes]
    assert row(known(), *events)["crash_hours"] == hours


def test_the_last_event_is_no_companion_and_carries_no_state():
    state = make_state("web")
    crash = event("crashed", 5, log_tail=["boom"], state=state, seq=4, run_seconds=2.0, **CRASH)
    found = row(known(False), crash, event("status_changed", 5, companion=True, new_status="Completed"))
    told = {"type": "crashed", "timestamp": moment(5), "observed_at": moment(5), "run_seconds": 2.0, **CRASH}
    assert {name: found["last_event"].get(name) for name in told} == told
    assert not {"state", "log_tail", "subject", "namespace", "process"} & set(found["last_event"])
    assert found["last_crash"] == found["last_event"]


def test_the_last_crash_stays_when_other_things_happen():
    found = row(known(), event("crashed", 5, **CRASH), event("restarted", 6), event("healthy", 7))
    assert (found["last_crash"]["type"], found["last_event"]["type"]) == ("crashed", "healthy")


def test_how_many_of_each_type_and_when_the_last():
    found = row(known(), event("crashed", 1, count=3, **CRASH), event("restarted", 2), event("restarted", 3))
    assert found["events"] == {
        "crashed": {"count": 3, "last": moment(1)},
        "restarted": {"count": 2, "last": moment(3)},
    }


def test_starts_are_told_apart_from_what_became_unhealthy():
    found = row(known(), event("unhealthy", 1, starting=True), event("unhealthy", 2), event("started", 3))
    assert found["events"]["unhealthy"] == {"count": 2, "last": moment(2), "starting": 1}
    assert "starting" not in found["events"]["started"]


@pytest.mark.parametrize(
    "log, why",
    [(["one", "two", ""], "two"), ([], None), (None, None), (["x" * 10_000], "x" * 300)],
    ids=["the last line", "an empty log", "no log", "an endless line"],
)
def test_a_crash_tells_why_in_one_line_without_its_log(log, why):
    found = row(known(), event("crashed", 1, log_tail=log, **CRASH))
    assert found["last_crash"].get("why") == why and "log_tail" not in found["last_crash"]


def test_a_name_that_left_while_its_run_lives_is_terminating():
    gone = replace(known(), missing=(T0, T0))
    assert (row(gone)["status"], row(gone)["alive"]) == ("Terminating", True)


def test_what_the_bucket_gets():
    record = ProcessRecord(known(), History(), 17)
    told = json.loads(record.row_json("host-a", T0))
    assert told == {"schema": 2, "row": record.row("host-a"), "seq": 17, "at": moment(0)}


@pytest.mark.parametrize("name", ["a b", "\ud800", "w" * 300, "日本"])
def test_a_strange_name_is_json_all_the_same(name):
    record = ProcessRecord(known(name=name), History(), 1)
    assert isinstance(json.loads(record.row_json("s", T0))["row"]["process"], str)
    assert ProcessRecord.from_body(record.body(), 1).seq == 1


# --- the body ---


@pytest.mark.parametrize(
    "record",
    [
        ProcessRecord(known()),
        ProcessRecord(known(pid=0, status="Pending", is_running=False)),
        ProcessRecord(known(False, namespace=["a", "b"], exit_code=9)),
        ProcessRecord(
            known(health="Not Ready"),
            History().after(
                [
                    event("started"),
                    *(event("crashed", at, **CRASH) for at in (1, 2, 3, 4)),
                    event("restarted", 5),
                ]
            ),
            6,
        ),
        ProcessRecord(
            known(False), History().after([event("stopped", 1, exit_code=0, reason="completed")]), 1
        ),
    ],
    ids=str,
)
def test_a_body_is_read_back_as_it_was(record):
    read = ProcessRecord.from_body(record.body(), record.seq)
    assert read.row("s") == record.row("s")
    assert (read.history, read.seq) == (record.history, record.seq)
    assert (read.known.run, read.known.ended, read.known.alive) == (
        record.known.run,
        record.known.ended,
        record.known.alive,
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"known": {}, "history": {}}',
        b'{"known": {"state": {"name": "x"}}, "history": {"events": [], "crash_times": []}}',
        b'{"known": {}, "history": {"events": {}, "crash_times": [], "what": 1}}',
    ],
)
def test_what_is_no_body_is_an_error_of_four(body):
    with pytest.raises((ValueError, LookupError, TypeError, AttributeError)):
        ProcessRecord.from_body(body, 1)


def test_tokens():
    assert process_token("default", "web") == "default.web"
    assert process_token("", "a.b c") == "default.a=2Eb=20c"
    assert process_token("_observe", "web") == "=5Fobserve.web"
