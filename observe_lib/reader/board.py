"""What a live screen shows beyond the rows: header figures, the latest events, each process's last hour.
Pure, shared by `top` and `web`; a `Board` never changes, so any thread may read one.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from ..events import Event, EventType
from ..times import parse_time
from .states import BEGINS, DAY, ENDS, Place, ProcessRow, Silence, States, success_codes

#: so many of the latest events are kept
LATEST = 200
#: a history shows this many minutes; whoever fills a board gives it the events observed in that time
HISTORY_MINUTES = 60
#: events are counted in slots of so many seconds
SLOT_S = 10
#: what `condition_of` can say, the most urgent first
CONDITIONS = ("crashed", "unhealthy", "stale", "down", "up", "done", "idle", "gone")
#: what a cell of a history can say, the one that wins first; "" is: nothing is known, or it was not there
CELLS = ("crashed", "unhealthy", "blind", "down", "up", "")

#: statuses of what is not meant to run just now
_IDLE = frozenset(("Disabled", "Pending", "Scheduled", "Skipped", "Foreground", "Watching"))
_BAD_REASONS = frozenset(("exit", "killed", "probe", "launch_failed"))
_HANGUPS = frozenset((129, 130, 143))
_FINE: dict[str, str] = {
    **dict.fromkeys(BEGINS, "up"),
    **dict.fromkeys(ENDS, "down"),
    EventType.HEALTHY: "up",
    EventType.UNHEALTHY: "unhealthy",
}


class Minute(NamedTuple):
    """What one process did in one minute in which something happened to it."""

    number: int  #: minutes since 1970
    worst: str  #: the worst cell word of it
    after: str  #: up, unhealthy or down: how it was at its end


@dataclass(frozen=True, slots=True)
class Lane:
    """One process's minutes, oldest first: those of the last hour, and the last one before it."""

    minutes: tuple[Minute, ...] = ()
    before: str = ""  #: how it was before the first of them: up, unhealthy, down, or "" for not known


