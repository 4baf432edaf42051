"""What a live screen shows beyond the rows: header figures, the latest events, each process's last hour.
Pure, shared by `top` and `web`; a `Board` never changes, so any thread may read one.
"""

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

from ..events import Event, EventType
from ..rows import CONDITIONS, Place, ProcessRow, Stale
from ..times import parse_time
from .gaps import Gaps, find_gaps
from .states import States, stale_stacks_of
from .timeline import Shade, Timeline

#: so many of the latest events are kept
LATEST = 200
#: a history shows this many minutes; whoever fills a board gives it the events observed in that time
HISTORY_MINUTES = 60
#: so many of the observer's own events are kept per stack
OBSERVED = 200
#: events are counted in slots of so many seconds
SLOT_S = 10
#: what a cell of a history can say, the one that wins first; "" is: nothing is known, or it was not there
CELLS = ("crashed", "unhealthy", "blind", "down", "up", "")

#: in the minute of a crash a cell says so, later on it is down
_SHADE_WORDS = {Shade.UP: "up", Shade.UNHEALTHY: "unhealthy", Shade.DOWN: "down", Shade.OUTAGE: "down"}


@dataclass
class Hour(Timeline):
    """The minutes of one process's last hour in which it was there, each as the worst that it was in it."""

    worst: dict[int, str] = field(default_factory=dict)  #: by minutes since 1970, oldest first

    def span(self, start: float, end: float, shade: Shade) -> None:
        first, last = _minute_number(start), _minute_number(end)
        for number in range(max(first, last - HISTORY_MINUTES), max(first + 1, last)):
            self.worst[number] = _worse(self.worst.get(number, ""), shade)
        for number in [one for one in self.worst if one < last - HISTORY_MINUTES]:
            del self.worst[number]

    def end(self, event: Event, at: float) -> None:
        super().end(event, at)
        if event.type == EventType.CRASHED:
            self.worst[_minute_number(at)] = "crashed"

    def after(self, events: Iterable[Event]) -> "Hour":
        """Return another one that knows these events too, in stream order."""
        hour = replace(self, worst=dict(self.worst))
        for event in events:
            hour.note(event)
        return hour

    def words(self, first: int, last: int) -> list[str]:
        """Return one word of `CELLS` per minute from the first to the last, which is the present one."""
        words = [self.worst.get(number, "") for number in range(first, last + 1)]
        if self.shade is not None:
            for at in range(max(0, _minute_number(self.cursor) - first), len(words)):
                words[at] = _worse(words[at], self.shade)
        return words


