"""The observer observed: the events about process-compose itself and about the adapter, in `_observe`.
Pure; the poller and the adapter ask, the publisher sends.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from ..detect.changes import Change
from ..detect.known import Known
from ..events import OBSERVE, Event, EventType, Key, observer_subject
from ..times import format_time, seconds_between

SOURCE = "process-compose"
ADAPTER = "adapter"


def observer_change(process: str, event_type: EventType, now: datetime, **extra: Any) -> Change:
    """Return an event of the observer itself as a change; its fields beyond the type are `extra`."""
    event = Event(
        type=event_type,
        process=process,
        namespace=OBSERVE,
        subject=observer_subject(process, event_type),
        timestamp=format_time(now),
        observed_at=format_time(now),
        extra={name: value for name, value in extra.items() if value is not None},
    )
    return Change(Key(OBSERVE, process), (event,), None)


def source_answers(last: str | None, now: datetime, last_good: datetime | None) -> Change | None:
    """Return what to tell when process-compose answers and the `last` told was another thing."""
    if last in (None, EventType.STOPPED):
        return observer_change(SOURCE, EventType.STARTED, now)
    if last != EventType.UNHEALTHY:
        return None
    blind_s = round(seconds_between(last_good, now), 3) if last_good else None
    return observer_change(SOURCE, EventType.HEALTHY, now, blind_seconds=blind_s)


def source_silent(
    last: str | None, now: datetime, error: str, last_good: datetime | None, known: Iterable[Known]
) -> Change | None:
    """Return what to tell when it stops answering: stopped where all in it had ended, else unhealthy."""
    if last in (None, EventType.STOPPED, EventType.UNHEALTHY):
        return None
    since = format_time(last_good) if last_good else None
    over = all(not found.alive or found.terminating for found in known)
    event_type = EventType.STOPPED if over else EventType.UNHEALTHY
    return observer_change(SOURCE, event_type, now, error=error, since=since)
