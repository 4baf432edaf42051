"""The table behind ps, wait, show, top and web: scripted histories, and what the row says after each."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from observe_lib.compose.state import ProcessState
from observe_lib.detect.known import Known, Run, to_record
from observe_lib.events import OBSERVE, Event, observer_subject
from observe_lib.reader.records import recall
from observe_lib.reader.states import STALE_S, Stale, States, fold, fold_all, fold_back, note_lease
from observe_lib.rows import DAY, Place, ProcessRow
from observe_lib.times import UTC, format_time, parse_time

T0 = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
WEB = Place("host-a", "default", "web")


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def state_of(status: str = "Running", **fields: Any) -> dict[str, Any]:
    running = status in ("Running", "Launching", "Launched")
    return {
        "name": "web",
        "namespace": "default",
        "status": status,
        "is_running": running,
        "is_ready": "-",
        "has_ready_probe": False,
        "pid": 100,
        "restarts": 0,
        "exit_code": 0,
        **fields,
    }


def told(
    event_type: str, seq: int, seconds: float | None = None, status: str = "Running", **fields: Any
) -> Event:
    """An event of host-a's default/web, `seq` seconds after T0 unless told otherwise."""
    moment = format_time(at(seq if seconds is None else seconds))
    raw = {name: fields.pop(name) for name in ("pid", "is_ready", "has_ready_probe") if name in fields}
    base = {
        "process": "web",
        "namespace": "default",
        "stack": "host-a",
        "timestamp": moment,
        "observed_at": moment,
    }
    state = state_of(status, restarts=fields.get("restarts", 0), **raw)
    return Event(type=event_type, seq=seq, state=state, **{**base, **fields})


def of_observer(process: str, event_type: str, seq: int, stack: str = "host-a", **extra: Any) -> Event:
    moment = format_time(at(seq))
    subject = observer_subject(process, event_type)
    return Event(
        type=event_type, process=process, namespace=OBSERVE, subject=subject, stack=stack, seq=seq,
        timestamp=moment, observed_at=moment, extra=extra,
    )  # fmt: skip


def row_after(*events: Event) -> ProcessRow:
    return fold_all(States(), events).rows[WEB]


STARTED = told("started", 1, new_status="Running")
READY = told("healthy", 2, health="Ready", is_ready="Ready", has_ready_probe=True)
UNREADY = told("unhealthy", 3, health="Not Ready", is_ready="Not Ready", has_ready_probe=True)
CRASHED = told(
    "crashed",
    4,
    exit_code=3,
    reason="exit",
    status="Restarting",
    restarts=1,
    old_status="Running",
    new_status="Restarting",
    log_tail=["bye"],
)
RESTARTED = told("restarted", 5, restarts=1, pid=101, new_status="Running", old_status="Restarting")
STOPPED = told("stopped", 6, exit_code=0, reason="completed", status="Completed", new_status="Completed")
GAVE_UP = told("crashed", 6, exit_code=3, reason="exit", status="Completed", new_status="Completed")
REMOVED = told("stopped", 6, reason="removed", new_status="Removed", old_status="Running")
LEFT = told("status_changed", 7, companion=True, new_status="Removed", old_status="Running")

HISTORIES = {
    "found running": (
        [told("started", 1, -50, initial=True, restarts=3)],
        dict(alive=True, since=at(-50), restarts=3, pid=100),
    ),
    "found completed": (
        [told("status_changed", 1, initial=True, status="Completed")],
        dict(alive=False, exit_code=0, pid=None, ended_well=True),
    ),
    "found pending": (
        [told("status_changed", 1, initial=True, status="Pending", pid=0)],
        dict(alive=False, exit_code=None, ended_well=False),
    ),
    "found healthy": (
        [told("started", 1, initial=True), replace(READY, initial=True)],
        dict(alive=True, health="Ready", was_healthy=True),
    ),
    "runs": ([STARTED], dict(alive=True, status="Running", pid=100, since=at(1), health="-", exit_code=None)),
    "ready": (
        [STARTED, READY],
        dict(health="Ready", has_probe=True, was_healthy=True, since=at(1), last=READY),
    ),
    "unready": ([STARTED, READY, UNREADY], dict(health="Not Ready", was_healthy=True, alive=True)),
    "crashed": (
        [STARTED, CRASHED],
        dict(
            alive=False,
            health="-",
            pid=None,
            since=None,
            exit_code=3,
            status="Restarting",
            restarts=1,
            ended_at=at(4),
            last_crash=CRASHED,
            crashed_at=at(4),
            reason="exit",
            ended_well=False,
        ),
    ),
    "restarted": (
        [STARTED, CRASHED, RESTARTED],
        dict(alive=True, pid=101, restarts=1, since=at(5), exit_code=None, reason="", last_crash=CRASHED),
    ),
    "ended well": ([STARTED, STOPPED], dict(alive=False, exit_code=0, status="Completed", ended_well=True)),
    "gave up": ([STARTED, GAVE_UP], dict(alive=False, exit_code=3, ended_well=False)),
    "came and went between two polls": (
        [replace(STARTED, state=state_of("Completed"), inferred=True), STOPPED],
        dict(alive=False, exit_code=0),
    ),
    "stopping": (
        [
            STARTED,
            told("status_changed", 2, status="Terminating", new_status="Terminating", old_status="Running"),
        ],
        dict(alive=True, status="Terminating"),
    ),
    "removed while alive": (
        [STARTED, REMOVED, LEFT],
        dict(alive=False, gone=True, status="Removed", last=REMOVED),
    ),
    "removed, then there again": (
        [STARTED, REMOVED, LEFT, told("started", 1, 60, new_status="Running")],
        dict(alive=True, gone=False, since=at(60)),
    ),
    "a companion is not the last event": (
        [STARTED, told("status_changed", 2, companion=True, new_status="Running")],
        dict(last=STARTED),
    ),
    "had twice": ([STARTED, CRASHED, STARTED, CRASHED], dict(alive=False)),
    "launch failed": (
        [told("crashed", 1, reason="launch_failed", status="Error", pid=0)],
        dict(alive=False, status="Error", exit_code=None, reason="launch_failed"),
    ),
    "a type of the future": (
        [STARTED, told("paused", 2, status="Paused")],
        dict(alive=True, status="Paused"),
    ),
    "without a state or seq, by others": (
        [replace(STARTED, state=None, seq=None, restarts=None)],
        dict(alive=True, pid=None, restarts=0),
    ),
}


