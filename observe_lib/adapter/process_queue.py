"""Which event is next: of each process its oldest, in the order of the events' ids, one at a time.
Pure, in memory: an id for each process, and what was taken; never grows with what waits.
"""

from collections.abc import Iterable, Mapping
from heapq import heapify, heappop, heappush
from typing import NamedTuple


class WaitingEvents(NamedTuple):
    """One process's events that wait: how many, their bytes, and the oldest one's id."""

    process: str
    events: int
    size: int
    oldest: int


class ProcessQueue:
    """The processes that have events waiting; `waiting` and `size` (bytes) are of all of them."""

    def __init__(self, found: Iterable[WaitingEvents] = ()) -> None:
        self.waiting = self.size = 0
        self._counts: dict[str, int] = {}
        self._oldest: dict[str, int] = {}
        self._heads: list[tuple[int, str]] = []  # of processes with nothing taken; and some that are over
        self._taken: dict[int, tuple[str, int]] = {}  # process and bytes
        for process, count, size, oldest in found:
            self._count(process, count, size)
            self._oldest[process] = oldest
            self._heads.append((oldest, process))
        heapify(self._heads)

    def count_of(self, process: str) -> int:
        """Return how many events of a process wait, a taken one included."""
        return self._counts.get(process, 0)

    def add(self, id: int, process: str, size: int) -> None:
        """Let one more wait; its id is above all others."""
        self._count(process, 1, size)
        if process not in self._oldest:
            self._set_oldest(process, id)

    def pop(self, count: int) -> list[int]:
        """Return the ids that are next, `count` at most; each has to come back by `take` or `put_back`."""
        found: list[int] = []
        while len(found) < count and (id := self.next_id()) is not None:
            self._taken[id] = (heappop(self._heads)[1], 0)
            found.append(id)
        return found

    def next_id(self) -> int | None:
        """Return the id that is next; None: none."""
        while self._heads:
            id, process = self._heads[0]
            if self._oldest.get(process) == id and id not in self._taken:
                return id
            heappop(self._heads)
        return None

    def take(self, id: int, size: int) -> None:
        """Note how large a popped event is: it is on its way."""
        self._taken[id] = (self._taken[id][0], size)

    def taken(self, id: int) -> tuple[str, int] | None:
        """Return process and bytes of a taken event."""
        return self._taken.get(id)

    def put_back(self, ids: Iterable[int]) -> None:
        """Let these, popped or taken, be next again."""
        for id in ids:
            if id in self._taken:
                heappush(self._heads, (id, self._taken.pop(id)[0]))

    def resize(self, id: int, before: int, after: int) -> None:
        """Note that an event became smaller."""
        self.size += after - before
        if id in self._taken:
            self.take(id, after)

    def is_oldest(self, id: int, process: str) -> bool:
        """Whether this is the oldest event of the process."""
        return self._oldest.get(process) == id

    def remove(self, found: Mapping[int, tuple[str, int]], oldest: Mapping[str, int]) -> None:
        """Let these (process and bytes by id) wait no more; `oldest` has what comes after the oldest ones."""
        for id, (process, size) in found.items():
            self._taken.pop(id, None)
            self._count(process, -1, -size)
            if self._oldest.get(process) == id:
                del self._oldest[process]
        for process, id in oldest.items():
            self._set_oldest(process, id)

    def _count(self, process: str, count: int, size: int) -> None:
        self.waiting += count
        self.size += size
        self._counts[process] = self._counts.get(process, 0) + count
        if not self._counts[process]:
            del self._counts[process]

    def _set_oldest(self, process: str, id: int) -> None:
        self._oldest[process] = id
        heappush(self._heads, (id, process))
