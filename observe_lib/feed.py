"""One reading of the stream: a coroutine on the loop thread pulls into a bounded queue, one other thread
empties it. Whatever breaks, the reading is made anew where it was; never runs a handler.
"""

import asyncio
import concurrent.futures
import itertools
import json
import queue
import secrets
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, NamedTuple

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, BadRequestError, NotFoundError

from .bridge import Bridge, log
from .connection import Connection
from .errors import NatsError
from .reader import reader_config
from .stream import STREAM, ask_stream, refused

#: how long one request to the server may take
REQUEST_S = 3.0
#: reading is tried again after the first, then ever later
RETRY_S = 0.05
RETRY_MAX_S = 1.0

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Pace:
    """How one reads; tests wait less."""

    #: so many messages, and bytes, are asked for at once; twice that is the most that waits in memory
    batch: int = 256
    batch_bytes: int = 8 * 1024 * 1024
    #: one long poll; within it the server gives a sign of life this often
    expires_s: float = 30.0
    heartbeat_s: float = 5.0
    #: durable: what was handed to a reader that died comes again after this
    ack_wait_s: float = 10.0
    #: durable: what was handed to a handler that raised comes again after each of these, then no more
    retry_s: tuple[float, ...] = (1.0, 5.0, 30.0)


class Mark(Enum):
    """What a feed says beside messages, in order with them."""

    LIVE = "the replay is over"
    ABSENT = "there is no stream yet"
    END = "nothing more will come"


class Message(NamedTuple):
    """What one reads: payload, where to acknowledge, place in the stream, the how manieth delivery."""

    data: bytes
    reply: str
    seq: int
    attempt: int


