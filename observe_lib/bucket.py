"""Reads the bucket PROCESS_STATES, all stacks at once, in one pass: records, leases, and the stream's place.
Coroutines for the loop thread only; whoever drops a stack's records is here too. No watcher is kept open.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from .events import OBSERVE, decode_token, encode_token
from .reader import reader_config
from .states import States, note_lease
from .stream import BUCKET, STREAM
from .times import UTC, now_utc, parse_time

#: how many messages one request asks for, and how long it may take
PAGE = 500
PAGE_S = 5.0

_KEY_HEAD = f"$KV.{BUCKET}."
_LEASE_END = f".{OBSERVE}.lease"
_KV_STREAM = f"KV_{BUCKET}"
_MARK = "KV-Operation"


@dataclass(frozen=True)
class Lease:
    """A stack's lease, and when the server took the last heartbeat, on our own clock."""

    stack: str
    found: dict[str, Any]
    beat_at: datetime


@dataclass(frozen=True)
class Snapshot:
    """What the bucket held; every event that it does not hold is in the stream after `stream_seq`."""

    stream_seq: int
    records: Sequence[tuple[str, dict[str, Any]]]
    leases: Sequence[Lease]


@dataclass(frozen=True)
class Retained:
    """What the stream still has: sequences, and when the first and the last message of it were stored."""

    first_seq: int
    last_seq: int
    first_at: datetime | None
    last_at: datetime | None

    @property
    def complete(self) -> bool:
        """Whether nothing was dropped yet."""
        return self.first_seq <= 1


async def retained(js: JetStreamContext) -> Retained | None:
    """Return what the stream has; None where there is no stream."""
    try:
        state = (await _info(js, STREAM))["state"]
    except NotFoundError:
        return None
    ends = [_stamp_of(state.get(name)) if state["messages"] else None for name in ("first_ts", "last_ts")]
    return Retained(int(state["first_seq"]), int(state["last_seq"]), *ends)


async def take_snapshot(js: JetStreamContext) -> Snapshot:
    """Read the whole bucket, which is empty where there is none."""
    stream = await retained(js)
    records, leases = await _read_bucket(js, ">")
    return Snapshot(stream.last_seq if stream else 0, records, leases)


async def read_leases(js: JetStreamContext) -> Sequence[Lease]:
    """Read the leases of all stacks."""
    return (await _read_bucket(js, f"*{_LEASE_END}"))[1]


async def drop_stack(js: JetStreamContext, stack: str) -> int:
    """Delete every record of a stack, its lease last; return how many there were."""
    subjects = []
    for message in await read_messages(js, _KV_STREAM, f"{_KEY_HEAD}{encode_token(stack)}.>"):
        if not (message.headers and _MARK in message.headers):
            subjects.append(message.subject)
    for subject in sorted(subjects, key=lambda one: one.endswith(_LEASE_END)):
        await js.publish(subject, b"", headers={_MARK: "DEL"})
    return len(subjects)


def with_leases(states: States, leases: Sequence[Lease], is_dead: Any) -> States:
    """Return the states with these leases noted; `is_dead(lease)` knows of processes of this system."""
    for lease in leases:
        states = note_lease(states, lease.stack, lease.found, lease.beat_at, is_dead(lease.found))
    return states


async def read_messages(js: JetStreamContext, stream: str, subject: str) -> list[Msg]:
    """Return the last message of each subject, in order; of one written meanwhile the later one too."""
    config = reader_config("", [subject])
    config.name = None
    info = await js.add_consumer(stream, config)
    left, found = info.num_pending or 0, list[Msg]()
    subscription = await js.pull_subscribe_bind(info.name, stream)
    try:
        while left > 0:  # not counted down: what is written while we read moves to the end
            found += await subscription.fetch(min(left, PAGE), timeout=PAGE_S)
            left = found[-1].metadata.num_pending
    finally:
        await subscription.unsubscribe()
        await js.delete_consumer(stream, info.name)
    return found


async def _read_bucket(
    js: JetStreamContext, keys: str
) -> tuple[list[tuple[str, dict[str, Any]]], list[Lease]]:
    records: dict[str, dict[str, Any]] = {}
    leases: list[Lease] = []
    try:
        messages = await read_messages(js, _KV_STREAM, _KEY_HEAD + keys)
        ahead = await _server_ahead(js)
    except NotFoundError:
        return [], []
    for message in messages:
        key, found = message.subject.removeprefix(_KEY_HEAD), _json_object(message.data)
        if found is None or (message.headers and _MARK in message.headers):
            records.pop(key, None)
        elif key.endswith(_LEASE_END):
            beat_at = message.metadata.timestamp.astimezone(UTC) - ahead
            leases.append(Lease(decode_token(key.removesuffix(_LEASE_END)), found, beat_at))
        else:
            records[key] = found
    return list(records.items()), leases


async def _server_ahead(js: JetStreamContext) -> timedelta:
    """Return how far the server's clock is ahead of ours, as its answer tells (since 2.10)."""
    told = _stamp_of((await _info(js, _KV_STREAM)).get("ts"))
    return told - now_utc() if told else timedelta()


async def _info(js: JetStreamContext, stream: str) -> dict[str, Any]:
    """Ask the server itself: nats-py keeps neither its clock nor the times of the stream's ends."""
    return await js._api_request(f"{js._prefix}.STREAM.INFO.{stream}", b"", timeout=js._timeout)


def _stamp_of(text: Any) -> datetime | None:
    try:
        return parse_time(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _json_object(payload: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
