"""Plain tables, as `ps` prints them: what is cut and what gives way where a terminal is narrow."""

from datetime import timedelta

import pytest

from observe_lib.commands.ps import HEADERS, NARROWED, SHORT, table_of
from observe_lib.events import Event
from observe_lib.rows import Place, ProcessRow, Stale
from observe_lib.text.output import Style, text_width
from observe_lib.text.tables import (
    WIDEST,
    EventTable,
    table_line,
)
from observe_lib.times import UTC
from tests.reader.test_states import T0


def ps_lines(columns: int | None, *names: str, stack: str = "host-a", beside: bool = False) -> list[str]:
    rows = [
        ProcessRow(
            Place(stack, "shop", name),
            "Completed",
            alive=True,
            pid=29401,
            since=T0 - timedelta(seconds=43),
            last_type="status_changed",
            last_at=T0 - timedelta(seconds=3599),
        )
        for name in names
    ]
    if beside:
        rows.append(ProcessRow(Place("z", "shop", names[0]), "Completed", alive=True))
    return table_of(rows, {}, Style(columns=lambda: columns), T0)


def test_nothing_is_cut_and_nothing_left_out_when_piped():
    titles, row = ps_lines(None, "x" * 300)
    assert titles.split() == " ".join(HEADERS[1:]).split() and "x" * 300 in row


def test_one_endless_name_makes_no_other_row_long():
    titles, endless, row = ps_lines(None, "x" * 100_000, "api")
    assert "x" * 100_000 in endless and "Completed" in endless
    assert max(len(titles), len(row)) < WIDEST + 150


@pytest.mark.parametrize("live", [False, True])
def test_one_endless_event_makes_no_other_row_long(live):
    at = "2026-11-23T12:00:00Z"
    events = [
        Event("crashed", name, "shop", at, stack="host-a", reason="exit", exit_code=1, log_tail=[tail])
        for name, tail in (("x" * 100_000, "y" * 100_000), ("api", "out of luck"))
    ]
    table = EventTable(Style(zone=UTC, now=lambda: T0))
    lines = [line for event in events for line in table.live(event)] if live else table.replay(events)
    *header, endless, row = [line for line in lines if "out" not in line or "api" in line]
    assert "x" * 100_000 in endless and endless.endswith("y" * 100_000)
    assert row.endswith("exit 1: out of luck")
    assert max(map(len, [*header, row])) < WIDEST + 155  # two such columns, and all others


def test_control_characters_are_spelled_out_before_widths_are_measured():
    titles, row = ps_lines(None, "a\x1b[2J")
    assert "a\\x1b[2J" in row and titles.index("STATUS") == row.index("Completed")


@pytest.mark.parametrize("stack", ["host-a", "h" * 300])
@pytest.mark.parametrize("name", ["x" * 300, "日" * 300])
@pytest.mark.parametrize("columns", [40, 80, 100])
def test_one_long_name_hides_no_status(columns, name, stack):
    titles, *rows, said = ps_lines(columns, name, "api", stack=stack, beside=True)
    assert all("Completed" in row for row in rows)
    assert all(text_width(line) <= columns for line in [titles, *rows])
    assert f"(no room for {', '.join(NARROWED[: said.count(',') + 1])})" == said


@pytest.mark.parametrize("name", ["api", "a-name-of-24-letters"])
@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("columns", [*range(20, 120)])
def test_columns_give_way_one_after_the_other(columns: int, beside: bool, name: str) -> None:
    titles, row, *rest = ps_lines(columns, name, beside=beside)
    there = [title for title in NARROWED if beside or title != "STACK"]
    gone = there[: rest[-1].count(",") + 1] if rest and "no room" in rest[-1] else []
    shown = [SHORT.get(title, title) if gone else title for title in HEADERS if title not in gone]
    shown = shown if beside else [title for title in shown if title != "STACK"]
    assert " ".join(titles.split()) in (" ".join(shown), " ".join(SHORT.get(one, one) for one in shown))
    assert max(map(text_width, [titles, row])) <= columns
    assert "…" not in row or columns < 50
    if columns >= 80 and not (beside and len(name) > 3):
        assert "29401" in row and ("RST" in titles or "RESTARTS" in titles)
    assert "LAST EVENT" not in titles or row.endswith(" status_changed 59m59s ago")


def test_a_stack_is_named_where_there_are_several() -> None:
    assert "STACK" not in ps_lines(None, "api", "web")[0]
    assert [line.split()[0] for line in ps_lines(None, "api", beside=True)] == ["STACK", "host-a", "z"]


def test_only_what_is_over_on_purpose_is_grey() -> None:
    ended = [Stale("adapter", "stopped", None), None, None, None]
    rows = [
        ProcessRow(Place(str(at), "shop", "api"), status, reason=reason, exit_code=code)
        for at, (status, reason, code) in enumerate(
            [
                ("Running", "", None),
                ("Completed", "requested", 0),
                ("Completed", "exit", 3),
                ("Disabled", "", None),
            ]
        )
    ]
    stale = {str(at): one for at, one in enumerate(ended) if one}
    _, *lines = table_of(rows, stale, Style(colour=True), T0)
    assert [line.startswith("\x1b[2m") for line in lines] == [True, True, False, False]


def test_a_line_of_text_is_never_cut() -> None:
    assert table_line((2, 4, 1), ("long", "日", "x")) == "long  日    x"
    assert table_line((3, 3), ("a", "")) == "a"
