"""What `watch` shows of the past: per stack the last event per subject, in stream order.
Subjects have no stack, so the events of a name that several stacks have (the bucket knows) are read whole.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress

from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from ..broker.stream import KEYS, KV_STREAM, read_stored
from ..events import Event, EventType, read_json
from ..subjects import OBSERVE, ROOT, decode_token, encode_token, glob_token
from .message import Message
from .subscription import Arrival, Wanted

#: the observer's own last events that a replay shows: those that tell why nothing else comes
NOT_GOOD = frozenset((EventType.UNHEALTHY, EventType.STOPPED))
#: what the observer tells of, in every stack: the first one shows without being asked for by name
OBSERVERS = ("process-compose", "adapter")


def shared_names(key_subjects: Iterable[str], wanted: Wanted) -> set[str]:
    """Return `{namespace}.{name}`, as in subjects, of what is wanted and more than one stack has."""
    counted = Counter(subject.removeprefix(KEYS).partition(".")[2] for subject in key_subjects)
    several = (name for name, count in counted.items() if count > 1)
    return {name for name in several if not name.startswith(f"{OBSERVE}.") and _is_wanted(name, wanted)}


def _is_wanted(name: str, wanted: Wanted) -> bool:
    namespace, _, process = name.partition(".")
    cut = "==" in name  # only the JSON has the whole name
    return cut or wanted.names(decode_token(process), [decode_token(namespace)])


async def names_elsewhere(js: JetStreamContext, patterns: Iterable[str]) -> list[str]:
    """Return `namespace/name`, as events have it, of what these name by another of its namespaces."""
    found = dict[str, None]()
    for namespace, name in (one.split("/", 1) for one in patterns if "/" in one):
        if namespace == OBSERVE or glob_token(namespace) == "*":
            continue
        keys = f"{KEYS}*.{encode_token(namespace)}.{glob_token(name)}"
        try:
            messages = await read_stored(js, KV_STREAM, keys)
        except NotFoundError:
            return []
        for message in messages:
            with suppress(ValueError):
                row = read_json(message.data).get("row")
                first, process = (row or {}).get("namespace"), (row or {}).get("process")
                if isinstance(first, str) and isinstance(process, str) and first != namespace:
                    found[f"{first}/{process}"] = None
    return list(found)


class Replay:
    """The last events per stack of some names; they stand for what the stream has as the last per subject."""

    def __init__(self, names: Iterable[str], wanted: Wanted) -> None:
        self._by_name = wanted.names_observer
        parts = OBSERVERS if self._by_name else OBSERVERS[:1]
        asked = not wanted.types or self._by_name
        observers = [f"{OBSERVE}.{part}" for part in parts if asked and wanted.names(part, [OBSERVE])]
        self._names = frozenset([*names, *observers])
        self._types = [encode_token(one) for one in wanted.types] or ["*"]
        self._left: list[tuple[Event, Message]] = []
        self._until = 0

    def subjects(self) -> list[str]:
        """Return the subjects that are to be read whole."""
        return [f"{ROOT}.{name}.{one}" for name in sorted(self._names) for one in self._types]

    def take(self, stored: Iterable[tuple[Event, Message]]) -> None:
        """Take all that these subjects hold, and what else comes with it."""
        last, sources = dict[tuple[str | None, str], tuple[Event, Message]](), dict[str | None, Event]()
        for event, message in stored:
            if _name_of(event) in self._names:
                last[event.stack, event.subject] = event, message
                self._until = message.seq
                if event.of_observer:
                    sources[event.stack] = event
        news = [event for event in sources.values() if event.type in NOT_GOOD]
        found = [one for one in last.values() if self._by_name or not one[0].of_observer or one[0] in news]
        self._left = sorted(found, key=lambda one: one[1].seq, reverse=True)

    def merged(self, items: Iterable[Arrival]) -> Iterator[Arrival]:
        """Yield these items of a feed, with the events that are here in the places of the feed's."""
        items = iter(items)
        for item, message in items:
            yield from self._before(message.seq if message else math.inf)
            if message is None or not isinstance(item, Event):
                yield item, message
                break
            if not self._has(item, message.seq):
                yield item, message
        yield from items

    def _before(self, seq: float) -> Iterator[Arrival]:
        while self._left and self._left[-1][1].seq < seq:
            yield self._left.pop()

    def _has(self, event: Event, seq: int) -> bool:
        is_own = event.of_observer and not self._by_name
        return is_own or (seq <= self._until and _name_of(event) in self._names)


def _name_of(event: Event) -> str:
    return ".".join(event.subject.split(".")[2:4])
