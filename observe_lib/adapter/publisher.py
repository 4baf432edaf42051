"""Sends what waits in the outbox, per process in order, each event until it is acknowledged; and the rows.
Runs on the loop thread; the file is touched only by its one worker thread. It knows nothing of processes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from ..broker.bucket import PASSING_ERRORS
from ..broker.loop import Bridge, T, ignore
from ..broker.session import DeniedError, Session
from ..broker.stream import MESSAGE_ID, STREAM, has_message
from ..errors import OutboxError
from ..events import ROOT, message_time
from ..times import earlier
from .flights import Flight, Flights
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
#: so many events are looked for in the stream at once; where that goes wrong so often, the id has to do
LOOKUPS_AT_ONCE, LOOKUPS, LOOKUP_S = 50, 3, 2.0
#: two hosts' clocks are assumed to be no further apart, where what may be stored already is looked for
CLOCKS_APART_S = 120.0
_NO_ANSWER = "no answer in time, sending again"


class Publisher:
    """`run()` sends for ever, from when stream and bucket are there.

    `rows(process)` gives keys and payloads (b"": deleted) of what the bucket is to hold of a process.
    `may_send()` is asked before each turn: without a fresh lease nothing goes out. `ensure()` makes stream
    and bucket where the server says that they are missing; `stuck()` hears of one that is there, and answers
    nothing although it was sent things again.
    """

    def __init__(
        self,
        outbox: Outbox,
        loop: Bridge,
        session: Session,
        *,
        rows: Callable[[str], Sequence[tuple[str, bytes]]],
        may_send: Callable[[], bool],
        ensure: Callable[[], Awaitable[None]],
        stuck: Callable[[], object] = ignore,
    ) -> None:
        self._outbox, self._loop, self._session = outbox, loop, session
        self._may_send, self._ensure, self._stuck = may_send, ensure, stuck
        self._rows = RowPublisher(session, rows, lambda: self._wake.set(), self.mend)
        self._worker = ThreadPoolExecutor(1, "observe-outbox")
        self._flying = Flights()
        self._acked: list[int] = []
        self._doubts = outbox.last_id  # what waits up to here may have been sent by an earlier start
        self._looked: set[str] = set()
        self._taking = False  # taken from the outbox, and not yet among what is on its way
        self._client: Client | None = None
        self._inbox = self._denial = ""
        self._wake, self._idle, self._moved = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._lookups = asyncio.Semaphore(LOOKUPS_AT_ONCE)
        self._mending: asyncio.Task[Any] | None = None
        self.window_s = 120.0  # the stream's real duplicate window
        self.published = 0

    # --- for any thread ---

    def wake(self, processes: Iterable[str] = ()) -> None:
        """Something waits in the outbox, and the rows of these processes are due."""
        self._loop.call(self._rows.note_due, list(processes))

    # --- on the loop thread ---

    async def run(self) -> None:
        """Send what waits, for ever."""
        await self.on_up()
        self._start(self._look_after())
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._turn()
            if self.is_idle:
                self._idle.set()

    async def on_up(self) -> None:
        """The connection is there, or there again: what was in flight is sent again, under its own ids."""
        client = self._session.client
        if client is None or client is self._client:
            return
        inbox = client.new_inbox()
        with suppress(nats.errors.Error, OSError):  # else it broke again, and there will be another one
            await client.subscribe(
                f"{inbox}.*", cb=self._take_answer, pending_msgs_limit=0, pending_bytes_limit=0
            )
            self._client, self._inbox = client, inbox
        for flight in self._flying:
            if flight.event.id in self._flying:
                await self._send(flight)
        self._rows.again()
        self._wake.set()

    async def drained(self) -> None:
        """Return when everything is acknowledged, rows too."""
        while not self.is_idle:
            self._idle.clear()
            await self._idle.wait()

    async def all_sent(self, last_id: int) -> None:
        """Return when every event up to this one is stored, or what keeps it from that was said."""
        while not self._is_sent(last_id):
            self._moved.clear()
            await self._moved.wait()

    def _is_sent(self, last_id: int) -> bool:
        next_id = self._outbox.next_id()
        flying = (flight for flight in self._flying if flight.event.id <= last_id)
        return not (self._taking or next_id and next_id <= last_id) and all(one.troubled for one in flying)

    def deny(self, subject: str) -> None:
        """The server refused a publish to this subject, which it tells in lower case."""
        for flight in self._flying:
            if flight.event.subject.lower() == subject and not flight.held:
                self._denial = (
                    self._denial or f"may not publish to {flight.event.subject}"
                )  # said once for all
                self._hold(flight, self._denial, f"grant publish on {ROOT}.>")
                return
        self._rows.deny(subject)

    def forget(self) -> None:
        """What was taken is no more."""
        self._flying.clear()
        self._acked.clear()
        self._wake.set()

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is in flight."""
        return not (self._outbox.waiting() or self._flying or self._acked) and self._rows.is_idle

    def close(self) -> None:
        """Send no more; what is in flight is in the file."""
        for task in self._tasks:
            task.cancel()
        self._worker.shutdown(wait=True)

    async def in_worker(self, call: Callable[..., T], *arguments: Any) -> T:
        """Return what a call on the file returns; the loop goes on meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, call, *arguments)

    def _start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()

    # --- what goes out ---

    async def _turn(self) -> None:
        """Delete what was acknowledged, and send what comes next, as long as there is either."""
        while self._acked or self._may_begin() or (self._is_up() and self._rows.may_begin(*self._row_room())):
            room = self._room() if self._may_begin() else 0
            done, self._acked = self._acked, []
            try:
                self._taking = True
                events = await self.in_worker(
                    self._outbox.take, done, room, WINDOW_BYTES - self._flying.bytes
                )
            except OutboxError as error:
                self._acked += done
                self._taking = False
                self._session.troubles.note("outbox", f"{error}; {error.hint}")
                asyncio.get_running_loop().call_later(FILE_AGAIN_S, self._wake.set)
                return
            for event in events:
                await self._send_new(event)
            self._taking = False
            rows = 0
            if self._client is not None and self._is_up():
                rows = await self._rows.send(self._client, self._inbox, *self._row_room())
            if not (events or rows or self._acked):
                return

    def _room(self) -> int:
        return WINDOW - len(self._flying) if self._flying.bytes < WINDOW_BYTES else 0

    def _row_room(self) -> tuple[int, int]:
        """Return how many rows, and bytes of them, may be on their way: all the window if no event waits."""
        share = ROW_SHARE if self._flying or self._outbox.waiting() else 1
        return WINDOW // share, WINDOW_BYTES // share

    def _is_up(self) -> bool:
        """Whether there is a connection that answers come back over, and the lease lets us use it."""
        return self._client is not None and self._session.client is self._client and self._may_send()

    def _may_begin(self) -> bool:
        return self._room() > 0 and self._is_up()

    async def _send_new(self, event: OutboxEvent) -> None:
        first = event.id <= self._doubts and event.process not in self._looked
        if first:
            self._looked.add(event.process)
        await self._send(self._flying.add(event, in_doubt=first))

    async def _send(self, flight: Flight) -> None:
        """Publish, or look for it first where the server may no longer know its id."""
        now_s = self._now_s()
        if flight.sends and now_s - flight.sent_at > self.window_s / 2:
            flight.in_doubt = True
        flight.due = now_s + UNANSWERED_S[min(flight.sends, len(UNANSWERED_S) - 1)]
        if not self._is_up():
            flight.due = now_s
            return
        self._flying.release(flight)
        if flight.in_doubt:
            if not flight.looking:
                self._start(self._look_for(flight))
        elif _size(flight.event) > self._session.max_payload:
            self._start(self._cut(flight, Refusal(TOO_LARGE, "larger than NATS takes")))
        else:
            event, client = flight.event, self._client
            flight.sends, flight.sent_at = flight.sends + 1, now_s
            with suppress(nats.errors.Error, OSError):  # not connected: on_up sends it again
                assert client is not None
                reply = f"{self._inbox}.{event.id}"
                await client.publish(
                    event.subject, event.payload, reply=reply, headers={MESSAGE_ID: event.message_id}
                )

    async def _look_for(self, flight: Flight) -> None:
        """Send it only if it is not in the stream; where that cannot be asked, its id has to do."""
        event, stored = flight.event, False
        flight.looking = True

        async def look(client: Client) -> bool:
            since = earlier(message_time(event.message_id), CLOCKS_APART_S)
            return await has_message(
                client.jetstream(timeout=LOOKUP_S), event.subject, event.message_id, since
            )

        try:
            async with self._lookups:
                stored = await self._session.ask(look, f"$JS.API.STREAM.MSG.GET.{STREAM}")
        except DeniedError as error:
            self._note(flight, f"{error}, so an event may come twice under its id: {error.hint}")
        except PASSING_ERRORS as error:
            if event.id not in self._flying or not self._is_up():
                return
            flight.lookups += 1
            self._note(flight, f"cannot look for what may be stored already: {error or 'no answer in time'}")
            if flight.lookups < LOOKUPS:
                flight.due = self._now_s()
                return
        finally:
            flight.looking = False
        if event.id not in self._flying:
            return
        flight.in_doubt, flight.sends = False, 0
        if stored:
            self._stored(event.id)
        else:
            await self._send(flight)

    # --- what comes back ---

    async def _take_answer(self, message: Msg) -> None:
        tag = message.subject.rpartition(".")[2]
        refusal = read_answer(message.data, message.headers)
        if tag.startswith("r"):
            self._rows.take_answer(tag, refusal)
        elif refusal is None:
            self._stored(int(tag))
        elif flight := self._flying.get(int(tag)):
            await self._refused(flight, refusal)
        if self._room() > WINDOW // 4:
            self._wake.set()

    def _stored(self, number: int) -> None:
        if self._flying.pop(number):
            self._acked.append(number)
            self._moved.set()
            self.published += 1
            if not self._flying.troubled:
                self._denial = ""
                self._session.troubles.end("events")
            if self._room() > WINDOW // 4:
                self._wake.set()

    async def _refused(self, flight: Flight, refusal: Refusal) -> None:
        if refusal.kind == TOO_LARGE:
            await self._cut(flight, refusal)
        elif refusal.kind == HELD:
            hint = "see the stream's settings: nats stream info"
            self._hold(flight, f"refuses events: {refusal.text}", hint)
        else:
            wait_s = REFUSED_S[min(flight.refused, len(REFUSED_S) - 1)]
            flight.refused += 1
            flight.due = self._now_s() + wait_s
            self._note(flight, f"takes no events: {refusal.text}")
            asyncio.get_running_loop().call_later(wait_s, self._send_due, flight.event.id)
            if refusal.kind == NO_STREAM:
                self.mend()

    def _hold(self, flight: Flight, text: str, hint: str) -> None:
        flight.due = self._now_s() + HELD_S
        self._flying.hold(flight)
        self._wake.set()
        self._note(flight, f"{text}: {hint}; trying every {HELD_S:g}s")

    def _note(self, flight: Flight, text: str) -> None:
        """Have the trouble said, once for all that have it; it is over when none has any."""
        self._flying.trouble(flight)
        self._moved.set()
        self._session.troubles.note("events", text)

    async def _cut(self, flight: Flight, refusal: Refusal) -> None:
        """Make it smaller, for good; what cannot be smaller is held, nothing is skipped."""
        event = flight.event
        limit = min(self._session.max_payload - _size(event) + len(event.payload), len(event.payload) - 1)
        payload = shrink(event.payload, limit)
        if payload is None:
            self._hold(flight, f"{event.subject}: {refusal.text}", "raise max_payload, max_msg_size")
            return
        try:
            await self.in_worker(self._outbox.cut, event.id, payload)
        except OutboxError as error:  # it goes out all the same, and is cut again by a next start
            self._session.troubles.note("outbox", f"{error}; {error.hint}")
        if event.id not in self._flying:
            return
        self._flying.cut(flight, payload)
        await self._send(flight)

    def mend(self) -> None:
        """Have stream and bucket made, once for all who found them missing."""
        if self._mending is None or self._mending.done():
            self._mending = self._start(_awaited(self._ensure()))

    def _send_due(self, number: int) -> None:
        flight = self._flying.get(number)
        if flight is not None and flight.due <= self._now_s() + 0.01 and self._is_up():
            self._start(self._send(flight))

    async def _look_after(self) -> None:
        """Send again what is unanswered, and say when troubles are over."""
        while True:
            await asyncio.sleep(LOOK_S)
            now_s = self._now_s()
            late = [flight for flight in self._flying if flight.due <= now_s]
            if late and self._is_up():
                for flight in late:
                    if flight.sends and not flight.troubled and not flight.in_doubt:
                        self._note(flight, _NO_ANSWER)
                    if flight.sends - flight.refused >= STUCK_SENDS:
                        self._stuck()
                    await self._send(flight)
            self._rows.look_after()
            self._moved.set()  # something may have been taken, or forgotten
            self._wake.set()


async def _awaited(work: Awaitable[None]) -> None:
    await work


def _size(event: OutboxEvent) -> int:
    """Return what the server counts against its limit."""
    return len(event.payload) + len(event.message_id) + HEADER_BYTES
