"""Waiting: what each goal is met by, what excludes it, and how a Waiting comes out; all without a clock."""

from dataclasses import replace
from typing import Any

import pytest

from observe_lib.commands.wait import outcome_detail
from observe_lib.reader.states import StackRow, Stale, States, fold_all
from observe_lib.reader.wait import GOALS, RESTART_GRACE_S, SOURCE_GRACE_S, Outcome, Waiting, excludes, meets
from observe_lib.rows import Place, ProcessRow
from tests.reader.test_states import (
    CRASHED,
    GAVE_UP,
    READY,
    REMOVED,
    STARTED,
    STOPPED,
    WEB,
    at,
    of_observer,
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
        row("Completed", exit_code=0, reason="completed"),
        {"ready", "stopped", "completed"},
        {"ready", "running", "healthy", "completed"},
    ),
    "found completed": (
        row("Completed", exit_code=7, state={"success_exit_codes": [7]}),
        {"ready", "stopped", "completed"},
        {"ready", "running", "healthy", "completed"},
    ),
    "ended well, with a probe": (
        row("Completed", exit_code=0, reason="completed", has_probe=True),
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
        row("Scheduled", exit_code=0, reason="completed"),
        {"ready", "stopped", "completed"},
        set(),
    ),
    "gone": (row("Removed", gone=True), {"stopped"}, {"ready", "running", "healthy", "completed"}),
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


def looked(
    waiting: Waiting, *events: Any, clock: float = 0.0, states: States | None = None
) -> list[tuple[str, bool, str]]:
    found = fold_all(states or States(), events)
    outcomes = waiting.look(found, at(10), clock)
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


def test_a_crash_before_a_restart_fails_only_if_asked() -> None:
    patient = Waiting(["web"], ["completed"], 0.0)
    strict = Waiting(["web"], ["completed"], 0.0, fail_on=["crashed"])
    for waiting in (patient, strict):
        waiting.hear(CRASHED)
    assert looked(patient, STARTED, CRASHED) == []
    assert looked(strict, STARTED, CRASHED) == [("default/web", False, "crashed")]
    assert strict.outcomes[WEB] == Outcome(WEB, False, "crashed", 0.0, CRASHED)
    assert outcome_detail(strict.outcomes[WEB]) == "exit 3: bye"


@pytest.mark.parametrize(
    "event",
    [
        replace(CRASHED, stack="host-b"),
        replace(CRASHED, process="api"),
        replace(CRASHED, initial=True),
        replace(CRASHED, type="unhealthy"),
    ],
    ids=["another stack", "another process", "from before", "another type"],
)
def test_only_such_an_event_of_this_process_fails_it(event: Any) -> None:
    waiting = Waiting(["web"], ["completed"], 0.0, fail_on=["crashed"])
    waiting.hear(event)
    assert looked(waiting, STARTED) == []


def test_a_requested_stop_may_be_half_of_a_restart() -> None:
    stopped = told("stopped", 6, reason="requested", status="Completed", new_status="Completed")
    waiting = Waiting(["web"], ["running"], 0.0)
    assert looked(waiting, STARTED, stopped, clock=1.0) == []
    restarted = told("restarted", 7)
    assert looked(waiting, STARTED, stopped, restarted, clock=2.0) == [("default/web", True, "running")]
    waiting = Waiting(["web"], ["running"], 0.0)
    assert looked(waiting, STARTED, stopped, clock=1.0) == []
    assert looked(waiting, STARTED, stopped, clock=1.0 + RESTART_GRACE_S) == [
        ("default/web", False, "stopped")
    ]


GONE = of_observer("process-compose", "stopped", 9)


def test_a_process_compose_that_goes_ends_it_at_once() -> None:
    waiting = Waiting(["web"], ["healthy"], 0.0)
    ready = replace(READY, health="Not Ready", type="unhealthy")
    assert looked(waiting, STARTED, ready) == []
    assert looked(waiting, STARTED, ready, GONE, clock=1.0) == [("default/web", False, "gone")]
    assert str(waiting.failure()) == "default/web cannot become healthy: its process-compose is gone"


