"""Reads the past: what the stream retains, everything stored from a moment on, and what the bucket says.
Blocking calls over a connection of its own, for the main thread; keeps nothing of what it reads.
"""

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from ..broker.stream import ask_stream
from ..events import OBSERVE, ROOT, Event
from ..settings import NatsSettings
from ..times import now_utc, parse_time
from .bucket import read_states
from .connection import Connection, Pace
from .feed import Feed
from .states import States

#: how long one question may take
ASK_S = 5.0
#: much is read at once: the reader does little with each
PACE = Pace(batch=2000)


class Retained(NamedTuple):
    """What the stream still has: whether there is one, and its first and last place."""

    stream: bool = False
    first_seq: int = 1
    last_seq: int = 0
    #: when the first message was stored, where others were dropped before it
    first_at: datetime | None = None
    #: from when on everything is there; None: nothing was dropped yet
    since: datetime | None = None


async def retained(js: JetStreamContext) -> Retained:
    """Return what the stream has."""
    try:
        info = await ask_stream(js, "INFO")
    except NotFoundError:
        return Retained()
    state, since = info["state"], kept_since(info, now_utc())
    first_at = parse_time(state["first_ts"]) if since and state["messages"] else None
    return Retained(True, state["first_seq"], state["last_seq"], first_at, since)


def kept_since(info: dict[str, Any], now: datetime) -> datetime | None:
    """Return from when on the stream has everything; None where nothing was dropped yet."""
    config, state = info["config"], info["state"]
    if state["first_seq"] <= 1:
        return None
    limits = ("max_bytes", "max_msgs", "max_msgs_per_subject")
    if config.get("max_age", 0) > 0 and not any(config.get(limit, -1) > 0 for limit in limits):
        return now - timedelta(seconds=config["max_age"] / 1e9)
    return parse_time(state["first_ts"]) if state["messages"] else now


class Past:
    """A context manager: connected within; NatsError where that cannot be."""

    def __init__(self, settings: NatsSettings) -> None:
        self._connection = Connection(settings, "observe-past", ASK_S, PACE)

    def __enter__(self) -> "Past":
        self._connection.open()
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def retained(self) -> Retained:
        """Return what the stream still has."""
        return self._connection.ask(retained)

    def states(self) -> States:
        """Return what the bucket says now, leases and all. NatsError: it may not be read."""
        return self._connection.ask(read_states)[0]

    def payloads(self, filters: list[str], since: datetime) -> Iterator[bytes]:
        """Yield everything stored from a little before `since` on, in stream order, up to now."""
        for message in Feed(self._connection, filters, since=since).open().stored():
            yield message.data

    def observer_events(self, since: datetime) -> Iterator[Event]:
        """Yield the observer's own events that were observed since then."""
        for payload in self.payloads([f"{ROOT}.{OBSERVE}.>"], since):
            with suppress(ValueError):
                event = Event.from_json(payload)
                if parse_time(event.seen_at) >= since:
                    yield event
