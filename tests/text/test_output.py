import argparse
import io
import json
from datetime import datetime, timedelta, timezone

import pytest

from observe_lib.events import Event
from observe_lib.flags import add_output_flags
from observe_lib.text.output import (
    Style,
    cut_text,
    json_line,
    note_line,
    print_note,
    printable,
    say_note,
    style_of,
    text_width,
    wants_colour,
)
from observe_lib.text.tables import EventTable
from observe_lib.times import UTC

CET = timezone(timedelta(hours=1))
NOW = datetime(2025, 10, 16, 9, 45, tzinfo=UTC)
NASTY = "a\x1b[2Jb\r\n\x00\x7f\x9b1m\u202ec\u2066\u2028\ud800\ufeff"


TABLE = """
TIME      PROCESS           EVENT           DETAIL                               (host-a, UTC+01:00)
--------  ----------------  --------------  --------------------------------------------------------
10:41:01  shop/api          started         pid 29301, found running, 3 restarts before
10:41:19  default/flaky     crashed         exit 1 after 27.0s
10:41:52  shop/db           stopped         on request, ran 50.2s
10:41:53  shop/db           status_changed  Running -> Terminating
"""
WIDER = """
TIME      PROCESS                              EVENT           DETAIL            (host-a, UTC+01:00)
--------  -----------------------------------  --------------  -------------------------------------
10:41:19  shop/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx  started         pid 1
"""


def make(event_type, process="shop/api", time="09:41:19", **fields):
    namespace, _, name = process.partition("/")
    return Event(
        event_type, name, namespace, f"2025-10-16T{time}.000Z", **{"stack": "host-a", "seq": 1, **fields}
    )


def style(columns=None, colour=False):
    return Style(zone=CET, colour=colour, columns=lambda: columns, now=lambda: NOW)


def test_printable_spells_out_what_moves_a_terminal():
    assert printable("ünï ☃ 日本 (ok)") == "ünï ☃ 日本 (ok)"
    assert printable("a\x1b[2J\n\x9b\u202e\ud800") == "a\\x1b[2J\\n\\x9b\\u202e\\ud800"
    assert printable(NASTY).isprintable()


def test_json_line_is_the_stored_object_without_control_characters():
    found = {"process": NASTY, "ü": ["☃", {"pid": 1, "x": None}], "run_seconds": 1.5, "astral": "\U000e0041"}
    line = json_line(found)
    assert json.loads(line) == found
    assert line.isprintable()
    assert "☃" in line


@pytest.mark.parametrize(
    ("time", "zone", "text"),
    [
        ("2025-10-16T09:41:19.123Z", CET, "10:41:19"),
        ("2025-10-16T09:41:19Z", UTC, "09:41:19"),
        ("2025-10-15T22:59:59Z", CET, "10-15 23:59:59"),
        ("2024-10-15T22:59:59Z", CET, "2024-10-15 23:59:59"),
        ("2025-10-15T23:00:00Z", CET, "00:00:00"),
        ("9999-12-31T23:59:59Z", CET, "9999-12-31T23:59:59Z"),
        ("nonsense\x1b", CET, "nonsense\\x1b"),
    ],
)
def test_clock(time, zone, text):
    assert Style(zone=zone, now=lambda: NOW).clock(time) == text


def test_width_and_cut():
    assert (text_width("abc"), text_width("ü☃"), text_width("日本"), text_width("e\u0301")) == (3, 2, 4, 1)
    assert [cut_text("abcdef", n) for n in (6, 5, 1, 0)] == ["abcdef", "abcd…", "…", ""]
    assert cut_text("日本日本", 6) == "日本…"


def test_table_has_the_look_of_tabulate_and_keeps_its_widths():
    table = EventTable(style())
    lines = table.replay(
        [
            make("started", state={"pid": 29301}, initial=True, restarts=3, time="09:41:01"),
            make("crashed", "default/flaky", exit_code=1, run_seconds=27),
        ]
    )
    lines += table.live(make("stopped", "shop/db", reason="requested", run_seconds=50.2, time="09:41:52"))
    changed = {"old_status": "Running", "new_status": "Terminating", "time": "09:41:53"}
    lines += table.live(make("status_changed", "shop/db", **changed))
    assert "\n".join(["", *lines, ""]) == TABLE


@pytest.mark.parametrize("columns", [None, 80, 79, 60, 40])
def test_every_type_of_event_fits_the_first_header(columns):
    for table in (EventTable(style(columns)), EventTable(style(columns))):
        table.replay([make("started")])
        for kind in ("status_changed", "restarted", "unhealthy"):
            assert len(table.live(make(kind))) == 1
    event = EventTable(style(columns)).replay([make("status_changed")])[2]
    assert ("status_changed" in event) == (columns in (None, 80)) and " status" in event


@pytest.mark.parametrize("name", ["api", "n" * 40])
@pytest.mark.parametrize("columns", range(60, 140))
def test_names_leave_30_columns_to_the_detail(columns, name):
    event = make("crashed", f"default/{name}", exit_code=1, log_tail=["x" * 200])
    for lines in (EventTable(style(columns)).replay([event]), EventTable(style(columns)).live(event)):
        assert columns - lines[2].index("exit 1") >= 30 and text_width(lines[2]) == columns


def test_of_a_name_that_does_not_fit_the_end_is_shown():
    row = EventTable(style(60)).live(make("crashed", "default/migrate", exit_code=1))[2]
    assert row.split() == ["10:41:19", "…/migrate", "crashed", "exit", "1"]
    row = EventTable(style(60)).live(make("crashed", "default/migrations", exit_code=1))[2]
    assert row.split()[1] == "default/m…"