@dataclass(frozen=True, slots=True)
class Board:
    """What events tell that rows do not keep. Empty at first; `note_events` gives the next one."""

    latest: tuple[Event, ...] = ()  #: without companions, oldest first, `LATEST` at most
    hours: Mapping[Place, Hour] = field(default_factory=dict)
    observed: Mapping[str, tuple[Event, ...]] = field(default_factory=dict)  #: per stack: the observer's own
    slots: Mapping[int, int] = field(default_factory=dict)  #: events without companions, by time // SLOT_S

    def events_per_minute(self, now: datetime) -> int:
        """Return how many events, companions left out, were observed in the last 60 seconds (to 10 s)."""
        last = int(now.timestamp()) // SLOT_S
        return sum(self.slots.get(last - back, 0) for back in range(60 // SLOT_S))


class Figures(NamedTuple):
    """The header of a live screen."""

    processes: int
    counts: Mapping[str, int]  #: how many of them are in each of `CONDITIONS` (all of these are there)
    stacks: int
    adapters: int  #: adapters alive
    events_per_minute: int
    crashes: int  #: of all processes, in 24 hours


def note_events(board: Board, events: Iterable[Event]) -> Board:
    """Return the board after these events, in stream order; each is to be given once.

    Feed it with `consumer.subscribe(handler, since="1h")`: the last hour first, then what happens. Cheap in
    batches: the tables are copied once per call, whatever the number of events.
    """
    slots, latest, observed = dict(board.slots), list(board.latest), dict(board.observed)
    fresh: dict[Place, list[Event]] = {}
    for event in events:
        if not event.companion:
            slot = int(parse_time(event.seen_at).timestamp()) // SLOT_S
            slots[slot] = slots.get(slot, 0) + 1
            latest.append(event)
        place = Place.of(event)
        if event.of_observer:
            observed[place.stack] = (*observed.get(place.stack, ())[-OBSERVED:], event)
        else:
            fresh.setdefault(place, []).append(event)
    hours = dict(board.hours)
    for place, new in fresh.items():
        hours[place] = hours.get(place, Hour(0.0)).after(new)
    kept = sorted(slots)[-HISTORY_MINUTES * 60 // SLOT_S :]
    return Board(tuple(latest[-LATEST:]), hours, observed, {slot: slots[slot] for slot in kept})


def latest_events(board: Board, states: States, number: int = LATEST) -> list[Event]:
    """Return the last events, the newest first; where the board has too few, each row's own last one too."""
    found = list(board.latest[-number:])
    if len(found) < number:
        had = {(event.stack, event.key, event.seen_at) for event in found}
        dated = ((row.last_at, row.place, row) for row in states.rows.values() if row.last_at)
        rows = [row.last for _, _, row in heapq.nlargest(number, dated)]
        older = [event for event in rows if event and (event.stack, event.key, event.seen_at) not in had]
        older.sort(key=lambda event: event.seen_at)
        found = older[max(0, len(older) + len(found) - number) :] + found
    return found[::-1]


def figures_of(states: States, board: Board, now: datetime) -> Figures:
    """Return the header's figures."""
    stale_stacks = stale_stacks_of(states, now)
    counts, crashes = dict.fromkeys(CONDITIONS, 0), 0
    for row in states.rows.values():
        counts[row.condition(now, stale_stacks.get(row.place.stack))] += 1
        crashes += row.crashes_24h(now) if row.crash_hours else 0
    unheard = [name for name, why in stale_stacks.items() if why.about == "adapter"]
    return Figures(
        processes=len(states.rows),
        counts=counts,
        stacks=len(states.stacks),
        adapters=sum(bool(stack.lease) and name not in unheard for name, stack in states.stacks.items()),
        events_per_minute=board.events_per_minute(now),
        crashes=crashes,
    )


def history_of(
    board: Board, row: ProcessRow, now: datetime, cells: int = 12, stale: Stale | None = None
) -> list[str]:
    """Return the last hour of a process as so many words of `CELLS`, the oldest first; `cells` divides 60.

    Each is the worst of its minutes; the last cell is the present one, of which some are still to come. It is
    "blind" where nobody saw half of it or more (nothing was heard of its stack, or is not now: `stale`).
    """
    span, last = HISTORY_MINUTES // cells, _minute_number(now)
    first = (last // span - cells + 1) * span  # so that cells stay what they are while time goes on
    hour, stack = board.hours.get(row.place), row.place.stack
    if hour is None:
        hour = Hour(0.0)
        if row.last_at:  # nothing happened in this hour
            hour.assume(row)
    words = hour.words(first, last)
    observed, until = board.observed.get(stack, ()), now.timestamp()
    gaps = find_gaps(observed, 60.0 * first, until, {stack: stale} if stale else {}).get(stack, Gaps())
    words = _blinded(words, first, until, gaps) if gaps.listed else words
    if row.crashed_at and first <= (number := _minute_number(row.crashed_at)) <= last:
        words[number - first] = "crashed"
    if row.alive and row.since:
        for at in range(max(0, _minute_number(row.since) - first), len(words)):
            words[at] = words[at] or "up"
    return [_cell_of(words[at : at + span]) for at in range(0, len(words), span)]


def _blinded(words: Sequence[str], first: int, until: float, gaps: Gaps) -> list[str]:
    """Return the words of minutes from `first` on, "blind" where nobody saw half of one or more.

    Where nothing was known before, a word is of what was seen: it stays, whenever in its minute that began.
    """
    found = list(words)
    for at, word in enumerate(words):
        start, end = 60.0 * (first + at), min(60.0 * (first + at + 1), until)
        least_s = 0.0 if at and not words[at - 1] else (end - start) / 2
        if word not in ("", "crashed") and start < end and gaps.seen_s(start, end) <= least_s:
            found[at] = "blind"
    return found


def _cell_of(words: Sequence[str]) -> str:
    seen = [word for word in words if word != "blind"]
    return min(seen if len(seen) > len(words) / 2 else words, key=CELLS.index)


def _worse(word: str, shade: Shade) -> str:
    return min(word, _SHADE_WORDS[shade], key=CELLS.index)


def _minute_number(moment: datetime | float) -> int:
    return math.floor((moment if isinstance(moment, float) else moment.timestamp()) / 60)
