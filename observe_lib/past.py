"""Reads the past: everything stored from a moment on, and what the bucket says, over a connection of its own.
Blocking calls for the main thread; keeps nothing of what it reads.
"""

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from .bridge import Bridge
from .bucket import Snapshot, take_snapshot, with_leases
from .config import NatsSettings
from .connection import Connection
from .errors import ObserveError
from .events import OBSERVE, ROOT, Event
from .feed import Feed, Message, Pace
from .lease import identity, is_dead
from .records import recall
from .states import States
from .stream import ask_stream
from .times import earlier, now_utc, parse_time

#: how long one question may take
ASK_S = 5.0
#: reading begins this much before the range: events are found by the server's clock, which may be ahead
LEAD_IN_S = 300.0
#: much is read at once: the reader does little with each
PACE = Pace(batch=2000)


class Kept(NamedTuple):
    """What the stream still has: whether there is one, and from when on (None: nothing was dropped)."""

    stream: bool
    since: datetime | None = None


class Past:
    """A context manager: connected within; NatsError where that cannot be."""

    def __init__(self, settings: NatsSettings) -> None:
        self._bridge = Bridge()
        self._connection = Connection(settings, "observe-past", ASK_S)

    def __enter__(self) -> "Past":
        self._bridge.start()
        try:
            self._bridge.run(self._connection.open())
        except BaseException:
            self._bridge.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ObserveError, TimeoutError):
            self._bridge.run(self._connection.close(), ASK_S)
        self._bridge.stop()

    def kept(self) -> Kept:
        """Return what the stream still has."""
        try:
            info = self._bridge.run(self._connection.ask(_stream_info, ASK_S))
        except NotFoundError:
            return Kept(False)
        return Kept(info is not None, kept_since(info, now_utc()) if info else None)

    def states(self) -> States:
        """Return what the bucket says now, leases and all. NatsError: it may not be read."""
        found: Snapshot = self._bridge.run(self._connection.ask(take_snapshot, ASK_S))
        me = identity()
        return with_leases(recall(found.records), found.leases, lambda lease: is_dead(lease, me))

    def payloads(self, filters: list[str], since: datetime) -> Iterator[bytes]:
        """Yield everything stored from a little before `since` on, in stream order, up to now."""
        start_time = earlier(since, LEAD_IN_S)
        feed = Feed(self._bridge, self._connection, PACE, filters, start_time=start_time)
        try:
            feed.open(ASK_S)
            for item in feed.items():
                if not isinstance(item, Message):
                    return
                yield item.data
        finally:
            feed.end()
            feed.closed()

    def observer_events(self, since: datetime) -> Iterator[Event]:
        """Yield the observer's own events that were observed since then."""
        for payload in self.payloads([f"{ROOT}.{OBSERVE}.>"], since):
            with suppress(ValueError):
                event = Event.from_json(payload)
                if parse_time(event.seen_at) >= since:
                    yield event


async def _stream_info(js: JetStreamContext) -> dict[str, Any] | None:
    try:
        return await ask_stream(js, "INFO")
    except NotFoundError:
        return None


def kept_since(info: dict[str, Any], now: datetime) -> datetime | None:
    """Return from when on the stream has everything; None where nothing was dropped yet."""
    config, state = info["config"], info["state"]
    if state["first_seq"] <= 1:
        return None
    limits = ("max_bytes", "max_msgs", "max_msgs_per_subject")
    if config.get("max_age", 0) > 0 and not any(config.get(limit, -1) > 0 for limit in limits):
        return now - timedelta(seconds=config["max_age"] / 1e9)
    return parse_time(state["first_ts"]) if state["messages"] else now
