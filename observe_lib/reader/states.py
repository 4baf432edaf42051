"""The table behind `ps`, `wait`, `show`, `top` and `web`: one row per process, one per stack.
Pure; folded from the bucket's records and from events. A `States` never changes, so any thread may read one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from ..events import Event, EventType, Seen, process_wanted
from ..rows import BEGINS, DAY, ENDS, Place, ProcessRow, minute_of, whole_or_none
from ..times import parse_time

#: an adapter that missed two heartbeats is not heard of any more
STALE_S = 20.0

_GONE_STATUS = "Removed"


class Stale(NamedTuple):
    """Why a stack is not heard of: `about` adapter or process-compose, `reason` silent, stopped or away."""

    about: str
    reason: str
    since: datetime | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class StackRow:
    """One stack: its adapter as the lease tells, and its process-compose as the adapter told."""

    name: str
    beat_at: datetime | None = None  #: the last heartbeat, on our own clock; None: never read
    lease: Mapping[str, Any] = field(default_factory=dict)  #: as it is in the bucket
    dead: bool = False  #: its process is known to be no more
    source: str = ""  #: last event type of process-compose itself, "" if none
    source_since: datetime | None = None  #: when it began to be so
    source_error: str = ""
    adapter: str = ""  #: last event type of the adapter itself
    adapter_since: datetime | None = None
    observed: Mapping[str, Seen] = field(default_factory=dict)

    def stale(self, now: datetime) -> Stale | None:
        """Return why its rows are stale, None if they are not."""
        silent = self.beat_at is not None and now - self.beat_at > timedelta(seconds=STALE_S)
        if self.adapter == EventType.STOPPED or self.lease.get("stopped"):
            return Stale("adapter", "stopped", self.adapter_since or self.beat_at)
        if self.dead or silent:
            return Stale("adapter", "silent", self.beat_at)
        if self.source == EventType.UNHEALTHY:
            return Stale("process-compose", "away", self.source_since, self.source_error)
        if self.source == EventType.STOPPED:
            return Stale("process-compose", "stopped", self.source_since)
        return None


@dataclass(frozen=True, slots=True)
class States:
    """Everything that is known: the processes by place (gone ones too), and the stacks by name."""

    rows: Mapping[Place, ProcessRow] = field(default_factory=dict)
    stacks: Mapping[str, StackRow] = field(default_factory=dict)

    def stale(self, row: ProcessRow, now: datetime) -> Stale | None:
        """Return why what a row says may no longer hold, None if it does."""
        stack = self.stacks.get(row.place.stack)
        return stack.stale(now) if stack else None

    def select(
        self, patterns: Iterable[str] = (), stack: str | None = None, gone: bool = False
    ) -> list[ProcessRow]:
        """Return the rows that any pattern (none given: all) names, in order of their places."""
        wanted = tuple(patterns)
        return [
            self.rows[place]
            for place in sorted(self.rows)
            if (gone or not self.rows[place].gone)
            and (stack is None or place.stack == stack)
            and process_wanted(wanted, [place.namespace], place.process)
        ]


def stale_stacks_of(states: States, now: datetime) -> dict[str, Stale]:
    """Return why nothing is heard of a stack, for each of which that is so: asked once, not once per row."""
    return {name: why for name, stack in states.stacks.items() if (why := stack.stale(now))}


def fold(states: States, event: Event) -> States:
    """Return the states after one more event; one that was had already changes nothing."""
    return fold_all(states, (event,))


def fold_all(states: States, events: Iterable[Event]) -> States:
    """Return the states after these events, in their order: the table is copied once for all of them."""
    rows, stacks = dict(states.rows), dict(states.stacks)
    for event in events:
        name = event.stack or "-"
        stack = stacks.setdefault(name, StackRow(name))
        if event.of_observer:
            stacks[name] = observe_event(stack, event)
            continue
        place = Place.of(event)
        row = rows.get(place) or ProcessRow(place)
        if not row.folded.has(event):
            if event.renamed_from:
                row = _rename_row(rows, row, event.renamed_from)
            row = apply_event(row, event)
        rows[place] = _count_crash(row, event)
    return States(rows, stacks)


def fold_back(states: States, events: Iterable[Event]) -> States:
    """Return the states with what older events, in their order, add to the rows' crashes, and nothing else.

    For a look back into the stream, before `fold_all` is given newer ones.
    """
    rows = dict(states.rows)
    for event in events:
        place = Place.of(event)
        if not event.of_observer and place in rows:
            rows[place] = _count_crash(rows[place], event)
    return States(rows, states.stacks)


def note_lease(
    states: States, stack: str, lease: Mapping[str, Any], beat_at: datetime, dead: bool = False
) -> States:
    """Return the states after a look at a stack's lease, which was written at `beat_at` on our clock."""
    row = states.stacks.get(stack) or StackRow(stack)
    row = replace(row, lease=lease, beat_at=beat_at, dead=dead)
    return States(states.rows, {**states.stacks, stack: row})


