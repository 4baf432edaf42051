"""What became of each process in a time: one account per process, sums only, whatever the number of events.
Pure; times are seconds since 1970. `docs/report.md` has the definitions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from ..events import Event, EventType
from ..rows import Place
from ..times import stamp_of
from .gaps import Gaps, told_moment
from .timeline import DOWN, UP, Shade, Timeline

#: a process flaps where it crashed or got unhealthy this often within that time
FLAPS = 3
FLAP_WINDOW_S = 600.0
#: what an account adds up; of what never ran the first two do not count
_SUMS = (
    *("up_s", "down_s", "unhealthy_s", "living", "begun", "crashes"),
    *("policy_restarts", "asked_restarts", "outages", "outage_s", "lost", "unseen"),
)
#: two looks at one run may differ by so much
SAME_RUN_S = 2.0


class Strip(Protocol):
    """Who draws: is told each span that was seen, and what the process was in it."""

    def add(self, start: float, end: float, shade: Shade) -> None: ...

    def text(self, gaps: Gaps, glyphs: Mapping[str, str] = ..., colour: bool = ...) -> str: ...


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


@dataclass
class Account(Timeline):
    """The sums of one process between `since` and `until`; all seconds are of time that was seen."""

    place: Place = Place("", "", "")
    gaps: Gaps = field(default_factory=Gaps)
    strip: Strip | None = None
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
    outage_whole: bool = False  #: the present one was seen from its begin
    last_failure: Failure | None = None
    flapped_at: float | None = None  #: when it last did
    unseen: int = 0  #: crashes while nobody looked: they are in no figure
    scheduled: bool = False  #: it runs when its time has come
    renamed: bool = False  #: the living run is another name's too
    restarts_at_begin: int | None = None
    end_asked: bool | None = None
    end_reason: str = ""
    flaps: tuple[float, ...] = ()  #: when the last bad turns were

    @property
    def runs(self) -> int:
        """How many runs lived in that time."""
        return self.begun + self.living

    @property
    def ran(self) -> bool:
        """Whether it was meant to run, as far as can be told: it did, or it failed to."""
        return bool(self.runs or self.crashes or self.outage_at is not None or self.longest_outage_s)

    @property
    def is_job(self) -> bool:
        """Whether it runs on a schedule, or ran once and is done: its runs tell of it, no uptime does."""
        return self.scheduled or (self.state == DOWN and self.end_reason == "completed")

    @property
    def counts_uptime(self) -> bool:
        """Whether time up and down mean anything."""
        return self.ran and not self.is_job

    @property
    def shown(self) -> bool:
        """Whether it was there at all."""
        there = self.up_s + self.down_s or self.begun or self.crashes
        return bool(there or (self.state and self.cursor <= self.until))

    @property
    def uptime_percent(self) -> float | None:
        """The share of the time it was seen in which a run lived; None where none was meant to."""
        seen_s = self.up_s + self.down_s
        return 100 * self.up_s / seen_s if self.counts_uptime and seen_s > 0 else None

    @property
    def mtbf_s(self) -> float | None:
        """The mean time between failures: time up per crash."""
        return self.up_s / self.crashes if self.crashes and not self.is_job else None

    @property
    def mttr_s(self) -> float | None:
        """The mean time to repair: from a crash until a run lives again."""
        return self.outage_s / self.outages if self.outages and not self.is_job else None

    @property
    def flapping(self) -> str:
        """ "now" if it flapped at the end of the time, "yes" if at some time of it, else ""."""
        if self.flapped_at is None:
            return ""
        return "now" if self.until - self.flapped_at <= FLAP_WINDOW_S else "yes"

    def note(self, event: Event) -> float | None:
        at = super().note(event)
        self.scheduled = self.scheduled or "Scheduled" in (event.old_status, event.new_status)
        if at is not None and at < self.since:
            self.living = int(self.state == UP)
        return at

    def close(self) -> None:
        """Count up to the end of the time; nothing is known of the process after it."""
        self.spend(self.until)
        self._measure_outage(self.until)

    # --- what happens ---

    def open(self, state: str, start: float) -> None:
        super().open(state, start)
        if state == UP and start < self.until:
            self.living = 1

    def lose(self, missing: int, event: Event, at: float) -> None:
        living = self.living
        super().lose(missing, event, at)
        self.living = living
        self.restarts_at_begin = self.end_asked = None

    def begin(self, event: Event, at: float) -> None:
        found_again = self.state == UP and stamp_of(event.timestamp) <= self.cursor + SAME_RUN_S
        super().begin(event, at)
        if event.initial or (self._is_hidden(event, at) and at >= self.since):
            self.living += not found_again
        elif at >= self.since:
            self.begun += event.count
            if event.type == EventType.RESTARTED:
                policy = self._policy_restarts(event)
                self.policy_restarts += policy
                self.asked_restarts += event.count - policy
        self.restarts_at_begin = event.restarts or 0

    def _policy_restarts(self, event: Event) -> int:
        """Return how many of a `restarted` event's begins were the policy's: each raises `restarts` by one.

        The others were asked for (a file watch counts as asking). Where the last begin's restarts are not
        known, the last end tells, else the status before.
        """
        restarts, before = event.restarts or 0, self.restarts_at_begin
        if before is not None:
            policy = restarts - before if restarts >= before else restarts
        elif self.end_asked is not None:
            policy = event.count - self.end_asked
        else:
            policy = event.count if event.old_status == "Restarting" else 0
        return max(0, min(policy, event.count))

    def end(self, event: Event, at: float) -> None:
        super().end(event, at)
        self.end_asked, self.end_reason = event.reason in ("requested", "replaced"), event.reason or ""
        if event.type == EventType.CRASHED and at >= self.since:
            if self._is_hidden(event, at):
                self.unseen += event.count
                return
            self.crashes += event.count
            self.last_failure = Failure(at, event.reason or "", event.exit_code)
            self._note_flap(event, at)

    def _is_hidden(self, event: Event, at: float) -> bool:
        """Whether it happened while nobody looked; what is only inferred did so since `not_before`."""
        first = told_moment(event, "not_before") if event.inferred else None
        return self.gaps.hide(at if first is None else first, at)

    def begin_outage(self, at: float) -> None:
        super().begin_outage(at)
        self.outage_whole = at >= self.since and not self.gaps.hide(at, at)

    def end_outage(self, at: float, repaired: bool) -> None:
        self._measure_outage(at, repaired)
        super().end_outage(at, repaired)

    def turn_health(self, event: Event, at: float) -> None:
        super().turn_health(event, at)
        if self.state == UP and self.unhealthy and at >= self.since:
            self._note_flap(event, at)

    def take_over(self, state: Mapping[str, Any], at: float) -> None:
        super().take_over(state, at)
        self.renamed = self.state == UP
        self.living += self.renamed

    def _note_flap(self, event: Event, at: float) -> None:
        """Several that were not seen one by one count as several only if they lie within the window."""
        first = told_moment(event, "not_before") or at
        turns = event.count if at - first <= FLAP_WINDOW_S else 1
        self.flaps = (*self.flaps, *[at] * min(turns, FLAPS))[-FLAPS:]
        if len(self.flaps) == FLAPS and at - self.flaps[0] <= FLAP_WINDOW_S:
            self.flapped_at = at

    # --- the sums ---

    def span(self, start: float, end: float, shade: Shade) -> None:
        seconds = self.gaps.seen_s(start, end)
        if shade >= Shade.DOWN:
            self.down_s += seconds
        else:
            self.up_s += seconds
            self.unhealthy_s += seconds * (shade == Shade.UNHEALTHY)
        if self.strip is not None:
            for since, to in self.gaps.visible(start, end):
                self.strip.add(since, to, shade)

    def _measure_outage(self, at: float, repaired: bool = False) -> None:
        """Measure the outage up to a moment; the mean is of those repaired and seen from the begin."""
        if self.outage_at is None:
            return
        seconds = self.gaps.seen_s(self.outage_at, max(self.outage_at, min(at, self.until)))
        self.longest_outage_s = max(self.longest_outage_s, seconds)
        if repaired and self.outage_whole and seconds > 0:
            self.outages += 1
            self.outage_s += seconds


def total_of(accounts: Sequence[Account]) -> Account:
    """Return all accounts as one: what ran is pooled, a run that was renamed counts once."""
    total = Account(0.0)
    for one in accounts:
        for name in _SUMS if one.counts_uptime else _SUMS[2:]:
            setattr(total, name, getattr(total, name) + getattr(one, name))
        total.living -= one.renamed
        total.longest_outage_s = max(total.longest_outage_s, one.longest_outage_s)
    failures = [one.last_failure for one in accounts if one.last_failure]
    total.last_failure = max(failures, key=lambda failure: failure.at, default=None)
    return total
