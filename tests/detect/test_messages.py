"""What of a push message is laid over what is known of its process; what comes of it, test_changes tells."""

from dataclasses import replace

import pytest

from observe_lib.compose.state import ProcessState
from observe_lib.detect.messages import state_heard
from tests.detect.test_runs import NEVER_RAN, ONE, TWO, known, state

RUNS = known("Running", 7)
WATCHED = replace(RUNS, state=state("Running", 7, is_watched=True))
WAITS = known("Restarting", 7, 1)
#: messages carry what the last GET saw of everything else
LATE = {"age": 1, "mem": -1, "is_running": True}

HEARD = [
    # what is known, the message, what differs in the state
    ("terminating", RUNS, state("Terminating", 7, **LATE), {"status": "Terminating", "is_running": False}),
    ("not ready", RUNS, state("Running", 7, is_ready="Not Ready", **LATE), {"is_ready": "Not Ready"}),
    (
        "restarting",
        RUNS,
        state("Restarting", 7, exit_code=3, **LATE),
        {"status": "Restarting", "is_running": False, "exit_code": 3},
    ),
    (
        "completed",
        RUNS,
        state("Completed", 7, exit_code=3, process_end_time=TWO),
        {"status": "Completed", "is_running": False, "exit_code": 3, "process_end_time": TWO},
    ),
    (
        "another run, and its count of after its end",
        WAITS,
        state("Restarting", 8, 1, exit_code=4, **LATE),
        {"status": "Restarting", "pid": 8, "restarts": 2, "exit_code": 4},
    ),
    (
        "another run that is being stopped",
        WAITS,
        state("Terminating", 8, 1, TWO),
        {"status": "Terminating", "pid": 8, "process_start_time": TWO},
    ),
    (
        "stopped while it waits",
        WAITS,
        state("Completed", 7, 1, process_end_time=TWO),
        {"status": "Completed", "process_end_time": TWO},
    ),
    (
        "a run of a file watch",
        WATCHED,
        state("Completed", 7, process_end_time=TWO),
        {"status": "Watching", "is_running": False, "process_end_time": TWO},
    ),
    (
        "which failed",
        WATCHED,
        state("Completed", 7, exit_code=3, process_end_time=TWO),
        {"status": "Completed", "is_running": False, "exit_code": 3, "process_end_time": TWO},
    ),
    (
        "which was stopped",
        replace(WATCHED, terminating=True),
        state("Completed", 7, process_end_time=TWO),
        {"status": "Completed", "is_running": False, "process_end_time": TWO},
    ),
    (
        "a launch failed",
        NEVER_RAN,
        state("Error", process_end_time=TWO),
        {"status": "Error", "process_end_time": TWO},
    ),
]
NOTHING = [
    ("nobody knows it", None, state("Terminating", 7)),
    ("it runs", RUNS, state("Running", 7)),
    ("it got ready", RUNS, state("Running", 7, is_ready="Ready")),
    ("another run is alive", RUNS, state("Completed", 8)),
    ("terminating again", known("Terminating", 7), state("Terminating", 7)),
    ("that run is over", known("Completed", 7), state("Terminating", 7)),
    ("over twice", known("Completed", 7), state("Completed", 7, process_end_time=TWO)),
    ("stopped before it ran", NEVER_RAN, state("Terminating")),
    ("not ready, and nobody saw it run", WAITS, state("Running", 8, is_ready="Not Ready")),
    ("pending", NEVER_RAN, state("Pending")),
    ("skipped", NEVER_RAN, state("Skipped", exit_code=1, process_end_time=TWO)),
]


@pytest.mark.parametrize("before, message, differs", [pytest.param(*row[1:], id=row[0]) for row in HEARD])
def test_what_can_be_trusted_is_laid_over_what_is_known(before, message, differs):
    heard = state_heard(before, message)
    assert heard and heard.heard
    raw = before.state.raw
    changed = {name: value for name, value in heard.raw.items() if raw.get(name) != value}
    assert changed == {name: value for name, value in differs.items() if raw.get(name) != value}
    assert ProcessState.from_raw(heard.raw, heard=True) == heard


@pytest.mark.parametrize("before, message", [pytest.param(*row[1:], id=row[0]) for row in NOTHING])
def test_what_says_nothing(before, message):
    assert state_heard(before, message) is None


def test_one_whose_end_is_not_after_the_last_end_says_nothing():
    before = known("Completed", 7)
    over = ProcessState.from_raw({**before.state.raw, "process_end_time": TWO})
    before = type(before)(over, run=before.run, ended=True)
    assert state_heard(before, state("Completed", 6, process_end_time=ONE)) is None
    assert state_heard(before, state("Completed", 6, process_end_time=TWO)) is None
