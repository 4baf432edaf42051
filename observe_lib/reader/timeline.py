"""What a process was from when to when, folded from its events: the one engine of `report`, `top` and `web`.
Pure; times are seconds since 1970. Whoever shows it is told each span that is over, and sums or bins it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from ..events import BEGINS, ENDS, Event, EventType
from ..rows import ProcessRow
from ..times import stamp_of

#: what a process is: a run of it lives, none does, or there is no such process (or nobody knows)
UP, DOWN, ABSENT = "up", "down", ""
#: the far end of timelines that are never closed
NEVER = 1e12

_HEALTH = frozenset((EventType.HEALTHY, EventType.UNHEALTHY))


class Shade(IntEnum):
    """What a process was in a span of time, as a timeline shows it."""

    UP = 0
    UNHEALTHY = 1
    DOWN = 2  #: and nobody expected otherwise
    OUTAGE = 3  #: down since it crashed


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

    def note(self, event: Event) -> float | None:
        """Take one event, in stream order, and return when it happened; None where it does not count.

        It does not twice, and not after `until`. What was only found to be so (`initial`) happened then.
        """
        seen_at = stamp_of(event.seen_at)
        at = seen_at if event.initial else stamp_of(event.timestamp)
        if event.seq:
            if (event.seq, seen_at) == (self.seq, self.seen_at):  # a double follows its twin directly
                return None
            missing = event.seq - self.seq - 1 if self.seq else 0
            self.seq, self.seen_at = event.seq, seen_at
            if missing > 0 and at >= self.since:
                self.lose(missing, event, at)
        if not self.known:
            self._learn(event, at, self.since)
        if at >= self.until:
            return None
        if event.type in BEGINS:
            self.begin(event, at)
        elif event.type in ENDS:
            self.end(event, at)
        elif event.type in _HEALTH:
            self.turn_health(event, at)
        elif event.type == EventType.STATUS_CHANGED:
            self._change_status(event, at)
        return at

    def assume(self, row: ProcessRow) -> None:
        """Take what the bucket says of a process that no event told of."""
        last = row.last_at.timestamp() if row.last_at else self.since
        self.open(UP if row.alive else DOWN, last)
        self.unhealthy = row.alive and row.health == "Not Ready" and not row.starting
        if row.crashed_at and not row.alive and (not row.ended_at or row.crashed_at >= row.ended_at):
            self.outage_at = self.cursor

    # --- what it was before its first event ---

    def _learn(self, event: Event, at: float, since: float) -> None:
        """Take from an event what the process was before it, back to `since`."""
        state, self.unhealthy, began = before_of(event, at)
        self.open(state, since if began is None else max(since, began))

    def open(self, state: str, start: float) -> None:
        """Begin with what the process was at a moment."""
        self.known, self.state, self.cursor = True, state, max(start, self.since)

    def lose(self, missing: int, event: Event, at: float) -> None:
        """Something is missing before this event: what the process was since the last one is not known."""
        self.lost += missing
        self._learn(event, at, max(self.cursor, at))
        self.outage_at = None

    # --- what happens at a moment: when the event did, or when it was found to be so (`initial`) ---

    def begin(self, event: Event, at: float) -> None:
        """A run began."""
        self.become(UP, at)

    def end(self, event: Event, at: float) -> None:
        """A run ended, or could not begin."""
        self.become(ABSENT if event.reason == "removed" else DOWN, at)
        if event.type == EventType.CRASHED and self.outage_at is None:
            self.begin_outage(at)

    def begin_outage(self, at: float) -> None:
        """It is down since a crash."""
        self.outage_at = max(at, self.since)

    def end_outage(self, at: float, repaired: bool) -> None:
        """A run lives again, or nobody wants one any more."""
        self.outage_at = None

    def turn_health(self, event: Event, at: float) -> None:
        """It became healthy, or unhealthy."""
        if self.state == UP:
            self.spend(at)
            self.unhealthy = event.type == EventType.UNHEALTHY and not event.starting

    def take_over(self, state: Mapping[str, Any], at: float) -> None:
        """It goes on with what another name was; `state` as process-compose sent it."""
        self.become(UP if raw_lives(state) else DOWN, at)
        self.unhealthy = state.get("is_ready") == "Not Ready"

    def _change_status(self, event: Event, at: float) -> None:
        """It got another name, was removed, found to be down, or is not to be restarted any more."""
        if event.renamed_to or event.new_status == "Removed":
            self.become(ABSENT, at)
        elif event.renamed_from:
            self.take_over(event.state or {}, at)
        elif event.initial:
            self.become(DOWN, at)
        elif (event.old_status, event.new_status) == ("Restarting", "Completed"):
            self.become(DOWN, at)
            self.end_outage(at, False)  # somebody wants it to stay down from now on

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


def before_of(event: Event, at: float) -> tuple[str, bool, float | None]:
    """Return what an event tells of the time before it: the state, unhealthy, since when (None: for long)."""
    if event.initial or event.renamed_from:
        return ABSENT, False, None
    if event.type in BEGINS or (event.type in ENDS and event.reason == "launch_failed"):
        was_there = event.old_status is not None or event.type == EventType.RESTARTED
        return DOWN if was_there else ABSENT, False, None
    if event.type in ENDS:
        return UP, False, None if event.run_seconds is None else at - max(0.0, event.run_seconds)
    if event.type in _HEALTH:
        return UP, event.type == EventType.HEALTHY and bool(event.extra.get("was_seconds")), None
    return UP if raw_lives(event.state or {}) else DOWN, False, None


def raw_lives(state: Mapping[str, Any]) -> bool:
    """Whether a state as process-compose sent it is that of a living run."""
    if not state.get("pid"):
        return False
    return state.get("is_running") is True or state.get("status") == "Terminating"
