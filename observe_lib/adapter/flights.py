"""What is on its way to the stream: taken from the outbox, not yet known to be stored. Pure.
Counts what takes room in the window, and who has trouble.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from .outbox import OutboxEvent


@dataclass(slots=True)
class Flight:
    """An event on its way; `due`: when to send it again, on the loop's clock."""

    event: OutboxEvent
    in_doubt: bool  # it may be in the stream already, and too long ago for the server to know its id
    sends: int = 0
    sent_at: float = 0.0
    due: float = 0.0
    refused: int = 0
    troubled: bool = False
    held: bool = False  # waits until somebody mends something, and takes no room in the window
    looking: bool = False
    lookups: int = 0


class Flights:
    """Events on their way by their ids; one of each process at the most."""

    def __init__(self) -> None:
        self._found: dict[int, Flight] = {}
        self._held = 0
        self.bytes = self.troubled = 0

    def __bool__(self) -> bool:
        return bool(self._found)

    def __len__(self) -> int:
        """How many take room in the window."""
        return len(self._found) - self._held

    def __contains__(self, number: int) -> bool:
        return number in self._found

    def __iter__(self) -> Iterator[Flight]:
        """Yield them all, also if some come and go meanwhile."""
        return iter(list(self._found.values()))

    def get(self, number: int) -> Flight | None:
        """Return the one with this id, None if it is not on its way."""
        return self._found.get(number)

    def add(self, event: OutboxEvent, in_doubt: bool) -> Flight:
        """Note that it is on its way."""
        flight = self._found[event.id] = Flight(event, in_doubt)
        self.bytes += len(event.payload)
        return flight

    def pop(self, number: int) -> Flight | None:
        """Note that it has arrived."""
        flight = self._found.get(number)
        if flight is not None:
            self.release(flight)
            del self._found[number]
            self.bytes -= len(flight.event.payload)
            self.troubled -= flight.troubled
        return flight

    def cut(self, flight: Flight, payload: bytes) -> None:
        """Give it a smaller JSON."""
        self.release(flight)
        self.bytes += len(payload) - len(flight.event.payload)
        flight.event = flight.event._replace(payload=payload)

    def trouble(self, flight: Flight) -> None:
        """Note that something is wrong with it."""
        self.troubled += not flight.troubled
        flight.troubled = True

    def hold(self, flight: Flight) -> None:
        """Let it take no room while it waits for somebody."""
        if not flight.held:
            flight.held = True
            self._held += 1
            self.bytes -= len(flight.event.payload)

    def release(self, flight: Flight) -> None:
        """Have it take its room again."""
        if flight.held:
            flight.held = False
            self._held -= 1
            self.bytes += len(flight.event.payload)

    def clear(self) -> None:
        """Nothing is on its way any more."""
        self._found.clear()
        self._held = self.bytes = self.troubled = 0
