"""What the bucket's records say of the processes: the states to begin with, before any event is folded in.
Pure; a record is what the publisher wrote, DESIGN section 5.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from ..events import OBSERVE, Event, EventType, Seen, decode_token
from ..rows import ENDS, Place, ProcessRow, whole_or_none
from ..times import parse_time
from .states import StackRow, States, apply_event, ended_code, observe_event

_LIVING = frozenset(("Running", "Launching", "Launched", "Terminating"))


def recall(entries: Iterable[tuple[str, Mapping[str, Any]]]) -> States:
    """Return the states that the bucket's records hold: pairs of key, `{stack}.{namespace}.{name}`, and JSON.

    Records that nobody can read are left out; leases are for `note_lease`.
    """
    rows: dict[Place, ProcessRow] = {}
    stacks: dict[str, StackRow] = {}
    for key, record in entries:
        stack, namespace = key.split(".")[:2]
        try:
            events = [Event.from_dict(one["event"]) for one in record["events"]]
            name = (events and events[0].stack) or decode_token(stack)
            stacks.setdefault(name, StackRow(name))
            if namespace == OBSERVE:
                for event in events:
                    stacks[name] = observe_event(stacks[name], event)
            elif events:
                row = _recall_row(name, record, events)
                rows[row.place] = row
        except (ValueError, LookupError, TypeError, AttributeError):
            continue
    return States(rows, stacks)


def _recall_row(stack: str, record: Mapping[str, Any], events: list[Event]) -> ProcessRow:
    """Return the row that a record holds, with the events of its last batch laid over it."""
    first, last = events[0], events[-1]
    state = record.get("state") or last.state or {}
    times = record.get("last") or {}
    run, over = record.get("run") or {}, record.get("last_ended")
    alive = bool(run) and not over and not record.get("gone") and state.get("status") in _LIVING
    crashed, began = times.get(EventType.CRASHED), run.get("began") or run.get("start")
    row = ProcessRow(
        Place(stack, first.namespace, first.process),
        status=str(state.get("status") or ""),
        was_healthy=EventType.HEALTHY in times,
        alive=alive,
        since=parse_time(began) if alive and began else None,
        ended_at=_last_time(times, ENDS) if over else None,
        exit_code=None if alive else whole_or_none(state.get("exit_code")) if over else ended_code(state),
        restarts=whole_or_none(record.get("restarts")) or 0,
        crashed_at=parse_time(crashed) if crashed else None,
        state=state,
        health=str(record.get("health") or "-"),
    )
    for event in events:
        row = apply_event(row, event)
    gone = row.gone or bool(record.get("gone"))
    return replace(row, folded=Seen(int(record["seq"]), last.seen_at), gone=gone)


def _last_time(times: Mapping[str, str], types: Iterable[str]) -> datetime | None:
    found = [parse_time(times[one]) for one in types if one in times]
    return max(found, default=None)
