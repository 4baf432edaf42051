"""Counting the runs between two looks: the table of the contract."""

from datetime import datetime

import pytest

from observe_lib.compose.state import ProcessState
from observe_lib.detect.known import (
    LAUNCH_POLL_S,
    LAUNCH_POLLS,
    Known,
    Run,
)
from observe_lib.detect.runs import measure
from observe_lib.times import UTC
from tests.stand_in import make_state

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
ONE, TWO = "2026-11-23T11:00:00Z", "2026-11-23T11:30:00Z"  # two starts by hand


def state(status: str, pid: int = 0, restarts: int = 0, start: str = ONE, **fields: object) -> ProcessState:
    running = status in ("Running", "Launching", "Launched")
    fields = {"is_running": running, "process_start_time": start if pid else None, **fields}
    return ProcessState.from_raw(make_state("web", status=status, pid=pid, restarts=restarts, **fields))


def known(status: str, pid: int = 0, restarts: int = 0, at_begin: int = 0, **more: object) -> Known:
    """Return what is known after a state; a run that is not alive has ended, pid 0 is after run 1."""
    shown = state(status, pid, restarts)
    over = not (shown.is_running and pid) and status != "Terminating"
    run = Run(pid or 1, ONE, NOW, at_begin)
    return Known(shown, restarts, run, **{"ended": over, **more})


NEVER_RAN = Known(state("Pending"))

COUNTS = [
    # what is known                                    the new state                        ends begins alive
    # after has no run: ends max(rise, alive before), begins ends - alive before
    ("launching by hand", known("Running", 7), state("Running"), 1, 0, False),
    ("reset to pending", known("Running", 7), state("Pending"), 1, 0, False),
    ("pending again", known("Completed", 7), state("Pending"), 0, 0, False),
    ("two by policy, then by hand", known("Running", 7), state("Pending", 0, 2), 2, 1, False),
    ("launching by policy", known("Restarting", 7, 1), state("Running", 7, 1), 0, 0, False),
    ("launching, its end unseen", known("Running", 7), state("Running", 7, 1), 1, 0, False),
    ("a daemon is launching", known("Restarting", 7, 1), state("Launching", 7, 1), 0, 0, False),
    # the same run: 1 end if alive before and not after
    ("runs on", known("Running", 7), state("Running", 7), 0, 0, True),
    ("a daemon is up", known("Launching", 7), state("Launched", 7), 0, 0, True),
    ("is stopped", known("Running", 7), state("Terminating", 7), 0, 0, True),
    ("completed", known("Running", 7), state("Completed", 7), 1, 0, False),
    ("stopped", known("Terminating", 7), state("Completed", 7), 1, 0, False),
    ("restarting", known("Running", 7), state("Restarting", 7, 1), 1, 0, False),
    ("restarting, the old count", known("Running", 7), state("Restarting", 7, 0), 1, 0, False),
    ("restarting, now the new one", known("Restarting", 7, 1), state("Restarting", 7, 1), 0, 0, False),
    ("stopped while restarting", known("Restarting", 7, 1), state("Completed", 7, 1), 0, 0, False),
    ("scheduled again", known("Running", 7), state("Scheduled", 7), 1, 0, False),
    ("still ended", known("Completed", 7), state("Watching", 7), 0, 0, False),
    # before has no run: rise + (1 if not alive after and not Restarting), begins ends + alive after
    ("the first run", NEVER_RAN, state("Running", 7), 0, 1, True),
    ("a new name", None, state("Running", 7), 0, 1, True),
    ("a new name, twice restarted", None, state("Running", 7, 2), 2, 3, True),
    ("came and went", NEVER_RAN, state("Completed", 7), 1, 1, False),
    ("came, went, and will again", NEVER_RAN, state("Restarting", 7, 1), 1, 1, False),
    ("the same, the old count", NEVER_RAN, state("Restarting", 7, 0), 1, 1, False),
    ("three came and went", NEVER_RAN, state("Completed", 7, 2), 3, 3, False),
    ("launched by hand", known("Running", 0), state("Running", 8, start=TWO), 0, 1, True),
    ("launched by policy", known("Running", 7, 1, ended=True), state("Running", 8, 1), 0, 1, True),
    # another run, rise > 0: rise + (1 if ...), begins ends + alive after - alive before
    ("restarted", known("Running", 7), state("Running", 8, 1), 1, 1, True),
    ("restarted thrice", known("Running", 7), state("Running", 8, 3), 3, 3, True),
    ("restarted, then the last", known("Running", 7), state("Completed", 8, 1), 2, 1, False),
    ("restarted, and will again", known("Running", 7), state("Restarting", 8, 2), 2, 1, False),
    ("one unseen, then this", known("Restarting", 7, 1), state("Running", 8, 2), 1, 2, True),
    ("one unseen, then the last", known("Restarting", 7, 1), state("Completed", 8, 2), 2, 2, False),
    ("by hand, then restarting", known("Running", 7), state("Restarting", 8, 1, TWO), 2, 1, False),
    # another run, rise = 0: alive before + not alive after, begins 1
    ("restarted by hand", known("Running", 7), state("Running", 8, 0, TWO), 1, 1, True),
    ("started by hand", known("Completed", 7), state("Running", 8, 0, TWO), 0, 1, True),
    ("by hand, and over", known("Completed", 7), state("Completed", 8, 0, TWO), 1, 1, False),
    ("replaced, and over", known("Running", 7), state("Completed", 8, 0, TWO), 2, 1, False),
    ("the policy's next one", known("Restarting", 7, 1), state("Running", 8, 1), 0, 1, True),
    ("the policy's last one", known("Restarting", 7, 1), state("Completed", 8, 1), 1, 1, False),
    # another run, restarts fell: alive before + restarts after + (1 if ...), begins as above
    ("reloaded", known("Running", 7, 3, 3), state("Running", 8, 0, TWO), 1, 1, True),
    ("reloaded, then restarted", known("Running", 7, 3, 3), state("Running", 8, 2, TWO), 3, 3, True),
    ("a file changed", known("Completed", 7, 3, 3), state("Running", 8, 0, TWO), 0, 1, True),
    ("reloaded and over", known("Completed", 7, 3, 3), state("Completed", 8, 1, TWO), 2, 2, False),
    ("reloaded, restarting", known("Completed", 7, 3, 3), state("Restarting", 8, 1, TWO), 1, 1, False),
    ("reset with nothing run", known("Running", 0, 3), state("Running", 8, 0, TWO), 0, 1, True),
    # beside the table: what was shown under the last run's pid was this run's launch
    ("its real pid", known("Running", 7, 1, 1), state("Running", 8, 1), 0, 0, True),
    ("its real pid, over", known("Running", 7, 1, 1), state("Completed", 8, 1), 1, 0, False),
]


