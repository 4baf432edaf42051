"""EventConsumer: the events, in blocking Python. One loop thread reads NATS for all subscriptions,
each handler has a thread of its own, and between the two stands a bounded queue. Never publishes an event.
"""

import math
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from ..broker.loop import SLICE_S, ignore
from ..broker.stream import KEYS, KV_STREAM, stored_subjects
from ..errors import NatsError, ObserveError, UsageError
from ..events import Event, EventType
from ..settings import NatsSettings, nats_settings
from ..signals import Stop, stopped_by_signals
from .connection import Connection, Pace
from .durable import DurableFeed
from .feed import Feed
from .replay import Replay, names_elsewhere, shared_names
from .retained import Retained, retained
from .subscription import Handler, Subscription, Wanted, When, wanted_of

#: what a durable subscription may be called
DURABLE_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
#: `close()` waits no longer than this for handlers that are still at work
HANDLERS_END_S = 5.0

#: of which kind a consumer is
ReaderT = TypeVar("ReaderT", bound="EventConsumer")


class EventConsumer:
    """Reads PROCESS_EVENTS from one NATS; a context manager. Its methods may be called from any thread.

    `settings` is a URL or `NatsSettings`. Once connected it reconnects for ever and goes on where it was.
    """

    def __init__(
        self,
        settings: str | NatsSettings = "nats://127.0.0.1:4222",
        *,
        timeout_s: float = 5.0,
        name: str = "observe",
        pace: Pace = Pace(),  # noqa: B008 (never changes)
    ) -> None:
        self._settings = nats_settings({"nats_url": settings}, {}) if isinstance(settings, str) else settings
        self._timeout_s, self._name, self._pace = timeout_s, name, pace
        self._lock = threading.RLock()
        self._closed = False
        self._ending = threading.Condition()  # no Event: one interrupted as it begins to wait stays locked
        self._stop: Stop | None = None  # of `run_forever`
        self._connection: Connection | None = None
        self._subscriptions: list[Subscription] = []
        self._kept = False  # something else than loops over `events()` uses the connection

    def connect(self: ReaderT) -> ReaderT:
        """Connect, if it is not connected yet; NatsError within the timeout if that cannot be."""
        self._connected()
        return self

    def _connected(self, keep: bool = True) -> Connection:
        with self._lock:
            self._kept = self._kept or keep
            if self._closed:
                raise ObserveError("this Consumer is closed", "make a new one")
            if self._connection is None:
                parts = (self._settings, self._name, self._timeout_s, self._pace)
                self._connection = Connection(*parts).open()
            return self._connection

    def close(self) -> None:
        """End all subscriptions and the connection; waits for running handlers, but not for its own."""
        with self._ending:
            self._closed = True
            self._ending.notify_all()
        if self._stop:
            self._stop.set()
        for subscription in self._subscriptions:
            subscription.stop()
        if any(one.thread is threading.current_thread() for one in self._subscriptions):
            # this handler's own event is still to be acknowledged: somebody else has to end the loop
            threading.Thread(target=self._close, name="observe-close").start()
        else:
            self._close()

    def _close(self) -> None:
        with self._lock:
            end = time.monotonic() + HANDLERS_END_S
            for subscription in self._subscriptions:
                if subscription.thread.ident:
                    subscription.thread.join(max(0.0, end - time.monotonic()))
            self._disconnect()

    def _leave(self) -> None:
        """Disconnect, if nothing but loops used the connection, and none is left."""
        with self._lock:
            if not self._kept and all(one.feed.ended for one in self._subscriptions):
                self._disconnect()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def __enter__(self: ReaderT) -> ReaderT:
        return self.connect()

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for `close()` alone (True), or the timeout (False); Ctrl-C is a KeyboardInterrupt as ever."""
        end = math.inf if timeout_s is None else time.monotonic() + timeout_s
        with self._ending:
            while not self._closed and (left_s := end - time.monotonic()) > 0:
                self._ending.wait(min(left_s, SLICE_S))
        return self._closed

    def run_forever(self) -> None:
        """Wait until `close()`, Ctrl-C or SIGTERM, and return: a program's last line, in its main thread."""
        if threading.current_thread() is not threading.main_thread():
            self.wait()
            return
        with stopped_by_signals("SIGINT", "SIGTERM") as self._stop:
            while not (self._closed or self._stop.wait(SLICE_S)):
                pass

    def subscribe(
        self,
        handler: Handler,
        *,
        process: str | Sequence[str] | None = None,
        types: str | Sequence[str] | None = None,
        exclude_types: str | Sequence[str] = (),
        stack: str | None = None,
        new: bool = False,
        durable: str | None = None,
        companions: bool = True,
        since: When = None,
        until: When = None,
        start_seq: int = 0,
        on_live: Callable[[], object] = ignore,
        on_wait: Callable[[str], object] = ignore,
    ) -> Subscription:
        """Have the handler called, in a thread of its own, with each event that the filters let through.

        First the last event per subject in stream order (with `since`, a `datetime` or what `parse_when`
        reads, or `start_seq`: every event from there on), then `on_live()` once, then what happens; with
        `new` only what happens. `on_wait(why)` is called when there is no stream yet. With `durable` each
        event is acknowledged once the handler returned, and the next program of that name goes on there; one
        whose handler raises comes again after 1, 5 and 30 s. UsageError, NatsError (nothing may be read).
        """
        wanted = wanted_of(process, types, exclude_types, stack, companions, since, until)
        callbacks = (handler, on_live, on_wait)
        subscription = self._open(wanted, *callbacks, new=new, durable=durable, start_seq=start_seq)
        subscription.thread.start()
        return subscription

    def subscribe_all(self, handler: Handler) -> Subscription:
        """Subscribe to every event."""
        return self.subscribe(handler)

    def subscribe_process(self, process: str, handler: Handler) -> Subscription:
        """Subscribe to the events of one process, `default/caddy`; a bare name is one in any namespace."""
        return self.subscribe(handler, process=process)

    def subscribe_event_type(self, event_type: EventType | str, handler: Handler) -> Subscription:
        """Subscribe to the events of one type."""
        return self.subscribe(handler, types=[str(event_type)])

    def events(
        self,
        process: str | Sequence[str] | None = None,
        types: str | Sequence[str] | None = None,
        *,
        exclude_types: str | Sequence[str] = (),
        stack: str | None = None,
        since: When = None,
        until: When = None,
        follow: bool = True,
        new: bool = False,
    ) -> Iterator[Event]:
        """Yield the last event per subject, then what happens; without `follow` end before that.

        With `since` and `until` (a `datetime`, or a text: "1h" ago, RFC 3339, "10:41") every event that was
        observed in that time, in stream order; with `until` alone from the first one on, and no following.

        Connects if need be, and disconnects at the end if this Consumer was used for nothing else.
        """
        wanted = wanted_of(process, types, exclude_types, stack, True, since, until)
        start_seq = 1 if wanted.until and not wanted.since else 0
        subscription = self._open(wanted, new=new, start_seq=start_seq, keep=False)
        try:
            yield from subscription.events(follow and until is None)
        finally:
            subscription.stop()
            if not sys.is_finalizing():  # then no other thread runs any more: nothing may be waited for
                self._leave()

    def recent(
        self,
        number: int,
        process: str | Sequence[str] | None = None,
        types: str | Sequence[str] | None = None,
        *,
        keep: Callable[[Event], bool] = bool,
        **filters: Any,
    ) -> tuple[list[Event], int]:
        """Return the last events stored, `number` at most, and the place in the stream that they end at.

        `keep` has the last say; `filters` are those of `events`. Reads ever further back until it has them.
        """
        wanted = wanted_of(process, types, **filters)
        stream, span = self.retained(), max(256, 4 * number)
        while stream.stream:
            start_seq = 0 if wanted.since else max(stream.first_seq, stream.last_seq - span + 1, 1)
            events = self._open(wanted, start_seq=start_seq).events(False, stream.last_seq)
            found = deque((event for event in events if keep(event)), maxlen=number)
            if len(found) == number or start_seq <= max(1, stream.first_seq):  # all of what `since` says, too
                return list(found), stream.last_seq
            span *= 8
        return [], 0

    def follow(self, new: bool = False, start_seq: int = 0, **filters: Any) -> Subscription:
        """Return a subscription, see `subscribe`, that whoever called reads in its own thread."""
        return self._open(wanted_of(**filters), new=new, start_seq=start_seq)

    def replay(self, wanted: Wanted) -> Replay:
        """Return what a replay shows of the names that several stacks have, and of the observer.

        NatsError: it cannot be told which names these are, so each is taken to be one stack's.
        """
        keys = self._connected().ask(lambda js: stored_subjects(js, KV_STREAM, f"{KEYS}>"))
        found = Replay(shared_names(keys, wanted), wanted)
        if subjects := found.subjects():
            feed = Feed(self._connected(), subjects, start_seq=1)
            past = Subscription(feed.open(), wanted)
            found.take(past.stored())
        return found

    @property
    def connected(self) -> bool:
        """Whether the server is there just now; a lost one is tried again for ever."""
        return self._connection is not None and self._connection.session.is_up

    def retained(self) -> Retained:
        """Return what the stream still holds."""
        return self._connected().ask(retained)

    def _open(
        self,
        wanted: Wanted,
        *callbacks: Any,
        new: bool = False,
        durable: str | None = None,
        start_seq: int = 0,
        keep: bool = True,
    ) -> Subscription:
        if (new or durable) and (wanted.since or start_seq):
            raise UsageError("new and durable say where to begin, and so does since", "leave one of them out")
        if durable is not None and not DURABLE_NAME.fullmatch(durable):
            raise UsageError(f"{durable!r} is no name for a durable", "take 1 to 64 of A-Z a-z 0-9 _ -")
        with self._lock:
            others = [one for one in self._subscriptions if not one.feed.ended]
            if durable and any(one.feed.durable == durable and one.wanted != wanted for one in others):
                what = f"the durable {durable} is open under other filters"
                raise UsageError(what, "take another name, or the same filters")
            feed = self._feed(wanted, new, durable, start_seq, keep)
            subscription = Subscription(feed, wanted, *callbacks)
            self._subscriptions = [*others, subscription]
        feed.open()
        return subscription

    def _feed(self, wanted: Wanted, new: bool, durable: str | None, start_seq: int, keep: bool) -> Feed:
        connection, others = self._connected(keep), list[str]()
        with suppress(NatsError):  # who may not read the bucket misses what is named by a second namespace
            if any("/" in one for one in wanted.processes):
                others = connection.ask(lambda js: names_elsewhere(js, wanted.processes))
        subjects = wanted.subjects(others)
        if durable:
            return DurableFeed(connection, subjects, durable, new)
        return Feed(connection, subjects, new=new, start_seq=start_seq, since=wanted.since)
