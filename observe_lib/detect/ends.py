"""How runs ended: the contract's table of classes, and when each end was. Pure.
`Look` is one comparison with what is known; `find_ends` gives the ends in the order they were.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from ..compose.state import ProcessState
from ..events import EventType
from ..times import earlier, format_time
from .known import NOT_READY, Known, Run
from .runs import Step, is_fresh

_STOPPED, _CRASHED = EventType.STOPPED, EventType.CRASHED


@dataclass(frozen=True, slots=True)
class Look:
    """One comparison: when it is, all on process-compose's clock but `seen_text`, and what else is known.

    `last_good`: the last good reply; `not_before` is its text. `heard_from`: since when push listens.
    """

    at: datetime
    at_text: str
    seen_text: str
    born: datetime | None
    restart_within_s: float
    heard_from: datetime | None
    last_good: datetime | None
    not_before: str | None

    @classmethod
    def of(
        cls,
        now: datetime,
        skew_s: float,
        born: datetime | None = None,
        restart_within_s: float = 0.0,
        listening_since: datetime | None = None,
        last_good: datetime | None = None,
    ) -> "Look":
        """Return a comparison of now; what is given is on our clock, which is `skew_s` behind, but `born`."""
        at = earlier(now, -skew_s)
        heard_from = earlier(listening_since, -skew_s) if listening_since else None
        since = earlier(last_good, -skew_s) if last_good else None
        not_before = format_time(since) if since else None
        return cls(
            at, format_time(at), format_time(now), born, restart_within_s, heard_from, since, not_before
        )

    def after(self, last_good: datetime | None) -> "Look":
        """Return the comparison with an earlier reply as the last one that showed what was before."""
        return replace(self, last_good=last_good, not_before=format_time(last_good) if last_good else None)

    def heard(self, state: ProcessState | None, ended_at: datetime | None) -> bool:
        """Whether push listened when a run ended (None: later than the last good reply, which showed it)."""
        since = ended_at or self.last_good
        told = state is not None and state.heard
        return told or (since is not None and self.heard_from is not None and self.heard_from <= since)


class End(NamedTuple):
    """One end: its row in the contract's table of classes, when it was, and how sure that is.

    `runs`: of so many, one after the other.
    """

    type: EventType
    reason: str
    at: datetime
    exit_code: int | None = None
    began: datetime | None = None
    exact: bool = False
    inferred: bool = False
    needs_log: bool = False
    runs: int = 1


def find_ends(
    before: Known | None, state: ProcessState, step: Step, look: Look, run: Run | None, begun_at: datetime
) -> list[End]:
    """Return the ends in order: of the run that was known, of those between, of the one in the state."""
    ends = []
    limit = None if step.same else begun_at
    if before is not None and step.was_alive and step.ends:
        known = replace(before, run=run) if step.same and run is not before.run else before
        ends.append(end_of_known(known, state, step, look, limit))
    shown = step.has_run and not step.same and not step.alive and state.status != "Error"
    shown = shown and step.ends > len(ends)
    between = step.ends - len(ends) - shown
    if between > 0:
        event_type, reason = _class_of(state.exit_code, state)
        at = min(look.at, limit or look.at)
        ends.append(End(event_type, reason, at, state.exit_code, inferred=True, runs=between))
    if shown:
        ends.append(_end_shown(state, step, look, run))
    if step.launch_failed:
        ends.append(End(_CRASHED, "launch_failed", state.ended_at or look.at))
    return ends


def end_of_known(
    before: Known, state: ProcessState | None, step: Step | None, look: Look, limit: datetime | None
) -> End:
    """Return how the known run ended, by the first row that fits; a state of None: its name is gone."""
    seen = state if step and step.same else None
    policy = step is not None and step.rise > 0 and state is not None and not is_fresh(before, state)
    code = seen.exit_code if seen else state.exit_code if state and policy else None
    began = before.run.began if before.run else None
    at, exact = _ended_at(began, seen, look, limit)
    heard = look.heard(seen, at if exact else None)
    needs_log, unsure = False, seen is None
    if before.terminating and policy:
        event_type, reason = _CRASHED, "probe"
    elif before.terminating:
        event_type, reason, needs_log = _STOPPED, "requested", before.health == NOT_READY
    elif before.state.status == "Launched" and policy:  # a daemon's code is that of its launcher
        event_type, reason, code = _CRASHED, "probe", None
    elif before.state.status == "Launched" and code is not None:
        event_type, reason, needs_log, unsure = _STOPPED, "requested", True, not heard
    elif code is None:
        event_type, reason = _STOPPED, "replaced" if state else "removed"
    else:
        event_type, reason = _class_of(code, seen or before.state)
        unsure = unsure or (reason == "killed" and not heard)
    return End(event_type, reason, at, code, began, exact, unsure, needs_log)


def _end_shown(state: ProcessState, step: Step, look: Look, run: Run | None) -> End:
    """Return how the run in the state ended, which was never seen alive.

    After a rise there may be no such run, where nobody listened: the last one stopped in its back-off.
    """
    event_type, reason = _class_of(state.exit_code, state)
    began = run.began if run else None
    at, exact = _ended_at(began, state, look, None)
    rose = step.rise if step.rise >= 0 else step.restarts
    doubtful = reason == "killed" or (rose > 0 and state.status != "Restarting")
    unsure = doubtful and not look.heard(state, at if exact else None)
    return End(event_type, reason, at, state.exit_code, began, exact, unsure)


def _class_of(code: int, state: ProcessState) -> tuple[EventType, str]:
    """Return event type and reason of an end by its exit code."""
    if code == 0 or code in state.success_exit_codes:
        return _STOPPED, "completed"
    if code in (129, 130, 143):  # SIGHUP, SIGINT, SIGTERM
        return _STOPPED, "terminated"
    if code == -1 or 128 < code <= 128 + 64:
        return _CRASHED, "killed"
    return _CRASHED, "exit"


def _ended_at(
    began: datetime | None, seen: ProcessState | None, look: Look, limit: datetime | None
) -> tuple[datetime, bool]:
    """Return when a run ended, and whether that is known: not before its begin, nor after the next one's."""
    final = seen.ended_at if seen and seen.status != "Restarting" else None
    if final is not None and began is not None and final < began:
        final = None  # of an earlier run
    at = final or look.at
    at = min(at, limit) if limit else at
    return (max(at, began) if began else at), bool(final or (seen and seen.heard))


def unmask(before: Known | None, state: ProcessState) -> ProcessState:
    """Return what a Scheduled state hides: a run that was asked to end, and has not, is Terminating."""
    run = before.run if before else None
    if state.status != "Scheduled" or before is None or run is None or not run.shows_in(state):
        return state
    over = state.ended_at is not None and (run.began is None or state.ended_at >= run.began)
    if over or not before.alive or not before.terminating:
        return state
    return state.with_fields(status="Terminating")


def waits_for_word(before: Known, state: ProcessState, step: Step, look: Look) -> bool:
    """Whether push should have said how the known run ended, but a reply came first."""
    if look.heard_from is None or state.heard or not step.was_alive or not step.ends:
        return False
    if before.terminating and step.same:
        return False  # it is asked for, and here is its exit code
    return not (step.same and state.ended_at is not None and state.ended_at <= look.heard_from)


def asked_at(ends: Sequence[End]) -> datetime | None:
    """Return when somebody ended the last of these runs; one that was replaced had to be ended for that."""
    return ends[-1].at if ends and ends[-1].reason in ("requested", "replaced") else None
