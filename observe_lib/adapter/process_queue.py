"""Which event is next: of each process its oldest, in the order of the events' ids, one at a time.
Pure, in memory: eight bytes for each event that waits.
"""

from array import array
from collections.abc import Collection
from heapq import heappop, heappush


class ProcessQueue:
    """The ids of the events that wait, by process; `waiting` and `size` (bytes of JSON) are of all of them.

    A process whose oldest event was taken offers no other one until that is removed, or put back.
    """

    def __init__(self) -> None:
        self.waiting = self.size = 0
        self._ids: dict[str, array[int]] = {}
        self._heads: list[tuple[int, str]] = []

    @property
    def processes(self) -> Collection[str]:
        """Those that something waits of."""
        return self._ids.keys()

    def count_of(self, process: str) -> int:
        """Return how many events of a process wait, a taken one included."""
        return len(self._ids.get(process, ()))

    def add(self, id: int, process: str, size: int) -> None:
        """Let one more wait; its id is above all others of its process."""
        self.waiting += 1
        self.size += size
        if process in self._ids:
            self._ids[process].append(id)
        else:
            self._ids[process] = array("q", (id,))
            heappush(self._heads, (id, process))

    def next_id(self) -> int | None:
        """Return the id that is next; None: none."""
        return self._heads[0][0] if self._heads else None

    def take(self) -> None:
        """The event that is next is on its way."""
        heappop(self._heads)

    def put_back(self, id: int, process: str) -> None:
        """Let this one, that was taken, be taken again."""
        if self.is_oldest(id, process):
            heappush(self._heads, (id, process))

    def remove(self, id: int, process: str, size: int) -> None:
        """Let this one, that was taken, wait no more; nothing happens where it does not."""
        if self.is_oldest(id, process):
            self.waiting -= 1
            self.size -= size
            ids = self._ids[process]
            del ids[0]
            if ids:
                heappush(self._heads, (ids[0], process))
            else:
                del self._ids[process]

    def is_oldest(self, id: int, process: str) -> bool:
        """Whether this is the oldest event of the process."""
        return process in self._ids and self._ids[process][0] == id