def test_one_that_was_gone_already_may_be_starting_just_now() -> None:
    waiting = Waiting(["web"], ["ready"], 0.0)
    assert looked(waiting, STARTED, GONE, clock=0.0) == []
    back = of_observer("process-compose", "started", 11)
    assert looked(waiting, STARTED, GONE, back, clock=3.0) == [("default/web", True, "ready")]
    waiting = Waiting(["web"], ["ready"], 0.0)
    assert looked(waiting, STARTED, GONE, clock=0.0) == []
    assert looked(waiting, STARTED, GONE, clock=SOURCE_GRACE_S) == [("default/web", False, "gone")]


def test_stopped_is_reached_when_process_compose_goes() -> None:
    waiting = Waiting(["web"], ["stopped"], 0.0)
    assert looked(waiting, STARTED, GONE) == [("default/web", True, "stopped")]


def test_a_name_that_is_removed_meanwhile_is_not_waited_for() -> None:
    waiting = Waiting(["web"], ["healthy"], 0.0)
    assert looked(waiting, STARTED, replace(READY, type="unhealthy", health="Not Ready")) == []
    assert looked(waiting, STARTED, READY, REMOVED) == [("default/web", False, "removed")]
    assert str(waiting.failure()) == "default/web was removed before it was healthy"


def test_two_stacks_with_the_same_name_both_count() -> None:
    waiting = Waiting(["web"], ["ready"], 0.0)
    other = replace(STARTED, stack="host-b", state={**STARTED.state, "has_ready_probe": True})
    assert looked(waiting, STARTED, other) == [("default/web", True, "ready")] and not waiting.over
    assert looked(Waiting(["web"], ["ready"], 0.0, stack="host-a"), STARTED, other) != []


def test_of_two_stacks_with_the_same_name_each_is_named() -> None:
    waiting = Waiting(["web"], ["completed"], 0.0, fail_on=["crashed"])
    other = replace(STARTED, stack="host-b")
    waiting.hear(replace(CRASHED, stack="host-b"))
    assert looked(waiting, STARTED, other) == [("default/web", False, "crashed")]
    (outcome,), failure = waiting.outcomes.values(), waiting.failure()
    assert outcome.place.stack == "host-b" and outcome.shared
    assert str(failure) == "default/web on host-b crashed before it was completed"
    assert failure is not None and failure.hint.endswith("show default/web --stack host-b")


def test_a_stack_that_is_not_heard_of_counts_only_if_no_other_has_the_name() -> None:
    dead = StackRow("host-b", lease={"stopped": True}, beat_at=at(0))
    states = States({}, {"host-b": dead})
    waiting = Waiting(["web"], ["ready"], 0.0)
    assert looked(waiting, STARTED, replace(STARTED, stack="host-b"), states=states) != [] and waiting.over
    waiting = Waiting(["web"], ["ready"], 0.0)
    assert looked(waiting, replace(STARTED, stack="host-b"), states=states) == [] and not waiting.over


TIMEOUTS = {
    "not ready": ([STARTED, replace(READY, type="unhealthy", health="Not Ready")], "Running, Not Ready"),
    "away": (
        [STARTED, of_observer("process-compose", "unhealthy", 9)],
        "its process-compose does not answer",
    ),
}


@pytest.mark.parametrize("name", TIMEOUTS)
def test_a_timeout_says_what_it_was_instead(name: str) -> None:
    events, why = TIMEOUTS[name]
    waiting = Waiting(["web"], ["healthy"], 0.0)
    looked(waiting, *events)
    error = waiting.timed_out(fold_all(States(), events), at(10), 60.0)
    assert str(error) == f"default/web was not healthy within 1m ({why})"


def test_a_place_prints_as_people_write_it() -> None:
    assert str(Place("host-a", "shop", "api")) == "shop/api"