@pytest.mark.parametrize(
    "before, after, ends, begins, alive", [pytest.param(*r[1:], id=r[0]) for r in COUNTS]
)
def test_how_many_ends_and_begins_lie_between(before, after, ends, begins, alive):
    step = measure(before, after)
    assert (step.ends, step.begins, step.alive) == (ends, begins, alive)
    assert (before.alive if before else False) + begins - ends == alive


@pytest.mark.parametrize(
    "before, after, restarts",
    [
        (None, state("Restarting", 7, 0), 1),
        (None, state("Restarting", 7, 4), 4),
        (known("Running", 7, 2, 2), state("Restarting", 7, 2), 3),  # still the old count
        (known("Running", 7, 2, 2), state("Restarting", 7, 3), 3),
        (known("Restarting", 7, 3, 2), state("Restarting", 7, 2), 3),
        (known("Restarting", 7, 2, 1), state("Restarting", 8, 2), 3),
        (known("Completed", 7, 3, 3), state("Restarting", 8, 1, TWO), 1),  # reset in between
        (known("Running", 7, 2, 2), state("Completed", 7, 2), 2),
    ],
)
def test_restarting_counts_its_own_end(before, after, restarts):
    assert measure(before, after).restarts == restarts


@pytest.mark.parametrize(
    "before, after, failed",
    [
        (None, state("Error", process_end_time=ONE), True),
        (known("Running", 7), state("Error", process_end_time=ONE), True),
        (Known(state("Error", process_end_time=ONE)), state("Error", process_end_time=TWO), True),
        (Known(state("Error", process_end_time=ONE)), state("Error", process_end_time=ONE), False),
        (known("Running", 7), state("Completed", 7), False),
        (None, state("Skipped", exit_code=1), False),
    ],
)
def test_a_launch_failed(before, after, failed):
    assert measure(before, after).launch_failed is failed


def test_a_launch_is_looked_at_again_but_not_for_ever():
    before = known("Restarting", 7, 1)
    for polls in range(1, LAUNCH_POLLS):
        step = measure(before, state("Running", 7, 1))
        assert (step.has_run, step.launch_polls) == (False, polls)
        before = known("Restarting", 7, 1, launch_polls=polls)
        assert before.look_again_s == LAUNCH_POLL_S
    step = measure(before, state("Running", 7, 1))  # the system gave it the same pid again
    assert (step.alive, step.begins, step.ends, step.launch_polls) == (True, 1, 0, 0)


def test_a_pid_of_0_is_never_a_run():
    assert not measure(known("Completed", 7, launch_polls=LAUNCH_POLLS), state("Running")).has_run
