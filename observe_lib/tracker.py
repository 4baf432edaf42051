"""`States` kept current: the bucket is read once, then the stream tells; only leases are looked at again.
Its thread "observe-states-N" folds; whoever asks gets what is known, without waiting for NATS.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime

import nats.errors
from nats.aio.client import Client
from nats.js.errors import APIError

from .bridge import Bridge, log
from .bucket import read_leases, take_snapshot, with_leases
from .connection import Connection
from .errors import NatsError
from .events import ROOT, Event, EventType, filter_subjects
from .feed import REQUEST_S, Feed, Mark, Message, Pace
from .lease import identity, is_dead
from .records import recall
from .states import DAY, States, fold_all, fold_back
from .stream import ignore
from .times import now_utc

#: how often the leases are looked at: a killed adapter says nothing
LEASE_LOOK_S = 5.0
#: so many events are folded at once, if nobody asks before
CHUNK = 500


class Tracker:
    """One table of all processes. `on_event` is called, in its thread, with each event that is new.

    The crashes of the last 24 hours are looked up in the stream first, for the processes that `crashes_of`
    names (none given: all; None: not at all).
    """

    def __init__(
        self,
        bridge: Bridge,
        connection: Connection,
        pace: Pace,
        *,
        crashes_of: Sequence[str] | None = (),
        on_event: Callable[[Event], object] = ignore,
    ) -> None:
        self._bridge, self._connection, self._pace = bridge, connection, pace
        self._crashes_of, self._on_event = crashes_of, on_event
        self._me = identity()
        self._changed = threading.Condition()
        self._states = States()
        self._fresh: list[Event] = []
        self._version = 0
        self._feed: Feed | None = None
        self._look = asyncio.Event()

    def open(self, timeout_s: float) -> "Tracker":
        """Read what there is, and begin to follow; NatsError if that is not permitted, or takes too long."""
        found = self._bridge.run(self._connection.ask(take_snapshot, timeout_s))
        self._states = with_leases(recall(found.records), found.leases, self._is_dead)
        if self._crashes_of is not None:
            self._look_back(self._crashes_of, found.stream_seq, timeout_s)
        filters = [f"{ROOT}.>"]
        self._feed = self._open_feed(filters, timeout_s, start_seq=found.stream_seq + 1)
        self._looking = self._bridge.spawn(self._look_at_leases())
        name = f"observe-states-{self._feed.number}"
        threading.Thread(target=self._follow, args=(self._feed,), name=name, daemon=True).start()
        return self

    @property
    def states(self) -> States:
        """What is known now."""
        with self._changed:
            self._settle()
            return self._states

    def wait(self, version: int, timeout_s: float) -> int:
        """Wait until something was heard since that version (0: of the beginning), or for `timeout_s`."""
        with self._changed:
            self._changed.wait_for(lambda: self._version > version, timeout_s)
            return self._version

    def close(self) -> None:
        """End it; returns at once."""
        if self._feed is not None:
            self._looking.cancel()
            self._feed.end()
            self._feed.closed()
            self._feed = None

    # --- in its thread ---

    def _follow(self, feed: Feed) -> None:
        for event in self._events(feed):
            with self._changed:
                self._fresh.append(event)
                if len(self._fresh) >= CHUNK:
                    self._settle()
                self._version += 1
                self._changed.notify_all()
            if event.of_observer:
                self._bridge.call(self._look.set)
            try:
                self._on_event(event)
            except Exception as error:  # somebody else's code
                log.error("a listener raised %s: %s", type(error).__name__, error)

    def _settle(self) -> None:
        if self._fresh:
            self._states = fold_all(self._states, self._fresh)
            self._fresh = []

    def _look_back(self, names: Sequence[str], stream_seq: int, timeout_s: float) -> None:
        """Count the crashes of the last day: only they are asked for."""
        filters = filter_subjects(names, [EventType.CRASHED])
        feed = self._open_feed(filters, timeout_s, start_time=now_utc() - DAY)
        try:
            crashes = list[Event]()
            for event in self._events(feed, stream_seq):
                crashes.append(event)
                if len(crashes) >= CHUNK:
                    self._states, crashes = fold_back(self._states, crashes), []
            self._states = fold_back(self._states, crashes)
        finally:
            feed.end()
            feed.closed()

    def _open_feed(
        self, filters: list[str], timeout_s: float, start_seq: int = 0, start_time: datetime | None = None
    ) -> Feed:
        parts = (self._bridge, self._connection, self._pace)
        feed = Feed(*parts, filters, start_seq=start_seq, start_time=start_time)
        try:
            feed.open(timeout_s)
        except BaseException:
            feed.closed()
            raise
        return feed

    def _events(self, feed: Feed, until_seq: int | None = None) -> Iterator[Event]:
        """Yield what a feed brings; with `until_seq` what is there already, up to that place."""
        for item in feed.items():
            if isinstance(item, Message):
                if until_seq is not None and item.seq > until_seq:
                    return
                with suppress(ValueError):
                    yield Event.from_json(item.data)
            elif until_seq is not None and item in (Mark.LIVE, Mark.ABSENT):
                return

    # --- in the loop's thread ---

    async def _look_at_leases(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            # not wait_for: before Python 3.12 it may swallow that we are being cancelled
            tick = loop.call_later(LEASE_LOOK_S, self._look.set)
            await self._look.wait()
            tick.cancel()
            self._look.clear()
            with suppress(APIError, nats.errors.Error, OSError, NatsError, asyncio.TimeoutError):
                await self._connection.hold(self._read_leases)

    async def _read_leases(self, nc: Client) -> None:
        leases = await read_leases(nc.jetstream(timeout=REQUEST_S))
        with self._changed:
            self._settle()
            self._states = with_leases(self._states, leases, self._is_dead)
            self._version += 1
            self._changed.notify_all()

    def _is_dead(self, lease: dict[str, object]) -> bool:
        return is_dead(lease, self._me)
