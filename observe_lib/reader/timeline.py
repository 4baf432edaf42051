"""What a process was from when to when, folded from its events: the one engine of `report`, `top` and `web`.
Pure; times are seconds since 1970. Whoever shows it is told each span that is over, and sums or bins it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

from ..events import OBSERVE, ROOT
from ..rows import BEGINS, ENDS, Place, ProcessRow, whole_or_none
from ..times import parse_stamp, parse_time

#: what a process is: a run of it lives, none does, or there is no such process (or nobody knows)
UP, DOWN, ABSENT = "up", "down", ""
#: the far end of timelines that are never closed
NEVER = 1e12

_OBSERVER = f"{ROOT}.{OBSERVE}."


class Shade(IntEnum):
    """What a process was in a span of time, as a timeline shows it."""

    UP = 0
    UNHEALTHY = 1
    DOWN = 2  #: and nobody expected otherwise
    OUTAGE = 3  #: down since it crashed


class Fact(NamedTuple):
    """What is needed of a stored event: made faster than an `Event`. `found` is its JSON object."""

    place: Place
    type: str
    at: float  #: when it happened; where it was only found to be so (`initial`), when that was
    stamp: float  #: its timestamp
    seen_at: float
    seq: int
    times: int
    initial: bool
    found: Mapping[str, Any]

    @property
    def restarts(self) -> int:
        """How many restarts it tells of, 0 if none."""
        return whole_or_none(self.found.get("restarts")) or 0


def fact_of(found: Mapping[str, Any]) -> Fact | None:
    """Read an event's JSON object; None: the observer's own. ValueError, LookupError, TypeError: no event."""
    name, namespace, stack = found["process"], found["namespace"], found.get("stack") or "-"
    if not (isinstance(name, str) and isinstance(namespace, str) and isinstance(stack, str) and name):
        raise ValueError("no process")
    if namespace == OBSERVE and str(found.get("subject")).startswith(_OBSERVER):
        return None
    timestamp = found["timestamp"]
    observed = found.get("observed_at") or timestamp
    stamp = parse_stamp(timestamp).timestamp()
    seen_at = stamp if observed == timestamp else parse_stamp(observed).timestamp()
    initial = found.get("initial") is True
    seq, count = whole_or_none(found.get("seq")), whole_or_none(found.get("count"))
    at, place = seen_at if initial else stamp, Place(stack, namespace, name)
    return Fact(place, str(found["type"]), at, stamp, seen_at, seq or 0, max(1, count or 1), initial, found)


@dataclass(slots=True)
class Timeline:
    """One process between `since` and `until`; what it is at the cursor, and `span` is told what it was."""

    since: float
    until: float = NEVER
    known: bool = False
    cursor: float = 0.0
    state: str = ABSENT
    unhealthy: bool = False
    outage_at: float | None = None  #: when it crashed, while it is down since then
    lost: int = 0  #: events that are missing, as a jump of `seq` tells
    seq: int = 0
    seen_at: float = 0.0

    @property
    def shade(self) -> Shade | None:
        """What the process is at the cursor; None: there is no such process."""
        if self.state == UP:
            return Shade.UNHEALTHY if self.unhealthy else Shade.UP
        if self.state == DOWN:
            return Shade.DOWN if self.outage_at is None else Shade.OUTAGE
        return None

    def span(self, start: float, end: float, shade: Shade) -> None:
        """Take a span that is over, in which the process was there."""

    def note(self, fact: Fact) -> bool:
        """Take one event, in stream order, and return whether it counts: not twice, and not after `until`."""
        if fact.seq:
            if fact.seq <= self.seq and fact.seen_at <= self.seen_at:
                return False
            missing = fact.seq - self.seq - 1 if self.seq else 0
            self.seq, self.seen_at = fact.seq, fact.seen_at
            if missing > 0 and fact.at >= self.since:
                self.lose(missing, fact)
        if not self.known:
            self._learn(fact, self.since)
        if fact.at >= self.until:
            return False
        if fact.type in BEGINS:
            self.begin(fact)
        elif fact.type in ENDS:
            self.end(fact)
        elif fact.type in ("healthy", "unhealthy"):
            self.turn_health(fact)
        elif fact.type == "status_changed":
            self._change_status(fact)
        return True

    def assume(self, row: ProcessRow) -> None:
        """Take what the bucket says of a process that no event told of."""
        last = parse_time(row.folded.at).timestamp() if row.folded.at else self.since
        self.open(UP if row.alive else DOWN, last)
        self.unhealthy = row.alive and row.health == "Not Ready"
        if row.crashed_at and not row.alive and (not row.ended_at or row.crashed_at >= row.ended_at):
            self.outage_at = self.cursor

    # --- what it was before its first event ---

    def _learn(self, fact: Fact, since: float) -> None:
        """Take from an event what the process was before it, back to `since`."""
        state, self.unhealthy, began = before_of(fact)
        self.open(state, since if began is None else max(since, began))

    def open(self, state: str, start: float) -> None:
        """Begin with what the process was at a moment."""
        self.known, self.state, self.cursor = True, state, max(start, self.since)

    def lose(self, missing: int, fact: Fact) -> None:
        """Something is missing before this event: what the process was since the last one is not known."""
        self.lost += missing
        self._learn(fact, max(self.cursor, fact.at))
        self.outage_at = None

    # --- what happens ---

    def begin(self, fact: Fact) -> None:
        """A run began."""
        self.become(UP, fact.at)

    def end(self, fact: Fact) -> None:
        """A run ended, or could not begin."""
        self.become(ABSENT if fact.found.get("reason") == "removed" else DOWN, fact.at)
        if fact.type == "crashed" and self.outage_at is None:
            self.begin_outage(fact.at)

    def begin_outage(self, at: float) -> None:
        """It is down since a crash."""
        self.outage_at = max(at, self.since)

    def end_outage(self, at: float, repaired: bool) -> None:
        """A run lives again, or nobody wants one any more."""
        self.outage_at = None

    def turn_health(self, fact: Fact) -> None:
        """It became healthy, or unhealthy."""
        if self.state == UP:
            self.spend(fact.at)
            self.unhealthy = fact.type == "unhealthy"

    def take_over(self, state: Any, at: float) -> None:
        """It goes on with what another name was; `state` as process-compose sent it."""
        self.become(UP if raw_lives(state) else DOWN, at)
        self.unhealthy = isinstance(state, dict) and state.get("is_ready") == "Not Ready"

    def _change_status(self, fact: Fact) -> None:
        """It got another name, was removed, found to be down, or is not to be restarted any more."""
        found = fact.found
        if found.get("renamed_to") or found.get("new_status") == "Removed":
            self.become(ABSENT, fact.at)
        elif found.get("renamed_from"):
            self.take_over(found.get("state"), fact.at)
        elif fact.initial:
            self.become(DOWN, fact.at)
        elif found.get("old_status") == "Restarting" and found.get("new_status") == "Completed":
            self.become(DOWN, fact.at)
            self.end_outage(fact.at, False)  # somebody wants it to stay down from now on

    def become(self, state: str, at: float) -> None:
        """Be something else from a moment on."""
        self.spend(at)
        if state != DOWN and self.outage_at is not None:
            self.end_outage(at, state == UP)
        self.state, self.unhealthy = state, False

    def spend(self, at: float) -> None:
        """Tell of the time up to a moment, and move there."""
        at = min(at, self.until)
        if at > self.cursor:
            if (shade := self.shade) is not None:
                self.span(self.cursor, at, shade)
            self.cursor = at


def before_of(fact: Fact) -> tuple[str, bool, float | None]:
    """Return what an event tells of the time before it: the state, unhealthy, since when (None: for long)."""
    found, reason = fact.found, fact.found.get("reason")
    if fact.initial or found.get("renamed_from"):
        return ABSENT, False, None
    if fact.type in BEGINS or (fact.type in ENDS and reason == "launch_failed"):
        was_there = isinstance(found.get("old_status"), str) or fact.type == "restarted"
        return DOWN if was_there else ABSENT, False, None
    if fact.type in ENDS:
        ran_s = found.get("run_seconds")
        return UP, False, fact.at - max(0.0, ran_s) if isinstance(ran_s, (int, float)) else None
    if fact.type in ("healthy", "unhealthy"):
        return UP, fact.type == "healthy" and bool(found.get("was_seconds")), None
    return UP if raw_lives(found.get("state")) else DOWN, False, None


def raw_lives(state: Any) -> bool:
    """Whether a state as process-compose sent it is that of a living run."""
    if not isinstance(state, dict) or not state.get("pid"):
        return False
    return state.get("is_running") is True or state.get("status") == "Terminating"
