"""What happened between two looks at process-compose: `detect` and `settle`, pure functions.
DESIGN section 4 is the rule book; nothing here waits, fetches or publishes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import Any

from ..compose.state import ProcessState
from ..events import Event, EventType, Key
from ..times import earlier, format_time, seconds_between
from .ends import End, Look, asked_at, end_of_known, find_ends, lay_over, state_time, unmask
from .known import GONE_AFTER_S, LAUNCH_POLLS, NO_HEALTH, NOT_READY, READY, Known, Run
from .runs import Step, Words, is_fresh, launch_failed, measure

#: a begin this soon after a requested end is a restart (process-compose waits 1 s in between)
RESTART_WITHIN_S = 3.0
#: what process-compose writes into the log of a process that its readiness probe kills
PROBE_LINE = "Error: readiness check fail"
#: how many lines at the end of the log it may be among: what the process says as it goes comes after it
PROBE_LINE_AMONG = 5
#: the status text of a name that is gone
REMOVED = "Removed"


@dataclass(frozen=True, slots=True)
class Change:
    """What to tell of one process (perhaps nothing), and what is known of it from then on (None: removed).

    The events have neither stack nor seq yet. With `needs_log`, `settle` has to see the log first.
    """

    key: Key
    events: tuple[Event, ...]
    known: Known | None
    needs_log: bool = False


def detect(
    known: Mapping[Key, Known],
    after: Mapping[Key, ProcessState],
    now: datetime,
    words: Words | None = None,
    *,
    born: datetime | None = None,
    interval_s: float = 2.0,
    skew_s: float = 0.0,
    since: datetime | None = None,
) -> list[Change]:
    """Return the changes that lead from what is known to `after`, the states of one reply.

    `words`: what push said that polling has not caught up with; None: no push. `born`: at the first look
    only, when the adapter began, on process-compose's clock, which is `skew_s` ahead of `now`. `since`: the
    last good reply. A state that is the very object of its Known costs next to nothing. The caller takes
    over the Knowns of changes without events too.
    """
    at = earlier(now, -skew_s)
    look = Look(now, at, words or {}, words is not None, born, max(RESTART_WITHIN_S, interval_s), since)
    renamed, doubled = _match_new_names(known, after)
    changes: list[Change] = []
    for key, state in after.items():
        before = known.get(key)
        if key in renamed:
            changes += _rename(renamed[key], known[renamed[key]], key, state, look)
        elif before is None and key not in doubled:
            changes.append(_compare(key, None, state, look))
        elif before is not None and (
            before.state is not state or before.look_again_s or look.speaks_of(before)
        ):
            changes.append(_compare(key, before, state, look))
    changes += [_vanish(key, known[key], look) for key in known.keys() - after.keys() - set(renamed.values())]
    return [change for change in changes if change.events or change.known is not known.get(change.key)]


def settle(change: Change, log_tail: Sequence[str]) -> Change:
    """Return the change as the end of the log tells it: killed by its probe, or stopped on request."""
    if not change.needs_log or not any(PROBE_LINE in line for line in log_tail[-PROBE_LINE_AMONG:]):
        return replace(change, needs_log=False)
    events: list[Event] = []
    killed = False
    for event in change.events:
        if event.type == EventType.STOPPED and event.reason == "requested":
            killed = True
            event = _retyped(event, EventType.CRASHED, reason="probe")
        elif killed and event.type == EventType.RESTARTED:
            event = _retyped(event, EventType.STARTED)
        events.append(event)
    known = replace(change.known, requested_at=None) if change.known else None
    return Change(change.key, tuple(events), known)


def overlay(known: Mapping[Key, Known], words: Words) -> dict[Key, ProcessState]:
    """Return the last good reply with the last words laid over it: all there is once the API is gone."""
    after = {key: found.state for key, found in known.items()}
    by_pid = {found.run.pid: key for key, found in known.items() if found.run and found.alive}
    for spoken, word in words.items():
        key = by_pid.get(spoken) if isinstance(spoken, int) else None
        if key:
            after[key] = lay_over(after[key], word)
        elif word.final is not None and word.ended_at is not None:
            key = Key(word.final.namespace, word.final.name)
            run = known[key].run if key in known else None
            if run is None or run.began is None or run.began < word.ended_at:  # not of a run before that
                after[key] = word.final
    return after


def end_unseen(known: Mapping[Key, Known], now: datetime, words: Words, skew_s: float) -> list[Change]:
    """Return the ends of what was being stopped when process-compose itself went, without a word of them."""
    look = Look(now, earlier(now, -skew_s), words, True, None, 0.0, None)
    changes = []
    for key, before in known.items():
        if before.alive and before.terminating:
            end = end_of_known(before, None, None, look, None)
            told = _tell_ends(key, before.state, look, [end], before.restarts, {})
            after = replace(before, ended=True, terminating=False, health=NO_HEALTH, health_since=None)
            changes.append(Change(key, tuple(told), after, end.needs_log))
    return changes


# --- which names to compare with which ---


def _match_new_names(
    known: Mapping[Key, Known], after: Mapping[Key, ProcessState]
) -> tuple[dict[Key, Key], set[Key]]:
    """Return the renamed (new name → old name), and the new names whose run another name still shows."""
    new = {key: (state.pid, state.start) for key, state in after.items() if key not in known and state.pid}
    if not new:
        return {}, set()
    runs = {
        (found.run.pid, found.run.start): key for key, found in known.items() if found.run and found.has_run
    }
    renamed = {key: runs[run] for key, run in new.items() if run in runs and runs[run] not in after}
    still = {run for run, key in runs.items() if key in after and (after[key].pid, after[key].start) == run}
    return renamed, {key for key, run in new.items() if run in still}


def _rename(old: Key, before: Known, new: Key, state: ProcessState, look: Look) -> list[Change]:
    """The same run under another name: no begin, no end; both names get a status_changed."""
    same_space = old.namespace == new.namespace
    to, came_from = (new.process, old.process) if same_space else (str(new), str(old))
    gone = {"old_status": before.state.status, "new_status": REMOVED}
    leave = _tell_status(old, before.state, look, reason="renamed", renamed_to=to, **gone)
    change = _compare(new, before, state, look)
    others = tuple(event for event in change.events if event.type != EventType.STATUS_CHANGED)
    status = _status_fields(before, state)
    enter = _tell_status(new, state, look, reason="renamed", renamed_from=came_from, **status)
    return [Change(old, (leave,), None), replace(change, events=(*others, enter))]


def _vanish(key: Key, before: Known, look: Look) -> Change:
    """A name that is gone: asked for once more, then told; until then, its run's last words count."""
    state = lay_over(before.state, look.word(before.run)) if before.alive else before.state
    since = before.missing_since or look.now
    if state is not before.state:
        change = _compare(key, before, state, look)
        return replace(change, known=replace(change.known, missing_since=since)) if change.known else change
    if seconds_between(since, look.now) < GONE_AFTER_S:
        return Change(
            key, (), replace(before, missing_since=since) if before.missing_since is None else before
        )
    status = {"old_status": before.state.status, "new_status": REMOVED}
    ends = [end_of_known(before, None, None, look, None)] if before.alive else []
    told = _tell_unseen_unhealthy(key, before.state, look, before.run, before.health) if ends else []
    told += _tell_ends(key, before.state, look, ends, before.restarts, status)
    told.append(_tell_status(key, before.state, look, companion=bool(ends), **status))
    return Change(key, tuple(told), None, needs_log=any(end.needs_log for end in ends))