@pytest.mark.parametrize("history", HISTORIES)
def test_a_row_says_what_the_last_events_say(history: str) -> None:
    events, expected = HISTORIES[history]
    row = row_after(*events)
    assert {name: getattr(row, name) for name in expected} == expected


def _rises(events: list[Event]) -> bool:
    """Whether every event has a seq, none lower than the one before: else nothing tells that it was had."""
    numbers = [event.seq or 0 for event in events]
    return 0 not in numbers and numbers == sorted(numbers)


@pytest.mark.parametrize("history", [name for name in HISTORIES if _rises(HISTORIES[name][0])])
def test_folding_again_changes_nothing(history: str) -> None:
    events, _ = HISTORIES[history]
    once = fold_all(States(), events)
    assert fold_all(once, events) == once


def test_fold_leaves_what_it_was_given() -> None:
    before = fold(States(), STARTED)
    after = fold(before, CRASHED)
    assert before.rows[WEB].alive and not after.rows[WEB].alive


def test_crashes_are_counted_by_their_count_over_a_day() -> None:
    crashes = [told("crashed", seq, seq * 3600.0, count=2) for seq in range(1, 31)]
    row = row_after(*crashes)
    now = at(30 * 3600)
    assert row.crashes_since(now - DAY) == 25 * 2
    assert row.crashes_since(now) == 2
    assert len(row.crashes) <= 26


def test_a_crash_loop_of_a_day_stays_small() -> None:
    row = row_after(*(told("crashed", seq, seq * 2.0) for seq in range(1, 2001)))
    assert sum(count for _, count in row.crashes) == 2000 and len(row.crashes) <= 68


def test_two_stacks_with_the_same_names_are_told_apart() -> None:
    states = fold_all(States(), [STARTED, replace(CRASHED, stack="host-b")])
    assert [(row.place.stack, row.alive) for row in states.select(["web"])] == [
        ("host-a", True),
        ("host-b", False),
    ]
    assert [row.place.stack for row in states.select(["default/*"], stack="host-b")] == ["host-b"]


@pytest.mark.parametrize(
    "renamed_from, to", [("web", "default"), ("default/web", "shop")], ids=["same namespace", "another one"]
)
def test_a_renamed_process_goes_on_with_its_run(renamed_from: str, to: str) -> None:
    left = told("status_changed", 2, new_status="Removed", renamed_to="web-0")
    entered = told("status_changed", 1, 2, process="web-0", namespace=to, renamed_from=renamed_from)
    states = fold_all(States(), [STARTED, entered, left])
    new = states.rows[Place("host-a", to, "web-0")]
    assert new.alive and new.since == at(1) and new.pid == 100
    assert states.rows[WEB].gone and [row.place.process for row in states.select()] == ["web-0"]


# --- records of the bucket ---


def record_of(known: Known | None, *events: Event, gone: bool = False) -> dict[str, Any]:
    memory = to_record(known) if known else {}
    last = {event.type: event.timestamp for event in events}
    sealed = [{"id": event.message_id(), "event": event.to_dict()} for event in events]
    return {"schema": 1, **memory, "gone": gone, "seq": events[-1].seq, "last": last, "events": sealed}


def known_of(status: str = "Running", ended: bool = False, **fields: Any) -> Known:
    state = ProcessState.from_raw(state_of(status, **fields))
    return Known(state, restarts=1, run=Run(100, "", at(0), 1), ended=ended)