def test_not_to_be_ready_yet_has_no_colour():
    table = EventTable(style(colour=True))
    assert "\x1b[33m" in "".join(table.live(make("unhealthy")))
    assert "\x1b" not in "".join(table.live(make("unhealthy", starting=True)))


def test_header_comes_again_once_for_a_wider_row_and_for_a_second_stack():
    table = EventTable(style())
    table.replay([make("started")])
    assert len(table.live(make("started", "shop/api2"))) == 1
    wide = table.live(make("started", f"shop/{'x' * 30}", state={"pid": 1}))
    assert "\n".join(["", *wide, ""]) == WIDER
    assert len(table.live(make("started"))) == 1
    second = table.live(make("started", stack="host-b"))
    assert second[0].split() == ["TIME", "STACK", "PROCESS", "EVENT", "DETAIL", "(UTC+01:00)"]
    assert second[2].split() == ["10:41:19", "host-b", "shop/api", "started"]
    assert len(table.live(make("started"))) == 1
    assert len(table.live(make("started", stack=None))) == 1


def test_a_live_event_without_a_replay_brings_the_header():
    lines = EventTable(style()).live(make("started"))
    assert [line.split()[0] for line in lines] == ["TIME", "--------", "10:41:19"]


def test_an_event_of_another_day_shows_its_date():
    lines = EventTable(style()).replay([make("started"), Event("started", "a", "b", "2025-10-15T09:00:00Z")])
    assert lines[0].startswith("TIME            STACK    PROCESS")
    assert lines[3].startswith("10-15 10:00:00  -        b/a")


@pytest.mark.parametrize("columns", [20, 47, 60, 80, 99, 100, 150])
def test_a_terminal_is_never_too_narrow(columns):
    table = EventTable(style(columns))
    event = make("crashed", f"shop/{'n' * 300}", exit_code=1, log_tail=["long " * 100])
    lines = [*table.replay([event, make("started")]), *table.live(event), *table.live(make("crashed"))]
    assert max(map(text_width, lines)) <= columns
    assert text_width(lines[1]) == min(columns, 100) or columns > 100


def test_nothing_is_cut_when_piped():
    event = make("crashed", f"shop/{'n' * 300}", exit_code=1, log_tail=["x" * 500])
    assert "n" * 300 in EventTable(style()).replay([event])[2]
    assert EventTable(style()).live(event)[-1].endswith("x" * 500)


@pytest.mark.parametrize("columns", [None, 100, 50])
def test_only_the_event_word_has_colour(columns):
    event, plain, coloured = (
        make("crashed", "a/crashed", exit_code=1),
        style(columns),
        style(columns, True),
    )
    for rows in (lambda t: t.replay([event]), lambda t: t.live(event)):
        expected = rows(EventTable(plain))
        expected[2] = expected[2].replace(" crashed ", " \x1b[31mcrashed\x1b[0m ")
        assert rows(EventTable(coloured)) == expected
    assert "\x1b" not in "".join(EventTable(coloured).live(make("invented")))


def test_control_characters_never_reach_the_screen():
    event = make("crashed", f"shop/{NASTY}", exit_code=1, log_tail=[NASTY], reason="exit", stack=NASTY)
    odd = make(f"new{NASTY}", reason=NASTY, old_status=NASTY, new_status=NASTY, extra={"not_before": NASTY})
    for line in [*EventTable(style()).replay([event, odd]), *EventTable(style()).live(odd)]:
        assert line.isprintable()
    assert note_line(NASTY, NASTY, NOW).isprintable()


def test_zone_text():
    assert style().zone_text() == "UTC+01:00"
    assert Style(zone=UTC).zone_text() == "UTC"
    assert Style(zone=timezone(-timedelta(hours=3, minutes=30))).zone_text() == "UTC-03:30"


@pytest.mark.parametrize(
    ("choice", "terminal", "environ", "wanted"),
    [
        ("auto", True, {}, True),
        ("auto", False, {}, False),
        ("auto", True, {"TERM": "dumb"}, False),
        ("always", False, {}, True),
        ("never", True, {}, False),
        ("always", True, {"NO_COLOR": "1"}, False),
        ("auto", True, {"NO_COLOR": ""}, True),
    ],
)
def test_who_decides_about_colour(choice, terminal, environ, wanted):
    assert wants_colour(choice, terminal, environ) is wanted


def test_look_of_flags():
    parser = argparse.ArgumentParser()
    add_output_flags(parser)
    found = style_of(vars(parser.parse_args([])), io.StringIO(), {})
    assert (found.as_json, found.colour, found.zone, found.columns()) == (False, False, None, None)
    found = style_of(vars(parser.parse_args(["--json", "--utc", "--color", "always"])), io.StringIO(), {})
    assert (found.as_json, found.colour, found.zone) == (True, True, UTC)


def test_notes_have_their_text_in_one_column():
    assert note_line("nats", "up", NOW)[8:] == " nats              up"
    assert note_line("process-compose", "up", NOW)[8:] == " process-compose   up"
    assert note_line("", "use 8080", NOW)[8:] == "                   use 8080"


def test_a_note_holds_no_control_characters(capsys):
    print_note("host\x1b[2J and host-b both have a/b")
    assert capsys.readouterr().err == "host\\x1b[2J and host-b both have a/b\n"


def test_a_note_is_one_string_so_that_two_threads_lines_never_run_together(monkeypatch):
    class Recorder(io.StringIO):
        written: list[str] = []

        def write(self, text):
            self.written.append(text)
            return len(text)

    monkeypatch.setattr("sys.stderr", Recorder())
    print_note("one")
    say_note("nats", "two")
    assert Recorder.written[0] == "one\n" and Recorder.written[1].endswith(" nats              two\n")
    assert len(Recorder.written) == 2
