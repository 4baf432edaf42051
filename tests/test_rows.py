"""The row and the lease as a reader reads them: what is bounded, and what the clock makes of them."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from observe_lib.rows import CONDITIONS, STALE_S, Place, ProcessRow, StackRow, Stale
from observe_lib.times import UTC, format_time

T0 = datetime(2026, 3, 1, 10, 30, tzinfo=UTC)
WEB = Place("host-a", "default", "web")
EVENT = {
    "type": "crashed",
    "timestamp": "2026-03-01T10:29:00.000Z",
    "seq": 4,
    "exit_code": 3,
    "reason": "exit",
}
ROW: dict[str, Any] = {
    "stack": "host-a",
    "namespace": "default",
    "process": "web",
    "status": "Completed",
    "alive": False,
    "ended_at": "2026-03-01T10:29:00.000Z",
    "exit_code": 3,
    "reason": "exit",
    "restarts": 2,
    "crash_hours": {"2026-02-28T10": 7, "2026-02-28T11": 1, "2026-03-01T10": 2},
    "last_event": EVENT,
    "last_crash": {**EVENT, "why": "KeyError: 'x'"},
    "events": {"crashed": {"count": 10, "last": "2026-03-01T10:29:00.000Z"}},
}


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def stored(**changes: Any) -> bytes:
    found = {"schema": 2, "row": {**ROW, **changes}, "seq": 12, "at": "2026-03-01T10:29:01.000Z"}
    found["row"] = {name: value for name, value in found["row"].items() if value is not ...}
    return json.dumps(found).encode()


def row(**fields: Any) -> ProcessRow:
    return ProcessRow(WEB, **fields)


# --- what is bounded ---


def test_a_row_is_read() -> None:
    found = ProcessRow.read(stored())
    assert (found.place, found.status, found.exit_code, found.seq) == (WEB, "Completed", 3, 12)
    assert (found.crashes, found.crashed_at, found.last_type) == (10, at(-60), "crashed")
    assert found.last_crash is not None and found.last_crash.extra == {"why": "KeyError: 'x'"}
    assert ProcessRow.read(stored(later="field")).told["later"] == "field"


@pytest.mark.parametrize(
    "changes",
    [
        {"stack": ...},
        {"process": ""},
        {"namespace": 3},
        {"status": ...},
        {"status": ["Running"]},
        {"alive": ...},
        {"alive": 1},
        {"pid": 2**63},
        {"pid": True},
        {"restarts": 1.5},
        {"exit_code": 10**400},
        {"exit_code": "3"},
        {"since": "yesterday"},
        {"since": 12},
        {"since": "0001-01-01T00:00:00Z"},
        {"ended_at": "99999-01-01T00:00:00Z"},
        {"flapping_until": {}},
        {"namespaces": "shop"},
        {"namespaces": ["shop", 3]},
        {"crash_hours": []},
        {"crash_hours": {"2026-03-01T10": "2"}},
        {"crash_hours": {"2026-03-01T10": 10**30}},
        {"last_event": "crashed"},
        {"last_event": {"type": "crashed"}},
        {"last_event": {**EVENT, "timestamp": "soon"}},
        {"last_crash": {**EVENT, "timestamp": "1969-12-31T23:59:59Z"}},
        {"events": {"crashed": 3}},
        {"events": {"crashed": {"count": 3}}},
        {"events": {"crashed": {"count": -(10**30), "last": "2026-03-01T10:29:00.000Z"}}},
        {"events": {"healthy": {"count": 1, "last": "never"}}},
    ],
    ids=str,
)
def test_what_is_not_sane_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        ProcessRow.read(stored(**changes))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b'{"row": 3}',
        b'{"schema": 1, "state": {}, "events": []}',
        b"\xff\xfe",
        stored().replace(b"12", b"NaN"),
        stored().replace(b'"seq": 12', b'"seq": "12"'),
        stored().replace(b'"restarts": 2', b'"restarts": Infinity'),
        stored().replace(b'"restarts": 2', b'"restarts": 1e999'),
        b"[" * 100_000,
    ],
    ids=lambda payload: repr(payload[:30]),
)
def test_what_is_no_row_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError):
        ProcessRow.read(payload)


def test_an_event_in_a_row_that_makes_no_sense_is_shown_by_its_type_alone() -> None:
    found = ProcessRow.read(stored(last_event={**EVENT, "exit_code": "three", "run_seconds": []}))
    assert found.last is not None and (found.last.type, found.last.exit_code) == ("crashed", None)


# --- what the clock makes of it ---


@pytest.mark.parametrize("hours, expected", [(0, 3), (1, 2), (23, 2), (24, 0), (900, 0), (-1, 10)])
def test_crashes_are_those_of_24_hours(hours: int, expected: int) -> None:
    assert ProcessRow.read(stored()).crashes_24h(T0 + timedelta(hours=hours)) == expected


CONDITIONS_OF = [
    (dict(alive=True, status="Running"), "up"),
    (dict(alive=True, status="Running", health="Ready"), "up"),
    (dict(alive=True, status="Running", health="Not Ready"), "unhealthy"),
    (dict(alive=True, status="Running", health="Not Ready", starting=True), "starting"),
    (dict(alive=True, status="Terminating"), "up"),
    (dict(alive=True, status="Running", flapping_until=at(1)), "flapping"),
    (dict(alive=True, status="Running", flapping_until=at(0)), "up"),
    (dict(status="Restarting", reason="exit", flapping_until=at(1)), "flapping"),
    (dict(status="Completed", reason="exit", exit_code=3, flapping_until=at(1)), "crashed"),
    (dict(status="Completed", reason="requested", flapping_until=at(1)), "down"),
    (dict(status="Completed", exit_code=0, ended_well=True), "done"),
    (dict(status="Completed", exit_code=9, ended_well=True), "done"),
    (dict(status="Completed", exit_code=9), "crashed"),
    (dict(status="Completed", exit_code=1, reason="requested"), "down"),
    (dict(status="Completed", exit_code=143), "down"),
    (dict(status="Completed", reason="probe"), "crashed"),
    (dict(status="Restarting", reason="exit", exit_code=1), "crashed"),
    (dict(status="Error"), "crashed"),
    (dict(status="Scheduled", exit_code=0, ended_well=True), "idle"),
    (dict(status="Disabled"), "idle"),
    (dict(status="Skipped"), "idle"),
    (dict(status=""), "down"),
]


@pytest.mark.parametrize("fields, expected", CONDITIONS_OF, ids=str)
def test_the_condition_of_a_process(fields: dict[str, Any], expected: str) -> None:
    assert row(**fields).condition(T0) == expected in CONDITIONS
    assert row(**fields).condition(T0, Stale("adapter", "silent", T0)) == "stale"
    assert row(**fields).condition(T0, Stale("process-compose", "stopped", T0)) == "ended"


def test_json_is_the_row_as_it_was_told_and_what_the_clock_makes_of_it() -> None:
    assert ProcessRow.read(stored()).to_dict(T0) == {**ROW, "crashes_24h": 3}
    runs = {"status": "Running", "alive": True, "since": format_time(at(-90))}
    found = ProcessRow.read(stored(**runs, flapping_until=format_time(at(60))))
    more = {"up_seconds": 90.0, "flapping": True, "crashes_24h": 3}
    assert found.to_dict(T0) == {**ROW, **runs, "flapping_until": format_time(at(60)), **more}
    away = found.to_dict(T0, Stale("process-compose", "away", at(-5), "refused"))
    assert (away["stale"], away["stale_reason"]) == (True, "process-compose away")
    assert away["stale_since"] == format_time(at(-5))
    assert found.to_dict(T0, Stale("adapter", "stopped", None))["ended"] is True


def test_events_are_counted_by_type_starts_left_out() -> None:
    last = {"last": format_time(T0)}
    found = ProcessRow.read(stored(events={"unhealthy": {"count": 5, "starting": 3, **last}}))
    assert found.count_of("unhealthy") == (2, T0)
    assert found.count_of("crashed") == (0, None)


# --- the lease ---

LEASE = {"owner": "x", "pid": 1, "host": "host-a", "waiting": 12}
AWAY = {"source": "unhealthy", "source_since": format_time(at(58)), "source_error": "connection refused"}
SILENCES: dict[str, tuple[dict[str, Any], float, bool, Stale | None]] = {
    "all is well": (LEASE, 5, False, None),
    "no heartbeat": (LEASE, STALE_S + 1, False, Stale("adapter", "silent", at(0))),
    "its process is dead": (LEASE, 5, True, Stale("adapter", "silent", at(0))),
    "said goodbye": ({**LEASE, "stopped": True}, 5, True, Stale("adapter", "stopped", at(0))),
    "compose away": (AWAY, 5, False, Stale("process-compose", "away", at(58), "connection refused")),
    "compose back": ({"source": "healthy", "source_since": format_time(at(70))}, 5, False, None),
    "compose gone": (
        {"source": "stopped", "source_since": format_time(at(9))},
        5,
        False,
        Stale("process-compose", "stopped", at(9)),
    ),
    "compose gone, then its adapter killed": (
        {"source": "stopped", "source_since": format_time(at(9))},
        900,
        True,
        Stale("process-compose", "stopped", at(9)),
    ),
    "away, and then no heartbeat": (AWAY, 90, False, Stale("adapter", "silent", at(0))),
}


@pytest.mark.parametrize("name", SILENCES)
def test_a_stack_is_stale_when_it_is_not_heard_of(name: str) -> None:
    lease, after_s, dead, expected = SILENCES[name]
    read = StackRow.read("host-a", json.dumps(lease).encode(), at(0))
    assert StackRow(read.name, read.beat_at, read.lease, dead).stale(at(after_s)) == expected


def test_who_stopped_it_on_purpose_ended_it() -> None:
    words = {stale.word for _, _, _, stale in SILENCES.values() if stale and stale.reason == "stopped"}
    others = {stale.word for _, _, _, stale in SILENCES.values() if stale and stale.reason != "stopped"}
    assert (words, others) == ({"ended"}, {"stale"})


def test_what_does_not_apply_is_absent_from_a_lease() -> None:
    read = StackRow.read("host-a", b'{"owner": "x", "last_reply": null, "source": null}', at(0))
    assert read.lease == {"owner": "x"} and read.waiting == 0
    assert StackRow.read("host-a", json.dumps(LEASE).encode(), at(0)).waiting == 12


@pytest.mark.parametrize(
    "changes",
    [
        {"waiting": "12"},
        {"waiting": 10**30},
        {"pid": 1.5},
        {"stopped": "yes"},
        {"source": 3},
        {"source_since": "soon"},
        {"source_error": ["x"]},
        {"host": {}},
    ],
    ids=str,
)
def test_a_lease_that_is_not_sane_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        StackRow.read("host-a", json.dumps({**LEASE, **changes}).encode(), at(0))
