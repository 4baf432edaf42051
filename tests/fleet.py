"""A made-up fleet for live screens: events of the last hour as adapters tell them, and their records."""

import asyncio
import json
import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import nats

from observe_lib.broker.stream import BUCKET, StreamOptions, ensure_bucket, ensure_stream
from observe_lib.events import OBSERVE, Event, dump_json, encode_token, observer_subject
from observe_lib.times import format_time, now_utc

#: names as people give them: plain, long, wide, hostile
NAMES = (
    "api",
    "db",
    "worker",
    "scheduler",
    "mailer",
    "billing",
    "search-indexer-with-a-long-name",
    "収集器",
    "caddy",
)
LOG = ["starting", "listening on :8080", "panic: bind: address already in use"]


def told(
    stack: str, name: str, event_type: str, seq: int, at: datetime, status: str = "Running", **fields: Any
) -> Event:
    """An event of `ns/name`, with the state that goes with it."""
    namespace, _, process = name.rpartition("/")
    state = {
        "name": process,
        "namespace": namespace,
        "status": status,
        "is_running": status == "Running",
        "is_ready": fields.get("health", "-"),
        "has_ready_probe": "health" in fields,
        "pid": 4000 + seq if status == "Running" else 0,
        "restarts": fields.get("restarts", 0),
        "exit_code": fields.get("exit_code", 0),
    }
    return Event(
        type=event_type,
        process=process,
        namespace=namespace,
        stack=stack,
        seq=seq,
        timestamp=format_time(at),
        observed_at=format_time(at),
        state=state,
        new_status=status,
        **fields,
    )


def life(stack: str, name: str, kind: str, now: datetime, seed: int = 0) -> list[Event]:
    """The last hour of one process: steady, ready, unready, looping, dead, done or old."""
    dice = random.Random(f"{stack}{name}{seed}")

    def ago(minutes: float) -> datetime:
        return now - timedelta(minutes=minutes, seconds=dice.randrange(20))

    begun = told(stack, name, "started", 1, ago(dice.randrange(90, 4000)), initial=True)
    if kind == "steady":
        return [begun]
    if kind == "ready":
        return [begun, told(stack, name, "healthy", 2, ago(50), health="Ready", initial=True)]
    if kind == "unready":
        return [
            begun,
            told(stack, name, "healthy", 2, ago(50), health="Ready"),
            told(stack, name, "unhealthy", 3, ago(7), health="Not Ready"),
        ]
    if kind == "done":
        return [
            told(stack, name, "started", 1, ago(40)),
            told(
                stack,
                name,
                "stopped",
                2,
                ago(38),
                "Completed",
                exit_code=0,
                reason="completed",
                run_seconds=121.5,
            ),
        ]
    events, seq = [begun], 1
    for turn in range(dice.randrange(2, 6)):
        minutes = 55 - turn * 10 - dice.randrange(5)
        crash = dict(exit_code=1, reason="exit", run_seconds=27.0, log_tail=LOG, restarts=turn + 1)
        events.append(told(stack, name, "crashed", seq + 1, ago(minutes), "Restarting", **crash))
        events.append(told(stack, name, "restarted", seq + 2, ago(minutes - 0.2), restarts=turn + 1))
        seq += 2
    if kind == "dead":
        crash = dict(exit_code=137, reason="killed", run_seconds=300.0, log_tail=LOG, restarts=seq // 2)
        events.append(told(stack, name, "crashed", seq + 1, ago(3), "Completed", **crash))
    return events


def fleet(
    number: int, now: datetime, stacks: Sequence[str] = ("host-a",)
) -> dict[tuple[str, str], list[Event]]:
    """Lives by (stack, name): the first three are of all kinds, of many most are steady."""
    kinds = ["looping", "unready", "ready", "dead", "done"]
    found = {}
    for at in range(number):
        stack = stacks[at % len(stacks)]
        plain = NAMES[at % len(NAMES)]
        name = f"shop/{plain}" if at < len(NAMES) else f"team-{at % 7}/{plain}-{at:04d}"
        rare = at % 50
        kind = kinds[rare] if rare < len(kinds) else ("ready" if at % 3 else "steady")
        found[stack, name] = life(stack, name, kind, now)
    return found


async def store(
    url: str, lives: dict[tuple[str, str], list[Event]], hosts: Iterable[str] = ("host-a",)
) -> None:
    """Write records, heartbeats and events, in order of time, as adapters do."""
    nc = await nats.connect(url)
    js = nc.jetstream()
    await ensure_stream(js, StreamOptions())
    await ensure_bucket(js, StreamOptions())
    for stack in hosts:
        await beat(js, stack)
        await js.publish(observer_subject("process-compose", "started"), dump_json(answers(stack).to_dict()))
    for key, record in records(lives):
        await js.publish(f"$KV.{BUCKET}.{key}", record)
    pending = []
    for event in sorted((one for events in lives.values() for one in events), key=lambda one: one.seen_at):
        pending.append(js.publish(event.subject, dump_json(event.to_dict())))
        if len(pending) >= 100:
            await asyncio.gather(*pending)
            pending = []
    await asyncio.gather(*pending)
    await nc.close()


async def publish(url: str, *events: Event) -> None:
    """Publish events, each acknowledged."""
    nc = await nats.connect(url)
    js = nc.jetstream()
    for event in events:
        await js.publish(event.subject, dump_json(event.to_dict()))
    await nc.close()


async def beat(js: Any, stack: str) -> None:
    lease = {"owner": "x", "host": stack, "boot_id": f"boot-of-{stack}", "pid": 4121, "interval_s": 2.0}
    await js.publish(f"$KV.{BUCKET}.{encode_token(stack)}.{OBSERVE}.lease", json.dumps(lease).encode())


def answers(stack: str, event_type: str = "started", seq: int = 1, **extra: Any) -> Event:
    """process-compose itself, as its adapter tells."""
    at = format_time(now_utc())
    return Event(
        type=event_type,
        process="process-compose",
        namespace=OBSERVE,
        subject=observer_subject("process-compose", event_type),
        stack=stack,
        seq=seq,
        timestamp=at,
        observed_at=at,
        extra=extra,
    )


def records(lives: dict[tuple[str, str], list[Event]]) -> Iterator[tuple[str, bytes]]:
    for (stack, name), events in lives.items():
        namespace, _, process = name.rpartition("/")
        last = events[-1]
        begun = [one for one in events if one.type in ("started", "restarted")][-1]
        alive = last.new_status == "Running"
        run = {"pid": 4000, "start": begun.timestamp, "began": begun.timestamp, "restarts_at_begin": 0}
        record = {
            "schema": 1,
            "state": last.state,
            "gone": False,
            "seq": last.seq,
            "run": run,
            "last_ended": None if alive else {"pid": 4000, "start": begun.timestamp},
            "health": last.health or "-",
            "restarts": last.restarts or 0,
            "last": {one.type: one.timestamp for one in events},
            "events": [{"id": f"{stack}.{last.seq}", "event": last.to_dict()}],
        }
        yield f"{encode_token(stack)}.{encode_token(namespace)}.{encode_token(process)}", dump_json(record)