# --- one process: what to tell, in the order it was ---


def _compare(key: Key, before: Known | None, state: ProcessState, look: Look) -> Change:
    if before is None and look.born is not None and not _is_younger(state, look.born):
        return _announce(key, state, look)
    state = unmask(before, state, look)
    step = measure(before, state)
    if before is not None and not step.ends and 0 < step.launch_polls < LAUNCH_POLLS:
        return Change(key, (), replace(before, launch_polls=step.launch_polls, missing_since=None))
    run, begun_at = _shown_run(before, state, step, look)
    ends = find_ends(before, state, step, look, run, begun_at)
    status = _status_fields(before, state)
    begins = _tell_begins(key, state, look, before, step, ends, begun_at, status)
    over = _tell_ends(key, state, look, ends, step.restarts, status)
    told: list[Event] = []
    if before and step.was_alive and over:
        told = _tell_unseen_unhealthy(key, state, look, before.run, before.health)
    if not step.alive:
        unseen = _tell_unseen_unhealthy(key, state, look, run, NO_HEALTH) if begins else []
        told += [*begins, *unseen, *over]
    elif step.was_alive:
        told += [*over, *begins]
    else:  # the runs that came and went unseen, then the one that is there
        told += [*begins[:-1], *over, *begins[-1:]]
    health, since, turns = _tell_health(key, state, look, before if step.same else None, run, step)
    told += turns
    if status:
        told.append(_tell_status(key, state, look, companion=bool(begins or over), **status))
    requested_at = asked_at(ends) if ends else before.requested_at if before else None
    terminating = state.status == "Terminating" or look.word(run).terminating_at is not None
    after = Known(
        state,
        step.restarts,
        run,
        ended=run is not None and not step.alive,
        terminating=step.alive and (terminating or (step.same and before is not None and before.terminating)),
        health=health,
        health_since=since,
        requested_at=requested_at,
        launch_polls=step.launch_polls,
    )
    return Change(key, tuple(told), after, needs_log=any(end.needs_log for end in ends))


