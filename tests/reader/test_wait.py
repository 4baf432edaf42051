"""Waiting: what each goal is met by, what excludes it, and how a Waiting comes out; all without a clock."""

from dataclasses import replace
from typing import Any

import pytest

from observe_lib.commands.wait import outcome_detail
from observe_lib.reader.states import States
from observe_lib.reader.wait import (
    GOALS,
    REMOVED_GRACE_S,
    RESTART_GRACE_S,
    SOURCE_GRACE_S,
    Outcome,
    Waiting,
    excludes,
    meets,
)
from observe_lib.rows import Place, ProcessRow, Stale
from observe_lib.times import format_time
from tests.fleet import states_of
from tests.reader.test_states import (
    CRASHED,
    GAVE_UP,
    REMOVED,
    RESTARTED,
    STARTED,
    STOPPED,
    UNREADY,
    WEB,
    at,
    told,
)

AWAY = Stale("process-compose", "away", at(0))
LOST = Stale("process-compose", "stopped", at(0))
SILENT = Stale("adapter", "silent", at(0))


def row(status: str, alive: bool = False, **fields: Any) -> ProcessRow:
    return ProcessRow(WEB, status=status, alive=alive, **fields)


#: a row, and which goals it meets while its stack is heard of, and which it never will by itself
ROWS = {
    "running without a probe": (row("Running", True), {"ready", "running"}, {"healthy"}),
    "running, its probe silent yet": (row("Running", True, has_probe=True), {"running"}, set()),
    "not ready": (row("Running", True, has_probe=True, health="Not Ready"), {"running"}, set()),
    "ready": (row("Running", True, has_probe=True, health="Ready"), {"ready", "running", "healthy"}, set()),
    "ready by its log": (row("Running", True, health="Ready"), {"ready", "running", "healthy"}, set()),
    "was ready by its log": (row("Running", True, was_healthy=True), {"ready", "running"}, set()),
    "a daemon": (row("Launched", True), {"ready", "running"}, {"healthy"}),
    "terminating": (row("Terminating", True), set(), {"healthy"}),
    "being launched": (row("Running"), set(), set()),
    "pending": (row("Pending"), set(), set()),
    "restarting": (row("Restarting", exit_code=1, reason="exit"), set(), set()),
    "ended well": (
        row("Completed", exit_code=0, reason="completed", ended_well=True),
        {"ready", "stopped", "completed"},
        {"ready", "running", "healthy", "completed"},
    ),
    "found completed": (
        row("Completed", exit_code=7, ended_well=True),
        {"ready", "stopped", "completed"},
        {"ready", "running", "healthy", "completed"},
    ),
    "ended well, with a probe": (
        row("Completed", exit_code=0, reason="completed", ended_well=True, has_probe=True),
        {"stopped", "completed"},
        {"ready", "running", "healthy", "completed"},
    ),
    "stopped": (
        row("Completed", exit_code=0, reason="requested"),
        {"stopped"},
        {"ready", "running", "healthy", "completed"},
    ),
    "crashed": (
        row("Completed", exit_code=3, reason="exit"),
        {"stopped"},
        {"ready", "running", "healthy", "completed"},
    ),
    "skipped": (row("Skipped"), {"stopped"}, {"ready", "running", "healthy", "completed"}),
    "disabled": (row("Disabled"), {"stopped"}, {"ready", "running", "healthy", "completed"}),
    "not launched": (
        row("Error", reason="launch_failed"),
        {"stopped"},
        {"ready", "running", "healthy", "completed"},
    ),
    "scheduled, never ran": (row("Scheduled"), {"stopped"}, set()),
    "scheduled, ran well": (
        row("Scheduled", exit_code=0, reason="completed", ended_well=True),
        {"ready", "stopped", "completed"},
        set(),
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_what_a_process_is_and_can_become(name: str) -> None:
    found, met, excluded = ROWS[name]
    assert {goal for goal in GOALS if meets(found, goal)} == met
    assert {goal for goal in GOALS if excludes(found, goal)} == excluded


@pytest.mark.parametrize(
    "goal, stale, expected",
    [
        ("running", SILENT, False),
        ("ready", AWAY, False),
        ("stopped", AWAY, False),
        ("stopped", LOST, True),
        ("running", LOST, False),
    ],
)
def test_what_lives_is_believed_only_while_its_stack_is_heard_of(goal, stale, expected) -> None:
    assert meets(row("Running", True), goal, stale) is expected


ALIVE: dict[str, Any] = {}
GONE = {"source": "stopped", "source_since": format_time(at(9))}
QUIET = {"source": "unhealthy", "source_since": format_time(at(9))}


def looked(
    waiting: Waiting, *events: Any, clock: float = 0.0, seconds: float = 10, **leases: dict[str, Any]
) -> list[tuple[str, bool, str]]:
    """What comes out at a look so many `seconds` after T0; `leases`, by `host_a`, were just renewed."""
    named = {name.replace("_", "-"): lease for name, lease in ({"host_a": ALIVE} | leases).items()}
    outcomes = waiting.look(states_of(*events, leases=named, beat_at=at(seconds)), at(seconds), clock)
    return [(str(one.place), one.reached, one.word) for one in outcomes]


def test_all_named_have_to_come_out() -> None:
    waiting = Waiting(["web", "api"], ["running"], 0.0)
    assert looked(waiting, STARTED) == [("default/web", True, "running")]
    assert not waiting.over
    assert looked(waiting, STARTED, replace(STARTED, process="api")) == [("default/api", True, "running")]
    assert waiting.over and waiting.failure() is None


def test_any_of_several_goals_will_do() -> None:
    waiting = Waiting(["web"], ["healthy", "completed"], 0.0)
    assert looked(waiting, STARTED) == []  # it may complete, though it has no probe
    assert looked(waiting, STARTED, STOPPED) == [("default/web", True, "completed")]


def test_a_name_that_does_not_exist_is_waited_for() -> None:
    waiting = Waiting(["api"], ["ready"], 0.0)
    assert looked(waiting, STARTED) == [] and not waiting.over
    error = waiting.timed_out(States(), at(60), 60.0)
    assert str(error) == "no process matched 'api' within 1m" and error.exit_code == 124


def test_what_failed_ends_it_and_says_why() -> None:
    waiting = Waiting(["web"], ["healthy"], 0.0)
    assert looked(waiting, STARTED, GAVE_UP) == [("default/web", False, "crashed")]
    error = waiting.failure()
    assert waiting.over and error is not None and error.exit_code == 3
    assert str(error) == "default/web crashed before it was healthy"
    assert error.hint == "see its last words: python observe.py show default/web"


def test_a_process_without_a_probe_cannot_become_healthy() -> None:
    waiting = Waiting(["web"], ["healthy"], 0.0)
    looked(waiting, STARTED)
    assert str(waiting.failure()) == "default/web has no readiness probe, so it cannot become healthy"


# --- what is given up at ---


def test_a_crash_before_a_restart_fails_only_if_asked() -> None:
    patient = Waiting(["web"], ["completed"], 0.0)
    strict = Waiting(["web"], ["completed"], 0.0, fail_on=["crashed"])
    for waiting in (patient, strict):
        assert looked(waiting, STARTED) == []
    assert looked(patient, STARTED, CRASHED) == []
    assert looked(strict, STARTED, CRASHED) == [("default/web", False, "crashed")]
    outcome = strict.outcomes[WEB]
    assert outcome == Outcome(WEB, False, "crashed", 0.0, outcome.event)
    assert outcome_detail(outcome) == "exit 3: bye"


def test_a_crash_between_two_rows_is_seen_by_the_count() -> None:
    waiting = Waiting(["web"], ["completed"], 0.0, fail_on=["crashed"])
    assert looked(waiting, STARTED) == []
    assert looked(waiting, STARTED, CRASHED, RESTARTED) == [("default/web", False, "crashed")]


def test_what_crashed_before_the_waiting_began_does_not_fail_it() -> None:
    waiting = Waiting(["web"], ["completed"], 0.0, fail_on=["crashed"])
    assert looked(waiting, STARTED, CRASHED, RESTARTED) == []
    again = replace(CRASHED, seq=6, timestamp=format_time(at(11)))
    assert looked(waiting, STARTED, CRASHED, RESTARTED, again) == [("default/web", False, "crashed")]


@pytest.mark.parametrize("crashed_at, fails", [(11, True), (4, False)])
def test_of_a_name_that_appears_later_only_what_happened_since_counts(crashed_at, fails) -> None:
    waiting = Waiting(["web"], ["completed"], 0.0, fail_on=["crashed"])
    assert looked(waiting) == []
    crash = replace(CRASHED, timestamp=format_time(at(crashed_at)))
    assert bool(looked(waiting, STARTED, crash)) is fails


@pytest.mark.parametrize(
    "event",
    [
        replace(CRASHED, stack="host-b"),
        replace(CRASHED, process="api"),
        replace(UNREADY, seq=9),
    ],
    ids=["another stack", "another process", "another type"],
)
def test_only_such_an_event_of_this_process_fails_it(event: Any) -> None:
    waiting = Waiting(["default/web"], ["completed"], 0.0, fail_on=["crashed"])
    assert looked(waiting, STARTED) == []
    assert looked(waiting, STARTED, event) == []


@pytest.mark.parametrize("starting, fails", [(True, False), (False, True)])
def test_unhealthy_leaves_out_what_is_starting(starting: bool, fails: bool) -> None:
    waiting = Waiting(["web"], ["completed"], 0.0, fail_on=["unhealthy"])
    assert looked(waiting, STARTED) == []
    assert bool(looked(waiting, STARTED, replace(UNREADY, starting=starting))) is fails


# --- what cannot be any more ---


def stopped_at(seconds: float) -> Any:
    return told("stopped", 6, seconds, reason="requested", status="Completed", new_status="Completed")


def test_a_requested_stop_may_be_half_of_a_restart() -> None:
    waiting = Waiting(["web"], ["running"], 0.0)
    assert looked(waiting, STARTED, stopped_at(9), clock=1.0) == []
    restarted = told("restarted", 7)
    assert looked(waiting, STARTED, stopped_at(9), restarted, clock=2.0) == [("default/web", True, "running")]
    waiting = Waiting(["web"], ["running"], 0.0)
    assert looked(waiting, STARTED, stopped_at(9), clock=1.0) == []
    late = looked(waiting, STARTED, stopped_at(9), clock=1.0 + RESTART_GRACE_S)
    assert late == [("default/web", False, "stopped")]


def test_what_was_stopped_minutes_ago_is_impossible_at_once() -> None:
    waiting = Waiting(["web"], ["running"], 0.0)
    assert looked(waiting, STARTED, stopped_at(9), seconds=200) == [("default/web", False, "stopped")]


def test_a_process_compose_that_goes_ends_it_at_once() -> None:
    waiting = Waiting(["web"], ["healthy"], 0.0)
    assert looked(waiting, STARTED, UNREADY) == []
    assert looked(waiting, STARTED, UNREADY, host_a=GONE, clock=1.0) == [("default/web", False, "gone")]
    assert str(waiting.failure()) == "default/web cannot become healthy: its process-compose is gone"


def test_one_that_was_gone_already_may_be_starting_just_now() -> None:
    waiting = Waiting(["web"], ["ready"], 0.0)
    assert looked(waiting, STARTED, host_a=GONE, clock=0.0) == []
    assert looked(waiting, STARTED, clock=3.0) == [("default/web", True, "ready")]
    waiting = Waiting(["web"], ["ready"], 0.0)
    assert looked(waiting, STARTED, host_a=GONE, clock=0.0) == []
    assert looked(waiting, STARTED, host_a=GONE, clock=SOURCE_GRACE_S) == [("default/web", False, "gone")]


def test_stopped_is_reached_when_process_compose_goes() -> None:
    waiting = Waiting(["web"], ["stopped"], 0.0)
    assert looked(waiting, STARTED, host_a=GONE) == [("default/web", True, "stopped")]


@pytest.mark.parametrize(
    "goal, outcome",
    [("healthy", ("default/web", False, "removed")), ("stopped", ("default/web", True, "stopped"))],
)
def test_a_name_that_is_removed_meanwhile_is_not_waited_for(goal, outcome) -> None:
    waiting = Waiting(["web"], [goal], 0.0)
    assert looked(waiting, STARTED, UNREADY) == []
    assert looked(waiting, STARTED, REMOVED, clock=1.0) == []  # it may come back at once
    assert looked(waiting, STARTED, REMOVED, clock=1.0 + REMOVED_GRACE_S) == [outcome]
    if goal == "healthy":
        assert str(waiting.failure()) == "default/web was removed before it was healthy"


def test_a_renamed_process_is_not_stopped() -> None:
    waiting = Waiting(["web"], ["stopped"], 0.0, is_renamed=lambda place: place == WEB)
    assert looked(waiting, STARTED) == []
    assert looked(waiting, STARTED, REMOVED, clock=1.0) == [("default/web", False, "renamed")]
    assert str(waiting.failure()) == "default/web was renamed before it was stopped"


def test_a_bucket_that_is_made_anew_removes_nothing() -> None:
    waiting = Waiting(["web"], ["stopped"], 0.0)
    assert looked(waiting, STARTED) == []
    for clock in (1.0, 10.0):
        assert waiting.look(States(), at(10), clock) == []


# --- several stacks ---


def test_two_stacks_with_the_same_name_both_count() -> None:
    waiting = Waiting(["web"], ["ready"], 0.0)
    other = replace(STARTED, stack="host-b", state={**STARTED.state, "has_ready_probe": True})
    assert looked(waiting, STARTED, other) == [("default/web", True, "ready")] and not waiting.over
    assert looked(Waiting(["web"], ["ready"], 0.0, stack="host-a"), STARTED, other) != []


def test_of_two_stacks_with_the_same_name_each_is_named() -> None:
    waiting = Waiting(["web"], ["completed"], 0.0, fail_on=["crashed"])
    other = replace(STARTED, stack="host-b")
    assert looked(waiting, STARTED, other) == []
    crash = replace(CRASHED, stack="host-b")
    assert looked(waiting, STARTED, other, crash) == [("default/web", False, "crashed")]
    (outcome,), failure = waiting.outcomes.values(), waiting.failure()
    assert outcome.place.stack == "host-b" and outcome.shared
    assert str(failure) == "default/web on host-b crashed before it was completed"
    assert failure is not None and failure.hint.endswith("show default/web --stack host-b")


def test_a_stack_that_is_not_heard_of_counts_only_if_no_other_has_the_name() -> None:
    dead, other = {"stopped": True}, replace(STARTED, stack="host-b")
    waiting = Waiting(["web"], ["ready"], 0.0)
    assert looked(waiting, STARTED, other, host_b=dead) != [] and waiting.over
    waiting = Waiting(["web"], ["ready"], 0.0)
    assert looked(waiting, other, host_b=dead) == [] and not waiting.over


TIMEOUTS = {
    "not ready": ([STARTED, UNREADY], ALIVE, "Running, Not Ready"),
    "away": ([STARTED], QUIET, "its process-compose does not answer"),
}


@pytest.mark.parametrize("name", TIMEOUTS)
def test_a_timeout_says_what_it_was_instead(name: str) -> None:
    events, lease, why = TIMEOUTS[name]
    waiting = Waiting(["web"], ["healthy"], 0.0)
    looked(waiting, *events, host_a=lease)
    states = states_of(*events, leases={"host-a": lease}, beat_at=at(10))
    error = waiting.timed_out(states, at(10), 60.0)
    assert str(error) == f"default/web was not healthy within 1m ({why})"


def test_a_place_prints_as_people_write_it() -> None:
    assert str(Place("host-a", "shop", "api")) == "shop/api"
