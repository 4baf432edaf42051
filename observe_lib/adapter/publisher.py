"""Sends what waits in the outbox, per process in order, each event until it is acknowledged; and the rows.
Runs on the loop thread; the file is touched only by its one worker thread. It knows nothing of processes.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from ..broker.bucket import PASSING_ERRORS
from ..broker.loop import Bridge, T, ignore
from ..broker.session import DeniedError, Session
from ..broker.stream import MESSAGE_ID, STREAM, has_message
from ..errors import OutboxError
from ..events import message_time
from ..subjects import ROOT
from ..times import earlier
from .outbox import Outbox, OutboxEvent
from .refusals import HELD, NO_STREAM, TOO_LARGE, Refusal, read_answer
from .row_publisher import HEADER_BYTES, RowPublisher
from .seal import shrink

#: so many messages, and so many bytes, are in flight at the most; a larger one goes alone
WINDOW = 1000
WINDOW_BYTES = 256 * 1024
#: rows have this part of the window while events wait
ROW_SHARE = 10
#: an unanswered message is sent again after so long; the last one goes on for ever
UNANSWERED_S = (5.0, 10.0, 20.0, 30.0)
#: who leaves so many sends of an event unanswered takes no writes
STUCK_SENDS = 2
#: after a refusal that passes
REFUSED_S = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0)
#: after a refusal that somebody has to mend
HELD_S = 30.0
#: after a file that took no deletion
FILE_AGAIN_S = 1.0
#: how often to look for what is unanswered
LOOK_S = 1.0
#: so many events are looked for in the stream at once, each so long
LOOKUPS_AT_ONCE, LOOKUP_S = 50, 2.0
#: two hosts' clocks are assumed to be no further apart, where what may be stored already is looked for
CLOCKS_APART_S = 120.0


@dataclass(slots=True)
class Flight:
    """An event on its way; `due`: when to send it again, on the loop's clock; inf while it is looked for."""

    event: OutboxEvent
    in_doubt: bool  # it may be in the stream already, and too long ago for the server to know its id
    sends: int = 0
    sent_at: float = 0.0
    due: float = 0.0


