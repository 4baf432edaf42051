"""What has changed of rows, leases and silences since one looked last, out of the states that readers share.
For the main thread; the states are followed by a thread of their own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ..reader.connection import Connection
from ..reader.silences import Silence
from ..reader.states import States
from ..reader.states_reader import StatesReader
from ..rows import STALE_S, Place, ProcessRow, StackRow
from ..times import seconds_between
from .condition import Condition, StackCondition, process_condition


@dataclass
class News:
    """What has changed since the last time; of stacks and silences what there is."""

    changes: Mapping[Place, Condition | None] = field(default_factory=dict)
    stacks: Mapping[str, StackCondition] = field(default_factory=dict)
    silences: Sequence[Silence] = ()


class RowFeed:
    """The states behind a connection; opened as soon as there is one. `up_at()` tells since when."""

    def __init__(self, connection: Connection, up_at: Callable[[], datetime | None]) -> None:
        self._connection, self._up_at = connection, up_at
        self._reader: StatesReader | None = None
        self._seen: Mapping[Place, ProcessRow] = {}

    @property
    def is_current(self) -> bool:
        """Whether everything there is was read. Opens the reader, once connected; NatsError."""
        if not self._connection.session.is_up:
            return False
        if self._reader is None:
            self._reader = StatesReader(self._connection).open()
        return self._reader.is_whole

    def take(self, now: datetime, *, whole: bool = False) -> News:
        """Return what has changed since it was asked last, everything if `whole`."""
        states = self._reader.states if self._reader is not None else States()
        before: Mapping[Place, ProcessRow] = {} if whole else self._seen
        changes: dict[Place, Condition | None] = {}
        if states.rows is not before:
            changes = {place: None for place in self._seen if place not in states.rows}
            found = (one for place, one in states.rows.items() if before.get(place) is not one)
            changes |= {one.place: process_condition(one.told) for one in found}
        self._seen = states.rows
        stacks = {name: stack_of(stack, now, self._up_at()) for name, stack in states.stacks.items()}
        return News(changes, stacks, states.silences)


def stack_of(stack: StackRow, now: datetime, up_at: datetime | None) -> StackCondition:
    """Return what a lease says of its stack now.

    `up_at` is since when we are connected again, None for the first connection: adapters renew their leases
    after an outage only when they are connected, too.
    """
    stale = stack.stale(now)
    if stale is None:
        return StackCondition(stack.name)
    if stale.reason == "silent" and up_at is not None and seconds_between(up_at, now) <= STALE_S:
        return StackCondition(stack.name)
    ended = stale.reason == "stopped"
    return StackCondition(stack.name, stale.about, stale.since, stale.error, ended=ended)