def _announce(key: Key, state: ProcessState, look: Look) -> Change:
    """First look at a process older than the adapter: say that it is there, count nothing of its past."""
    step = measure(None, state)
    run, begun_at = _shown_run(None, state, step, look)
    over, dying = not step.alive, state.status == "Terminating"
    known = Known(state, step.restarts, run, over, dying, launch_polls=step.launch_polls)
    if not step.alive:
        told = _tell_status(key, state, look, new_status=state.status, initial=True)
        return Change(key, (told,), known)
    begin = _tell(key, state, look, EventType.STARTED, begun_at, restarts=step.restarts, initial=True)
    health, since, turns = _tell_health(key, state, look, None, run, step)
    known = replace(known, health=health, health_since=since)
    return Change(key, (begin, *(replace(turn, initial=True) for turn in turns)), known)


def _is_younger(state: ProcessState, born: datetime) -> bool:
    """Whether what the state shows began after the adapter did; a state without a time did not."""
    began = state_time(state.start) or (state_time(state.end) if launch_failed(state) else None)
    return began is not None and began > born


def _shown_run(
    before: Known | None, state: ProcessState, step: Step, look: Look
) -> tuple[Run | None, datetime]:
    """Return the run to know from now on, and when the shown one began (a guess: the reply's time)."""
    if not step.has_run or (step.same and before and before.run and before.run.pid == state.pid):
        return (before.run if before else None), look.at
    since_start = step.rise if before is not None and step.rise >= 0 else step.restarts
    began = None
    if state.is_running and state.age_ns:
        began = earlier(look.at, state.age_ns / 1e9)
    elif is_fresh(before, state) and since_start == 0:  # policy restarts keep process_start_time
        began = state_time(state.start)
    return Run(state.pid, state.start, began, _last_begin_at(step, state)), began or look.at


def _last_begin_at(step: Step, state: ProcessState) -> int:
    """Return the restarts at the last begin: where the policy ended that run, they rose since."""
    ended_by_policy = not step.alive and (not step.has_run or state.status in ("Restarting", "Error"))
    return step.restarts - 1 if ended_by_policy and step.restarts > 0 else step.restarts


def _tell_begins(
    key: Key,
    state: ProcessState,
    look: Look,
    before: Known | None,
    step: Step,
    ends: Sequence[End],
    begun_at: datetime,
    status: Mapping[str, str],
) -> list[Event]:
    """Return the begins in groups of a kind; the one that is alive stands apart if others end before it."""
    if not step.begins:
        return []
    last = _last_begin_at(step, state)
    types = [EventType.RESTARTED] * step.begins
    asked = asked_at(ends[:1]) if step.was_alive else before.requested_at if before else None
    if before is None or before.run is None:
        types[0] = EventType.STARTED
    elif last - step.begins + 1 <= before.run.restarts_at_begin:  # no policy: because of somebody?
        soon = asked is not None and seconds_between(asked, begun_at) <= look.restart_within_s
        types[0] = EventType.RESTARTED if soon else EventType.STARTED
    told: list[Event] = []
    shown = step.begins - 1 if step.alive else -1
    apart = shown if ends and not step.was_alive else -1
    for (event_type, _), group in groupby(range(step.begins), lambda i: (types[i], i == apart)):
        which = list(group)
        exact = which[-1] == step.begins - 1 and step.has_run
        at = begun_at if exact or step.alive else look.at
        at = min([at, *(end.at for end in ends[-1:] if not step.alive)])
        counts = {"count": len(which), "restarts": last - (step.begins - 1 - which[-1])}
        told.append(_tell(key, state, look, event_type, at, inferred=which != [shown], **counts, **status))
    return told


