"""What is now, made of the rows that an adapter writes: what a row says after a history, which rows match."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from observe_lib.events import Event
from observe_lib.reader.states import States
from observe_lib.rows import Place
from observe_lib.subjects import OBSERVE, observer_subject
from observe_lib.times import UTC, format_time
from tests.fleet import row_after, states_of

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
        dict(health="Ready", has_probe=True, was_healthy=True, since=at(1), last_type="healthy"),
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
            crashed_at=at(4),
            reason="exit",
            ended_well=False,
        ),
    ),
    "restarted": (
        [STARTED, CRASHED, RESTARTED],
        dict(
            alive=True,
            pid=101,
            restarts=1,
            since=at(5),
            exit_code=None,
            reason="",
            crashed_at=at(4),
            crashes=1,
        ),
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
    "removed, then there again": (
        [STARTED, REMOVED, told("started", 1, 60, new_status="Running")],
        dict(alive=True, since=at(60)),
    ),
    "a companion is not the last event": (
        [STARTED, told("status_changed", 2, companion=True, new_status="Running")],
        dict(last_type="started", last_at=at(1)),
    ),
    "launch failed": (
        [told("crashed", 1, reason="launch_failed", status="Error", pid=0)],
        dict(alive=False, status="Error", exit_code=None, reason="launch_failed"),
    ),
}


@pytest.mark.parametrize("history", HISTORIES)
def test_a_row_says_what_its_history_made_of_it(history: str) -> None:
    events, expected = HISTORIES[history]
    row = row_after(*events)
    assert {name: getattr(row, name) for name in expected} == expected


def test_the_last_events_are_read_back_without_state_and_log() -> None:
    row = row_after(STARTED, CRASHED, RESTARTED)
    assert row.last == replace(RESTARTED, state=None, schema=None)
    assert row.last_crash == replace(CRASHED, state=None, schema=None, log_tail=None, extra={"why": "bye"})
    assert row_after(STARTED).last_crash is None


def places(states: States, *patterns: str, stack: str | None = None) -> list[str]:
    return [f"{row.place.stack} {row.place}" for row in states.select(patterns, stack)]


API = replace(STARTED, process="api", namespace="shop")
BOTH = replace(API, process="feed", namespaces=["shop", "data"])


@pytest.mark.parametrize(
    "patterns, stack, expected",
    [
        ((), None, ["host-a default/web", "host-a shop/api", "host-a shop/feed", "host-b default/web"]),
        (("web",), None, ["host-a default/web", "host-b default/web"]),
        (("default/web",), "host-b", ["host-b default/web"]),
        (("shop/*",), None, ["host-a shop/api", "host-a shop/feed"]),
        (("data/*", "shop/f*"), None, ["host-a shop/feed"]),  # one of two namespaces, shown once
        (("data/feed",), None, ["host-a shop/feed"]),
        (("nope", "api"), None, ["host-a shop/api"]),
        ((), "host-c", []),
    ],
    ids=str,
)
def test_which_rows_are_selected(patterns, stack, expected) -> None:
    states = states_of(STARTED, API, BOTH, replace(STARTED, stack="host-b"))
    assert places(states, *patterns, stack=stack) == expected


def test_what_was_removed_or_renamed_has_no_row() -> None:
    renamed = told("status_changed", 2, new_status="Running", renamed_to="default/web-0")
    assert not states_of(STARTED, REMOVED).rows and not states_of(STARTED, renamed).rows


def test_a_stack_without_a_lease_counts_as_heard_of() -> None:
    states = states_of(STARTED)
    assert states.stale(states.rows[WEB], at(9999)) is None
