"""Waiting for processes: whether one is what is asked for, can still become so, or never will. Pure.
A `Waiting` is shown the states by whoever waits; it neither waits nor reads a clock.
"""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from ..calling import how_to_call
from ..errors import EXIT_IMPOSSIBLE, EXIT_TIMED_OUT, ObserveError
from ..events import Event, EventType
from ..rows import Place, ProcessRow, Stale
from ..times import format_duration, seconds_between
from .states import States, stale_stacks_of

#: what one can wait for
GOALS = ("ready", "running", "healthy", "stopped", "completed")
#: a run that ended on request may be one half of a restart: process-compose waits 1 s in between
RESTART_GRACE_S = 4.0
#: a process-compose that was gone when the waiting began may be starting just now: it is asked every 5 s
SOURCE_GRACE_S = 6.0
#: a row that is gone may come again under another name, or in a bucket made anew
REMOVED_GRACE_S = 2.0

_FINAL = frozenset(("Completed", "Error", "Skipped", "Disabled"))
_AT_REST = _FINAL | {"Scheduled", "Watching"}
_ASKED = frozenset(("requested", "replaced", "terminated"))
#: what is said of a stack whose process-compose ended
SOURCE_GONE = "its process-compose is gone"
#: what a word says where it is no verb
_SENTENCES = {
    "removed": "was removed",
    "renamed": "was renamed",
    "launch failed": "could not be launched",
}


class GoalMissedError(ObserveError):
    """What was waited for cannot happen any more."""

    exit_code = EXIT_IMPOSSIBLE


class TimedOutError(ObserveError, TimeoutError):
    """What was waited for did not happen in time."""

    exit_code = EXIT_TIMED_OUT


class Outcome(NamedTuple):
    """How the waiting for one process came out: `word` is the goal it reached, or what was in the way."""

    place: Place
    reached: bool
    word: str
    after_s: float  #: 0 for what was so at the first look
    event: Event | None = None  #: that was in the way
    shared: bool = False  #: another stack has a process of that name, too


class _Verdict(NamedTuple):
    """Of one look at one process; it counts once it was so for `grace_s`."""

    reached: bool
    word: str
    event: Event | None = None
    grace_s: float = 0.0


def meets(row: ProcessRow, goal: str, stale: Stale | None = None) -> bool:
    """Whether a process is what is asked for; what lives is believed only while its stack is heard of."""
    if goal == "completed":
        return row.ended_well
    if goal == "stopped":
        gone = stale is not None and _is_source_gone(stale)
        return gone or (not row.alive and row.status in _AT_REST)
    if goal == "ready" and not row.has_probe and row.ended_well:
        return True
    if stale is not None or not row.alive or row.status == "Terminating":
        return False
    probed = row.has_probe or row.health != "-"
    return goal == "running" or row.health == "Ready" or (goal == "ready" and not probed)


def excludes(row: ProcessRow, goal: str) -> str:
    """Return why a process cannot become what is asked for without somebody's help, "" if it can."""
    if goal == "stopped":
        return ""
    if not row.alive and row.status in _FINAL:
        return "ended"
    if goal == "healthy" and row.alive and not (row.has_probe or row.was_healthy or row.health != "-"):
        return "no probe"
    return ""