class Publisher:
    """`run()` sends for ever, from when stream and bucket are there.

    `rows(process)` gives keys and payloads (b"": deleted) of what the bucket is to hold of a process.
    Without a fresh lease nothing goes out: `may_send()` tells, `until_may_send()` waits. `missing()` hears of
    a server without stream or bucket; `stuck()` of one that answers nothing although it is asked again.
    """

    def __init__(
        self,
        outbox: Outbox,
        loop: Bridge,
        session: Session,
        *,
        rows: Callable[[str], Sequence[tuple[str, bytes]]],
        may_send: Callable[[], bool],
        until_may_send: Callable[[], Coroutine[Any, Any, None]],
        missing: Callable[[], object],
        stuck: Callable[[], object] = ignore,
    ) -> None:
        self._outbox, self._loop, self._session = outbox, loop, session
        self._may_send, self._until_may_send = may_send, until_may_send
        self._missing, self._stuck = missing, stuck
        self._rows = RowPublisher(session, rows, lambda: self._wake.set(), missing)
        self._worker = ThreadPoolExecutor(1, "observe-outbox")
        self._flying: dict[int, Flight] = {}
        self._flying_bytes = 0
        self._acked: list[OutboxEvent] = []
        self._back: list[OutboxEvent] = []  # refused, and to be taken again now
        self._refusals: dict[int, int] = {}  # of each event in trouble: how often it was refused
        #: the oldest event of each of these was perhaps sent by an earlier start
        self._doubted = set(outbox.queue.processes)
        self._client: Client | None = None
        self._inbox = self._denial = ""
        self._wake, self._moved = asyncio.Event(), asyncio.Event()
        self._lookups = asyncio.Semaphore(LOOKUPS_AT_ONCE)
        self.window_s = 120.0  # the stream's real duplicate window
        self.published = 0
        self.domains = set[str]()  # where events are stored, as acknowledgements tell

    # --- for any thread ---

    def wake(self, processes: Iterable[str] = ()) -> None:
        """Something waits in the outbox, and the rows of these processes are due."""
        self._loop.call(self._rows.note_due, list(processes))

    def close(self) -> None:
        """Send no more; what is in flight is in the file. After the loop has ended."""
        self._worker.shutdown(wait=True)

    # --- on the loop thread ---

    async def run(self) -> None:
        """Send what waits, for ever."""
        self._loop.spawn(self._look_after())
        while True:
            await self._wake.wait()
            await self._until_may_send()
            self._wake.clear()
            await self._listen()
            await self._turn()
            self._moved.set()

    async def drained(self, *, or_said: bool = False) -> None:
        """Return when everything is acknowledged, rows too; or what keeps it from that was said."""
        while not (self.is_idle or (or_said and self._refusals)):
            self._moved.clear()
            await self._moved.wait()

    def deny(self, subject: str) -> None:
        """The server refused a publish to this subject, which it tells in lower case."""
        for flight in self._flying.values():
            if flight.event.subject.lower() == subject:
                denial = f"may not publish to {flight.event.subject}: grant publish on {ROOT}.>"
                self._denial = self._denial or denial  # said once for all
                self._hold(flight.event, self._denial)
                return
        self._rows.deny(subject)

    def forget(self) -> None:
        """What was taken is no more."""
        self._flying.clear()
        self._refusals.clear()
        self._acked.clear()
        self._flying_bytes = 0
        self._wake.set()

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is in flight."""
        return not (self._outbox.waiting() or self._flying or self._acked) and self._rows.is_idle

    async def on_file(self, call: Callable[..., T], *arguments: Any) -> T:
        """Return what a call on the file returns, trying until it takes it; the loop goes on meanwhile."""
        while True:
            try:
                return await self._in_worker(call, *arguments)
            except OutboxError as error:
                self._note_file(error)
            await asyncio.sleep(FILE_AGAIN_S)

    async def _in_worker(self, call: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, call, *arguments)

    def _note_file(self, error: OutboxError) -> None:
        self._session.troubles.note("outbox", f"{error}; {error.hint}")

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()

    # --- what goes out ---

    async def _listen(self) -> None:
        """Hear the answers over a new connection; what was in flight is sent again, under its own ids."""
        client = self._session.client
        if client is None or client is self._client:
            return
        inbox = client.new_inbox()
        with suppress(nats.errors.Error, OSError):  # else it broke again, and there will be another one
            await client.subscribe(
                f"{inbox}.*", cb=self._take_answer, pending_msgs_limit=0, pending_bytes_limit=0
            )
            self._client, self._inbox = client, inbox
        for flight in list(self._flying.values()):
            if flight.due < inf and flight.event.id in self._flying:
                await self._send(flight)
        self._rows.again()

    async def _turn(self) -> None:
        """Delete what was acknowledged, and send what comes next, as long as there is either."""
        while True:
            done, back, self._acked, self._back = self._acked, self._back, [], []
            room, size = self._room() if self._is_up() else 0, WINDOW_BYTES - self._flying_bytes
            try:
                events = await self._in_worker(self._outbox.take, done, room, size, back)
            except OutboxError as error:
                self._acked += done
                self._back += back
                self._note_file(error)
                asyncio.get_running_loop().call_later(FILE_AGAIN_S, self._wake.set)
                return
            for flight in [self._take_off(event) for event in events]:
                await self._send(flight)
            rows = 0
            if self._client is not None and self._is_up():
                rows = await self._rows.send(self._client, self._inbox, *self._row_room())
            if not (events or rows or self._acked or self._back):
                return

    def _room(self) -> int:
        return WINDOW - len(self._flying) if self._flying_bytes < WINDOW_BYTES else 0

    def _row_room(self) -> tuple[int, int]:
        """Return how many rows, and bytes of them, may be on their way: all the window if no event waits."""
        share = ROW_SHARE if self._outbox.waiting() else 1
        return WINDOW // share, WINDOW_BYTES // share

    def _is_up(self) -> bool:
        """Whether there is a connection that answers come back over, and the lease lets us use it."""
        return self._client is not None and self._session.client is self._client and self._may_send()

    def _take_off(self, event: OutboxEvent) -> Flight:
        """Note that it is on its way; the first one of a process may have been sent by an earlier start."""
        flight = self._flying[event.id] = Flight(event, in_doubt=event.process in self._doubted)
        self._doubted.discard(event.process)
        self._flying_bytes += len(event.payload)
        return flight

    async def _send(self, flight: Flight) -> None:
        """Publish, or look for it first where the server may no longer know its id."""
        event, client, now_s = flight.event, self._client, self._now_s()
        flight.due = now_s
        if client is None or not self._is_up():
            return
        if flight.in_doubt or (flight.sends and now_s - flight.sent_at > self.window_s / 2):
            flight.due = inf
            self._loop.spawn(self._look_for(flight))
        elif _size(event) > self._session.max_payload:
            self._refused(event, Refusal(TOO_LARGE, "larger than NATS takes"))
        else:
            flight.due = now_s + UNANSWERED_S[min(flight.sends, len(UNANSWERED_S) - 1)]
            flight.sends, flight.sent_at = flight.sends + 1, now_s
            reply, headers = f"{self._inbox}.{event.id}", {MESSAGE_ID: event.message_id}
            with suppress(nats.errors.Error, OSError):  # not connected: sent again over the next connection
                await client.publish(event.subject, event.payload, reply=reply, headers=headers)

    async def _look_for(self, flight: Flight) -> None:
        """Send it only if it is not in the stream; where we may not ask for that, its id has to do."""
        event, stored = flight.event, False
        since = earlier(message_time(event.message_id), CLOCKS_APART_S)

        def look(client: Client) -> Coroutine[Any, Any, bool]:
            js = client.jetstream(timeout=LOOKUP_S)
            return has_message(js, event.subject, event.message_id, since)

        try:
            async with self._lookups:
                stored = await self._session.ask(look, f"$JS.API.STREAM.MSG.GET.{STREAM}")
        except DeniedError as error:
            self._note(event, f"{error}, so an event may come twice under its id: {error.hint}")
        except PASSING_ERRORS as error:
            if self._is_up() and event.id in self._flying:
                why = str(error) or "no answer in time"
                self._note(event, f"cannot look for what may be stored already: {why}")
            return
        finally:
            flight.due = self._now_s()
        if event.id in self._flying:
            flight.in_doubt, flight.sends = False, 0
            if stored:
                self._stored(event.id)
            else:
                await self._send(flight)

    async def _look_after(self) -> None:
        """Send again what is unanswered."""
        while True:
            await asyncio.sleep(LOOK_S)
            now_s = self._now_s()
            for flight in [one for one in self._flying.values() if one.due <= now_s and self._is_up()]:
                if flight.sends:
                    self._note(flight.event, "no answer in time, sending again")
                if flight.sends >= STUCK_SENDS:
                    self._stuck()
                await self._send(flight)
            self._rows.look_after()
            self._wake.set()

    # --- what comes back ---

    async def _take_answer(self, message: Msg) -> None:
        tag = message.subject.rpartition(".")[2]
        refusal = read_answer(message.data, message.headers)
        if tag.startswith("r"):
            self._rows.take_answer(tag, refusal)
        elif refusal is None:
            if b'"domain"' in message.data:  # of a leaf node's JetStream, or of a hub's
                self.domains.add(str(json.loads(message.data).get("domain"))[:100])
            self._stored(int(tag))
        elif flight := self._flying.get(int(tag)):
            self._refused(flight.event, refusal)
        if self._room() > WINDOW // 4:
            self._wake.set()

    def _land(self, id: int) -> OutboxEvent | None:
        """Note that it is not on its way any more; None where it was not."""
        flight = self._flying.pop(id, None)
        if flight is None:
            return None
        self._flying_bytes -= len(flight.event.payload)
        return flight.event

    def _stored(self, id: int) -> None:
        if event := self._land(id):
            self._acked.append(event)
            self.published += 1
            self._refusals.pop(id, None)
            if not self._refusals:
                self._denial = ""
                self._session.troubles.end("events")
            self._moved.set()
            if self._room() > WINDOW // 4:
                self._wake.set()

    def _refused(self, event: OutboxEvent, refusal: Refusal) -> None:
        if refusal.kind == TOO_LARGE:
            self._land(event.id)
            self._loop.spawn(self._cut(event, refusal))
        elif refusal.kind == HELD:
            self._hold(event, f"refuses events: {refusal.text}: see the stream's settings: nats stream info")
        else:
            wait_s = REFUSED_S[min(self._refusals.get(event.id, 0), len(REFUSED_S) - 1)]
            self._set_aside(event, wait_s, f"takes no events: {refusal.text}")
            if refusal.kind == NO_STREAM:
                self._missing()

    def _hold(self, event: OutboxEvent, text: str) -> None:
        """Have it taken again when somebody may have mended what is wrong."""
        self._set_aside(event, HELD_S, f"{text}; trying every {HELD_S:g}s")

    def _set_aside(self, event: OutboxEvent, wait_s: float, text: str) -> None:
        """Have it taken again after so long; others go on meanwhile, and no event is skipped."""
        self._land(event.id)
        self._note(event, text)
        self._refusals[event.id] += 1
        aside = event._replace(payload=b"")  # it is read again: however many wait, memory stays flat
        asyncio.get_running_loop().call_later(wait_s, self._take_again, aside)

    def _take_again(self, event: OutboxEvent) -> None:
        self._back.append(event)
        self._wake.set()

    def _note(self, event: OutboxEvent, text: str) -> None:
        """Have the trouble said, once for all that have it; it is over when none has any."""
        self._refusals.setdefault(event.id, 0)
        self._moved.set()
        self._session.troubles.note("events", text)

    async def _cut(self, event: OutboxEvent, refusal: Refusal) -> None:
        """Make it smaller, for good; what cannot be smaller is held."""
        limit = self._session.max_payload - _size(event) + len(event.payload)
        payload = shrink(event.payload, limit)
        if payload is None:
            self._hold(event, f"{event.subject}: {refusal.text}: raise max_payload, max_msg_size")
            return
        await self.on_file(self._outbox.cut, event, payload)
        self._take_again(event)


def _size(event: OutboxEvent) -> int:
    """Return what the server counts against its limit."""
    return len(event.payload) + len(event.message_id) + HEADER_BYTES
