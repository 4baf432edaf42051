"""What happened between two looks at process-compose: `detect` and `settle`, pure functions.
DESIGN section 4 is the rule book; nothing here waits, fetches or publishes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ..compose.state import ProcessState
from ..events import Event, EventType, Key
from ..times import earlier, seconds_between
from .ends import Look, asked_at, end_of_known, find_ends, unmask, waits_for_word
from .known import GONE_AFTER_S, LAUNCH_POLLS, NO_HEALTH, Known, Run
from .runs import Step, is_fresh, launch_failed, measure
from .telling import Teller, last_begin_at, retype, status_fields

#: a begin this soon after a requested end is a restart (process-compose waits 1 s in between)
RESTART_WITHIN_S = 3.0
#: a reply that shows an end before push said so is looked at again for so long
WORD_WITHIN_S = 0.25
#: a name that left while its run was alive is waited for: process-compose gives a stop 10 s; push says more
STOPS_WITHIN_S = 10.0
HEARD_WITHIN_S = 60.0
#: what process-compose writes into the log of a process that its probe kills
PROBE_LINE = "Error: readiness check fail"
LIVENESS_LINE = "Error: liveness check fail"
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
    *,
    born: datetime | None = None,
    interval_s: float = 2.0,
    skew_s: float = 0.0,
    listening_since: datetime | None = None,
    last_good: datetime | None = None,
    on_failure: Callable[[Key, Exception], None] | None = None,
) -> list[Change]:
    """Return the changes that lead from what is known to `after`: one reply, or what one message says.

    All moments are on our clock but `born`: at the first look only, when the adapter began, on
    process-compose's clock, which is `skew_s` ahead. `listening_since`: since when the present push
    connection is there (None: no push). `last_good`: the last good reply before this one. A state that is the
    very object of its Known costs next to nothing. The caller takes over Knowns without events too.
    `on_failure` is told of a process that cannot be compared, which is left as it was (None: it raises).
    """
    restart_within_s = max(RESTART_WITHIN_S, interval_s)
    look = Look.of(now, skew_s, born, restart_within_s, listening_since, last_good)
    changes: list[Change] = []
    new, common = [], 0

    def take(compare: Callable[..., Sequence[Change]], key: Key, *arguments: Any) -> None:
        try:
            changes.extend(compare(key, *arguments, look))
        except Exception as error:  # one insane process must not blind us to all others
            if on_failure is None:
                raise
            on_failure(key, error)

    for key, state in after.items():
        before = known.get(key)
        if before is None:
            new.append(key)
            continue
        common += 1
        if before.state is not state or not before.settled:
            take(_compare, key, before, state)
    renamed, doubled = _match_new_names(known, after, new)
    for key in new:
        if key in renamed:
            take(_rename, key, renamed[key], known[renamed[key]], after[key])
        elif key not in doubled:
            take(_compare, key, None, after[key])
    if common < len(known) and (gone := known.keys() - after.keys() - set(renamed.values())):
        others = bool(after) and not any(key in after for key, found in known.items() if not found.missing)
        for key in gone:
            take(_vanish, key, known[key], others)
    return [change for change in changes if change.events or change.known is not known.get(change.key)]


def settle(change: Change, log_tail: Sequence[str]) -> Change:
    """Return the change as the end of the log tells it: killed by its probe, or stopped on request."""
    last = log_tail[-PROBE_LINE_AMONG:] if change.needs_log else ()
    daemon = any(LIVENESS_LINE in line for line in last)
    if not daemon and not any(PROBE_LINE in line for line in last):
        return replace(change, needs_log=False) if change.needs_log else change
    events: list[Event] = []
    killed = False
    for event in change.events:
        if event.type == EventType.STOPPED and event.reason == "requested":
            killed = True
            event = retype(event, EventType.CRASHED, reason="probe")
            if daemon:  # its code is that of its launcher
                event = replace(event, exit_code=None, inferred=False)
        elif killed and event.type == EventType.RESTARTED:
            event = retype(event, EventType.STARTED)
        events.append(event)
    known = replace(change.known, requested_at=None) if change.known else None
    return Change(change.key, tuple(events), known)


def end_unseen(known: Mapping[Key, Known], now: datetime, skew_s: float = 0.0) -> list[Change]:
    """Return the ends of what was being stopped when process-compose itself went, without a word of them."""
    look = Look.of(now, skew_s)
    changes = []
    for key, before in known.items():
        if before.alive and before.terminating:
            end = end_of_known(before, None, None, look, None)
            told = Teller(key, before.state, look).ends([end], before.restarts, {})
            after = replace(before, ended=True, terminating=False, health=NO_HEALTH, health_since=None)
            changes.append(Change(key, tuple(told), after, end.needs_log))
    return changes


def announce(known: Mapping[Key, Known], now: datetime, skew_s: float = 0.0) -> list[Change]:
    """Return what tells a server that knows nothing of this stack what is alive: an `initial` begin each."""
    look = Look.of(now, skew_s)
    alive = [(key, found) for key, found in known.items() if found.alive]
    return [Change(key, Teller(key, found.state, look).initial(found), found) for key, found in alive]


# --- which names to compare with which ---


def _match_new_names(
    known: Mapping[Key, Known], after: Mapping[Key, ProcessState], names: Sequence[Key]
) -> tuple[dict[Key, Key], set[Key]]:
    """Return the renamed (new name → old name), and the new names whose run another name still shows."""
    new = {key: (after[key].pid, after[key].start) for key in names if after[key].pid}
    if not new or not known:
        return {}, set()
    runs = {
        (found.run.pid, found.run.start): key for key, found in known.items() if found.run and found.has_run
    }
    renamed = {key: runs[run] for key, run in new.items() if run in runs and runs[run] not in after}
    still = {run for run, key in runs.items() if key in after and (after[key].pid, after[key].start) == run}
    return renamed, {key for key, run in new.items() if run in still}


def _rename(new: Key, old: Key, before: Known, state: ProcessState, look: Look) -> list[Change]:
    """The same run under another name: no begin, no end; both names get a status_changed."""
    same_space = old.namespace == new.namespace
    to, came_from = (new.process, old.process) if same_space else (str(new), str(old))
    gone = {"old_status": before.state.status, "new_status": REMOVED}
    leave = Teller(old, before.state, look).status(reason="renamed", renamed_to=to, **gone)
    (change,) = _compare(new, before, state, look)
    others = tuple(event for event in change.events if event.type != EventType.STATUS_CHANGED)
    status = status_fields(before, state)
    enter = Teller(new, state, look).status(reason="renamed", renamed_from=came_from, **status)
    return [Change(old, (leave,), None), replace(change, events=(*others, enter))]


def _vanish(key: Key, before: Known, others: bool, look: Look) -> list[Change]:
    """A name that is gone: told once its run cannot be there any more. `others`: no name was left."""
    since, shown_at = before.missing or (look.at, look.last_good or look.at)
    look = look.after(shown_at) if before.missing else look
    if not before.alive:
        patience_s = GONE_AFTER_S
    else:
        patience_s = HEARD_WITHIN_S if look.heard_from and look.heard_from <= shown_at else STOPS_WITHIN_S
    if seconds_between(since, look.at) < patience_s and not (others and before.alive):
        return [Change(key, (), before if before.missing else replace(before, missing=(since, shown_at)))]
    status = {"old_status": before.state.status, "new_status": REMOVED}
    ends = [end_of_known(before, None, None, look, None)] if before.alive else []
    tell = Teller(key, before.state, look)
    told = [*tell.ends(ends, before.restarts, status), tell.status(companion=bool(ends), **status)]
    return [Change(key, tuple(told), None, needs_log=any(end.needs_log for end in ends))]


# --- one process: what to tell, in the order it was ---


def _compare(key: Key, before: Known | None, state: ProcessState, look: Look) -> list[Change]:
    if before is None and look.born is not None and not _is_younger(state, look.born):
        return [_find(key, state, look)]
    state = unmask(before, state)
    step = measure(before, state)
    missing = before.missing if before and state.heard else None
    if before is not None and not step.ends and 0 < step.launch_polls < LAUNCH_POLLS:
        return [Change(key, (), replace(before, launch_polls=step.launch_polls, missing=missing))]
    if before is not None and (held := before.unheard or before.missing):
        look = look.after(held[1])  # the replies since then did not show it as it was
    if before is not None and waits_for_word(before, state, step, look):
        since = before.unheard[0] if before.unheard else look.at
        if seconds_between(since, look.at) < WORD_WITHIN_S:
            return [Change(key, (), replace(before, unheard=(since, look.last_good), missing=None))]
    run, begun_at = _shown_run(before, state, step, look)
    ends = find_ends(before, state, step, look, run, begun_at)
    status = status_fields(before, state)
    tell = Teller(key, state, look)
    begins = tell.begins(before, step, ends, begun_at, status)
    over = tell.ends(ends, step.restarts, status)
    if not step.alive:
        told = [*begins, *over]
    elif step.was_alive:
        told = [*over, *begins]
    else:  # the runs that came and went unseen, then the one that is there
        told = [*begins[:-1], *over, *begins[-1:]]
    health, since_when, was_ready, turns = tell.health(before if step.same else None, run, step)
    told += turns
    if status:
        told.append(tell.status(companion=bool(begins or over), **status))
    terminating = state.status == "Terminating" or (step.same and before is not None and before.terminating)
    known = Known(
        state,
        step.restarts,
        run,
        ended=run is not None and not step.alive,
        terminating=step.alive and terminating,
        health=health,
        health_since=since_when,
        was_ready=was_ready,
        by_probe=ends[-1].reason == "probe" if ends else before is not None and before.by_probe,
        requested_at=asked_at(ends) if ends else before.requested_at if before else None,
        launch_polls=step.launch_polls,
        missing=missing,
    )
    return [Change(key, tuple(told), known, needs_log=any(end.needs_log for end in ends))]


def _find(key: Key, state: ProcessState, look: Look) -> Change:
    """First look at a process older than the adapter: say that it is there, count nothing of its past."""
    step = measure(None, state)
    run, _ = _shown_run(None, state, step, look)
    tell, over, dying = Teller(key, state, look), not step.alive, state.status == "Terminating"
    known = Known(state, step.restarts, run, over, dying, launch_polls=step.launch_polls)
    if not step.alive:
        return Change(key, (tell.status(new_status=state.status, initial=True),), known)
    health, since, was_ready, _ = tell.health(None, run, step)
    known = replace(known, health=health, health_since=since, was_ready=was_ready)
    return Change(key, tell.initial(known), known)


def _is_younger(state: ProcessState, born: datetime) -> bool:
    """Whether what the state shows began after the adapter did; a state without a time did not."""
    began = state.started_at or (state.ended_at if launch_failed(state) else None)
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
        began = state.started_at
    return Run(state.pid, state.start, began, last_begin_at(step, state)), began or look.at