RECORDS = {
    "alive for long": (
        record_of(known_of(), READY),
        dict(alive=True, since=at(0), health="Ready", restarts=0),
    ),
    "just restarted": (
        record_of(known_of(pid=101), CRASHED, RESTARTED),
        dict(alive=True, since=at(5), last=RESTARTED, last_crash=CRASHED),
    ),
    "ended": (
        record_of(known_of("Completed", True), STOPPED),
        dict(alive=False, exit_code=0, reason="completed"),
    ),
    "gone": (record_of(None, REMOVED, LEFT, gone=True), dict(alive=False, gone=True)),
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_says_the_same_as_its_events(name: str) -> None:
    record, expected = RECORDS[name]
    row = recall([("host-a.default.web", record)]).rows[WEB]
    assert {one: getattr(row, one) for one in expected} == expected


def test_what_a_record_holds_is_not_folded_in_again_but_its_crashes_are_counted() -> None:
    states = recall([("host-a.default.web", record_of(known_of(pid=101), CRASHED, RESTARTED))])
    earlier = told("crashed", 50, -60)  # of another process that had this name
    later = fold_back(states, [earlier, STARTED, told("crashed", 2), CRASHED, RESTARTED])
    row = fold_all(later, [CRASHED, RESTARTED]).rows[WEB]
    assert row.alive and row.since == at(5) and row.pid == 101
    assert row.crashes_since(at(-60)) == 3
    assert row.last_crash == CRASHED


def test_a_look_back_finds_the_last_crash() -> None:
    states = recall([("host-a.default.web", record_of(known_of(), told("healthy", 9, health="Ready")))])
    row = fold_back(states, [told("crashed", 2), CRASHED]).rows[WEB]
    assert row.last_crash == CRASHED and row.crashed_at == at(4) and row.alive and row.health == "Ready"


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"events": 3},
        {"events": [{}]},
        {"events": [{"event": {"type": 1}}]},
        {"events": []},
        {"events": [None]},
    ],
    ids=str,
)
def test_a_record_that_is_none_harms_no_other(record: dict[str, Any]) -> None:
    states = recall([("host-a.default.api", record), ("host-a.default.web", record_of(known_of(), READY))])
    assert list(states.rows) == [WEB]


# --- whether it still holds ---

LEASE = {"pid": 1, "host": "host-a"}
AWAY = of_observer("process-compose", "unhealthy", 60, since=format_time(at(58)), error="connection refused")
SILENCES = {
    "all is well": ([], 5, LEASE, False, None),
    "no heartbeat": ([], STALE_S + 1, LEASE, False, Stale("adapter", "silent", at(0))),
    "its process is dead": ([], 5, LEASE, True, Stale("adapter", "silent", at(0))),
    "said goodbye": ([], 5, {**LEASE, "stopped": True}, False, Stale("adapter", "stopped", at(0))),
    "told that it stops": (
        [of_observer("adapter", "stopped", 3)],
        5,
        LEASE,
        False,
        Stale("adapter", "stopped", at(3)),
    ),
    "started again": (
        [of_observer("adapter", "stopped", 3), of_observer("adapter", "started", 4)],
        5,
        LEASE,
        False,
        None,
    ),
    "compose away": (
        [AWAY],
        5,
        LEASE,
        False,
        Stale("process-compose", "away", at(58), "connection refused"),
    ),
    "compose back": ([AWAY, of_observer("process-compose", "healthy", 70)], 5, LEASE, False, None),
    "compose gone": (
        [of_observer("process-compose", "stopped", 9)],
        5,
        LEASE,
        False,
        Stale("process-compose", "stopped", at(9)),
    ),
    "away, and then no heartbeat": ([AWAY], 90, LEASE, False, Stale("adapter", "silent", at(0))),
}


@pytest.mark.parametrize("name", SILENCES)
def test_a_row_is_stale_when_its_stack_is_silent(name: str) -> None:
    events, after_s, lease, dead, expected = SILENCES[name]
    states = note_lease(fold_all(States(), [STARTED, *events]), "host-a", lease, at(0), dead)
    assert states.stale(states.rows[WEB], at(after_s)) == expected


def test_a_stack_without_a_lease_counts_as_heard_of() -> None:
    states = fold(States(), STARTED)
    assert states.stale(states.rows[WEB], at(9999)) is None


def test_the_observers_own_records_are_no_rows() -> None:
    states = recall([("host-a._observe.process-compose", record_of(None, AWAY))])
    assert not states.rows and states.stacks["host-a"].source == "unhealthy"


def test_a_namespace_that_looks_like_the_observers_is_a_users() -> None:
    states = fold(States(), told("started", 1, namespace=OBSERVE, process="adapter"))
    assert Place("host-a", OBSERVE, "adapter") in states.rows and not states.stacks["host-a"].adapter


def test_times_are_compared_as_moments_not_as_texts() -> None:
    seen = row_after(STARTED).folded
    assert seen.has(replace(STARTED, observed_at="2026-03-01T12:00:01.000+02:00"))
    assert not seen.has(replace(STARTED, observed_at="2026-03-01T12:00:01.001+02:00"))
    assert parse_time(seen.at) == at(1)
