"""The events that tell a change: begins, ends, turns of health, statuses. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import Any

from ..compose.state import ProcessState
from ..events import Event, EventType, Key, Severity
from ..times import format_time, seconds_between
from .ends import End, Look, asked_at
from .known import NO_HEALTH, NOT_READY, READY, Known, Run
from .runs import Step

#: the fields of an event that comes with a new status
Status = Mapping[str, str]


def last_begin_at(step: Step, state: ProcessState) -> int:
    """Return the restarts at the last begin: where the policy ended that run, they rose since."""
    ended_by_policy = not step.alive and (not step.has_run or state.status in ("Restarting", "Error"))
    return step.restarts - 1 if ended_by_policy and step.restarts > 0 else step.restarts


@dataclass(frozen=True, slots=True)
class Teller:
    """Tells of one process what a look at it shows; the state goes with each event."""

    key: Key
    state: ProcessState
    look: Look

    def begins(
        self, before: Known | None, step: Step, ends: Sequence[End], begun_at: datetime, status: Status
    ) -> list[Event]:
        """Return the begins in groups of a kind; the one that is alive apart if others end before it."""
        if not step.begins:
            return []
        last = last_begin_at(step, self.state)
        first = _kind_of_first(before, step, last, ends, begun_at, self.look)
        apart = step.alive and bool(ends) and not step.was_alive
        groups = [(first, step.begins - apart)] if step.begins > apart else []
        if first != EventType.RESTARTED and step.begins - apart > 1:
            groups = [(first, 1), (EventType.RESTARTED, step.begins - apart - 1)]
        if apart:
            groups.append((EventType.RESTARTED if groups else first, 1))
        told: list[Event] = []
        begun = 0
        for event_type, count in groups:
            begun += count
            newest = begun == step.begins
            at = begun_at if step.alive or (newest and step.has_run) else self.look.at
            if ends and not step.alive:
                at = min(at, ends[-1].at)
            unseen = self.state.heard or not (newest and step.alive and count == 1)
            fields: dict[str, Any] = {"count": count, "restarts": last - (step.begins - begun)}
            by_probe = ends[-1].reason == "probe" if ends else before is not None and before.by_probe
            if by_probe and newest and event_type == EventType.RESTARTED:
                fields["extra"] = {"after": "probe"}
            told.append(self.event(event_type, at, inferred=unseen, **fields, **status))
        return told

    def ends(self, ends: Sequence[End], restarts: int, status: Status) -> list[Event]:
        """Return the ends as events, those of one class in a row as one."""
        told = []
        for _, group in groupby(ends, lambda end: (end.type, end.reason)):
            same = list(group)
            end = same[-1]
            ran = round(seconds_between(end.began, end.at), 3) if end.began and end.exact else None
            ended = {
                "reason": end.reason,
                "exit_code": end.exit_code,
                "run_seconds": ran,
                "restarts": restarts,
            }
            count, unseen = sum(one.runs for one in same), any(one.inferred for one in same)
            told.append(self.event(end.type, end.at, count=count, inferred=unseen, **ended, **status))
        return told

    def health(
        self, before: Known | None, run: Run | None, step: Step
    ) -> tuple[str, datetime | None, bool, list[Event]]:
        """Return the run's health, since when, if it ever was Ready, and its turn; `before`: the same run."""
        if not step.alive:
            return NO_HEALTH, None, False, []
        if before:
            health, since, was_ready = before.health, before.health_since, before.was_ready
        else:
            began = run.began if run else None
            was_ready = self.state.ready_at is not None and (began is None or self.state.ready_at >= began)
            health, since = NO_HEALTH, None
        turned = self.state.is_ready
        if not self.state.is_running or turned not in (READY, NOT_READY) or turned == health:
            return health, since, was_ready, []
        at = _ready_at(self.state, run, since) or self.look.at
        extra = {"was_seconds": max(0.0, round(seconds_between(since, at), 3))} if since else {}
        was_ready = was_ready or turned == READY
        return turned, at, was_ready, [self._turn(turned, at, was_ready, extra=extra)]

    def _turn(self, health: str, at: datetime, was_ready: bool, **fields: Any) -> Event:
        """Return the event of a turn of health; not to be Ready yet is a start, not a trouble."""
        kind = EventType.HEALTHY if health == READY else EventType.UNHEALTHY
        if not was_ready:
            fields |= {"starting": True, "severity": Severity.INFO.value}
        return self.event(kind, at, health=health, **fields)

    def initial(self, found: Known) -> tuple[Event, ...]:
        """Return what announces a run that is alive, and its health: what was before is not counted."""
        began = found.run.began if found.run else None
        begin = self.event(EventType.STARTED, began or self.look.at, restarts=found.restarts, initial=True)
        if found.health == NO_HEALTH:
            return (begin,)
        at, was_ready = found.health_since or self.look.at, found.was_ready or found.health == READY
        return begin, self._turn(found.health, at, was_ready, initial=True)

    def status(self, **fields: Any) -> Event:
        """Return a status_changed of now."""
        return self.event(EventType.STATUS_CHANGED, self.look.at, **fields)

    def event(self, event_type: EventType, at: datetime, **fields: Any) -> Event:
        """Return one event about a process; `restarts` are the state's unless given."""
        restarts = fields.pop("restarts", self.state.restarts)
        if self.look.not_before and fields.get("inferred"):
            fields["extra"] = {**fields.get("extra", {}), "not_before": self.look.not_before}
        return Event.of(
            self.key,
            event_type,
            timestamp=self.look.at_text if at is self.look.at else format_time(at),
            observed_at=self.look.seen_text,
            state=self.state.raw,
            restarts=restarts if restarts > 0 or event_type == EventType.RESTARTED else None,
            namespaces=list(self.state.namespaces) or None,
            **fields,
        )


def _kind_of_first(
    before: Known | None, step: Step, last: int, ends: Sequence[End], begun_at: datetime, look: Look
) -> EventType:
    """Return whether the first of these begins was because of a restart, by policy or by somebody."""
    if before is None or before.run is None:
        return EventType.STARTED
    if last - step.begins + 1 > before.run.restarts_at_begin:
        return EventType.RESTARTED
    due = before.state.due_at
    asked = asked_at(ends[:1]) if step.was_alive else before.requested_at
    if asked is None or (due is not None and begun_at >= due):  # a tick of its schedule
        return EventType.STARTED
    soon = seconds_between(asked, begun_at) <= look.restart_within_s
    return EventType.RESTARTED if soon else EventType.STARTED


def _ready_at(state: ProcessState, run: Run | None, since: datetime | None) -> datetime | None:
    """Return process_ready_time where it tells this turn: the first time that this run got Ready."""
    ready = state.ready_at if state.is_ready == READY and since is None else None
    return ready if ready and run and run.began and ready >= run.began else None


def status_fields(before: Known | None, state: ProcessState) -> Status:
    """Return the fields of an event that comes with a new status."""
    if before is None:
        return {"new_status": state.status}
    if before.state.status == state.status:
        return {}
    return {"old_status": before.state.status, "new_status": state.status}


def retype(event: Event, event_type: EventType, **fields: Any) -> Event:
    """Return the event as one of another type."""
    return replace(event, type=event_type, subject="", severity="", **fields)
