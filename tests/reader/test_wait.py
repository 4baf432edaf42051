"""Waiting: what each goal is met by, what excludes it, and how a Vigil comes out; all without a clock."""

from dataclasses import replace
from typing import Any

import pytest

from observe_lib.reader.states import Place, ProcessRow, Silence, StackRow, States, fold_all
from observe_lib.reader.wait import GOALS, RESTART_GRACE_S, SOURCE_GRACE_S, Outcome, Vigil, excludes, meets
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

AWAY = Silence("process-compose", "away", at(0))
LOST = Silence("process-compose", "stopped", at(0))
SILENT = Silence("adapter", "silent", at(0))


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
    "goal, silence, expected",
    [
        ("running", SILENT, False),
        ("ready", AWAY, False),
        ("stopped", AWAY, False),
        ("stopped", LOST, True),
        ("running", LOST, False),
    ],
)
def test_what_lives_is_believed_only_while_its_stack_is_heard_of(goal, silence, expected) -> None:
    assert meets(row("Running", True), goal, silence) is expected


def looked(
    vigil: Vigil, *events: Any, clock: float = 0.0, states: States | None = None
) -> list[tuple[str, bool, str]]:
    found = fold_all(states or States(), events)
    outcomes = vigil.look(found, at(10), clock)
    return [(str(one.place), one.reached, one.word) for one in outcomes]


def test_all_named_have_to_come_out() -> None:
    vigil = Vigil(["web", "api"], ["running"], 0.0)
    assert looked(vigil, STARTED) == [("default/web", True, "running")]
    assert not vigil.over
    assert looked(vigil, STARTED, replace(STARTED, process="api")) == [("default/api", True, "running")]
    assert vigil.over and vigil.failure() is None


def test_any_of_several_goals_will_do() -> None:
    vigil = Vigil(["web"], ["healthy", "completed"], 0.0)
    assert looked(vigil, STARTED) == []  # it may complete, though it has no probe
    assert looked(vigil, STARTED, STOPPED) == [("default/web", True, "completed")]


def test_a_name_that_does_not_exist_is_waited_for() -> None:
    vigil = Vigil(["api"], ["ready"], 0.0)
    assert looked(vigil, STARTED) == [] and not vigil.over
    error = vigil.timed_out(States(), at(60), 60.0)
    assert str(error) == "no process matched 'api' within 1m" and error.exit_code == 124


def test_what_failed_ends_it_and_says_why() -> None:
    vigil = Vigil(["web"], ["healthy"], 0.0)
    assert looked(vigil, STARTED, GAVE_UP) == [("default/web", False, "crashed")]
    error = vigil.failure()
    assert vigil.over and error is not None and error.exit_code == 3
    assert str(error) == "default/web crashed before it was healthy"
    assert error.hint == "see its last words: python observe.py show default/web"


def test_a_process_without_a_probe_cannot_become_healthy() -> None:
    vigil = Vigil(["web"], ["healthy"], 0.0)
    looked(vigil, STARTED)
    assert str(vigil.failure()) == "default/web has no readiness probe, so it cannot become healthy"


def test_a_crash_before_a_restart_fails_only_if_asked() -> None:
    patient = Vigil(["web"], ["completed"], 0.0)
    strict = Vigil(["web"], ["completed"], 0.0, fail_on=["crashed"])
    for vigil in (patient, strict):
        vigil.hear(CRASHED)
    assert looked(patient, STARTED, CRASHED) == []
    assert looked(strict, STARTED, CRASHED) == [("default/web", False, "crashed")]
    assert strict.outcomes[WEB] == Outcome(WEB, False, "crashed", 0.0, "exit 3: bye")


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
    vigil = Vigil(["web"], ["completed"], 0.0, fail_on=["crashed"])
    vigil.hear(event)
    assert looked(vigil, STARTED) == []


def test_a_requested_stop_may_be_half_of_a_restart() -> None:
    stopped = told("stopped", 6, reason="requested", status="Completed", new_status="Completed")
    vigil = Vigil(["web"], ["running"], 0.0)
    assert looked(vigil, STARTED, stopped, clock=1.0) == []
    restarted = told("restarted", 7)
    assert looked(vigil, STARTED, stopped, restarted, clock=2.0) == [("default/web", True, "running")]
    vigil = Vigil(["web"], ["running"], 0.0)
    assert looked(vigil, STARTED, stopped, clock=1.0) == []
    assert looked(vigil, STARTED, stopped, clock=1.0 + RESTART_GRACE_S) == [("default/web", False, "stopped")]


