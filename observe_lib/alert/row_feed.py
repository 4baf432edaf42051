"""Rows, leases and silences as they come from the bucket: all that there are, then what changes.
`follow` runs on the loop thread, `take` is for any other; what waits is the newest of each process.
"""

import asyncio
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import APIError, NotFoundError

from ..broker.bucket import KV_OPERATION, PASSING_ERRORS
from ..broker.session import BrokenError, Session
from ..broker.stream import BUCKET, ask_stream, reader_config
from ..errors import NatsError
from ..events import OBSERVE, EventType, decode_token, encode_token
from ..reader.silences import SILENCES_KEY, Silence, parse_silences
from ..rows import Place
from ..times import UTC, now_utc, parse_time
from .condition import Condition, StackCondition, moment_told, process_condition

#: an adapter that missed two heartbeats is not heard of any more
UNHEARD = timedelta(seconds=20)
#: so many messages are asked for at once, and so long one waits for them
ROWS_AT_ONCE, ROWS_WAIT_S = 500, 2.0
#: what went wrong is tried again after this
FOLLOW_AGAIN_S = 0.5

_ROWS_STREAM = f"KV_{BUCKET}"
_ROWS_HEAD = f"$KV.{BUCKET}."
_LEASE_TAIL = f".{OBSERVE}.lease"


@dataclass
class LeaseHeard:
    """One stack's lease, and when it was heard of last on our own clock."""

    lease: Mapping[str, Any]
    at: datetime


@dataclass
class News:
    """What has changed since the last time."""

    changes: dict[Place, Condition | None] = field(default_factory=dict)
    stacks: dict[str, StackCondition] = field(default_factory=dict)
    silences: Sequence[Silence] = ()


class RowFeed:
    """The bucket, followed over a session. Told anew and whole with each connection."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._keys: dict[str, Place] = {}
        self._all: dict[Place, Condition] = {}
        self._changes: dict[Place, Condition | None] = {}
        self._heard: dict[str, LeaseHeard] = {}
        self._silences: Sequence[Silence] = ()
        self._is_whole = self._was_whole = False
        self._server_ahead = timedelta()

    @property
    def is_current(self) -> bool:
        """Whether everything there is was read, over the present connection."""
        return self._is_whole and self._session.is_up

    def take(self, now: datetime, *, whole: bool = False) -> News:
        """Return what has changed since it was asked last, everything if `whole`."""
        with self._lock:
            changes, self._changes = self._changes, {}
            if whole:
                changes = dict(self._all)
            stacks = {name: stack_of(name, heard, now) for name, heard in self._heard.items()}
            return News(changes, stacks, self._silences)

    async def follow(self) -> None:
        """Follow the bucket for ever, over one connection after the other; it may not be there yet."""
        while True:
            try:
                await self._session.ask(self._follow_once)
            except (BrokenError, NotFoundError):
                pass
            except (NatsError, APIError, *PASSING_ERRORS) as error:
                self._session.troubles.note("rows", f"the bucket {BUCKET} cannot be read: {error}")
            self._is_whole = False
            await asyncio.sleep(FOLLOW_AGAIN_S)

    async def _follow_once(self, client: Client) -> None:
        js = client.jetstream(timeout=5)
        told = (await ask_stream(js, "INFO", stream=_ROWS_STREAM)).get("ts")
        self._server_ahead = parse_time(told) - now_utc() if told else timedelta()
        info = await js.add_consumer(_ROWS_STREAM, reader_config("", [f"{_ROWS_HEAD}>"]))
        subscription = await js.pull_subscribe_bind(info.name, _ROWS_STREAM)
        left, found = info.num_pending or 0, set[str]()
        while left > 0:
            messages = await subscription.fetch(min(left, ROWS_AT_ONCE), timeout=5)
            left = messages[-1].metadata.num_pending
            found |= {message.subject for message in messages}
            self._hear(messages)
        self._forget(found)
        self._is_whole = self._was_whole = True
        self._session.troubles.end("rows")
        while True:
            try:
                self._hear(await subscription.fetch(ROWS_AT_ONCE, timeout=ROWS_WAIT_S))
            except nats.errors.TimeoutError:
                await js.consumer_info(_ROWS_STREAM, info.name)  # it may be gone, with the bucket

    def _hear(self, messages: Sequence[Msg]) -> None:
        with self._lock:
            for message in messages:
                is_deleted = KV_OPERATION in (message.headers or {})
                payload, at = b"" if is_deleted else message.data, now_utc()
                if not self._was_whole:  # later on old leases are those of adapters that connect again, too
                    at = min(at, message.metadata.timestamp.astimezone(UTC) - self._server_ahead)
                self._hear_one(message.subject.removeprefix(_ROWS_HEAD), payload, at)

    def _hear_one(self, key: str, payload: bytes, at: datetime) -> None:
        if key == SILENCES_KEY:
            self._silences = parse_silences(payload)
            return
        found = _object_of(payload)
        if key.endswith(_LEASE_TAIL):
            stack = decode_token(key.removesuffix(_LEASE_TAIL))
            self._heard.pop(stack, None)
            if found:
                self._heard[stack] = LeaseHeard(found, at)
            return
        row = found.get("row")
        condition = process_condition(row) if isinstance(row, dict) else None
        if condition is None:
            self._lose(key)
        else:
            self._keys[key] = condition.place
            self._all[condition.place] = self._changes[condition.place] = condition

    def _lose(self, key: str) -> None:
        """A row is gone; a process of several namespaces is, with its last one."""
        place = self._keys.pop(key, None)
        if place is not None and place not in self._keys.values():
            self._all.pop(place, None)
            self._changes[place] = None

    def _forget(self, subjects: set[str]) -> None:
        """Drop what is not there any more: the bucket is another one."""
        keys = {subject.removeprefix(_ROWS_HEAD) for subject in subjects}
        with self._lock:
            for key in self._keys.keys() - keys:
                self._lose(key)
            for stack in [one for one in self._heard if f"{encode_token(one)}{_LEASE_TAIL}" not in keys]:
                del self._heard[stack]
            if SILENCES_KEY not in keys:
                self._silences = ()


def stack_of(name: str, heard: LeaseHeard, now: datetime) -> StackCondition:
    """Return what a lease says of its stack now; `since` is told by the stack's own clock where it tells."""
    lease, source = heard.lease, heard.lease.get("source")
    error = lease.get("source_error")
    if lease.get("stopped") or now - heard.at > UNHEARD:
        since = min(heard.at, moment_told(lease.get("at")) or heard.at)
        return StackCondition(name, "adapter", since, ended=bool(lease.get("stopped")))
    if source not in (EventType.UNHEALTHY, EventType.STOPPED):
        return StackCondition(name)
    since = moment_told(lease.get("source_since")) or heard.at
    told = error if isinstance(error, str) else ""
    return StackCondition(name, "process-compose", since, told, ended=source == EventType.STOPPED)


def _object_of(payload: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(payload) if payload else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
