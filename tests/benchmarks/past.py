"""A day of a busy project as the stream would hold it, for who reads it; and what reading rows costs."""

import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import nats

from observe_lib.broker.stream import StreamOptions, ensure_bucket, ensure_stream
from observe_lib.events import Event, EventType
from observe_lib.reader.message import Message
from observe_lib.reader.states_reader import Table
from observe_lib.times import format_time, now_utc
from tests.benchmarks.running import Rows, row
from tests.fleet import bucket_of

PROCESSES = 100
LOG_TAIL = [f"2026-03-01T10:00:00Z line {number}: something that a program says" for number in range(20)]

#: one turn of a process: type, the status before and after, whether another event tells the same change
TURN: tuple[tuple[EventType, str, str, bool], ...] = (
    (EventType.RESTARTED, "Restarting", "Running", False),
    (EventType.STATUS_CHANGED, "Restarting", "Running", True),
    (EventType.HEALTHY, "", "", False),
    (EventType.CRASHED, "Running", "Restarting", False),
    (EventType.STATUS_CHANGED, "Running", "Restarting", True),
)

FIELDS: dict[EventType, dict[str, Any]] = {
    EventType.CRASHED: {"exit_code": 1, "reason": "exit", "run_seconds": 60.1, "log_tail": LOG_TAIL},
    EventType.HEALTHY: {"health": "Ready"},
}


def state(name: str, status: str, pid: int, restarts: int) -> dict[str, Any]:
    return {
        "name": name, "namespace": "default", "status": status, "system_time": "1m0s", "age": 60123456789,
        "is_ready": "-", "has_ready_probe": True, "restarts": restarts, "exit_code": 1, "pid": pid,
        "is_elevated": False, "password_provided": False, "mem": 11653120, "cpu": 1.99456,
        "is_running": status == "Running", "last_activity_time": "2026-03-01T10:00:00.846949796Z",
        "process_start_time": "2026-03-01T10:00:00.847208541Z",
        "process_ready_time": "2026-03-01T10:00:00.846939901Z",
    }  # fmt: skip


def day_of(count: int, end: datetime, span_s: float = 86400.0) -> Iterator[Event]:
    """Yield so many events of one stack, evenly over the time before `end`: a hundred processes in turn."""
    moments = itertools.count()
    for turn in itertools.count():
        for number in range(PROCESSES):
            for step, (event_type, old, new, companion) in enumerate(TURN):
                at = next(moments)
                if at >= count:
                    return
                moment = format_time(end - timedelta(seconds=span_s * (1 - at / count)))
                name = f"service-{number}"
                yield Event(
                    type=event_type, process=name, namespace="default", stack="bench",
                    timestamp=moment, observed_at=moment, seq=turn * len(TURN) + step + 1,
                    state=state(name, new or "Running", 1000 + turn, turn),
                    old_status=old or None, new_status=new or None, companion=companion,
                    restarts=turn or None, **FIELDS.get(event_type, {}),
                )  # fmt: skip


async def store(url: str, events: Iterator[Event]) -> None:
    """Put the events into the stream as fast as the server takes them; no record says anything."""
    client = await nats.connect(url)
    js = client.jetstream()
    await ensure_stream(js, StreamOptions(max_age_s=7 * 86400.0))
    await ensure_bucket(js, StreamOptions())
    for sent, event in enumerate(events, 1):
        if sent % 500:
            await client.publish(event.subject, event.to_json())
        else:
            await js.publish(event.subject, event.to_json())  # not faster than it can store
    await client.close()


def states_of(count: int) -> Rows:
    """The rows of so many processes: what reading one costs, and one more that comes alone."""
    events = [replace(one, process=f"p{place}", seq=1) for place, one in enumerate(day_of(count, now_utc()))]
    payloads = [(*bucket_of(event).items(),)[0] for event in events]
    begun = time.perf_counter()
    for _, payload in payloads:
        json.loads(payload)
    read, table = time.perf_counter(), Table()
    messages = [Message(payload, "", 1, subject=subject) for subject, payload in payloads]
    made = time.perf_counter()
    for message in messages:
        table.take(message)
    taken = time.perf_counter()
    for message in messages[:100]:
        table.take(message)
        table.states()
    alone = time.perf_counter()
    bare, batch, one = (read - begun) / count, (taken - made) / count, (alone - taken) / 100
    name = f"rows of {count:,} processes"
    return [
        row(f"{name}, in a batch: µs a row", batch * 1e6, bare * 1e6, "json.loads", "", 1),
        row(f"{name}, one that comes alone: µs", one * 1e6, bare * 1e6, "json.loads", "", 1),
    ]