GONE = of_observer("process-compose", "stopped", 9)


def test_a_process_compose_that_goes_ends_it_at_once() -> None:
    vigil = Vigil(["web"], ["healthy"], 0.0)
    ready = replace(READY, health="Not Ready", type="unhealthy")
    assert looked(vigil, STARTED, ready) == []
    assert looked(vigil, STARTED, ready, GONE, clock=1.0) == [("default/web", False, "gone")]
    assert str(vigil.failure()) == "default/web cannot become healthy: its process-compose is gone"


def test_one_that_was_gone_already_may_be_starting_just_now() -> None:
    vigil = Vigil(["web"], ["ready"], 0.0)
    assert looked(vigil, STARTED, GONE, clock=0.0) == []
    back = of_observer("process-compose", "started", 11)
    assert looked(vigil, STARTED, GONE, back, clock=3.0) == [("default/web", True, "ready")]
    vigil = Vigil(["web"], ["ready"], 0.0)
    assert looked(vigil, STARTED, GONE, clock=0.0) == []
    assert looked(vigil, STARTED, GONE, clock=SOURCE_GRACE_S) == [("default/web", False, "gone")]


def test_stopped_is_reached_when_process_compose_goes() -> None:
    vigil = Vigil(["web"], ["stopped"], 0.0)
    assert looked(vigil, STARTED, GONE) == [("default/web", True, "stopped")]


def test_a_name_that_is_removed_meanwhile_is_not_waited_for() -> None:
    vigil = Vigil(["web"], ["healthy"], 0.0)
    assert looked(vigil, STARTED, replace(READY, type="unhealthy", health="Not Ready")) == []
    assert looked(vigil, STARTED, READY, REMOVED) == [("default/web", False, "removed")]
    assert str(vigil.failure()) == "default/web was removed before it was healthy"


def test_two_stacks_with_the_same_name_both_count() -> None:
    vigil = Vigil(["web"], ["ready"], 0.0)
    other = replace(STARTED, stack="host-b", state={**STARTED.state, "has_ready_probe": True})
    assert looked(vigil, STARTED, other) == [("default/web", True, "ready")] and not vigil.over
    assert looked(Vigil(["web"], ["ready"], 0.0, stack="host-a"), STARTED, other) != []


def test_of_two_stacks_with_the_same_name_each_is_named() -> None:
    vigil = Vigil(["web"], ["completed"], 0.0, fail_on=["crashed"])
    other = replace(STARTED, stack="host-b")
    vigil.hear(replace(CRASHED, stack="host-b"))
    assert looked(vigil, STARTED, other) == [("default/web", False, "crashed")]
    (outcome,), failure = vigil.outcomes.values(), vigil.failure()
    assert outcome.place.stack == "host-b" and outcome.shared
    assert str(failure) == "default/web on host-b crashed before it was completed"
    assert failure is not None and failure.hint.endswith("show default/web --stack host-b")


def test_a_stack_that_is_not_heard_of_counts_only_if_no_other_has_the_name() -> None:
    dead = StackRow("host-b", lease={"stopped": True}, beat_at=at(0))
    states = States({}, {"host-b": dead})
    vigil = Vigil(["web"], ["ready"], 0.0)
    assert looked(vigil, STARTED, replace(STARTED, stack="host-b"), states=states) != [] and vigil.over
    vigil = Vigil(["web"], ["ready"], 0.0)
    assert looked(vigil, replace(STARTED, stack="host-b"), states=states) == [] and not vigil.over


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
    vigil = Vigil(["web"], ["healthy"], 0.0)
    looked(vigil, *events)
    error = vigil.timed_out(fold_all(States(), events), at(10), 60.0)
    assert str(error) == f"default/web was not healthy within 1m ({why})"


def test_a_place_prints_as_people_write_it() -> None:
    assert str(Place("host-a", "shop", "api")) == "shop/api"
