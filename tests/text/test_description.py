"""One process in full, as `show` prints it: every fact once."""

import re
from datetime import timedelta

import pytest

from observe_lib.events import Event
from observe_lib.reader.description import Description
from observe_lib.rows import Place, ProcessRow
from observe_lib.text.description import description_lines
from observe_lib.text.output import Style
from observe_lib.times import UTC, format_time
from tests.reader.test_states import T0

AT = T0 - timedelta(seconds=9)
SHOWN = """
default/flaky on host-a
  status    Completed
  run       ended 9s ago, at CLOCK, exit 3
  health    -, without a probe
  restarts  0, and 0 crashes in 24h

TIME      EVENT           DETAIL                                                               (UTC)
--------  --------------  --------------------------------------------------------------------------
CLOCK  crashed         exit 3: config.yaml: no such file

last crash, CLOCK: exit 3: config.yaml: no such file
  | config.yaml: no such file
  | bye
"""


@pytest.mark.parametrize("colour", [False, True])
def test_a_process_is_named_once(colour: bool) -> None:
    log = ["config.yaml: no such file", "bye"]
    crash = Event("crashed", "flaky", "default", format_time(AT), stack="host-a", exit_code=3, log_tail=log)
    row = ProcessRow(
        Place("host-a", "default", "flaky"), "Completed", ended_at=AT, exit_code=3, reason="exit"
    )
    style = Style(zone=UTC, now=lambda: T0, colour=colour)
    text = "\n".join(["", *description_lines(Description(row, None, [crash], crash), style), ""])
    plain = text.replace("\x1b[31mcrashed\x1b[0m", "crashed")
    assert (plain != text) is colour
    assert re.sub(r"\d\d:\d\d:\d\d", "CLOCK", plain) == SHOWN


def test_what_crashes_again_and_again_is_flapping_here_too() -> None:
    place, style = Place("host-a", "default", "flaky"), Style(zone=UTC, now=lambda: T0)
    for seconds, status in ((60, "Running, flapping"), (-60, "Running")):
        row = ProcessRow(place, "Running", alive=True, flapping_until=T0 + timedelta(seconds=seconds))
        lines = list(description_lines(Description(row, None, [], None), style))
        assert f"  status    {status}" in lines
