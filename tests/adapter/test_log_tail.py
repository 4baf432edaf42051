"""The end of a log laid to a crash, and what it says of an end."""

import pytest

from observe_lib.adapter.log_tail import lay_log, lines_wanted
from observe_lib.detect.changes import Change
from observe_lib.events import Event, Key

MOMENT = "2026-01-05T12:00:00.000Z"
PROBE = "Error: readiness check fail - exit status 1"


def change_of(*types: str, name: str = "web", needs_log: bool = False, **fields) -> Change:
    events = tuple(Event(kind, name, "default", MOMENT, observed_at=MOMENT, **fields) for kind in types)
    return Change(Key("default", name), events, None, needs_log)


@pytest.mark.parametrize(
    "change, lines, wanted",
    [
        (change_of("crashed"), 20, 20),
        (change_of("crashed"), 0, 0),
        (change_of("unhealthy"), 1, 5),
        (change_of("stopped", "started"), 20, 0),
        (change_of("stopped", needs_log=True), 40, 40),
        (change_of("stopped", needs_log=True), 1, 5),  # enough to find the probe's line
        (change_of("stopped", needs_log=True), 0, 5),  # to tell a stop from a probe's kill
        (change_of("unhealthy", initial=True), 20, 0),  # a first look waits for nothing
        (change_of("crashed", "status_changed", renamed_from="old"), 20, 0),
        (change_of(), 20, 0),
    ],
    ids=lambda found: (
        "+".join(event.type for event in found.events) if isinstance(found, Change) else repr(found)
    ),
)
def test_which_changes_wait_for_how_much_of_a_log(change, lines, wanted):
    assert lines_wanted(change, lines) == wanted


def test_the_last_lines_are_laid_to_a_crash_and_to_unhealthy_and_to_nothing_else():
    change = change_of("stopped", "crashed", "restarted", "unhealthy", "status_changed")
    laid = lay_log(change, ["one", "two", "three"], 2)
    assert [event.log_tail for event in laid.events] == [
        None,
        ["two", "three"],
        None,
        ["two", "three"],
        None,
    ]


def test_none_are_laid_where_none_are_wanted_or_there():
    laid = lay_log(change_of("stopped", needs_log=True, reason="requested"), [PROBE], 0)
    assert [(event.type, event.reason, event.log_tail) for event in laid.events] == [
        ("crashed", "probe", None)
    ]
    assert lay_log(change_of("crashed"), [], 20) == change_of("crashed")
    assert lay_log(change_of("crashed"), ["", ""], 20).events[0].log_tail is None


@pytest.mark.parametrize("tail, told", [([PROBE], "crashed"), (["bye"], "stopped"), ([], "stopped")], ids=str)
def test_the_log_decides_between_a_probes_kill_and_a_stop(tail, told):
    change = change_of("stopped", "restarted", needs_log=True, reason="requested")
    laid = lay_log(change, tail, 20)
    assert laid.events[0].type == told and not laid.needs_log
