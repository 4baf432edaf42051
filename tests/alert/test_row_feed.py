"""What is read of rows and leases: a table of cases."""

import pytest

from observe_lib.alert.condition import process_condition
from observe_lib.alert.row_feed import LeaseHeard, stack_of
from tests.alert.rows import Process, moment, stamp


@pytest.mark.parametrize(
    ("lease", "seconds", "about", "ended"),
    [
        ({}, 19, "", False),
        ({}, 21, "adapter", False),
        ({"stopped": True}, 1, "adapter", True),
        ({"stopped": True}, 900, "adapter", True),
        ({"source": "unhealthy", "source_since": stamp(-9)}, 1, "process-compose", False),
        ({"source": "stopped"}, 1, "process-compose", True),
        ({"source": "healthy"}, 1, "", False),
        ({"source": "started"}, 1, "", False),
        ({"source": 7, "source_since": [], "source_error": {}, "at": 3}, 1, "", False),
    ],
)
def test_whether_a_stack_is_heard_of(lease, seconds, about, ended):
    found = stack_of("host-a", LeaseHeard(lease, moment(0)), moment(seconds))
    assert (found.about, found.ended) == (about, ended)


def test_since_when_it_is_not_heard_of():
    heard = LeaseHeard(
        {"source": "unhealthy", "source_since": stamp(-9), "source_error": "refused"}, moment(0)
    )
    assert stack_of("a", heard, moment(1)).since == moment(-9)
    assert stack_of("a", heard, moment(1)).error == "refused"
    assert stack_of("a", LeaseHeard({"at": stamp(-3)}, moment(0)), moment(60)).since == moment(-3)


def ended(*, reason: str) -> Process:
    process = Process()
    process.stop(10, reason=reason)
    return process


def test_what_a_row_says():
    api = Process()
    api.crash(10)
    told = api.condition()
    assert (told.is_down, told.alive, told.crashes, told.crashed_at) == (True, False, 1, moment(10))
    api.begin(12)
    told = api.condition()
    assert (told.is_down, told.alive, told.well_ended) == (False, True, False)
    assert (
        ended(reason="requested").condition().well_ended and ended(reason="completed").condition().well_ended
    )


@pytest.mark.parametrize("row", [{}, {"process": "a"}, {"stack": "s", "process": 3}])
def test_a_row_of_nobody_is_none(row):
    assert process_condition(row) is None
