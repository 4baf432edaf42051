"""What is read of rows and leases: a table of cases."""

import pytest

from observe_lib.alert.condition import process_condition
from observe_lib.alert.row_feed import stack_of
from observe_lib.rows import StackRow
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
    ],
)
def test_whether_a_stack_is_heard_of(lease, seconds, about, ended):
    found = stack_of(StackRow("host-a", moment(0), lease), moment(seconds), None)
    assert (found.about, found.ended) == (about, ended)


def test_since_when_it_is_not_heard_of():
    lease = {"source": "unhealthy", "source_since": stamp(-9), "source_error": "refused"}
    found = stack_of(StackRow("a", moment(0), lease), moment(1), None)
    assert (found.since, found.error) == (moment(-9), "refused")
    assert stack_of(StackRow("a", moment(0)), moment(60), None).since == moment(0)


@pytest.mark.parametrize(("up_at", "about"), [(None, "adapter"), (95, ""), (79, "adapter")])
def test_after_an_outage_adapters_have_time_to_be_heard_of(up_at, about):
    found = stack_of(StackRow("a", moment(0)), moment(100), None if up_at is None else moment(up_at))
    assert found.about == about


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
