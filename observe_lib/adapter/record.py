"""What is kept of one process: what detection knows of it, and what its row tells of its past.
Pure; the outbox stores a record's body, the bucket shows its row.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from ..crash_line import telling_line
from ..detect.known import Known, from_record, to_record
from ..events import BEGINS, ENDS, ROW_SCHEMA, Event, EventType, dump_json, dump_with_state
from ..subjects import encode_namespace, encode_token
from ..times import format_time, parse_time

#: crashes are counted over so many hours, the present one among them
CRASH_HOURS = 25
#: so many crashes within this time are flapping
FLAPPING_CRASHES = 3
FLAPPING_WITHIN = timedelta(minutes=10)
#: no more than this of a log line goes into a row
WHY_MAX = 300
#: what a row leaves out of an event: what the row says itself, and what is large
_NOT_IN_ROW = frozenset(
    ["process", "namespace", "namespaces", "subject", "severity", "schema", "stack", "state", "log_tail"]
)
#: the status of what process-compose shows of a run that is over
_SHOWN_OVER = frozenset(("Completed", "Restarting"))


@dataclass(frozen=True, slots=True)
class History:
    """What was told of a process: how often, when last, and what its row needs of that."""

    events: Mapping[str, tuple[int, str]] = field(default_factory=dict)  #: by type: how many, when the last
    crash_hours: Mapping[str, int] = field(default_factory=dict)  #: by hour, `2025-10-16T16`, UTC
    crash_times: tuple[str, ...] = ()  #: of the last crashes, as many as are needed to see flapping
    ended: Mapping[str, Any] | None = None  #: how the last run ended: `ended_at`, `exit_code`, `reason`
    last: Mapping[str, Any] | None = None  #: the last event that is no companion
    last_crash: Mapping[str, Any] | None = None
    starting: int = 0  #: of the `unhealthy` ones, so many before their run was Ready

    def after(self, events: Sequence[Event]) -> "History":
        """Return the history with these events added, in their order."""
        if not events:
            return self
        told, ended, last, last_crash = dict(self.events), self.ended, self.last, self.last_crash
        crashes = [event for event in events if event.type == EventType.CRASHED]
        for event in events:
            count, _ = told.get(event.type, (0, ""))
            told[event.type] = count + event.count, event.timestamp
            if event.type in BEGINS:
                ended = None
            elif event.type in ENDS:
                ended = _how_ended(event)
        if shown := [event for event in events if not event.companion]:
            last = _brief(shown[-1])
        if crashes:
            last_crash = last if shown[-1] is crashes[-1] else _brief(crashes[-1])
        hours, times = _add_crashes(self.crash_hours, self.crash_times, crashes)
        starting = self.starting + sum(event.count for event in events if event.starting)
        return History(told, hours, times, ended, last, last_crash, starting)

    def told(self) -> dict[str, dict[str, Any]]:
        """Return by type how many events there were, and when the last, as a row tells it."""
        found: dict[str, dict[str, Any]] = {
            name: {"count": count, "last": last} for name, (count, last) in self.events.items()
        }
        if self.starting:
            found[EventType.UNHEALTHY.value]["starting"] = self.starting
        return found


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """One process: `seq` is that of its last event; the history's JSON goes with it."""

    known: Known
    history: History = History()
    seq: int = 0

    def body(self, state: bytes | None = None) -> bytes:
        """Return what the outbox's file keeps; `state`: the JSON of the state, where it is known already."""
        history = {name: getattr(self.history, name) for name in _HISTORY}
        return dump_with_state({**to_record(self.known), "history": history}, state)

    @classmethod
    def from_body(cls, body: bytes, seq: int) -> "ProcessRecord":
        """Read what `body` wrote; ValueError, LookupError, TypeError or AttributeError where it did not."""
        found = json.loads(body)
        told = found["history"]
        events = {name: (int(count), str(last)) for name, (count, last) in told["events"].items()}
        history = replace(History(**told), events=events, crash_times=tuple(told["crash_times"]))
        return cls(from_record(found), history, seq)

    def row(self, stack: str) -> dict[str, Any]:
        """Return the row that readers show, without what does not apply."""
        known, history = self.known, self.history
        state, alive = known.state, known.alive
        ended = {} if alive else history.ended or _shown_end(known)
        row = {
            "stack": stack,
            "namespace": state.namespace,
            "process": state.name,
            "namespaces": list(state.namespaces) or None,
            "status": known.status,
            "health": known.health if known.health != "-" else None,
            "starting": (alive and known.health == "Not Ready" and not known.was_ready) or None,
            "has_ready_probe": (state.has_ready_probe and not state.never_ready) or None,
            "was_healthy": EventType.HEALTHY in history.events or None,
            "alive": alive,
            "pid": (state.pid or None) if alive else None,
            "since": _since(known) if alive else None,
            **ended,
            "ended_well": (not alive and _ended_well(known, ended)) or None,
            "restarts": known.restarts,
            "crash_hours": history.crash_hours or None,
            "flapping_until": _flapping_until(history.crash_times),
            "last_event": history.last,
            "last_crash": history.last_crash,
            "events": history.told() or None,
        }
        return {name: value for name, value in row.items() if value is not None}

    def row_json(self, stack: str, now: datetime) -> bytes:
        """Return the row as the bucket holds it: DESIGN section 5, "The rows"."""
        told = {"schema": ROW_SCHEMA, "row": self.row(stack), "seq": self.seq, "at": format_time(now)}
        return dump_json(told)