class Feed:
    """Fills a queue from the stream, for ever; `items()` empties it in another thread.

    Reading is one pull at a time from a consumer of the server's, asked for when there is room. Not durable:
    that consumer is made anew after the last message taken over, whenever there is any doubt. The replay is
    the last message per subject, or everything from `start_seq` or `start_time` on.
    """

    def __init__(
        self,
        bridge: Bridge,
        connection: Connection,
        pace: Pace,
        filters: list[str],
        *,
        new: bool = False,
        durable: str = "",
        start_seq: int = 0,
        start_time: datetime | None = None,
    ) -> None:
        self.number = next(_numbers)
        self.ended = False
        self._bridge, self._connection, self._url = bridge, connection, connection.url
        self._filters, self._durable, self._pace = filters, durable, pace
        self._items: queue.SimpleQueue[Message | Mark] = queue.SimpleQueue()
        self._ready: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._running: concurrent.futures.Future[None] | None = None
        # from here on only the loop's thread
        self._wake = asyncio.Event()
        self._answers: deque[tuple[str, bytes]] = deque()  # durable: acknowledgements to be sent
        self._held = ""  # durable: the reply subject of what the handler has now
        self._new, self._live, self._said = new, False, ""
        self._created = ""  # tells this stream from another of its name
        self._start_seq, self._start_time = start_seq, start_time
        self._seq = max(0, start_seq - 1)  # everything up to here was taken over
        self._asked = 0  # of the present pull: so many may still come
        self._taken = self._replay = 0  # of the server's present consumer: so many came, so many are replay
        self._heard = self._held_since = 0.0
        self._last_seq = 0  # of the stream, when it was last looked at
        self._ack_wait_s = pace.ack_wait_s
        self._trouble = ""

    # --- in the thread that handles ---

    def open(self, timeout_s: float) -> None:
        """Begin to read; NatsError if it turns out at once that this may not be read."""
        self._running = self._bridge.spawn(self._run())
        self._running.add_done_callback(self._note_end)
        self._running.add_done_callback(_note_failure)
        with suppress(concurrent.futures.TimeoutError):
            self._ready.result(timeout_s)

    def items(self) -> Iterator[Message | Mark]:
        """Yield what comes, until `end()`."""
        while not self.ended:
            item = self._items.get()
            if self.ended or item is Mark.END:
                return
            if self._items.qsize() == self._pace.batch // 2:
                self._bridge.call(self._wake.set)
            yield item

    def done(self, message: Message) -> None:
        """Acknowledge the message, where that means anything."""
        if self._durable:
            self._settle(message, b"+ACK")

    def failed(self, message: Message) -> bool:
        """Have a message that was not handled come again, later each time; return whether it never will."""
        if not self._durable:
            return False
        last = message.attempt > len(self._pace.retry_s)
        delay_s = 0 if last else self._pace.retry_s[message.attempt - 1]
        self._settle(message, b"+TERM" if last else b'-NAK {"delay": %d}' % int(delay_s * 1e9))
        return last

    def end(self) -> None:
        """Yield nothing more; the reading itself goes on until `closed()`."""
        self.ended = True
        self._items.put(Mark.END)

    def closed(self) -> None:
        """End the reading: nobody takes anything from it any more."""
        if self._running:
            self._running.cancel()

    def _note_end(self, running: "concurrent.futures.Future[None]") -> None:
        """A reading that broke for a reason nobody thought of must not leave its reader waiting."""
        if not running.cancelled() and (error := running.exception()) is not None:
            log.error("reading %s has failed: %r", STREAM, error)
            self._items.put(Mark.END)

    def absence(self) -> str:
        """Return what is missing while there is no stream."""
        return f"no {STREAM} on {self._url} yet"

    def _settle(self, message: Message, answer: bytes) -> None:
        self._bridge.call(self._note_answer, message.reply, answer)

    # --- in the loop's thread ---

    def _note_answer(self, reply: str, answer: bytes) -> None:
        if reply == self._held:  # else it is of a stream that is no more
            self._held = ""
            self._answers.append((reply, answer))
        self._wake.set()

    async def _run(self) -> None:
        """Read for ever; end only when the very first try shows that reading is not permitted."""
        task = asyncio.current_task()
        assert task
        self._connection.users.add(task)
        task.add_done_callback(self._connection.users.discard)
        wait_s, loop = RETRY_S, asyncio.get_running_loop()
        while True:
            began, place = loop.time(), self._seq
            problem = await self._read_once()
            if isinstance(problem, NatsError) and not self._ready.done():
                self._ready.set_exception(problem)
                return
            if problem and str(problem) != self._said:
                self._said = str(problem)
                log.warning("reading again: %s", problem)
            went_well = self._seq != place or loop.time() - began > 2 * RETRY_MAX_S
            wait_s = RETRY_S if went_well else min(wait_s * 2, RETRY_MAX_S)
            await asyncio.sleep(wait_s)

    async def _read_once(self) -> Exception | None:
        """Read until something breaks; return what is worth telling."""
        try:
            await self._connection.hold(self._read)
        except NotFoundError:
            self._note_absence()
        except APIError as error:
            return refused(self._url, error, f"refuses to be read: {STREAM}")
        except (asyncio.TimeoutError, nats.errors.Error, NatsError, OSError) as error:
            if self._connection.denied and isinstance(error, asyncio.TimeoutError):
                hint = f"this user needs $JS.API.>, $JS.ACK.> and _INBOX.> for {STREAM}"
                return NatsError(f"{self._url}: {self._connection.denied}", hint)
            return error
        return None

    async def _read(self, nc: Client) -> None:
        js = nc.jetstream(timeout=REQUEST_S)
        self._recognise(await ask_stream(js, "INFO"))
        name = await (self._bind(js) if self._durable else self._make(js))
        inbox = nc.new_inbox()
        self._asked, self._trouble = 0, ""
        inbound = await nc.subscribe(inbox, cb=self._take, pending_msgs_limit=0, pending_bytes_limit=0)
        if not self._ready.done():
            self._ready.set_result(None)
        try:
            while not self._trouble and nc.is_connected:
                await self._turn(nc, name, inbox)
            log.debug("reading %s anew: %s", STREAM, self._trouble)
        finally:
            with suppress(nats.errors.Error):
                await inbound.unsubscribe()
                await self._answer(nc)
                if not self._durable:
                    await nc.publish(f"{api.DEFAULT_PREFIX}.CONSUMER.DELETE.{STREAM}.{name}")

    async def _turn(self, nc: Client, name: str, inbox: str) -> None:
        """Answer, ask for more if there is room, then sleep until there is something to do."""
        self._wake.clear()
        await self._answer(nc)
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._asked <= 0 and self._room():
            self._heard = now
            await self._ask(nc, name, inbox)
        elif self._asked > 0 and now - self._heard > 2.5 * self._pace.heartbeat_s:
            self._trouble = "no sign of life"
            return
        if self._held and now - self._held_since > self._ack_wait_s / 4:
            self._held_since = now  # its handler takes its time: nobody else is to get it meanwhile
            await nc.publish(self._held, b"+WPI")
        # not wait_for: before Python 3.12 it may swallow that we are being cancelled
        tick = loop.call_later(self._ack_wait_s / 3 if self._held else self._pace.heartbeat_s, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            tick.cancel()

    def _room(self) -> bool:
        if self._durable:
            return not self._held
        return self._items.qsize() <= self._pace.batch // 2

    async def _ask(self, nc: Client, name: str, inbox: str) -> None:
        """Send one pull; nats-py's fetch would wait until a batch is full, and loses what comes too late."""
        self._asked = 1 if self._durable else self._pace.batch
        pull: dict[str, Any] = {
            "batch": self._asked,
            "expires": int(self._pace.expires_s * 1e9),
            "idle_heartbeat": int(self._pace.heartbeat_s * 1e9),
        }
        if not self._durable:
            pull["max_bytes"] = max(self._pace.batch_bytes, 2 * nc.max_payload)
        subject = f"{api.DEFAULT_PREFIX}.CONSUMER.MSG.NEXT.{STREAM}.{name}"
        await nc.publish(subject, json.dumps(pull).encode(), reply=inbox)

    async def _answer(self, nc: Client) -> None:
        while self._answers:
            await nc.publish(*self._answers.popleft())

    async def _take(self, message: Msg) -> None:
        self._heard = asyncio.get_running_loop().time()
        if not message.reply.startswith("$JS.ACK."):
            self._take_status(message.headers or {})
            return
        meta = message.metadata
        place = meta.sequence.stream
        self._asked -= 1
        self._taken += 1
        if self._durable:
            self._held, self._held_since = message.reply, self._heard
        elif meta.sequence.consumer != self._taken:
            self._trouble = "a message is missing"
            self._wake.set()
            return
        if self._durable or place > self._seq:
            self._items.put(Message(message.data, message.reply, place, meta.num_delivered))
            self._seq = max(self._seq, place)
        if meta.num_pending == 0 or self._taken >= self._replay:
            self._go_live()
        if self._asked <= 0:
            self._wake.set()

    def _take_status(self, headers: dict[str, str]) -> None:
        """Heed what the server says of the pull: over (408, 409 for its bytes), or the consumer is."""
        code, text = headers.get("Status", ""), headers.get("Description", "")
        if code == "100":
            if not self._live:  # what was to be replayed has gone meanwhile: count it again
                self._trouble = "the replay stalled"
        elif code in ("404", "408") or (code == "409" and ("MaxBytes" in text or "Batch Completed" in text)):
            self._asked = 0
        else:
            self._trouble = f"{code} {text}"
        self._wake.set()

    # --- where to begin ---

    def _recognise(self, info: dict[str, Any]) -> None:
        """Notice a stream that is not the one read so far; decide where reading begins."""
        created, last_seq = info["created"], info["state"]["last_seq"]
        if (self._created and created != self._created) or last_seq < self._seq:
            log.warning("%s on %s was wiped or made anew, read from its first event", STREAM, self._url)
            self._begin_anew()
        self._created, self._last_seq = created, last_seq
        if self._new:
            self._new, self._seq = False, last_seq
            self._go_live()

    def _note_absence(self) -> None:
        if self._created:
            log.warning("%s on %s is gone, waiting for it", STREAM, self._url)
        elif not self._ready.done():
            self._items.put(Mark.ABSENT)
            self._ready.set_result(None)
        self._created, self._new = "", False
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Whatever the next stream holds came after what was read: nothing of it is replay."""
        self._seq, self._held = 0, ""
        self._answers.clear()
        self._go_live()

    def _go_live(self) -> None:
        if not self._live:
            self._live = True
            self._items.put(Mark.LIVE)

    def _next_seq(self) -> int | None:
        """Return where to read on in the stream's order; None: from where the replay begins."""
        begun = self._live or self._start_seq or (self._start_time and self._seq)
        return self._seq + 1 if begun else None

    def _expect(self, pending: int | None) -> None:
        """Count what the new consumer of the server's brings; while not live it is the replay."""
        self._taken, self._replay = 0, pending or 0
        if not self._live and not pending:
            self._seq = max(self._seq, self._last_seq)
            self._go_live()

    async def _make(self, js: JetStreamContext) -> str:
        name = f"observe-{secrets.token_hex(8)}"
        place, since = self._next_seq(), self._start_time
        config = reader_config(name, self._filters, start_seq=place, start_time=since)
        self._expect((await js.add_consumer(STREAM, config)).num_pending)
        return name

    async def _bind(self, js: JetStreamContext) -> str:
        """Make the durable, or take it as it is but for other filters."""
        name, ack_wait_s = self._durable, self._pace.ack_wait_s
        config = reader_config(name, self._filters, start_seq=self._next_seq(), ack_wait_s=ack_wait_s)
        try:
            info = await js.consumer_info(STREAM, name)
        except NotFoundError:
            try:
                self._expect((await js.add_consumer(STREAM, config)).num_pending)
                return name
            except BadRequestError:  # another program was faster, and begins elsewhere
                info = await js.consumer_info(STREAM, name)
        found = info.config
        if found.deliver_subject or found.ack_policy != api.AckPolicy.EXPLICIT:
            hint = "take another name"
            raise NatsError(f"the durable {name} on {self._url} is not one of observe's", hint)
        if _filters_of(found) != _filters_of(config):
            both = {"filter_subject": config.filter_subject, "filter_subjects": config.filter_subjects}
            await js.add_consumer(STREAM, found.evolve(**both))
        self._ack_wait_s = found.ack_wait or ack_wait_s
        self._seq = max(self._seq, info.ack_floor.stream_seq if info.ack_floor else 0)
        self._go_live()
        return name


def _filters_of(config: api.ConsumerConfig) -> list[str]:
    return sorted([config.filter_subject] if config.filter_subject else config.filter_subjects or [])


def _note_failure(running: "concurrent.futures.Future[None]") -> None:
    """Say it where reading ended by a mistake of ours: else a subscription would just stay silent."""
    if not running.cancelled() and (error := running.exception()):
        log.error("stopped reading %s: %s: %s", STREAM, type(error).__name__, error)
        log.debug("where:", exc_info=error)
