"""Header figures, latest events, each process's last hour: scripted events, and what comes of them."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from observe_lib.events import Event
from observe_lib.reader.board import (
    CELLS,
    LATEST,
    Board,
    figures_of,
    history_of,
    latest_events,
    note_events,
)
from observe_lib.reader.states import States
from observe_lib.rows import Place, ProcessRow, Stale
from observe_lib.subjects import observer_subject
from observe_lib.times import UTC
from tests.fleet import answers, row_after, states_of, told

NOW = datetime(2026, 3, 1, 10, 59, 30, tzinfo=UTC)
WEB = Place("host-a", "default", "web")
LETTERS = {"crashed": "X", "unhealthy": "!", "blind": "?", "down": ".", "up": "_", "": " "}


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


def web(event_type: str, seq: int, minutes: float, status: str = "Running", **fields) -> Event:
    return told("host-a", "default/web", event_type, seq, ago(minutes), status, **fields)


def source(event_type: str, seq: int, minutes: float) -> Event:
    at = ago(minutes).isoformat().replace("+00:00", "Z")
    return replace(answers("host-a", event_type, seq), timestamp=at, observed_at=at)


def restart_of_adapter(stack: str, stopped: float, started: float) -> list[Event]:
    told = (answers(stack, kind, seq) for seq, kind in enumerate(("stopped", "started"), 2))
    moments = (ago(minutes).isoformat().replace("+00:00", "Z") for minutes in (stopped, started))
    return [
        replace(
            event,
            process="adapter",
            subject=observer_subject("adapter", event.type),
            timestamp=at,
            observed_at=at,
        )
        for event, at in zip(told, moments, strict=True)
    ]


STARTED = web("started", 1, 3000, initial=True)
HISTORIES = {
    "nothing is known": ([], "            "),
    "runs for long, and nothing happened": ([STARTED], "____________"),
    "began in this hour": ([web("started", 1, 30)], "     _______"),
    "ended well": ([web("stopped", 2, 30, "Completed", run_seconds=600, exit_code=0)], "   __......."),
    "ended, and had run for longer": ([web("stopped", 2, 30, "Completed")], "_____......."),
    "crashed and came back": ([web("crashed", 2, 30), web("restarted", 3, 29.9)], "_____X______"),
    "crashed and stayed down": ([web("crashed", 2, 30, "Completed")], "_____X......"),
    "not ready for a while": ([web("unhealthy", 2, 40), web("healthy", 3, 21)], "___!!!!!____"),
    "not ready since": ([web("unhealthy", 2, 40)], "___!!!!!!!!!"),
    "found ready": ([STARTED, web("healthy", 2, 40, initial=True)], "____________"),
    "process-compose was away": (
        [STARTED, source("unhealthy", 2, 40), source("healthy", 3, 21)],
        "____????____",
    ),
    "the adapter was started anew": ([STARTED, *restart_of_adapter("host-a", 39.51, 39.49)], "____________"),
    "the adapter was away for a minute": ([STARTED, *restart_of_adapter("host-a", 33, 32)], "____________"),
    "the adapter of another stack was away": (
        [STARTED, *restart_of_adapter("host-b", 40, 21)],
        "____________",
    ),
    "a user's own process is called as the observer's": (
        [STARTED, told("host-a", "_observe/process-compose", "unhealthy", 1, ago(40))],
        "____________",
    ),
    "an adapter began in the minute in which it did": (
        [source("started", 1, 30), web("started", 1, 29.9, initial=True)],
        "     _______",
    ),
    "process-compose is away": ([STARTED, source("unhealthy", 2, 40)], "____????????"),
    "a crash is seen through": (
        [STARTED, source("unhealthy", 2, 40), web("crashed", 2, 31, inferred=True), web("restarted", 3, 31)],
        "____?X??????",
    ),
    "a name that came back": ([web("stopped", 2, 50, "Removed"), web("started", 1, 20)], "_.......____"),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_the_last_hour_in_twelve_cells(name):
    events, expected = HISTORIES[name]
    states = states_of(*events)
    recent = [event for event in events if event.seen_at >= ago(60).isoformat()]
    board = note_events(Board(), recent)
    row = states.rows.get(WEB) or ProcessRow(WEB)
    assert drawn(board, row) == expected
    assert drawn(note_events(note_events(Board(), recent[:1]), recent[1:]), row) == expected, "in two steps"
    assert len(history_of(board, row, NOW, 60)) == 60
    assert set(history_of(board, row, NOW, 60)) <= set(CELLS)


def drawn(board: Board, row: ProcessRow, cells: int = 12, **more) -> str:
    return "".join(LETTERS[cell] for cell in history_of(board, row, more.pop("now", NOW), cells, **more))


def test_a_silent_stack_is_blind_from_its_last_word_on():
    row = row_after(STARTED)
    assert drawn(Board(), row, stale=Stale("adapter", "silent", ago(12))) == "_________???"


def test_cells_stay_what_they_are_while_time_goes_on():
    events = [web("crashed", 2, 31), web("restarted", 3, 30.9)]
    row = row_after(*events)
    board = note_events(Board(), events)
    for minutes in (0, 1, 2, 3, 4):
        at = NOW.replace(minute=55) + timedelta(minutes=minutes)
        assert drawn(board, row, now=at) == "_____X______"
    assert drawn(board, row, now=NOW + timedelta(minutes=1)) == "____X_______"


def test_a_crash_loop_takes_no_more_memory_than_an_hour_has_minutes():
    board = Board()
    for seq in range(2, 2002, 2):
        minutes = 200 - seq / 10
        board = note_events(board, [web("crashed", seq, minutes), web("restarted", seq + 1, minutes)])
    assert len(board.hours[WEB].worst) <= 62 and len(board.latest) == LATEST
    assert len(board.slots) <= 2 * 360


def test_the_header():
    events = [
        web("started", 1, 50),
        web("crashed", 2, 0.5, "Completed", exit_code=1, reason="exit"),
        told("host-a", "shop/db", "started", 1, ago(0.3)),
        told("host-b", "shop/db", "started", 1, ago(9)),
        told("host-b", "shop/old", "status_changed", 1, ago(9), "Removed"),
    ]
    states = states_of(*events, leases={"host-a": {}}, beat_at=NOW)
    late = states_of(leases={"host-b": {}, "host-c": {"stopped": True}}, beat_at=ago(5))
    states = States(states.rows, {**states.stacks, **late.stacks})
    figures = figures_of(states, note_events(Board(), events), NOW)
    found = {name: number for name, number in figures.counts.items() if number}
    assert found == {"crashed": 1, "up": 1, "stale": 1}
    assert figures[0] == 3 and (figures.stacks, figures.adapters) == (3, 1)
    assert (figures.events_per_minute, figures.crashes) == (2, 1)


def test_companions_are_neither_counted_nor_shown():
    board = note_events(Board(), [web("started", 1, 0.1), web("status_changed", 2, 0.1, companion=True)])
    assert board.events_per_minute(NOW) == 1 and len(board.latest) == 1


def test_the_latest_events_go_back_beyond_the_board():
    old = [told("host-a", f"default/p{at}", "started", 1, ago(600 + at)) for at in range(4)]
    new = [web("started", 1, 30), web("healthy", 2, 20, health="Ready")]
    states, board = states_of(*old, *new), note_events(Board(), new)
    newest = [event.process for event in latest_events(board, states, 4)]
    assert newest == ["web", "web", "p0", "p1"]
    assert len(latest_events(board, states)) == 6
    assert [event.seq for event in latest_events(board, states, 1)] == [2]
