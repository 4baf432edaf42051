"""A made-up fleet for live screens: events of the last hour as adapters tell them, and their rows."""

import asyncio
import random
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import nats

from observe_lib.adapter.record import History, ProcessRecord
from observe_lib.broker.stream import BUCKET, StreamOptions, ensure_bucket, ensure_stream
from observe_lib.compose.state import ProcessState
from observe_lib.detect.known import Known, Run
from observe_lib.events import Event, dump_json
from observe_lib.reader.states import States
from observe_lib.rows import Place, ProcessRow, StackRow
from observe_lib.subjects import OBSERVE, encode_token, observer_subject
from observe_lib.times import format_time, now_utc, parse_time
from tests.stand_in import make_state

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
    """Write rows, leases and events, in order of time, as adapters do."""
    nc = await nats.connect(url)
    js = nc.jetstream(timeout=30)
    await ensure_stream(js, StreamOptions())
    await ensure_bucket(js, StreamOptions())
    for stack in hosts:
        await beat(js, stack)
        await js.publish(observer_subject("process-compose", "started"), dump_json(answers(stack).to_dict()))
    events = sorted((one for events in lives.values() for one in events), key=lambda one: one.seen_at)
    await _publish_all(js, bucket_of(*events).items())
    await _publish_all(js, ((event.subject, dump_json(event.to_dict())) for event in events))
    await nc.close()


async def _publish_all(js: Any, messages: Iterable[tuple[str, bytes]]) -> None:
    pending = []
    for subject, payload in messages:
        pending.append(js.publish(subject, payload))
        if len(pending) >= 500:
            await asyncio.gather(*pending)
            pending = []
    await asyncio.gather(*pending)


async def publish(url: str, *events: Event) -> None:
    """Publish events, each acknowledged, and the rows that they make where nothing else is known."""
    nc = await nats.connect(url)
    js = nc.jetstream()
    for subject, payload in bucket_of(*events).items():
        await js.publish(subject, payload)
    for event in events:
        await js.publish(event.subject, dump_json(event.to_dict()))
    await nc.close()


async def beat(js: Any, stack: str, **fields: Any) -> None:
    await js.publish(lease_subject(stack), lease_json(stack, **fields))


def lease_subject(stack: str) -> str:
    return f"$KV.{BUCKET}.{encode_token(stack)}.{OBSERVE}.lease"


def lease_json(stack: str, **fields: Any) -> bytes:
    """A lease as an adapter writes it; None leaves a field out."""
    usual = {"owner": "x", "host": stack, "boot_id": f"boot-of-{stack}", "pid": 4121, "interval_s": 2.0}
    return dump_json({"schema": 1, **usual, **fields})


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


# --- the rows that an adapter makes of events ---


def record_of(*events: Event) -> ProcessRecord:
    """What an adapter keeps of a process that had these events."""
    history, last, began, ended, was_ready = History().after(events), events[-1], None, True, False
    for event in events:
        if event.type in ("started", "restarted"):
            began, ended, was_ready = parse_time(event.timestamp), False, False
        elif event.type in ("stopped", "crashed"):
            ended = True
        elif event.type in ("healthy", "unhealthy"):  # told of a run that lives
            ended, was_ready = False, was_ready or event.type == "healthy" or not event.starting
    usual = make_state(name=last.process, namespace=last.namespace, process_ready_time=None)
    raw = {**usual, **(last.state or {})}
    if began is None and not ended:
        began = parse_time(events[0].timestamp)
    raw |= {"name": last.process, "namespace": last.namespaces or last.namespace}
    state = ProcessState.from_raw(raw)
    run = Run(state.pid, state.start, began) if state.pid else None
    health = last.health or state.is_ready
    known = Known(state, last.restarts or state.restarts, run, ended, health=health, was_ready=was_ready)
    return ProcessRecord(known, history, last.seq or 0)


def by_place(events: Iterable[Event]) -> dict[Place, list[Event]]:
    """The events of each process that is still there, in their order."""
    found: dict[Place, list[Event]] = {}
    for event in events:
        if not event.of_observer:
            found.setdefault(Place.of(event), []).append(event)
    return {
        place: those
        for place, those in found.items()
        if those[-1].new_status != "Removed" and not those[-1].renamed_to
    }


def bucket_of(*events: Event) -> dict[str, bytes]:
    """Subjects and payloads of the rows that adapters write after these events."""
    found = {}
    for (stack, namespace, process), those in by_place(events).items():
        key = f"{encode_token(stack)}.{encode_token(namespace)}.{encode_token(process)}"
        row = record_of(*those).row_json(stack, parse_time(those[-1].seen_at))
        found[f"$KV.{BUCKET}.{key}"] = row
    return found


def row_after(*events: Event) -> ProcessRow:
    """The row of one process, read back."""
    (payload,) = bucket_of(*events).values()
    return ProcessRow.read(payload)


def states_of(
    *events: Event, leases: Mapping[str, Mapping[str, Any]] | None = None, beat_at: datetime | None = None
) -> States:
    """The states after these events, with a lease for each stack that `leases` names."""
    rows = [ProcessRow.read(payload) for payload in bucket_of(*events).values()]
    stacks = {row.place.stack: StackRow(row.place.stack) for row in rows}
    for name, fields in (leases or {}).items():
        stacks[name] = StackRow.read(name, lease_json(name, **fields), beat_at or now_utc())
    return States({row.place: row for row in rows}, stacks)
