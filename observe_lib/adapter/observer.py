"""The observer observed: the events about process-compose itself and about the adapter, in `_observe`.
Pure; the poller and the adapter ask, the comparison commits.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from ..detect.known import Known
from ..events import Event, EventType
from ..subjects import OBSERVE, observer_subject
from ..times import format_time, seconds_between

SOURCE = "process-compose"
ADAPTER = "adapter"

#: what to tell: the type, and the fields beyond it
ToldSource = tuple[EventType, Mapping[str, Any]]


def observer_event(process: str, event_type: EventType, now: datetime, **extra: Any) -> Event:
    """Return an event of the observer itself; its fields beyond the type are `extra`, None is left out."""
    return Event(
        type=event_type,
        process=process,
        namespace=OBSERVE,
        subject=observer_subject(process, event_type),
        timestamp=format_time(now),
        observed_at=format_time(now),
        extra={name: value for name, value in extra.items() if value is not None},
    )


def source_answers(last: str | None, last_good: datetime | None, now: datetime) -> ToldSource | None:
    """Return what to tell when process-compose answers and the `last` told was another thing."""
    if last in (None, EventType.STOPPED):
        return EventType.STARTED, {}
    if last != EventType.UNHEALTHY:
        return None
    return EventType.HEALTHY, {
        "blind_seconds": round(seconds_between(last_good, now), 3) if last_good else None
    }


def source_silent(
    last: str | None, error: str, last_good: datetime | None, known: Iterable[Known]
) -> ToldSource | None:
    """Return what to tell when it stops answering: stopped where all in it had ended, else unhealthy."""
    if last in (None, EventType.STOPPED, EventType.UNHEALTHY):
        return None
    over = all(not found.alive or found.terminating for found in known)
    since = format_time(last_good) if last_good else None
    return EventType.STOPPED if over else EventType.UNHEALTHY, {"error": error, "since": since}
