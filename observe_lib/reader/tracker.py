"""`States` kept current: the bucket is read once, then the stream tells; only leases are looked at again.
A subscription's thread folds; whoever asks gets what is known, without waiting for NATS.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from ..broker.loop import ignore, pause
from ..errors import NatsError
from ..events import Event, EventType
from ..rows import DAY
from ..times import now_utc
from .bucket import read_leases, read_states, with_leases
from .connection import Connection
from .feed import Feed
from .states import States, fold_all, fold_back
from .subscription import Subscription, Wanted

#: how often the leases are looked at: a killed adapter says nothing
LEASE_LOOK_S = 5.0
#: so many events are folded at once, if nobody asks before
CHUNK = 500


class Tracker:
    """One table of all processes, from `open()` to `close()`.

    `on_event` is called, in the subscription's thread, with each event that is new, before it counts. The
    crashes of the last 24 hours are looked up in the stream first, for the processes that `crashes_of` names
    (none given: all; None: not at all).
    """

    def __init__(
        self,
        connection: Connection,
        *,
        crashes_of: Sequence[str] | None = (),
        on_event: Callable[[Event], object] = ignore,
    ) -> None:
        self._connection, self._crashes_of, self._on_event = connection, crashes_of, on_event
        self._lock = threading.Lock()
        self._states = States()
        self._fresh: list[Event] = []
        self._look = asyncio.Event()

    def open(self) -> "Tracker":
        """Read what there is, and begin to follow; NatsError if that is not permitted, or takes too long."""
        self._states, stream_seq = self._connection.ask(read_states)
        if self._crashes_of is not None:
            self._look_back(Wanted(tuple(self._crashes_of), (EventType.CRASHED,)), stream_seq)
        everything = Wanted()
        feed = Feed(self._connection, everything.subjects(), start_seq=stream_seq + 1).open()
        self._subscription = Subscription(feed, everything, self._hear)
        self._subscription.thread.start()
        self._looking = self._connection.bridge.spawn(self._look_at_leases())
        return self

    @property
    def states(self) -> States:
        """What is known now; the same object as long as nothing is heard."""
        with self._lock:
            self._settle()
            return self._states

    def close(self) -> None:
        """End it; returns at once."""
        self._looking.cancel()
        self._subscription.stop()

    def _look_back(self, crashes: Wanted, stream_seq: int) -> None:
        """Count the crashes of the last day: only they are asked for."""
        feed = Feed(self._connection, crashes.subjects(), since=now_utc() - DAY).open()
        events = Subscription(feed, crashes).events(False, stream_seq)
        self._states = fold_back(self._states, events)

    def _hear(self, event: Event) -> None:
        self._on_event(event)
        with self._lock:
            self._fresh.append(event)
            if len(self._fresh) >= CHUNK:
                self._settle()
        if event.of_observer:
            self._connection.bridge.call(self._look.set)

    def _settle(self) -> None:
        if self._fresh:
            self._states = fold_all(self._states, self._fresh)
            self._fresh = []

    # --- in the loop's thread ---

    async def _look_at_leases(self) -> None:
        while True:
            await pause(self._look, LEASE_LOOK_S)
            with suppress(NatsError, OSError):
                leases = await self._connection.answer(read_leases)
                with self._lock:
                    self._settle()
                    self._states = with_leases(self._states, leases)
