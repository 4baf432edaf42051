"""A day of a busy project as the stream would hold it, for `report`: how fast, and in how much memory."""

import asyncio
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import nats
from nats.js.api import AckPolicy, ConsumerConfig

from observe_lib.broker.stream import StreamOptions, ensure_bucket, ensure_stream
from observe_lib.events import Event, EventType
from observe_lib.reader.message import Message
from observe_lib.reader.states_reader import Table
from observe_lib.times import format_time, now_utc
from tests.fleet import bucket_of
from tests.nats_server import RealNats

ROOT = Path(__file__).resolve().parents[2]
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


async def bare_read(url: str) -> None:
    """Read the whole stream as nats-py does it, and make JSON of it."""
    client = await nats.connect(url)
    js = client.jetstream()
    left = (await js.stream_info("PROCESS_EVENTS")).state.messages
    no_ack = ConsumerConfig(ack_policy=AckPolicy.NONE)
    subscription = await js.pull_subscribe("core.process.>", stream="PROCESS_EVENTS", config=no_ack)
    while left > 0:
        for message in await subscription.fetch(min(1000, left), timeout=5):
            json.loads(message.data)
            left -= 1
    await client.close()


def run_report(url: str) -> tuple[float, float]:
    """Run `report` over a day; return how many seconds it took, and the most memory in MB."""
    begun = time.perf_counter()
    command = [sys.executable, str(ROOT / "observe.py"), "report", "--since", "25h", "--nats-url", url]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, code, used = os.wait4(child.pid, 0)
    assert code == 0
    return time.perf_counter() - begun, used.ru_maxrss / 1024


def states_of(count: int) -> list[list[Any]]:
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
    name = f"rows of {count:,} processes, µs per row"
    return [
        [what, f"{took * 1e6:.1f}", f"{bare * 1e6:.1f}", f"{took / bare:.2f}", "", "from JSON"]
        for what, took in ((f"{name} of a batch", batch), (f"{name} that comes alone", one))
    ]


def report(count: int) -> list[list[Any]]:
    """`report` over a day with so many events, and over one with a quarter of them: time, and memory."""
    took, memory = {}, {}
    bare = 0.0
    for events in (count // 4, count):
        with tempfile.TemporaryDirectory() as directory, RealNats(Path(directory)) as server:
            asyncio.run(store(server.url, day_of(events, now_utc())))
            took[events], memory[events] = min(run_report(server.url) for _ in range(3))
            begun = time.perf_counter()
            asyncio.run(bare_read(server.url))
            bare = time.perf_counter() - begun
    few, many = memory[count // 4], memory[count]
    aim = "≤ 4 s" if count == 100_000 else ""
    name = f"report of a day with {count:,} events"
    ratio = took[count] / bare
    return [
        [f"{name}, seconds", f"{took[count]:.2f}", f"{bare:.2f}", f"{ratio:.2f}", aim, "fetch, json.loads"],
        [f"{name}, memory MB", f"{many:.0f}", f"{few:.0f}", f"{many / few:.2f}", "1", "a quarter of them"],
    ]
