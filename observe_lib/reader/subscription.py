"""One handler and what it is given: which events are wanted, had already, or malformed.
Each subscription has a thread of its own, "observe-handler-N"; it never touches NATS.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from typing import NamedTuple

from ..broker.loop import ignore
from ..events import Event
from ..log import log
from ..settings import moment_of, names
from ..subjects import OBSERVE, filter_subjects, process_wanted
from ..times import now_utc, stamp_of
from .feed import Feed, Mark
from .message import Message

Handler = Callable[[Event], object]
#: an event with its message, or what a feed says
Arrival = tuple[Event | Mark | str, Message | None]
#: a moment, or what `parse_when` makes one of
When = datetime | str | None
#: durable: of so many messages it is known how they came out; a server that dies may send them again
OUTCOMES = 1000


class Wanted(NamedTuple):
    """Which events a reader wants; empty filters want everything."""

    processes: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    exclude_types: tuple[str, ...] = ()
    stack: str | None = None
    companions: bool = True
    since: datetime | None = None
    until: datetime | None = None

    def subjects(self, others: Iterable[str] = ()) -> list[str]:
        """Return the subjects that hold all of it, and perhaps more; `others` are `ns/name` wanted too."""
        return filter_subjects([*self.processes, *others] if self.processes else (), self.types)

    @property
    def names_observer(self) -> bool:
        """Whether the observer's own events are asked for by name."""
        return any(one.startswith(f"{OBSERVE}/") for one in self.processes)

    def accepts(self, event: Event) -> bool:
        """Whether it is this event; who names types wants none of the observer, unless naming that too."""
        if self.types and event.of_observer and not self.names_observer:
            return False
        return (
            (not self.processes or self.names(event.process, event.namespaces or (event.namespace,)))
            and (not self.types or event.type in self.types)
            and event.type not in self.exclude_types
            and (self.stack is None or event.stack == self.stack)
            and (self.companions or not event.companion)
            and (self.since is None or stamp_of(event.seen_at) >= self.since.timestamp())
            and (self.until is None or stamp_of(event.seen_at) < self.until.timestamp())
        )

    def names(self, process: str, namespaces: Iterable[str]) -> bool:
        """Whether this process is asked for, under any of its namespaces."""
        return process_wanted(self.processes, namespaces, process)


class Subscription:
    """One handler, its thread, and what became of its events; made by `Consumer.subscribe`."""

    def __init__(
        self,
        feed: Feed,
        wanted: Wanted,
        handler: Handler = ignore,
        on_live: Callable[[], object] = ignore,
        on_wait: Callable[[str], object] = ignore,
    ) -> None:
        #: payloads that are no event; events whose handler raised; durable: events given up after four tries
        self.malformed = self.failed = self.skipped = 0
        self.feed, self.wanted = feed, wanted
        self._handler, self._on_live, self._on_wait = handler, on_live, on_wait
        self._last: dict[tuple[object, ...], tuple[int, float]] = {}  # of each process, seq and when seen
        self._outcomes: dict[tuple[int, int], bool] = {}  # whether the handler returned
        self.thread = threading.Thread(target=self._work, name=f"observe-handler-{feed.number}", daemon=True)

    def stop(self) -> None:
        """End it: no further event is handed over. Returns at once, also within the handler."""
        self.feed.end()

    def events(self, follow: bool = True, until_seq: int | None = None) -> Iterator[Event]:
        """Yield its events in the calling thread, until it ends or (without `follow`) the replay is over.

        With `until_seq` none that is stored after that place.
        """
        with closing(self.feed.items() if follow else self.feed.stored(until_seq)) as items:
            for item in items:
                if isinstance(item, Message) and (event := self._decode(item)):
                    yield event

    def read(self, timeout_s: float) -> Iterator[Arrival]:
        """Yield what came together, in the calling thread; nothing if nothing came in that time."""
        for item in self.feed.batch(timeout_s):
            if not isinstance(item, Message):
                yield item, None
            elif (event := self._decode(item)) is not None:
                yield event, item

    def stored(self) -> Iterator[tuple[Event, Message]]:
        """As `events` without `follow`, each with its message."""
        with closing(self.feed.stored()) as messages:
            for message in messages:
                if (event := self._decode(message)) is not None:
                    yield event, message

    def _work(self) -> None:
        for item in self.feed.items():
            if isinstance(item, Message):
                self._handle(item)
            elif isinstance(item, str):
                self._attempt(self._on_wait, item)
            elif item is Mark.LIVE:
                self._attempt(self._on_live)

    def _handle(self, message: Message) -> None:
        event = self._decode(message)
        if event is None:
            self.feed.done(message)
            return
        returned = self._attempt(self._handler, event)
        if self.feed.durable:
            self._note_outcome(message, returned)
        if returned:
            self.feed.done(message)
            return
        self.failed += 1
        if self.feed.failed(message):
            self.skipped += 1
            log.error("skipped for good, its handler failed %d times: %s", message.attempt, event.subject)

    def _note_outcome(self, message: Message, returned: bool) -> None:
        self._outcomes[_place_of(message)] = returned
        if len(self._outcomes) > OUTCOMES:
            del self._outcomes[next(iter(self._outcomes))]

    def _attempt(self, function: Callable[..., object], *arguments: object) -> bool:
        try:
            function(*arguments)
            return True
        except BaseException as error:  # sys.exit() too: whatever it raises must not end this thread
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
        return event if self.wanted.accepts(event) and not self._had(event, message) else None

    def _had(self, event: Event, message: Message) -> bool:
        """Whether it was handled already: its acknowledgement was lost, or the stream holds it twice.

        What a handler raised over was not. The server may also forget how often it has sent a message.
        """
        if self._outcomes and (returned := self._outcomes.get(_place_of(message))) is not None:
            return returned
        if message.attempt > 1 or event.seq is None:
            return False
        key = (event.stack, event.namespace, event.process, event.of_observer)
        seen = event.seq, stamp_of(event.seen_at)
        if seen == self._last.get(key):  # a double follows its twin directly, whatever any host's clock says
            return True
        self._last[key] = seen
        return False


def _place_of(message: Message) -> tuple[int, int]:
    """Tell a message from all others, also from those of a stream that was made anew."""
    return message.seq, hash(message.data)


def wanted_of(
    process: str | Sequence[str] | None,
    types: str | Sequence[str] | None = None,
    exclude_types: str | Sequence[str] = (),
    stack: str | None = None,
    companions: bool = True,
    since: When = None,
    until: When = None,
) -> Wanted:
    """Return what these filters let through; UsageError where one makes no sense."""
    processes, kinds = sorted(names("process", texts_of(process))), sorted(texts_of(types))
    span = (_moment_of("since", since), _moment_of("until", until))
    return Wanted(tuple(processes), tuple(kinds), texts_of(exclude_types), stack, companions, *span)


def _moment_of(name: str, when: When) -> datetime | None:
    return moment_of(name, when, now_utc()) if isinstance(when, str) else when


def texts_of(given: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return one text, or several, as several; None is none."""
    if given is None:
        return ()
    return (str(given),) if isinstance(given, str) else tuple(str(one) for one in given)