def _tell_ends(
    key: Key, state: ProcessState, look: Look, ends: Sequence[End], restarts: int, status: Mapping[str, str]
) -> list[Event]:
    """Return the ends as events, those of one class in a row as one."""
    told = []
    for _, group in groupby(ends, lambda end: (end.type, end.reason)):
        same = list(group)
        end = same[-1]
        ran = round(seconds_between(end.began, end.at), 3) if end.began and end.exact else None
        ended = {"reason": end.reason, "exit_code": end.exit_code, "run_seconds": ran, "restarts": restarts}
        unseen = any(one.inferred for one in same)
        told.append(
            _tell(key, state, look, end.type, end.at, count=len(same), inferred=unseen, **ended, **status)
        )
    return told


def _tell_health(
    key: Key, state: ProcessState, look: Look, before: Known | None, run: Run | None, step: Step
) -> tuple[str, datetime | None, list[Event]]:
    """Return the run's health, since when, and its turns: one that only push showed, then the reply's."""
    if not step.alive:
        return NO_HEALTH, None, []
    health, since = (before.health, before.health_since) if before else (NO_HEALTH, None)
    told = []
    heard = look.word(run).not_ready_at
    turns: list[tuple[str, datetime | None]] = [(NOT_READY, heard)] if heard else []
    if state.is_running and state.is_ready in (READY, NOT_READY):
        turns.append((state.is_ready, None))
    for turned, at in turns:
        if turned == health:
            continue
        when = at or _ready_at(state, turned, run, since) or look.at
        was = {"was_seconds": round(seconds_between(since, when), 3)} if since else {}
        kind = EventType.HEALTHY if turned == READY else EventType.UNHEALTHY
        told.append(_tell(key, state, look, kind, when, health=turned, extra=was))
        health, since = turned, when
    return health, since, told


def _ready_at(state: ProcessState, health: str, run: Run | None, since: datetime | None) -> datetime | None:
    """Return process_ready_time where it tells this turn: the first time that this run got Ready."""
    ready = state_time(state.ready) if health == READY and since is None else None
    return ready if ready and run and run.began and ready >= run.began else None


def _tell_unseen_unhealthy(
    key: Key, state: ProcessState, look: Look, run: Run | None, health: str
) -> list[Event]:
    """A Not Ready of a run that is over, which only push showed: told before the end."""
    at = look.word(run).not_ready_at
    if at is None or health == NOT_READY:
        return []
    return [_tell(key, state, look, EventType.UNHEALTHY, at, health=NOT_READY)]


# --- the event itself ---


def _tell(
    key: Key, state: ProcessState, look: Look, event_type: EventType, at: datetime, **fields: Any
) -> Event:
    restarts = fields.pop("restarts", state.restarts)
    extra = fields.pop("extra", {})
    if fields.get("inferred") and look.since:
        extra = {**extra, "not_before": format_time(look.since)}
    return Event(
        type=event_type,
        process=key.process,
        namespace=key.namespace,
        timestamp=format_time(at),
        observed_at=format_time(look.now),
        state=state.raw,
        restarts=restarts if restarts > 0 or event_type == EventType.RESTARTED else None,
        namespaces=list(state.namespaces) or None,
        extra=extra,
        **fields,
    )


def _tell_status(key: Key, state: ProcessState, look: Look, **fields: Any) -> Event:
    return _tell(key, state, look, EventType.STATUS_CHANGED, look.at, **fields)


def _retyped(event: Event, event_type: EventType, **fields: Any) -> Event:
    return replace(event, type=event_type, subject="", severity="", **fields)


def _status_fields(before: Known | None, state: ProcessState) -> dict[str, str]:
    if before is None:
        return {"new_status": state.status}
    if before.state.status == state.status:
        return {}
    return {"old_status": before.state.status, "new_status": state.status}
