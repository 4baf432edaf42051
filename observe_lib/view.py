"""What `top` shows at one moment, and what a key makes of that.
Pure: knows neither curses nor NATS nor the clock; a `View` never changes, other ones are made of it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from .board import CONDITIONS, Board, Figures, condition_of, figures_of, latest_events, silences_of
from .events import Event, EventType, process_matches
from .output import text_width
from .show import Portrait
from .states import DAY, Place, ProcessRow, Silence, States
from .times import seconds_between

#: what rows can be sorted by; numbers and ages the most interesting first
ORDERS = ("trouble", "name", "up", "restarts", "crashes", "last event")
#: which events the lower part shows
SHOWN_TYPES = ("", *map(str, EventType))

#: among processes that are equally well, those that crashed no longer ago come first
LATELY_S = 600.0
#: NATS is back: the leases are read again within this time, and until then nobody is silent
SETTLE_S = 6.0

_RANKS = {condition: rank for rank, condition in enumerate(CONDITIONS)}


@dataclass(frozen=True)
class Listing:
    """What follows from the rest of a view: worked out once, until something that it is made of changes."""

    rows: Sequence[ProcessRow] = ()
    events: Sequence[Event] = ()
    figures: Figures | None = None
    silences: Mapping[str, Silence] = field(default_factory=dict)
    name_width: int = 0  #: columns that the longest of the rows' names needs
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
    portrait: Portrait | None = None  #: of the process under the cursor, once it was read
    listing: Listing = Listing()

    @property
    def judged_at(self) -> datetime:
        """The moment that silences are judged at: while NATS was away, nothing was to be heard of anybody."""
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
    if all(new is old for new, old in zip(made_of, view.listing.made_of or (None,), strict=False)):
        return view
    return replace(view, listing=_listing_of(view, made_of))


def placed(view: View, page: int) -> View:
    """Return the view with the cursor, which stays on its process, among the `page` rows that are drawn."""
    rows = view.listing.rows
    index, last = view.index, max(0, len(rows) - 1)
    if view.cursor is None:
        index = 0
    elif not (index <= last and rows and rows[index].place == view.cursor):
        index = next((at for at, row in enumerate(rows) if row.place == view.cursor), index)
    index = min(max(0, index), last)
    offset = min(max(view.offset, index - page + 1), index, max(0, len(rows) - page))
    cursor = view.cursor
    if rows and cursor is not None and view.mode != "details":
        cursor = rows[index].place
    return replace(view, index=index, offset=max(0, offset), cursor=cursor)


def _listing_of(view: View, made_of: tuple[object, ...]) -> Listing:
    states = _chosen(view)
    silences = silences_of(states, view.judged_at)
    words = view.filter.casefold().split()

    def matches(place: Place, text: str) -> bool:
        return all(_matches_word(word, place, text) for word in words)

    rows = [
        row
        for row in states.select()
        if not words or matches(row.place, f"{row.status} {_condition(row, silences)}")
    ]
    if view.order != "name":
        rows.sort(key=_sort_keys(view.order, silences, view.now), reverse=view.order != "trouble")
    events = [
        event
        for event in latest_events(view.board, view.states)
        if view.event_type in ("", event.type)
        and _is_selected(view, event)
        and (not words or matches(_place_of(event), event.type))
    ]
    figures = figures_of(states, view.board, view.judged_at)
    width = max(
        (text_width(row.place.namespace) + 1 + text_width(row.place.process) for row in rows), default=0
    )
    return Listing(rows, events, figures, silences, width, made_of)


def _chosen(view: View) -> States:
    """Return the states of what the command line names."""
    if not view.patterns and view.stack is None:
        return view.states
    rows = {row.place: row for row in view.states.select(view.patterns, view.stack, gone=True)}
    stacks = {name: row for name, row in view.states.stacks.items() if view.stack in (None, name)}
    return States(rows, stacks)


def _matches_word(word: str, place: Place, text: str) -> bool:
    name = str(place).casefold()
    if any(letter in word for letter in "*?["):
        return process_matches(word, place.namespace.casefold(), place.process.casefold())
    return word in name or word in place.stack.casefold() or word in text.casefold()


def _place_of(event: Event) -> Place:
    return Place(event.stack or "-", event.namespace, event.process)


def _is_selected(view: View, event: Event) -> bool:
    return view.stack in (None, event.stack or "-") and (
        not view.patterns or any(process_matches(one, *event.key) for one in view.patterns)
    )


def _condition(row: ProcessRow, silences: Mapping[str, Silence]) -> str:
    return condition_of(row, silences.get(row.place.stack))


def _sort_keys(order: str, silences: Mapping[str, Silence], now: datetime) -> Callable[[ProcessRow], Any]:
    """Return the key of a row; equal ones stay in order of their names."""
    keys: dict[str, Callable[[ProcessRow], Any]] = {
        "trouble": lambda row: (_RANKS[_condition(row, silences)], not _crashed_lately(row, now)),
        "up": lambda row: seconds_between(row.since, now) if row.since else -1.0,
        "restarts": lambda row: row.restarts,
        "crashes": lambda row: row.crashes_since(now - DAY) if row.crashes else 0,
        "last event": lambda row: row.last.seen_at if row.last else "",
    }
    return keys[order]


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
        return replace(view, mode="list", scroll=0, portrait=None)
    if key == "?":
        return replace(view, mode="help", scroll=0, portrait=None)
    return replace(view, scroll=max(0, view.scroll + _steps(key, page, view.scroll)))


def _press_in_list(view: View, key: str, page: int) -> View:
    if steps := _steps(key, page, view.index):
        return _move(view, steps)
    if key in ("s", "S"):
        return replace(view, order=_next_of(ORDERS, view.order, key == "s"), offset=0)
    if key in ("t", "T"):
        return replace(view, event_type=_next_of(SHOWN_TYPES, view.event_type, key == "t"))
    if key == "/":
        return replace(view, mode="prompt", filter_before=view.filter)
    if key in ("?", "h"):
        return replace(view, mode="help", scroll=0)
    if key == "esc":
        return replace(view, filter="", event_type="")
    if key in ("enter", "right") and view.row is not None:
        return replace(view, mode="details", cursor=view.row.place, scroll=0, portrait=None)
    return view


def _press_in_prompt(view: View, key: str, page: int) -> View:
    if key == "enter":
        return replace(view, mode="list")
    if key == "esc":
        return replace(view, mode="list", filter=view.filter_before)
    if key == "backspace":
        return replace(view, filter=view.filter[:-1]) if view.filter else replace(view, mode="list")
    if key == "\x15":  # Ctrl-U
        return replace(view, filter="")
    if key in ("up", "down", "page_up", "page_down"):
        return _move(view, _steps(key, page, view.index))
    if len(key) == 1 and key.isprintable():
        return replace(view, filter=view.filter + key)
    return view


def _move(view: View, steps: int) -> View:
    rows = view.listing.rows
    if not rows:
        return view
    index = min(max(0, view.index + steps), len(rows) - 1)
    return replace(view, index=index, cursor=rows[index].place)


def _steps(key: str, page: int, at: int) -> int:
    """Return how many rows a key moves by, 0 if it is none that moves."""
    moves = {"up": -1, "k": -1, "down": 1, "j": 1, "page_up": -page, "page_down": page, " ": page}
    ends = {"home": -at, "g": -at, "end": 1_000_000, "G": 1_000_000}
    return {**moves, **ends}.get(key, 0)


def _next_of(choices: Sequence[str], now: str, forward: bool) -> str:
    return choices[(choices.index(now) + (1 if forward else -1)) % len(choices)]
