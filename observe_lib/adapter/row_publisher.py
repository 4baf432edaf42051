"""Sends the rows that are due to the bucket, in a part of the window; the newest wins, none is waited for.
Runs on the loop thread; which rows there are is for others to say.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import nats.errors
from nats.aio.client import Client

from ..broker.session import Session
from ..broker.stream import DELETE_MARK, KEYS
from .refusals import HELD, NO_STREAM, PASSING, Refusal

#: what the headers of a message take beside its id
HEADER_BYTES = 64
#: an unanswered or refused row is made again after so long; one that somebody has to permit, after that
ROW_AGAIN_S, ROW_HELD_S = 5.0, 30.0

_ROWS_DENIED = (
    f"may not publish to {KEYS}>, so ps and its like show nothing new of this stack: grant publish on {KEYS}>"
)


@dataclass(slots=True)
class _RowFlight:
    process: str
    key: str
    size: int
    due: float


class RowPublisher:
    """`rows(process)` gives keys and payloads (b"": to be deleted) of what the bucket is to hold of one.

    `wake()` asks for a `send`, `missing()` hears of a server without the bucket.
    """

    def __init__(
        self,
        session: Session,
        rows: Callable[[str], Sequence[tuple[str, bytes]]],
        wake: Callable[[], object],
        missing: Callable[[], object],
    ) -> None:
        self._session, self._rows, self._wake, self._missing = session, rows, wake, missing
        self._due: dict[str, None] = {}
        self._flying: dict[str, _RowFlight] = {}
        self._bytes = self._number = 0

    @property
    def is_idle(self) -> bool:
        """Whether none is due or on its way."""
        return not (self._due or self._flying)

    def note_due(self, processes: Iterable[str]) -> None:
        """The rows of these are to be sent."""
        self._due.update(dict.fromkeys(processes))
        self._wake()

    def again(self) -> None:
        """What was on its way over the last connection is due."""
        self._due.update((flight.process, None) for flight in self._flying.values())
        self._flying.clear()
        self._bytes = 0

    async def send(self, client: Client, inbox: str, most: int, most_bytes: int) -> int:
        """Send what is due until so much is on its way; return of how many processes that was."""
        sent = 0
        while self._due and len(self._flying) < most and self._bytes < most_bytes:
            process = next(iter(self._due))
            del self._due[process]
            for key, payload in self._rows(process):
                await self._send(client, inbox, process, key, payload)
            sent += 1
        return sent

    async def _send(self, client: Client, inbox: str, process: str, key: str, payload: bytes) -> None:
        if len(payload) + HEADER_BYTES > client.max_payload:
            return
        self._number += 1
        tag, size, due = f"r{self._number}", len(payload), self._now_s() + ROW_AGAIN_S
        self._flying[tag] = _RowFlight(process, key, size, due)
        self._bytes += size
        with suppress(nats.errors.Error, OSError):  # not connected: `again` makes it due
            headers = None if payload else DELETE_MARK
            await client.publish(f"{KEYS}{key}", payload, reply=f"{inbox}.{tag}", headers=headers)

    def take_answer(self, tag: str, refusal: Refusal | None) -> None:
        """The server answered one; what it refused is made again later."""
        flight = self._flying.pop(tag, None)
        if flight is None:
            return
        self._bytes -= flight.size
        if refusal is None:
            self._session.troubles.end("rows")
            return
        if refusal.kind == NO_STREAM:
            self._missing()
        elif refusal.kind != PASSING:
            self._session.troubles.note("rows", refusal.text)
        again_s = ROW_HELD_S if refusal.kind == HELD else ROW_AGAIN_S
        asyncio.get_running_loop().call_later(again_s, self.note_due, [flight.process])

    def deny(self, subject: str) -> None:
        """The server refused a publish to this subject, which it tells in lower case."""
        for tag, flight in self._flying.items():
            if f"{KEYS}{flight.key}".lower() == subject:
                self.take_answer(tag, Refusal(HELD, _ROWS_DENIED))
                return

    def look_after(self) -> None:
        """Make again what was not answered."""
        now_s = self._now_s()
        for tag in [tag for tag, flight in self._flying.items() if flight.due <= now_s]:
            self.take_answer(tag, Refusal(PASSING, ""))

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()
