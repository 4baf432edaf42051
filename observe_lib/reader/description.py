"""All that is known of one process, for `show`, `top` and `web`: its row, its last events, its last crash.
The calling thread asks the Consumer; nothing is kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ..events import Event, EventType
from ..rows import ProcessRow, Stale

if TYPE_CHECKING:
    from .consumer import Consumer

#: how many of its last events are shown
EVENTS = 10


@dataclass(frozen=True)
class Description:
    """One process: its row, whether that still holds, its last events and its last crash."""

    row: ProcessRow
    stale: Stale | None
    events: Sequence[Event]
    crash: Event | None


def descriptions_of(
    consumer: "Consumer", patterns: Sequence[str], stack: str | None, now: datetime
) -> list[Description]:
    """Return all that is known of each process that these patterns name."""
    states, found = consumer.stored_states(patterns, stack), list[Description]()
    for row in states.select(patterns, stack):
        name, owner = str(row.place), row.place.stack
        events, _ = consumer.recent(EVENTS, name, stack=owner, keep=lambda event: not event.companion)
        crash = row.last_crash
        if crash is not None:  # its log is in the stream, as long as that has it
            crashes, _ = consumer.recent(1, name, [EventType.CRASHED], stack=owner)
            crash = max([crash, *crashes], key=lambda one: (one.seq or 0, bool(one.log_tail)))
        found.append(Description(row, states.stale(row, now), events, crash))
    return found
