"""Consumer: the events, in blocking Python. One loop thread reads NATS for all subscriptions,
each handler has a thread of its own, and between the two stands a bounded queue. Never publishes an event.
"""

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from .bridge import Bridge, log
from .config import NatsSettings, names, nats_settings
from .connection import Connection
from .errors import ObserveError, UsageError
from .events import OBSERVE, Event, EventType, filter_subjects, process_matches
from .feed import Feed, Mark, Message, Pace
from .stream import ignore
from .times import parse_time

Handler = Callable[[Event], object]

#: what a durable subscription may be called
DURABLE_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
#: `close()` waits no longer than this for handlers that are still at work
CLOSE_S = 5.0


@dataclass(frozen=True)
class Wanted:
    """Which events a reader wants; empty filters want everything."""

    processes: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    exclude_types: tuple[str, ...] = ()
    stack: str | None = None
    companions: bool = True

    def subjects(self) -> list[str]:
        """Return the subjects that hold all of it, and perhaps more."""
        return filter_subjects(self.processes, self.types)

    def accepts(self, event: Event) -> bool:
        """Whether it is this event; who names types wants none of the observer, unless naming that too."""
        if (
            event.of_observer
            and self.types
            and not any(one.startswith(f"{OBSERVE}/") for one in self.processes)
        ):
            return False
        named = [process_matches(one, event.namespace, event.process) for one in self.processes]
        return (
            (not named or any(named))
            and (not self.types or event.type in self.types)
            and event.type not in self.exclude_types
            and (self.stack is None or event.stack == self.stack)
            and (self.companions or not event.companion)
        )


class Subscription:
    """One handler, its thread, and what became of its events; made by `Consumer.subscribe`."""

    def __init__(
        self,
        feed: Feed,
        wanted: Wanted,
        handler: Handler,
        on_live: Callable[[], object],
        on_wait: Callable[[str], object],
    ) -> None:
        #: payloads that are no event; events whose handler raised; durable: events given up after four tries
        self.malformed = self.failed = self.skipped = 0
        self.feed, self._wanted = feed, wanted
        self._handler, self._on_live, self._on_wait = handler, on_live, on_wait
        self._last: dict[tuple[object, ...], tuple[int, str]] = {}
        self.thread = threading.Thread(target=self._work, name=f"observe-handler-{feed.number}", daemon=True)

    def stop(self) -> None:
        """End it: no further event is handed over. Returns at once, also within the handler."""
        self.feed.end()

    def events(self, follow: bool = True) -> Iterator[Event]:
        """Yield its events in the calling thread, until it ends or (without `follow`) the replay is over."""
        for item in self.feed.items():
            if item is Mark.LIVE and not follow:
                return
            if isinstance(item, Message) and (event := self._decode(item)):
                yield event

    def _work(self) -> None:
        try:
            for item in self.feed.items():
                if isinstance(item, Message):
                    self._handle(item)
                elif item is Mark.LIVE:
                    self._attempt(self._on_live)
                else:
                    self._attempt(self._on_wait, self.feed.absence())
        finally:
            self.feed.closed()

    def _handle(self, message: Message) -> None:
        event = self._decode(message)
        if event is None or self._attempt(self._handler, event):
            self.feed.done(message)
            return
        self.failed += 1
        if self.feed.failed(message):
            self.skipped += 1
            log.error("skipped for good, its handler failed %d times: %s", message.attempt, event.subject)

    def _attempt(self, function: Callable[..., object], *arguments: object) -> bool:
        try:
            function(*arguments)
            return True
        except Exception as error:  # somebody else's code: whatever it raises must not end this thread
            log.error("a handler raised %s: %s", type(error).__name__, error)
            log.debug("where it raised:", exc_info=True)
            return False

    def _decode(self, message: Message) -> Event | None:
        """Return the event, if it is one, is wanted, and was not had before."""
        try:
            event = Event.from_json(message.data)
        except ValueError as error:
            self.malformed += 1
            log.debug("not an event, at %d: %s", message.seq, error)
            return None
        return event if self._wanted.accepts(event) and not self._had(event, message) else None

    def _had(self, event: Event, message: Message) -> bool:
        """Whether an event of this process with this `seq` came before: the stream may hold one twice."""
        if event.seq is None or message.attempt > 1:
            return False
        key = (event.stack, event.namespace, event.process, event.of_observer)
        last_seq, last_seen = self._last.get(key, (0, ""))
        if event.seq <= last_seq and parse_time(event.seen_at) <= parse_time(last_seen):
            return True
        self._last[key] = (event.seq, event.seen_at)
        return False


