"""What became of each process in a time: one account per process, sums only, whatever the number of events.
Pure; times are seconds since 1970. `docs/report.md` has the definitions.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple, Protocol

from ..reader.facts import ABSENT, DOWN, UP, Fact, before_of, raw_lives, restarts_of
from ..reader.gaps import Gaps, told_moment
from ..reader.states import BEGINS, ENDS, Place, ProcessRow, whole_or_none
from ..times import parse_time

#: a process flaps where it crashed or got unhealthy this often within that time
FLAPS = 3
FLAP_WINDOW_S = 600.0
#: two looks at one run may differ by so much
SAME_RUN_S = 2.0


class Shade(IntEnum):
    """What a process was in a span of time, as a timeline shows it."""

    UP = 0
    UNHEALTHY = 1
    DOWN = 2  #: and nobody expected otherwise
    OUTAGE = 3  #: down since it crashed


class Strip(Protocol):
    """Who draws: is told each span that was seen, and what the process was in it."""

    def add(self, start: float, end: float, shade: Shade) -> None: ...


class Failure(NamedTuple):
    """A crash: when, why, and the exit code where there was one."""

    at: float
    reason: str
    exit_code: int | None

    def words(self) -> str:
        """Return why, as one or two words."""
        if self.reason in ("", "exit", "killed") and self.exit_code is not None:
            return f"exit {self.exit_code}"
        return self.reason.replace("_", " ") or "crashed"


@dataclass(slots=True)
class Account:
    """One process between `since` and `until`; all seconds are of time that was seen."""

    place: Place
    since: float
    until: float
    gaps: Gaps
    strip: Strip | None = None
    # --- the sums ---
    up_s: float = 0.0
    down_s: float = 0.0
    unhealthy_s: float = 0.0
    living: int = 0  #: a run that lived when it was first seen in this time
    begun: int = 0
    crashes: int = 0
    policy_restarts: int = 0
    asked_restarts: int = 0
    outages: int = 0  #: over, and seen from begin to end
    outage_s: float = 0.0
    longest_outage_s: float = 0.0
    lost: int = 0  #: events that are missing, as a jump of `seq` tells
    last_failure: Failure | None = None
    flapped_at: float | None = None  #: when it last did
    renamed: bool = False  #: the living run is another name's too
    # --- what it is at the cursor ---
    known: bool = False
    cursor: float = 0.0
    state: str = ABSENT
    unhealthy: bool = False
    outage_at: float | None = None
    outage_whole: bool = False
    restarts_at_begin: int | None = None
    end_asked: bool | None = None
    seq: int = 0
    seen_at: float = 0.0
    flaps: deque[float] = field(default_factory=lambda: deque(maxlen=FLAPS))

    @property
    def runs(self) -> int:
        """How many runs lived in that time."""
        return self.begun + self.living

    @property
    def ran(self) -> bool:
        """Whether it was meant to run, as far as can be told: it did, or it failed to."""
        return bool(self.runs or self.crashes or self.outage_at is not None or self.longest_outage_s)

    @property
    def shown(self) -> bool:
        """Whether it was there at all."""
        there = self.up_s + self.down_s or self.begun or self.crashes
        return bool(there or (self.state and self.cursor <= self.until))

    @property
    def uptime_percent(self) -> float | None:
        """The share of the time it was seen in which a run lived; None where none was meant to."""
        seen_s = self.up_s + self.down_s
        return 100 * self.up_s / seen_s if self.ran and seen_s > 0 else None

    @property
    def mtbf_s(self) -> float | None:
        """The mean time between failures: time up per crash."""
        return self.up_s / self.crashes if self.crashes else None

    @property
    def mttr_s(self) -> float | None:
        """The mean time to repair: from a crash until a run lives again."""
        return self.outage_s / self.outages if self.outages else None

    @property
    def flapping(self) -> str:
        """ "now" if it flapped at the end of the time, "yes" if at some time of it, else ""."""
        if self.flapped_at is None:
            return ""
        return "now" if self.until - self.flapped_at <= FLAP_WINDOW_S else "yes"

    def note(self, fact: Fact) -> None:
        """Take one event, in stream order; one that was had already changes nothing."""
        if fact.seq:
            if fact.seq <= self.seq and fact.seen_at <= self.seen_at:
                return
            missing = fact.seq - self.seq - 1 if self.seq else 0
            self.seq, self.seen_at = fact.seq, fact.seen_at
            if missing > 0 and fact.at >= self.since:
                self._lose(missing, fact)
        if not self.known:
            self._learn(fact, self.since)
        if fact.at >= self.until:
            return
        if fact.type in BEGINS:
            self._begin(fact)
        elif fact.type in ENDS:
            self._end(fact)
        elif fact.type in ("healthy", "unhealthy"):
            self._turn_health(fact)
        elif fact.type == "status_changed":
            self._change_status(fact)
        if fact.at < self.since:
            self.living = int(self.state == UP)

    def assume(self, row: ProcessRow) -> None:
        """Take what the bucket says of a process that no event told of."""
        last = parse_time(row.folded.at).timestamp() if row.folded.at else self.since
        self._open(UP if row.alive else DOWN, last)
        self.unhealthy = row.alive and row.health == "Not Ready"
        if row.crashed_at and not row.alive and (not row.ended_at or row.crashed_at >= row.ended_at):
            self.outage_at = self.cursor

    def close(self) -> None:
        """Count up to the end of the time; nothing is known of the process after it."""
        self._spend(self.until)
        self._measure_outage(self.until)

    # --- what it was before its first event ---

    def _learn(self, fact: Fact, since: float) -> None:
        """Take from an event what the process was before it, back to `since`."""
        state, self.unhealthy, began = before_of(fact)
        self._open(state, since if began is None else max(since, began))

    def _open(self, state: str, start: float) -> None:
        self.known, self.state, self.cursor = True, state, max(start, self.since)
        if state == UP and start < self.until:
            self.living = 1

    def _lose(self, missing: int, fact: Fact) -> None:
        """Something is missing before this event: what the process was since the last one is not known."""
        self.lost += missing
        living = self.living
        self._learn(fact, max(self.cursor, fact.at))
        self.living = living
        self.outage_at = self.restarts_at_begin = self.end_asked = None

    # --- what happens ---

    def _begin(self, fact: Fact) -> None:
        found_again = self.state == UP and fact.stamp <= self.cursor + SAME_RUN_S
        self._become(UP, fact.at)
        if fact.initial:
            self.living += not found_again
        elif fact.at >= self.since:
            self.begun += fact.times
            if fact.type == "restarted":
                policy = self._policy_restarts(fact)
                self.policy_restarts += policy
                self.asked_restarts += fact.times - policy
        self.restarts_at_begin = restarts_of(fact)

    def _policy_restarts(self, fact: Fact) -> int:
        """Return how many of a `restarted` event's begins were the policy's: each raises `restarts` by one.

        The others were asked for (a file watch counts as asking). Where the last begin's restarts are not
        known, the last end tells, else the status before.
        """
        restarts, before = restarts_of(fact), self.restarts_at_begin
        if before is not None:
            policy = restarts - before if restarts >= before else restarts
        elif self.end_asked is not None:
            policy = fact.times - self.end_asked
        else:
            policy = fact.times if fact.found.get("old_status") == "Restarting" else 0
        return max(0, min(policy, fact.times))

    def _end(self, fact: Fact) -> None:
        reason = str(fact.found.get("reason") or "")
        self._become(ABSENT if reason == "removed" else DOWN, fact.at)
        self.end_asked = reason in ("requested", "replaced")
        if fact.type != "crashed":
            return
        if self.outage_at is None:
            self.outage_at, self.outage_whole = max(fact.at, self.since), fact.at >= self.since
        if fact.at >= self.since:
            self.crashes += fact.times
            self.last_failure = Failure(fact.at, reason, whole_or_none(fact.found.get("exit_code")))
            self._note_flap(fact)

    def _note_flap(self, fact: Fact) -> None:
        """Several that were not seen one by one count as several only if they lie within the window."""
        first = told_moment(fact.found, "not_before") or fact.at
        self.flaps.extend([fact.at] * min(fact.times if fact.at - first <= FLAP_WINDOW_S else 1, FLAPS))
        if len(self.flaps) == FLAPS and fact.at - self.flaps[0] <= FLAP_WINDOW_S:
            self.flapped_at = fact.at

    def _turn_health(self, fact: Fact) -> None:
        if self.state != UP:
            return
        self._spend(fact.at)
        self.unhealthy = fact.type == "unhealthy"
        if self.unhealthy and fact.at >= self.since:
            self._note_flap(fact)

    def _change_status(self, fact: Fact) -> None:
        found, raw = fact.found, fact.found.get("state")
        if found.get("renamed_to") or found.get("new_status") == "Removed":
            self._become(ABSENT, fact.at)
        elif found.get("renamed_from"):
            self._become(UP if raw_lives(raw) else DOWN, fact.at)
            self.unhealthy = isinstance(raw, dict) and raw.get("is_ready") == "Not Ready"
            self.renamed = self.state == UP
            self.living += self.renamed
        elif fact.initial:
            self._become(DOWN, fact.at)
        elif found.get("old_status") == "Restarting" and found.get("new_status") == "Completed":
            self._measure_outage(fact.at)  # somebody wants it to stay down from now on
            self._become(DOWN, fact.at)
            self.outage_at = None

    # --- the sums ---

    def _become(self, state: str, at: float) -> None:
        self._spend(at)
        if state != DOWN and self.outage_at is not None:
            self._measure_outage(at, repaired=state == UP)
            self.outage_at = None
        self.state, self.unhealthy = state, False

    def _spend(self, at: float) -> None:
        """Count the time up to a moment for what the process was in it."""
        at = min(at, self.until)
        if at <= self.cursor:
            return
        if self.state:
            seconds = self.gaps.seen_s(self.cursor, at)
            if self.state == DOWN:
                self.down_s += seconds
            else:
                self.up_s += seconds
                self.unhealthy_s += seconds * self.unhealthy
            if self.strip is not None and (shade := self.shade) is not None:
                for start, end in self.gaps.visible(self.cursor, at):
                    self.strip.add(start, end, shade)
        self.cursor = at

    @property
    def shade(self) -> Shade | None:
        """What the process is at the cursor; None: there is no such process."""
        if self.state == UP:
            return Shade.UNHEALTHY if self.unhealthy else Shade.UP
        if self.state == DOWN:
            return Shade.DOWN if self.outage_at is None else Shade.OUTAGE
        return None

    def _measure_outage(self, at: float, repaired: bool = False) -> None:
        """Measure the outage up to a moment; the mean is of those repaired and seen from the begin."""
        if self.outage_at is None:
            return
        seconds = self.gaps.seen_s(self.outage_at, max(self.outage_at, min(at, self.until)))
        self.longest_outage_s = max(self.longest_outage_s, seconds)
        if repaired and self.outage_whole and seconds > 0:
            self.outages += 1
            self.outage_s += seconds