@dataclass(frozen=True, slots=True)
class Board:
    """What events tell that rows do not keep. Empty at first; `note_events` gives the next one."""

    latest: tuple[Event, ...] = ()  #: without companions, oldest first, `LATEST` at most
    lanes: Mapping[Place, Lane] = field(default_factory=dict)
    sources: Mapping[str, Lane] = field(default_factory=dict)  #: per stack: how its process-compose answered
    slots: Mapping[int, int] = field(default_factory=dict)  #: events without companions, by time // SLOT_S

    def events_per_minute(self, now: datetime) -> int:
        """Return how many events, companions left out, were observed in the last 60 seconds (to 10 s)."""
        last = int(now.timestamp()) // SLOT_S
        return sum(self.slots.get(last - back, 0) for back in range(60 // SLOT_S))


class Figures(NamedTuple):
    """The header of a live screen."""

    processes: int  #: all but those that are gone
    counts: Mapping[str, int]  #: how many of them are in each of `CONDITIONS` (all of these are there)
    stacks: int
    adapters: int  #: adapters alive
    away: Sequence[str]  #: stacks whose adapter or process-compose is not heard of, by name
    events_per_minute: int
    crashes: int  #: of all processes, in 24 hours


def note_events(board: Board, events: Iterable[Event]) -> Board:
    """Return the board after these events, in stream order; each is to be given once.

    Feed it with `consumer.subscribe(handler, since="1h")`: the last hour first, then what happens. Cheap in
    batches: the tables are copied once per call, whatever the number of events.
    """
    lanes, sources, slots = dict(board.lanes), dict(board.sources), dict(board.slots)
    latest = list(board.latest)
    for event in events:
        if not event.companion:
            slot = int(parse_time(event.seen_at).timestamp()) // SLOT_S
            slots[slot] = slots.get(slot, 0) + 1
            latest.append(event)
        stack = event.stack or "-"
        if not event.of_observer:
            place = Place(stack, event.namespace, event.process)
            lanes[place] = _extend_lane(lanes.get(place, Lane()), event)
        elif event.process == "process-compose":
            sources[stack] = _extend_lane(sources.get(stack, Lane()), event)
    kept = sorted(slots)[-HISTORY_MINUTES * 60 // SLOT_S :]
    return Board(tuple(latest[-LATEST:]), lanes, sources, {slot: slots[slot] for slot in kept})


def latest_events(board: Board, states: States, number: int = LATEST) -> list[Event]:
    """Return the last events, the newest first; where the board has too few, each row's own last one too."""
    found = list(board.latest[-number:])
    if len(found) < number:
        had = {(event.stack, event.key, event.seen_at) for event in found}
        rows = (row.last for row in states.rows.values())
        older = [event for event in rows if event and (event.stack, event.key, event.seen_at) not in had]
        older.sort(key=lambda event: event.seen_at)
        found = older[max(0, len(older) + len(found) - number) :] + found
    return found[::-1]


def silences_of(states: States, now: datetime) -> dict[str, Silence]:
    """Return why nothing is heard of a stack, for each of which that is so: asked once, not once per row."""
    found = {name: stack.silence(now) for name, stack in states.stacks.items()}
    return {name: silence for name, silence in found.items() if silence is not None}


def condition_of(row: ProcessRow, silence: Silence | None = None) -> str:
    """Return the one word of `CONDITIONS` that says how a process is; `silence` is that of its stack."""
    if row.gone:
        return "gone"
    if silence is not None:
        return "stale"
    if row.alive:
        return "unhealthy" if row.health == "Not Ready" else "up"
    if row.ended_well and row.status == "Completed":
        return "done"
    if _ended_badly(row):
        return "crashed"
    return "idle" if row.status in _IDLE else "down"


def figures_of(states: States, board: Board, now: datetime) -> Figures:
    """Return the header's figures."""
    silences = silences_of(states, now)
    counts, crashes = dict.fromkeys(CONDITIONS, 0), 0
    for row in states.rows.values():
        counts[condition_of(row, silences.get(row.place.stack))] += 1
        crashes += row.crashes_since(now - DAY) if row.crashes else 0
    unheard = [name for name, silence in silences.items() if silence.about == "adapter"]
    return Figures(
        processes=len(states.rows) - counts["gone"],
        counts=counts,
        stacks=len(states.stacks),
        adapters=sum(
            bool(stack.lease or stack.adapter) and name not in unheard
            for name, stack in states.stacks.items()
        ),
        away=sorted(silences),
        events_per_minute=board.events_per_minute(now),
        crashes=crashes,
    )


def history_of(
    board: Board, row: ProcessRow, now: datetime, cells: int = 12, silence: Silence | None = None
) -> list[str]:
    """Return the last hour of a process as so many words of `CELLS`, the oldest first; `cells` divides 60.

    Each is the worst of its minutes; the last cell is the present one, of which some are still to come. Time
    in which nothing was heard (process-compose away, or `silence`, which is that of its stack) is "blind".
    """
    span, last = HISTORY_MINUTES // cells, _minute_number(now)
    first = (last // span - cells + 1) * span  # so that cells stay what they are while time goes on
    words = _words_of(board.lanes.get(row.place, Lane()), row, first, last)
    for at, word in enumerate(_spread(board.sources.get(row.place.stack, Lane()), first, last)):
        if word in ("unhealthy", "down") and words[at] != "crashed":
            words[at] = "blind"
    if silence is not None and silence.since is not None:
        start = max(0, _minute_number(silence.since) + 1 - first)
        words[start:] = ["blind"] * len(words[start:])
    return [min(words[at : at + span], key=CELLS.index) for at in range(0, len(words), span)]


def _words_of(lane: Lane, row: ProcessRow, first: int, last: int) -> list[str]:
    """Return one word per minute; of a process of which the hour brought nothing, what its row says."""
    if lane.minutes:
        known = _minute_number(row.since) if row.alive and row.since else last + 1
        spread = _spread(lane, first, last)
        return [word or ("up" if number >= known else "") for number, word in enumerate(spread, first)]
    turned_at = row.since if row.alive else row.ended_at
    number = _minute_number(turned_at) if turned_at else last if row.alive else last + 1
    now = "unhealthy" if row.health == "Not Ready" else "up"
    if not row.alive:
        now = "" if row.gone else "down"
    found = _spread(
        Lane((Minute(number, now, now),), "up" if not row.alive and turned_at else ""), first, last
    )
    for minute, _ in row.crashes:
        if first <= (number := _minute_number(minute)) <= last:
            found[number - first] = "crashed"
    return found


def _spread(lane: Lane, first: int, last: int) -> list[str]:
    """Return one word per minute from the first to the last."""
    found, word, minutes = list[str](), lane.before, {one.number: one for one in lane.minutes}
    for one in lane.minutes:
        if one.number < first:
            word = one.after
    for number in range(first, last + 1):
        minute = minutes.get(number)
        found.append(minute.worst if minute else word)
        word = minute.after if minute else word
    return found


def _extend_lane(lane: Lane, event: Event) -> Lane:
    """Return the lane with one more event of the process, which is later than those in it."""
    after = _FINE.get(event.type, "")
    if not after:
        return lane
    moment, minutes, before = parse_time(event.timestamp), lane.minutes, lane.before
    number = max(_minute_number(moment), minutes[-1].number if minutes else 0)
    worst = "crashed" if event.type == EventType.CRASHED else after
    if minutes and minutes[-1].number == number:
        worst = min(worst, minutes[-1].worst, key=CELLS.index)
        return Lane((*minutes[:-1], Minute(number, worst, after)), before)
    if not minutes:
        before = "" if event.initial or event.type in BEGINS else "up"
        ran_s = event.run_seconds
        if ran_s is not None and event.type in ENDS and ran_s < 60 * HISTORY_MINUTES:
            began = _minute_number(moment - timedelta(seconds=max(0.0, ran_s)))
            if began < number:
                minutes, before = (Minute(began, "up", "up"),), ""
    old = [one for one in minutes if one.number <= number - HISTORY_MINUTES]
    recent = minutes[max(0, len(old) - 1) :]
    return Lane((*recent, Minute(number, worst, after)), before)


def _ended_badly(row: ProcessRow) -> bool:
    if row.reason:
        return row.reason in _BAD_REASONS
    if row.status == "Error":
        return True
    code = row.exit_code
    if code is None or row.status not in ("Completed", "Restarting"):
        return False
    return code not in _HANGUPS and code != 0 and code not in success_codes(row.state)


def _minute_number(moment: datetime) -> int:
    return math.floor(moment.timestamp() / 60)