class Consumer:
    """Reads PROCESS_EVENTS from one NATS; a context manager. Its methods may be called from any thread.

    `settings` is a URL or `NatsSettings`. Once connected it reconnects for ever and goes on where it was.
    """

    def __init__(
        self,
        settings: str | NatsSettings = "nats://127.0.0.1:4222",
        *,
        timeout_s: float = 5.0,
        name: str = "observe",
        pace: Pace = Pace(),  # noqa: B008 (frozen)
    ) -> None:
        self._settings = nats_settings({"nats_url": settings}, {}) if isinstance(settings, str) else settings
        self._timeout_s, self._name, self._pace = timeout_s, name, pace
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._bridge: Bridge | None = None
        self._connection: Connection | None = None
        self._subscriptions: list[Subscription] = []

    def connect(self) -> "Consumer":
        """Connect, if it is not connected yet; NatsError within the timeout if that cannot be."""
        with self._lock:
            if self._closed.is_set():
                raise ObserveError("this Consumer is closed", "make a new one")
            if not self._bridge:
                bridge, connection = Bridge(), Connection(self._settings, self._name, self._timeout_s)
                bridge.start()
                try:
                    bridge.run(connection.open())
                except BaseException:
                    bridge.stop()
                    raise
                self._bridge, self._connection = bridge, connection
        return self

    def close(self) -> None:
        """End all subscriptions and the connection; waits for running handlers, but not for its own."""
        self._closed.set()
        for subscription in self._subscriptions:
            subscription.stop()
        if any(one.thread is threading.current_thread() for one in self._subscriptions):
            # this handler's own event is still to be acknowledged: somebody else has to end the loop
            threading.Thread(target=self._close, name="observe-close").start()
        else:
            self._close()

    def _close(self) -> None:
        with self._lock:
            end = time.monotonic() + CLOSE_S
            for subscription in self._subscriptions:
                if subscription.thread.ident:
                    subscription.thread.join(max(0.0, end - time.monotonic()))
            if self._bridge and self._connection:
                with suppress(ObserveError, TimeoutError):
                    self._bridge.run(self._connection.close(), CLOSE_S)
                self._bridge.stop()
            self._bridge = self._connection = None

    def __enter__(self) -> "Consumer":
        return self.connect()

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until `close()` (True) or the timeout (False); Ctrl-C is a KeyboardInterrupt as ever."""
        return self._closed.wait(timeout_s)

    def subscribe(
        self,
        handler: Handler,
        *,
        process: str | Sequence[str] = (),
        types: str | Sequence[str] = (),
        exclude_types: str | Sequence[str] = (),
        stack: str | None = None,
        new: bool = False,
        durable: str | None = None,
        companions: bool = True,
        on_live: Callable[[], object] = ignore,
        on_wait: Callable[[str], object] = ignore,
    ) -> Subscription:
        """Have the handler called, in a thread of its own, with each event that the filters let through.

        First the last event per subject in stream order, then `on_live()` once, then what happens; with
        `new` only what happens. `on_wait(why)` is called when there is no stream yet. With `durable` each
        event is acknowledged once the handler returned, and the next program of that name goes on there; one
        whose handler raises comes again after 1, 5 and 30 s. UsageError, NatsError (nothing may be read).
        """
        wanted = _wanted(process, types, exclude_types, stack, companions)
        subscription = self._open(wanted, new, durable, handler, on_live, on_wait)
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
        process: str | Sequence[str] = (),
        types: str | Sequence[str] = (),
        *,
        follow: bool = True,
        new: bool = False,
    ) -> Iterator[Event]:
        """Yield the last event per subject, then what happens; without `follow` end before that.

        Connects if need be, and then disconnects at the end, unless something else was subscribed meanwhile.
        """
        connected = self._bridge is not None
        subscription = self._open(_wanted(process, types), new, None, ignore, ignore, ignore)
        try:
            yield from subscription.events(follow)
        finally:
            subscription.stop()
            subscription.feed.closed()
            if not connected and all(one.feed.ended for one in self._subscriptions):
                self._close()

    def _open(self, wanted: Wanted, new: bool, durable: str | None, *callbacks: Any) -> Subscription:
        if durable is not None and not DURABLE_NAME.fullmatch(durable):
            raise UsageError(f"{durable!r} is no name for a durable", "take 1 to 64 of A-Z a-z 0-9 _ -")
        self.connect()
        bridge, connection = self._bridge, self._connection
        if not bridge or not connection:
            raise ObserveError("this Consumer is closed", "make a new one")
        feed = Feed(bridge, connection, wanted.subjects(), new=new, durable=durable or "", pace=self._pace)
        subscription = Subscription(feed, wanted, *callbacks)
        self._subscriptions = [one for one in self._subscriptions if not one.feed.ended] + [subscription]
        try:
            feed.open(self._timeout_s)
        except BaseException:
            subscription.stop()
            feed.closed()
            raise
        return subscription


def _wanted(
    process: str | Sequence[str],
    types: str | Sequence[str],
    exclude_types: str | Sequence[str] = (),
    stack: str | None = None,
    companions: bool = True,
) -> Wanted:
    processes = names("process", _texts(process))
    return Wanted(tuple(processes), _texts(types), _texts(exclude_types), stack, companions)


def _texts(given: str | Sequence[str]) -> tuple[str, ...]:
    return (str(given),) if isinstance(given, str) else tuple(str(one) for one in given)
