"""Silences: of which processes nobody is told, until when, why, and who said so; in the bucket, for all.
Pure, but for `SilenceBook`.
"""

import json
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import nats.errors
from nats.js.errors import NoStreamResponseError, NotFoundError

from ..broker.bucket import PASSING_ERRORS, Bucket, WrongLastError
from ..broker.loop import T
from ..broker.stream import BUCKET
from ..calling import how_to_call
from ..errors import NatsError
from ..events import dump_json
from ..rows import Place
from ..settings import NatsSettings
from ..subjects import OBSERVE, process_matches
from ..times import format_time, parse_time
from .connection import Connection, Pace

#: the key of the bucket that holds all of them
SILENCES_KEY = f"{OBSERVE}.silences"
#: two who change them at once are in each other's way no more often than this
TRIES = 20
#: one question takes no longer
ASK_S = 10.0


@dataclass(frozen=True)
class Silence:
    """One silence: `pattern` as `watch` takes it, `stack` or "" for every one."""

    pattern: str
    until: datetime
    reason: str = ""
    who: str = ""
    stack: str = ""

    def covers(self, place: Place, now: datetime, namespaces: Sequence[str] = ()) -> bool:
        """Whether it holds now, for this process; `namespaces` are all it is in, where they are several."""
        spaces = namespaces or (place.namespace,)
        in_stack = not self.stack or self.stack == place.stack
        named = any(process_matches(self.pattern, space, place.process) for space in spaces)
        return now < self.until and in_stack and named

    def to_dict(self) -> dict[str, str]:
        """Return it as the bucket holds it."""
        return {**asdict(self), "until": format_time(self.until)}


def silences_for(
    silences: Iterable[Silence], place: Place, now: datetime, namespaces: Sequence[str] = ()
) -> list[Silence]:
    """Return the silences that hold for a process now, the one that ends last first."""
    found = (one for one in silences if one.covers(place, now, namespaces))
    return sorted(found, key=lambda one: one.until, reverse=True)


def parse_silences(payload: bytes) -> list[Silence]:
    """Return what the bucket's value says; what makes no sense is left out."""
    try:
        told = json.loads(payload)["silences"] if payload else []
    except (ValueError, LookupError, TypeError, RecursionError):
        return []
    found = []
    for one in told if isinstance(told, list) else ():
        try:
            fields = {name: str(one.get(name, "")) for name in ("pattern", "reason", "who", "stack")}
            found.append(Silence(until=parse_time(str(one["until"])), **fields))
        except (ValueError, LookupError, AttributeError, TypeError):
            continue
    return found


class SilenceBook:
    """The silences behind one NATS, for blocking calls; a context manager. NatsError where it cannot be."""

    def __init__(self, settings: NatsSettings) -> None:
        self._flag = settings.as_flag
        self._connection = Connection(settings, "observe silence", 5.0, Pace())
        self._bucket = Bucket(self._connection.session)

    def __enter__(self) -> "SilenceBook":
        self._connection.open()
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def read(self) -> list[Silence]:
        """Return all that are there, those that are over too."""
        return parse_silences(self._ask(self._bucket.get(SILENCES_KEY))[1])

    def change(
        self, now: datetime, change: Callable[[Sequence[Silence]], Sequence[Silence]]
    ) -> list[Silence]:
        """Write what `change` makes of those that hold, and return that; NatsError: others write too."""
        for _ in range(TRIES):
            revision, payload = self._ask(self._bucket.get(SILENCES_KEY))
            kept = list(change([one for one in parse_silences(payload) if now < one.until]))
            told = dump_json({"silences": [one.to_dict() for one in kept]})
            try:
                self._ask(self._bucket.put(SILENCES_KEY, told, revision))
                return kept
            except WrongLastError:
                continue
        raise NatsError("the silences change all the time", "try again")

    def _ask(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return self._connection.bridge.run(work, ASK_S)
        except (NoStreamResponseError, NotFoundError, nats.errors.NoRespondersError) as error:
            hint = f"start an adapter first: {how_to_call('adapter', self._flag)}"
            raise NatsError(f"{self._connection.url} has no {BUCKET}", hint) from error
        except PASSING_ERRORS as error:
            raise self._connection.session.explain(error) from error
