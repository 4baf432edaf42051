"""What `top` shows at one moment, and what a key makes of that.
Pure: knows neither curses nor NATS nor the clock; a `View` never changes, other ones are made of it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from ..events import Event, EventType
from ..reader.board import Board, Figures, figures_of, latest_events
from ..reader.description import Description
from ..reader.states import States, stale_stacks_of
from ..rows import CONDITIONS, Place, ProcessRow, Stale
from ..subjects import process_matches, process_wanted
from ..text.output import text_width
from ..times import seconds_between

#: what rows can be sorted by; numbers and ages the most interesting first
ORDERS = ("trouble", "name", "up", "restarts", "crashes", "last event")
#: which events the lower part shows
SHOWN_TYPES = ("", *map(str, EventType))

#: among processes that are equally well, those that crashed no longer ago come first
LATELY_S = 600.0
#: NATS is back: the leases are read again within this time, and until then nobody is stale
SETTLE_S = 6.0


@dataclass(frozen=True)
class Listing:
    """What follows from the rest of a view: worked out once, until something that it is made of changes."""

    rows: Sequence[ProcessRow] = ()
    events: Sequence[Event] = ()
    figures: Figures | None = None
    stale_stacks: Mapping[str, Stale] = field(default_factory=dict)
    name_width: int = 0  #: columns that the longest of the rows' names needs
    least: Mapping[str, int] = field(default_factory=dict)  #: the same of what is never to be cut
    made_of: tuple[object, ...] = ()


@dataclass(frozen=True)
class View:
    """Everything that `render` draws."""

    now: datetime
    states: States = States()
    board: Board = Board()
    url: str = ""
    patterns: tuple[str, ...] = ()  #: only these processes, as the command line says
    stack: str | None = None
    mode: str = "list"  #: list, prompt (for the filter), details, help; "quit" ends it
    filter: str = ""
    filter_before: str = ""  #: what Esc makes of the filter while it is being typed
    order: str = ORDERS[0]
    event_type: str = ""  #: "" is: all of them
    cursor: Place | None = None  #: None: the first row, whichever that is
    index: int = 0  #: where the cursor is among the rows
    offset: int = 0  #: the first row that is drawn
    scroll: int = 0  #: the first line that is drawn of details or help
    paused: bool = False
    reading: bool = False  #: the last hour is still being read
    ascii: bool = False  #: nothing but ASCII can be drawn
    lost_at: datetime | None = None  #: since when NATS is lost; None: it is there
    doubt: tuple[datetime, datetime] | None = None  #: away since the first, heard all again by the second
    note: str = ""  #: what was said last, for a few seconds
    description: Description | None = None  #: of the process under the cursor, once it was read
    listing: Listing = Listing()

    @property
    def judged_at(self) -> datetime:
        """The moment that stacks are judged at: while NATS was away, nothing was to be heard of anybody."""
        away_since = self.lost_at or (self.doubt[0] if self.doubt else self.now)
        return away_since if away_since < self.now else self.now

    @property
    def row(self) -> ProcessRow | None:
        """The process under the cursor; one that the list lost is still there while its details are."""
        if self.mode == "details" and self.cursor is not None:
            return self.states.rows.get(self.cursor)
        rows = self.listing.rows
        return rows[self.index] if rows else None


def listed(view: View) -> View:
    """Return the view with its listing worked out."""
    made_of = (view.states, view.board, view.judged_at, view.filter, view.order, view.event_type)
    return view if made_of == view.listing.made_of else replace(view, listing=_listing_of(view, made_of))


def placed(view: View, page: int) -> View:
    """Return the view with the cursor, which stays on its process, among the `page` rows that are drawn."""
    places = [row.place for row in view.listing.rows]
    last, index, cursor = max(0, len(places) - 1), 0, view.cursor
    if cursor is not None:
        index = places.index(cursor) if cursor in places else min(max(0, view.index), last)
        if places and view.mode != "details":
            cursor = places[index]
    offset = min(max(view.offset, index - page + 1), index, max(0, len(places) - page))
    return replace(view, index=index, offset=max(0, offset), cursor=cursor)


def _listing_of(view: View, made_of: tuple[object, ...]) -> Listing:
    states = _chosen(view)
    stale_stacks = stale_stacks_of(states, view.judged_at)
    conditions = {
        place: row.condition(view.judged_at, stale_stacks.get(place.stack))
        for place, row in states.rows.items()
    }
    rows = [
        row for row in states.select() if _passes(view, row.place, f"{row.status} {conditions[row.place]}")
    ]
    keys: dict[str, Callable[[ProcessRow], Any]] = {  # equal ones stay in order of their names
        "trouble": lambda row: (CONDITIONS.index(conditions[row.place]), not _crashed_lately(row, view.now)),
        "name": lambda row: row.place,
        "up": lambda row: seconds_between(row.since, view.now) if row.since else -1.0,
        "restarts": lambda row: row.restarts,
        "crashes": lambda row: row.crashes_24h(view.now),
        "last event": lambda row: row.last_at.timestamp() if row.last_at else 0.0,
    }
    rows.sort(key=keys[view.order], reverse=view.order not in ("trouble", "name"))
    events = [
        event
        for event in latest_events(view.board, view.states)
        if view.event_type in ("", event.type)
        and view.stack in (None, event.stack or "-")
        and process_wanted(view.patterns, [event.namespace], event.process)
        and _passes(view, Place.of(event), event.type)
    ]
    width = max((text_width(str(row.place)) for row in rows), default=0)
    figures = figures_of(states, view.board, view.judged_at)
    return Listing(rows, events, figures, stale_stacks, width, _least_of(rows), made_of)


def _least_of(rows: Sequence[ProcessRow]) -> dict[str, int]:
    """Return how wide the columns are to be whose cells are never cut."""
    return {
        "status": min(16, max((text_width(row.status) + _code_width(row) for row in rows), default=0)),
        "health": max((text_width(row.health) for row in rows if row.alive), default=0),
        "pid": max((len(str(row.pid or "")) for row in rows), default=0),
        "restarts": max((len(str(row.restarts)) for row in rows), default=0),
    }


def _code_width(row: ProcessRow) -> int:
    return 0 if row.exit_code is None else 1 + len(str(row.exit_code))


def _chosen(view: View) -> States:
    """Return the states of what the command line names."""
    if not view.patterns and view.stack is None:
        return view.states
    rows = {row.place: row for row in view.states.select(view.patterns, view.stack)}
    return States(rows, {name: row for name, row in view.states.stacks.items() if view.stack in (None, name)})


def _passes(view: View, place: Place, text: str) -> bool:
    """Whether every word of the filter is in the name, the stack or the text, or is a pattern of the name."""
    for word in view.filter.casefold().split():
        if any(letter in word for letter in "*?["):
            passes = process_matches(word, place.namespace.casefold(), place.process.casefold())
        else:
            passes = any(word in one.casefold() for one in (str(place), place.stack, text))
        if not passes:
            return False
    return True


def _crashed_lately(row: ProcessRow, now: datetime) -> bool:
    return row.crashed_at is not None and seconds_between(row.crashed_at, now) < LATELY_S


def linked(view: View, connected: bool, now: datetime) -> View:
    """Return the view with what is known of the connection to NATS."""
    if connected == (view.lost_at is None):
        over = view.doubt is not None and now >= view.doubt[1]
        return replace(view, doubt=None) if over else view
    if not connected:
        return replace(view, lost_at=now, doubt=None)
    away_since = view.lost_at or now
    return replace(view, lost_at=None, doubt=(away_since, now + timedelta(seconds=SETTLE_S)))


# --- keys ---


def press(view: View, key: str, page: int) -> View:
    """Return the view after a key; one that means nothing changes nothing. `page` is how many rows fit.

    Keys are letters and up, down, left, right, page_up, page_down, home, end, enter, esc, backspace.
    """
    if view.mode == "prompt":
        return _press_in_prompt(view, key, page)
    if key == "q":
        return replace(view, mode="quit")
    if key == "p":
        return replace(view, paused=not view.paused)
    if view.mode == "list":
        return _press_in_list(view, key, page)
    if key in ("esc", "enter", "left", "backspace") or (view.mode == "help" and key == "?"):
        return replace(view, mode="list", scroll=0, description=None)
    if key == "?":
        return replace(view, mode="help", scroll=0, description=None)
    return replace(view, scroll=max(0, view.scroll + _steps(key, page, view.scroll)))


def _press_in_list(view: View, key: str, page: int) -> View:
    changes: dict[str, dict[str, Any]] = {
        "s": {"order": _next_of(ORDERS, view.order, 1), "offset": 0},
        "S": {"order": _next_of(ORDERS, view.order, -1), "offset": 0},
        "t": {"event_type": _next_of(SHOWN_TYPES, view.event_type, 1)},
        "T": {"event_type": _next_of(SHOWN_TYPES, view.event_type, -1)},
        "/": {"mode": "prompt", "filter_before": view.filter},
        "?": {"mode": "help", "scroll": 0},
        "h": {"mode": "help", "scroll": 0},
        "esc": {"filter": "", "event_type": ""},
    }
    if view.row is not None:
        details = {"mode": "details", "cursor": view.row.place, "scroll": 0, "description": None}
        changes |= {"enter": details, "right": details}
    return replace(view, **changes[key]) if key in changes else _move(view, key, page)


def _press_in_prompt(view: View, key: str, page: int) -> View:
    if key == "enter":
        return replace(view, mode="list")
    if key == "esc":
        return replace(view, mode="list", filter=view.filter_before)
    if key == "backspace":
        return replace(view, filter=view.filter[:-1]) if view.filter else replace(view, mode="list")
    if key == "\x15":  # Ctrl-U
        return replace(view, filter="")
    if len(key) == 1 and key.isprintable():
        return replace(view, filter=view.filter + key)
    return _move(view, key, page) if key in ("up", "down", "page_up", "page_down") else view


def _move(view: View, key: str, page: int) -> View:
    rows, steps = view.listing.rows, _steps(key, page, view.index)
    if not rows or not steps:
        return view
    index = min(max(0, view.index + steps), len(rows) - 1)
    return replace(view, index=index, cursor=rows[index].place)


def _steps(key: str, page: int, at: int) -> int:
    """Return how many rows a key moves by, 0 if it is none that moves."""
    moves = {"up": -1, "k": -1, "down": 1, "j": 1, "page_up": -page, "page_down": page, " ": page}
    ends = {"home": -at, "g": -at, "end": 1_000_000, "G": 1_000_000}
    return {**moves, **ends}.get(key, 0)


def _next_of(choices: Sequence[str], now: str, steps: int) -> str:
    return choices[(choices.index(now) + steps) % len(choices)]
