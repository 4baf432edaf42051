"""Reads the bucket PROCESS_STATES, all stacks at once, in one pass: records and leases.
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

from ..broker.lease import identity, is_dead
from ..broker.stream import BUCKET, ask_stream, read_stored
from ..events import OBSERVE, decode_token, encode_token
from ..times import UTC, now_utc, parse_time
from .records import recall
from .states import States, note_lease

_KEY_HEAD = f"$KV.{BUCKET}."
_LEASE_END = f".{OBSERVE}.lease"
_KV_STREAM = f"KV_{BUCKET}"
_MARK = "KV-Operation"


@dataclass(frozen=True)
class StackLease:
    """A stack's lease, and when the server took the last heartbeat, on our own clock."""

    stack: str
    found: dict[str, Any]
    beat_at: datetime


async def read_states(js: JetStreamContext) -> tuple[States, int]:
    """Return what the bucket says (nothing where there is none), and a place in the stream.

    Every event that the states do not hold is in the stream after that place.
    """
    try:
        last_seq = int((await ask_stream(js, "INFO"))["state"]["last_seq"])
    except NotFoundError:
        last_seq = 0
    records, leases = await _read_bucket(js, ">")
    return with_leases(recall(records), leases), last_seq


async def read_leases(js: JetStreamContext) -> Sequence[StackLease]:
    """Read the leases of all stacks."""
    return (await _read_bucket(js, f"*{_LEASE_END}"))[1]


def with_leases(states: States, leases: Sequence[StackLease]) -> States:
    """Return the states with these leases noted, and whether one's holder is known to be dead."""
    me = identity()
    for lease in leases:
        states = note_lease(states, lease.stack, lease.found, lease.beat_at, is_dead(lease.found, me))
    return states


async def drop_stack(js: JetStreamContext, stack: str) -> int:
    """Delete every record of a stack, its lease last; return how many there were."""
    messages = await read_stored(js, _KV_STREAM, f"{_KEY_HEAD}{encode_token(stack)}.>")
    subjects = [message.subject for message in messages if not _is_deleted(message)]
    for subject in sorted(subjects, key=lambda one: one.endswith(_LEASE_END)):
        await js.publish(subject, b"", headers={_MARK: "DEL"})
    return len(subjects)


async def _read_bucket(
    js: JetStreamContext, keys: str
) -> tuple[list[tuple[str, dict[str, Any]]], list[StackLease]]:
    records: dict[str, dict[str, Any]] = {}
    leases: list[StackLease] = []
    try:
        messages = await read_stored(js, _KV_STREAM, _KEY_HEAD + keys)
        ahead = await _server_ahead(js)
    except NotFoundError:
        return [], []
    for message in messages:
        key, found = message.subject.removeprefix(_KEY_HEAD), _json_object(message.data)
        if found is None or _is_deleted(message):
            records.pop(key, None)
        elif key.endswith(_LEASE_END):
            beat_at = message.metadata.timestamp.astimezone(UTC) - ahead
            leases.append(StackLease(decode_token(key.removesuffix(_LEASE_END)), found, beat_at))
        else:
            records[key] = found
    return list(records.items()), leases


async def _server_ahead(js: JetStreamContext) -> timedelta:
    """Return how far the server's clock is ahead of ours, as its answer tells (since 2.10)."""
    told = (await ask_stream(js, "INFO", stream=_KV_STREAM)).get("ts")
    return parse_time(told) - now_utc() if told else timedelta()


def _is_deleted(message: Msg) -> bool:
    return bool(message.headers and _MARK in message.headers)


def _json_object(payload: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
