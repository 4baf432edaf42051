"""What is known of a process: when it is looked at again, what of a reply is left out, its record."""

import json
from datetime import datetime, timedelta

import pytest

from observe_lib.detect.known import (
    GONE_AFTER_S,
    LAUNCH_POLL_S,
    LAUNCH_POLLS,
    Known,
    Run,
    from_record,
    to_record,
)
from observe_lib.detect.runs import measure
from tests.detect.test_runs import NEVER_RAN, NOW, ONE, known, state


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "found, seconds",
    [
        (known("Running", 7), None),
        (known("Running", 7, missing=(NOW, NOW)), None),  # it may still be stopping
        (known("Completed", 7, missing=(NOW, NOW)), GONE_AFTER_S),
        (known("Running", 7, unheard=(NOW, NOW)), LAUNCH_POLL_S),
        (known("Restarting", 7, launch_polls=1), LAUNCH_POLL_S),
        (known("Restarting", 7, launch_polls=LAUNCH_POLLS), None),
    ],
)
def test_when_to_look_again(found, seconds):
    assert found.look_again_s == seconds


def test_a_name_that_left_while_its_run_was_alive_is_being_stopped():
    assert known("Running", 7).status == "Running"
    assert known("Running", 7, missing=(NOW, NOW)).status == "Terminating"
    assert known("Completed", 7, missing=(NOW, NOW)).status == "Completed"


@pytest.mark.parametrize(
    "found",
    [
        NEVER_RAN,
        known("Running", 7, 2, 2),
        known("Terminating", 7, terminating=True, health="Not Ready", health_since=later(-5), was_ready=True),
        known("Terminating", 7, terminating=True, missing=(later(-5), later(-5))),
        known("Completed", 7, 3, 1, requested_at=later(-1)),
        known("Running", 0, 3),
        known("Restarting", 7, 1, by_probe=True),
        Known(state("Running", 7), 0, Run(7, ONE, None, 0)),
        Known(state("Restarting", 7, 0), 1, Run(7, ONE, NOW, 0), ended=True),
        Known(state("Running", 7, cpu=1.5, brand_new={"a": [1]}, namespace=["prod", "eu"])),
    ],
)
def test_a_record_there_and_back(found):
    back = from_record(json.loads(json.dumps(to_record(found))))
    assert to_record(back) == to_record(found) and back.by_probe == found.by_probe
    assert (back.run, back.ended, back.restarts, back.alive) == (
        found.run,
        found.ended,
        found.restarts,
        found.alive,
    )
    assert measure(back, state("Running", 9, 4)) == measure(found, state("Running", 9, 4))
    assert (back.health, back.health_since, back.requested_at) == (
        found.health,
        found.health_since,
        found.requested_at,
    )
    assert (back.terminating, back.was_ready, back.missing) == (
        found.terminating,
        found.was_ready,
        found.missing,
    )


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"state": None},
        {"state": {"name": "web"}},
        {"state": dict(state("Running", 7).raw), "run": {"pid": 7}},
        {"state": dict(state("Running", 7).raw), "run": {"pid": "x", "start": "", "restarts_at_begin": 0}},
        {"state": dict(state("Running", 7).raw), "health_since": "yesterday"},
    ],
)
def test_what_is_no_record_is_refused(record):
    with pytest.raises((ValueError, KeyError, TypeError)):
        from_record(record)