# --- one row ---


def apply_event(row: ProcessRow, event: Event) -> ProcessRow:
    """Return the row as the event leaves it."""
    state = event.state or row.state
    status = event.new_status or str(state.get("status") or "") or row.status
    gone = status == _GONE_STATUS or event.renamed_to is not None
    health = event.health or str(state.get("is_ready") or "-")
    changes: dict[str, Any] = {}
    if event.type in BEGINS:
        changes = {"alive": True, "since": parse_time(event.timestamp), "exit_code": None, "reason": ""}
    elif event.type in ENDS:
        changes = {"alive": False, "exit_code": event.exit_code, "reason": event.reason or ""}
        changes["ended_at"] = parse_time(event.timestamp)
    elif gone:
        changes = {"alive": False}
    elif event.initial and event.type == EventType.STATUS_CHANGED:
        changes = {"alive": False, "exit_code": ended_code(state)}
    if not event.companion:
        changes["last"] = event
    if event.type == EventType.CRASHED:
        changes |= {"last_crash": event, "crashed_at": parse_time(event.timestamp)}
    alive = changes.setdefault("alive", row.alive)
    changes.setdefault("since", row.since if alive else None)
    restarts = event.restarts if event.restarts is not None else whole_or_none(state.get("restarts"))
    return replace(
        row,
        status=status,
        health=health if alive else "-",
        has_probe=bool(state.get("has_ready_probe")),
        was_healthy=row.was_healthy or health == "Ready",
        gone=gone,
        pid=(whole_or_none(state.get("pid")) or None) if alive else None,
        restarts=restarts or 0,
        state=state,
        folded=row.folded.after(event),
        **changes,
    )


def _count_crash(row: ProcessRow, event: Event) -> ProcessRow:
    """Return the row with the event among its crashes, if it is one and not yet there."""
    if event.type != EventType.CRASHED or row.counted.has(event):
        return row
    at, last = parse_time(event.timestamp), row.last_crash
    return replace(
        row,
        crashes=_with_crashes(row.crashes, minute_of(at), event.count),
        counted=row.counted.after(event),
        last_crash=event if last is None or event.seen_at > last.seen_at else last,
        crashed_at=max(at, row.crashed_at or at),
    )


def _with_crashes(
    crashes: tuple[tuple[datetime, int], ...], minute: datetime, count: int
) -> tuple[tuple[datetime, int], ...]:
    if crashes and crashes[-1][0] == minute:
        return (*crashes[:-1], (minute, crashes[-1][1] + count))
    first = next((at for at, (then, _) in enumerate(crashes) if then >= minute - DAY), len(crashes))
    return (*crashes[first:], (minute, count))


def _rename_row(rows: Mapping[Place, ProcessRow], row: ProcessRow, old: str) -> ProcessRow:
    """Return the row going on with the run of another name, told as `name` or `namespace/name`."""
    stack, namespace, _ = row.place
    places = (place for place in rows if place.stack == stack and str(place) == old)
    before = rows.get(Place(stack, namespace, old)) or next((rows[place] for place in places), None)
    if before is None or not before.since:
        return replace(row, alive=True)
    return replace(row, alive=True, since=before.since, was_healthy=before.was_healthy)


def ended_code(state: Mapping[str, Any]) -> int | None:
    """Return the exit code that a state shows of a run that is over; None where there was none."""
    over = state.get("status") in ("Completed", "Restarting")
    return whole_or_none(state.get("exit_code")) if over else None


# --- one stack ---


def observe_event(stack: StackRow, event: Event) -> StackRow:
    """Return the stack as an event of the observer itself leaves it."""
    seen = stack.observed.get(event.process, Seen())
    if seen.has(event):
        return stack
    stack = replace(stack, observed={**stack.observed, event.process: seen.after(event)})
    since, error = event.extra.get("since"), event.extra.get("error")
    try:
        at = parse_time(since if isinstance(since, str) else event.timestamp)
    except ValueError:
        at = parse_time(event.timestamp)
    if event.process == "adapter":
        return replace(stack, adapter=event.type, adapter_since=at)
    if event.process == "process-compose":
        told = error if isinstance(error, str) else ""
        return replace(stack, source=event.type, source_since=at, source_error=told)
    return stack