@dataclass
class Waiting:
    """What is waited for, and how it came out so far. `began`: on any clock that never goes back."""

    patterns: Sequence[str]
    goals: Sequence[str]
    began: float
    fail_on: Sequence[str] = ()
    stack: str | None = None
    nats_flag: str = ""  #: for the commands in hints
    is_renamed: Callable[[Place], bool] = lambda place: False  # asked of one whose row is no more
    outcomes: dict[Place, Outcome] = field(default_factory=dict)
    _met: dict[Place, ProcessRow] = field(default_factory=dict)  # as they were last
    _counts: dict[tuple[Place, str], int] = field(default_factory=dict)  # of `fail_on`, at the first look
    _doubts: dict[Place, float] = field(default_factory=dict)
    _first_look: datetime | None = None
    _gone_at_first: frozenset[str] = frozenset()

    def look(self, states: States, now: datetime, clock: float) -> list[Outcome]:
        """Return what came out since the last look, a failure last; `clock` is as `began`."""
        is_first, self._first_look = self._first_look is None, self._first_look or now
        stale_stacks, fresh = stale_stacks_of(states, now), list[Outcome]()
        if is_first:
            over = (name for name, why in stale_stacks.items() if why.reason == "stopped")
            self._gone_at_first = frozenset(over)
        before, rows = dict(self._met), self._rows(states, now)
        verdicts = {
            row.place: self._failed(row, is_first) or self._judge(row, stale_stacks.get(row.place.stack), now)
            for row in rows
        }
        gone = before.keys() - states.rows.keys()
        verdicts |= {place: self._judge_missing(before[place], states) for place in gone}
        for place, verdict in verdicts.items():
            if place in self.outcomes:
                continue
            if verdict is None:
                self._doubts.pop(place, None)
            elif clock >= self._doubts.setdefault(place, clock) + verdict.grace_s:
                after_s = 0.0 if is_first else clock - self.began  # what was so already took no time
                shared = self._is_shared(place)
                found = Outcome(place, verdict.reached, verdict.word, after_s, verdict.event, shared)
                self.outcomes[place] = found
                fresh.append(found)
        return sorted(fresh, key=lambda outcome: not outcome.reached)

    @property
    def over(self) -> bool:
        """Whether there is nothing to wait for any more: all reached, or one that never will."""
        if any(not outcome.reached for outcome in self.outcomes.values()):
            return True
        return all(map(self._is_reached, self.patterns))

    def failure(self) -> GoalMissedError | None:
        """Return the error for what cannot happen any more, if there is any."""
        missed = next((outcome for outcome in self.outcomes.values() if not outcome.reached), None)
        if missed is None:
            return None
        (name, hint), goals = self._named(missed.place), " or ".join(self.goals)
        text = f"{name} {missed.word} before it was {goals}"
        if missed.word == "no probe":
            text = f"{name} has no readiness probe, so it cannot become {goals}"
            hint = "--for ready or --for running does without one"
        elif missed.word == "gone":
            text = f"{name} cannot become {goals}: {SOURCE_GONE}"
        elif missed.word in _SENTENCES:
            text = f"{name} {_SENTENCES[missed.word]} before it was {goals}"
        return GoalMissedError(text, hint)

    def timed_out(self, states: States, now: datetime, timeout_s: float) -> TimedOutError:
        """Return the error for what has not happened in time."""
        goals, within = " or ".join(self.goals), format_duration(timeout_s).replace(".0s", "s")
        pattern = next(one for one in self.patterns if not self._is_reached(one))
        for row in self._rows(states, now):
            if row.place in self.outcomes or not row.matches(pattern):
                continue
            stale = states.stale(row, now)
            why = _stale_words(stale) if stale else f"{row.status}, {row.health}".removesuffix(", -")
            name, hint = self._named(row.place)
            return TimedOutError(f"{name} was not {goals} within {within} ({why})", hint)
        hint = f"{how_to_call('ps', self.nats_flag)} shows which there are; is the adapter running?"
        return TimedOutError(f"no process matched {pattern!r} within {within}", hint)

    def _rows(self, states: States, now: datetime) -> list[ProcessRow]:
        """Return the rows that count: of a stack that is not heard of only what no other stack has too."""
        found = states.select(self.patterns, self.stack)
        silent = {name for name, why in stale_stacks_of(states, now).items() if why.about == "adapter"}
        fresh = {row.place[1:] for row in found if row.place.stack not in silent}
        found = [row for row in found if row.place.stack not in silent or row.place[1:] not in fresh]
        self._met.update((row.place, row) for row in found)
        return found

    def _is_shared(self, place: Place) -> bool:
        return any(one != place and one[1:] == place[1:] for one in self._met)

    def _named(self, place: Place) -> tuple[str, str]:
        """Return what to call a process, and where to see more of it; with its stack where two have it."""
        shared = self._is_shared(place)
        stack = f"--stack {shlex.quote(place.stack)}" if shared else ""
        words = (shlex.quote(str(place)), stack, self.nats_flag)
        hint = f"see its last words: {how_to_call('show', *words)}"
        return f"{place} on {place.stack}" if shared else str(place), hint

    def _is_reached(self, pattern: str) -> bool:
        if pattern.startswith("!"):
            return True
        named = [place for place, row in self._met.items() if row.matches(pattern)]
        return bool(named) and all(place in self.outcomes and self.outcomes[place].reached for place in named)

    def _judge(self, row: ProcessRow, stale: Stale | None, now: datetime) -> _Verdict | None:
        """Return how it came out for a process, None while it may still become what is asked for."""
        goal = next((one for one in self.goals if meets(row, one, stale)), None)
        if goal is not None:
            return _Verdict(True, goal)
        if stale and _is_source_gone(stale):
            return _Verdict(False, "gone", None, SOURCE_GRACE_S * (row.place.stack in self._gone_at_first))
        why = [excludes(row, one) for one in self.goals]
        if stale or not all(why):
            return None
        if "no probe" in why:
            return _Verdict(False, "no probe")
        lately = row.ended_at is not None and seconds_between(row.ended_at, now) < RESTART_GRACE_S
        event = row.last_crash if row.last_type == EventType.CRASHED else row.last
        return _Verdict(False, _end_word(row), event, RESTART_GRACE_S * (lately and row.reason in _ASKED))

    def _failed(self, row: ProcessRow, is_first: bool) -> _Verdict | None:
        """Return the verdict of an event that is given up at, as the row counts it; None without one."""
        for event_type in self.fail_on:
            count, last_at = row.count_of(event_type)
            known = self._counts.get((row.place, event_type))
            if known is None:  # of a row that came later, what happened since the waiting began counts
                is_news = not is_first and self._first_look and last_at and last_at >= self._first_look
                known = 0 if is_news else count
            self._counts[row.place, event_type] = known
            if count and count != known:
                return _Verdict(False, event_type, _told_as(row, event_type))
        return None

    def _judge_missing(self, row: ProcessRow, states: States) -> _Verdict | None:
        """Return how it came out for a process whose row is no more; None where its stack is not known."""
        if row.place.stack not in states.stacks:
            return None
        if row.alive and self.is_renamed(row.place):
            return _Verdict(False, "renamed")
        if "stopped" in self.goals:
            return _Verdict(True, "stopped", None, REMOVED_GRACE_S)
        return _Verdict(False, "removed", row.last, REMOVED_GRACE_S)


def _told_as(row: ProcessRow, event_type: str) -> Event | None:
    event = row.last_crash if event_type == EventType.CRASHED else row.last
    return event if event is not None and event.type == event_type else None


def _is_source_gone(stale: Stale) -> bool:
    return (stale.about, stale.reason) == ("process-compose", "stopped")


def _end_word(row: ProcessRow) -> str:
    """Return in one word how a process came to rest."""
    if row.reason == "launch_failed" or row.status == "Error":
        return "launch failed"
    if row.status != "Completed":
        return row.status.lower()
    return row.last_type if row.last_type in (EventType.CRASHED, EventType.STOPPED) else "ended"


def _stale_words(stale: Stale) -> str:
    if stale.about == "adapter":
        return "no word from its adapter"
    return "its process-compose does not answer" if stale.reason == "away" else SOURCE_GONE
