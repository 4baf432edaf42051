"""How runs ended: the contract's table of classes, and when each end was. Pure.
`Look` is one comparison of a reply with what is known; `find_ends` gives the ends in the order they were.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ..compose.state import ProcessState
from ..events import EventType
from ..times import parse_time
from .known import NOT_READY, Known, Run
from .runs import LastWord, Step, Words, is_fresh

_NO_WORD = LastWord()


@dataclass(frozen=True, slots=True)
class Look:
    """One comparison: its moment on our clock and on process-compose's, and what else there is to know."""

    now: datetime
    at: datetime
    words: Words
    pushed: bool
    born: datetime | None
    restart_within_s: float
    since: datetime | None

    def word(self, run: Run | None) -> LastWord:
        return self.words.get(run.pid, _NO_WORD) if run else _NO_WORD

    def speaks_of(self, before: Known) -> bool:
        return bool(self.words) and before.run is not None and before.run.pid in self.words


@dataclass(frozen=True, slots=True)
class End:
    """One end: its row in the contract's table of classes, when it was, and how sure that is."""

    type: EventType
    reason: str
    at: datetime
    exit_code: int | None = None
    began: datetime | None = None
    exact: bool = False
    inferred: bool = False
    needs_log: bool = False


def find_ends(
    before: Known | None, state: ProcessState, step: Step, look: Look, run: Run | None, begun_at: datetime
) -> list[End]:
    """Return the ends in order: of the run that was known, of those between, of the one in the state."""
    ends = []
    limit = None if step.same else begun_at
    if before is not None and step.was_alive and step.ends:
        known = replace(before, run=run) if step.same else before
        ends.append(end_of_known(known, state, step, look, limit))
    shown = step.has_run and not step.same and not step.alive and state.status != "Error"
    shown = shown and step.ends > len(ends)
    between = step.ends - len(ends) - shown
    if between > 0:
        event_type, reason, _ = _class_of(state.exit_code, state, look)
        at = min(look.at, limit or look.at)
        ends += [End(event_type, reason, at, state.exit_code, inferred=True)] * between
    if shown:
        ends.append(_end_shown(state, look, run))
    if step.launch_failed:
        ends.append(End(EventType.CRASHED, "launch_failed", state_time(state.end) or look.at))
    return ends


def end_of_known(
    before: Known, state: ProcessState | None, step: Step | None, look: Look, limit: datetime | None
) -> End:
    """Return how the known run ended, by the first row that fits; a state of None: its name is gone."""
    word = look.word(before.run)
    seen = state if step and step.same else word.final
    policy = step is not None and step.rise > 0 and state is not None and not is_fresh(before, state)
    code = seen.exit_code if seen else state.exit_code if state and policy else None
    unready = before.health == NOT_READY or word.not_ready_at is not None
    needs_log = unsure = False
    if before.terminating or word.terminating_at:
        event_type, reason = (EventType.CRASHED, "probe") if policy else (EventType.STOPPED, "requested")
        needs_log = unready and not policy
    elif code is None:
        event_type, reason = EventType.STOPPED, "replaced" if state else "removed"
    else:
        event_type, reason, unsure = _class_of(code, seen or before.state, look)
    began = before.run.began if before.run else None
    at, exact = _ended_at(began, seen, word, look, limit)
    inferred = unsure or (seen is None and word.ended_at is None)
    return End(event_type, reason, at, code, began, exact, inferred, needs_log)


def _end_shown(state: ProcessState, look: Look, run: Run | None) -> End:
    """Return how the run in the state ended, which was never seen alive."""
    word = look.word(run)
    event_type, reason, unsure = _class_of(state.exit_code, state, look)
    if word.terminating_at:
        policy = state.status == "Restarting"
        event_type, reason = (EventType.CRASHED, "probe") if policy else (EventType.STOPPED, "requested")
    began = run.began if run else None
    at, exact = _ended_at(began, state, word, look, None)
    needs_log = reason == "requested" and word.not_ready_at is not None
    return End(
        event_type, reason, at, state.exit_code, began, exact, unsure and reason == "killed", needs_log
    )


def _class_of(code: int, state: ProcessState, look: Look) -> tuple[EventType, str, bool]:
    """Return event type and reason of an end by its exit code, and whether a stop could look the same."""
    if code == 0 or code in state.success_exit_codes:
        return EventType.STOPPED, "completed", False
    if code in (129, 130, 143):  # SIGHUP, SIGINT, SIGTERM
        return EventType.STOPPED, "terminated", False
    if code == -1 or 128 < code <= 128 + 64:
        return EventType.CRASHED, "killed", not look.pushed
    return EventType.CRASHED, "exit", False


def _ended_at(
    began: datetime | None, seen: ProcessState | None, word: LastWord, look: Look, limit: datetime | None
) -> tuple[datetime, bool]:
    """Return when a run ended, and whether that is known: not before its begin, nor after the next one's."""
    final = state_time(seen.end) if seen and seen.status != "Restarting" else None
    if final is not None and began is not None and final < began:
        final = None  # of an earlier run
    at = final or word.ended_at or look.at
    at = min(at, limit) if limit else at
    return (max(at, began) if began else at), bool(final or word.ended_at)


def lay_over(state: ProcessState, word: LastWord) -> ProcessState:
    """Return the state of a living run as the last word of it has it."""
    laid: dict[str, Any] = {}
    if word.terminating_at and state.status != "Terminating":
        laid = {"status": "Terminating", "is_running": False}
    elif word.not_ready_at and state.is_running and state.is_ready != NOT_READY:
        laid = {"is_ready": NOT_READY}
    return word.final or (ProcessState.from_raw({**state.raw, **laid}) if laid else state)


def unmask(before: Known | None, state: ProcessState, look: Look) -> ProcessState:
    """Return what a Scheduled state hides: a run that was asked to end, and has not, is Terminating."""
    if before is None or before.run is None or not hides_end(before.run, state):
        return state
    word = look.word(before.run)
    if not (before.alive and (before.terminating or word.terminating_at)):
        return state
    if word.ended_at:  # it was heard since this reply
        return word.final or state
    return ProcessState.from_raw({**state.raw, "status": "Terminating"})


def hides_end(run: Run, state: ProcessState) -> bool:
    """Whether the state is Scheduled, shows the run, and no end of it: Scheduled replaces Terminating too."""
    if state.status != "Scheduled" or not run.shows_in(state):
        return False
    end = state_time(state.end)
    return end is None or (run.began is not None and end < run.began)


def asked_at(ends: Sequence[End]) -> datetime | None:
    """Return when somebody ended the last of these runs; one that was replaced had to be ended for that."""
    return ends[-1].at if ends and ends[-1].reason in ("requested", "replaced") else None


def state_time(text: str) -> datetime | None:
    try:
        return parse_time(text) if text else None
    except ValueError:
        return None