_HISTORY = tuple(History.__dataclass_fields__)


def process_token(namespace: str, process: str) -> str:
    """Return `{namespace}.{name}` in the token encoding: a process's key in the file, and in the bucket."""
    return f"{encode_namespace(namespace)}.{encode_token(process)}"


def _how_ended(event: Event) -> dict[str, Any]:
    ended = {"ended_at": event.timestamp, "exit_code": event.exit_code, "reason": event.reason}
    return {name: value for name, value in ended.items() if value is not None}


def _brief(event: Event) -> dict[str, Any]:
    told = {name: value for name, value in event.to_dict().items() if name not in _NOT_IN_ROW}
    why = telling_line(event.log_tail or ())
    return {**told, "why": why[:WHY_MAX]} if why else told


def _add_crashes(
    hours: Mapping[str, int], times: tuple[str, ...], crashes: Sequence[Event]
) -> tuple[Mapping[str, int], tuple[str, ...]]:
    """Return the crashes by hour, without those of more than a day before, and when the last ones were."""
    for event in crashes:
        hour = event.timestamp[:13]
        oldest = format_time(parse_time(event.timestamp) - timedelta(hours=CRASH_HOURS))[:13]
        kept = {name: count for name, count in hours.items() if name > oldest}
        hours = {**kept, hour: kept.get(hour, 0) + event.count}
        times = (*times, *[event.timestamp] * min(event.count, FLAPPING_CRASHES))[-FLAPPING_CRASHES:]
    return hours, times


def _flapping_until(times: tuple[str, ...]) -> str | None:
    if len(times) < FLAPPING_CRASHES or parse_time(times[-1]) - parse_time(times[0]) > FLAPPING_WITHIN:
        return None
    return format_time(parse_time(times[0]) + FLAPPING_WITHIN)


def _since(known: Known) -> str | None:
    run = known.run
    if run is None:
        return None
    return format_time(run.began) if run.began else run.start or None


def _shown_end(known: Known) -> dict[str, Any]:
    """Return how a run ended that was over when it was first seen."""
    return {"exit_code": known.state.exit_code} if known.state.status in _SHOWN_OVER else {}


def _ended_well(known: Known, ended: Mapping[str, Any]) -> bool:
    """Whether the last run ended by itself as it should."""
    if known.state.status not in ("Completed", "Scheduled", "Watching"):
        return False
    if "reason" in ended:
        return bool(ended["reason"] == "completed")
    code = ended.get("exit_code", known.state.exit_code)
    return code == 0 or code in known.state.success_exit_codes
