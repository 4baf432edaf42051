"""One process's way into the stream: its batches in order, its `seq`, and what its record was last.
Pure; the publisher's loop thread moves what is in here.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..detect.changes import Change
from ..events import Event

if TYPE_CHECKING:
    import asyncio


@dataclass(slots=True)
class Batch:
    """What one comparison told of one process: sealed (ids and seq given) when its turn comes.

    Without a change it is the record alone: to be published again where it was found unacknowledged.
    """

    change: Change | None = None
    sealed: list[tuple[str, Event]] = field(default_factory=list)
    gone: bool = False
    logged: "asyncio.Future[list[str]] | None" = None
    recorded: bool = False  # it is in the bucket
    tried: bool = False  # one of its events may be in the stream although that was not acknowledged

    @property
    def left(self) -> int:
        """How many of its events are not acknowledged."""
        if self.sealed or self.recorded or self.change is None:
            return len(self.sealed)
        return len(self.change.events)


@dataclass(slots=True)
class ProcessLane:
    """The batches of one process, one after the other; `key` is `{namespace}.{name}`."""

    key: str
    revision: int = 0
    seq: int = 0
    last: dict[str, str] = field(default_factory=dict)
    record: bytes | None = None
    queue: deque[Batch] = field(default_factory=deque)
    busy: bool = False

    def seal(self, change: Change, stack: str) -> list[tuple[str, Event]]:
        """Give each event its stack, its seq and the id that it keeps for ever."""
        sealed = []
        for event in change.events:
            self.seq += 1
            self.last[event.type] = event.timestamp
            event = replace(event, stack=stack, seq=self.seq)
            sealed.append((event.message_id(), event))
        return sealed

    @property
    def removed(self) -> bool:
        """Whether the first batch tells that the process is gone, and none after it that it is back."""
        first, *later = self.queue
        return first.gone and not any(batch.change for batch in later)


def lane_key(change: Change) -> str:
    """Return the key of the lane that a change belongs to."""
    return ".".join(change.events[0].subject.split(".")[2:4])


def _without_log(event: Event) -> Event:
    return replace(event, log_tail=None)


def _bare(event: Event) -> Event:
    """The event with no more of its state than tells what it is."""
    keep = ("name", "namespace", "status", "is_running", "is_ready", "pid", "restarts", "exit_code")
    state = {name: event.state[name] for name in keep if name in event.state} if event.state else None
    return replace(event, log_tail=None, state=state)


#: what is tried in turn where NATS takes no message of that size
SMALLER: tuple[Callable[[Event], Event], ...] = (lambda event: event, _without_log, _bare)
