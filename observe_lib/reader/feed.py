"""One reading of the stream: a coroutine on the loop thread pulls into a bounded queue, one other thread
empties it. Whatever breaks, the reading is made anew where it was; never runs a handler.
"""

import asyncio
import concurrent.futures
import itertools
import json
import queue
import secrets
from collections.abc import Generator
from contextlib import closing, suppress
from datetime import datetime
from enum import Enum
from typing import Any, NamedTuple

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, BadRequestError, NotFoundError

from ..broker.loop import SLICE_S, pause
from ..broker.session import BrokenError
from ..broker.stream import STREAM, ask_stream, reader_config
from ..errors import NatsError
from ..log import log
from ..times import earlier
from .connection import Connection

#: how long one request to the server may take
REQUEST_S = 3.0
#: reading is tried again after the first, then ever later
RETRY_S = 0.05
RETRY_MAX_S = 1.0
#: no adapter's clock is further ahead of the server's: `since` goes by the former, the stream by the latter
SKEW_MAX_S = 300.0

_API = f"{api.DEFAULT_PREFIX}.CONSUMER"
_ACK = "$JS.ACK."
_numbers = itertools.count(1)


class Mark(Enum):
    """What a feed says beside messages, in order with them; a text says what is missing yet."""

    LIVE = "the replay is over"
    END = "nothing more will come"


class Message(NamedTuple):
    """What one reads: payload, where to acknowledge, place in the stream, the how manieth delivery."""

    data: bytes
    reply: str
    seq: int
    attempt: int


class Feed:
    """Fills a queue from the stream, from `open()` on; `items()` empties it in another thread.

    Reading is one pull at a time from a consumer of the server's, asked for when there is room. Not durable:
    that consumer is made anew after the last message taken over, whenever there is any doubt. The replay is
    the last message per subject, or everything from `start_seq` or (what was observed) `since` on.
    """

    def __init__(
        self,
        connection: Connection,
        filters: list[str],
        *,
        new: bool = False,
        durable: str = "",
        start_seq: int = 0,
        since: datetime | None = None,
    ) -> None:
        self.number = next(_numbers)
        self.ended = False
        self._connection, self._pace = connection, connection.pace
        self._filters, self.durable = filters, durable
        self._items: queue.SimpleQueue[Message | Mark | str] = queue.SimpleQueue()
        self._ready: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._running: concurrent.futures.Future[None] | None = None
        # from here on only the loop's thread
        self._wake = asyncio.Event()
        self._new, self._live, self._said = new, False, ""
        self._start_seq, self._start_time = start_seq, earlier(since, SKEW_MAX_S) if since else None
        self._created = ""  # tells this stream from another of its name
        self._last_seq = 0  # of the stream, when it was last looked at
        self._seq = max(0, start_seq - 1)  # everything up to here was taken over
        self._asked = 0  # of the present pull: so many may still come
        self._taken = self._replay = 0  # of the server's present consumer: so many came, so many are replay
        self._heard = 0.0
        self._trouble = ""
        # durable: the reply subject of what the handler has, since when, and what to send there
        self._held, self._held_since, self._answer = "", 0.0, b""
        self._ack_wait_s = self._pace.ack_wait_s

    # --- in the thread that handles ---

    def open(self) -> "Feed":
        """Begin to read; NatsError if it turns out at once that this may not be read."""
        self._running = self._connection.bridge.spawn(self._run())
        self._running.add_done_callback(self._note_end)
        try:
            with suppress(concurrent.futures.TimeoutError):
                self._ready.result(self._connection.timeout_s)
        except BaseException:
            self.ended = True
            self._running.cancel()
            raise
        return self

    def items(self) -> Generator[Message | Mark | str, None, None]:
        """Yield what comes, until `end()`; nothing is read any more once this is closed."""
        try:
            while not self.ended:
                try:
                    item = self._items.get(timeout=SLICE_S)
                except queue.Empty:
                    continue
                if self.ended or item is Mark.END:
                    return
                if self._items.qsize() == self._pace.batch:
                    self._connection.bridge.call(self._wake.set)
                yield item
        finally:
            self.ended = True
            if self._running:
                self._running.cancel()

    def stored(self, until_seq: int | None = None) -> Generator[Message, None, None]:
        """Yield what is stored already, up to that place if one is given, and end."""
        with closing(self.items()) as items:
            for item in items:
                if not isinstance(item, Message) or (until_seq is not None and item.seq > until_seq):
                    return
                yield item

    def done(self, message: Message) -> None:
        """Acknowledge the message, where that means anything."""
        if self.durable:
            self._connection.bridge.call(self._note_answer, message.reply, b"+ACK")

    def failed(self, message: Message) -> bool:
        """Have a message that was not handled come again, later each time; return whether it never will."""
        if not self.durable:
            return False
        last = message.attempt > len(self._pace.retry_s)
        delay_s = 0 if last else self._pace.retry_s[message.attempt - 1]
        answer = b"+TERM" if last else b'-NAK {"delay": %d}' % int(delay_s * 1e9)
        self._connection.bridge.call(self._note_answer, message.reply, answer)
        return last

    def end(self) -> None:
        """Yield nothing more, from any thread; what was handed over can still be acknowledged."""
        self.ended = True
        self._items.put(Mark.END)

    def _note_end(self, running: "concurrent.futures.Future[None]") -> None:
        """A reading that was ended, or broke for a reason nobody thought of, leaves no reader waiting."""
        if not running.cancelled() and (error := running.exception()) is not None:
            log.error("reading %s has failed: %r", STREAM, error)
        self._items.put(Mark.END)

    # --- in the loop's thread ---

    def _note_answer(self, reply: str, answer: bytes) -> None:
        if reply == self._held:  # else it is of a stream that is no more
            self._answer = answer
            self._wake.set()

    async def _run(self) -> None:
        """Read for ever; end only when the very first try shows that reading is not permitted."""
        wait_s, loop = RETRY_S, asyncio.get_running_loop()
        while True:
            began, place = loop.time(), self._seq
            try:
                await self._connection.hold(self._read)
            except BrokenError:
                pass  # said by the connection
            except NotFoundError:
                self._note_absence()
            except (APIError, NatsError, nats.errors.Error, asyncio.TimeoutError, OSError) as error:
                if not self._may_go_on(error):
                    return
            went_well = self._seq != place or loop.time() - began > 2 * RETRY_MAX_S
            wait_s = RETRY_S if went_well else min(wait_s * 2, RETRY_MAX_S)
            await asyncio.sleep(wait_s)

    def _may_go_on(self, error: Exception) -> bool:
        """Say what is wrong, to who opens this if that is still awaited, and may be for good."""
        is_denied = bool(self._connection.denied) and isinstance(error, asyncio.TimeoutError)
        if isinstance(error, APIError) or is_denied:
            error = self._connection.explain(error, f"refuses to be read: {STREAM}")
        if isinstance(error, NatsError) and not self._ready.done():
            self._ready.set_exception(error)
            return False
        if str(error) != self._said:
            self._said = str(error)
            log.warning("reading again: %s", error)
        return True

    async def _read(self, nc: Client) -> None:
        """Read until something breaks."""
        js = nc.jetstream(timeout=REQUEST_S)
        self._recognise(await ask_stream(js, "INFO"))
        name = await (self._bind(js) if self.durable else self._make(js))
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
                await self._send_answer(nc)
                if not self.durable:
                    await nc.publish(f"{_API}.DELETE.{STREAM}.{name}")

    async def _turn(self, nc: Client, name: str, inbox: str) -> None:
        """Answer, ask for more if there is room, then sleep until there is something to do."""
        await self._send_answer(nc)
        now = asyncio.get_running_loop().time()
        if self._asked <= 0 and self._has_room():
            self._heard = now
            await self._ask(nc, name, inbox)
        elif self._asked > 0 and now - self._heard > 2.5 * self._pace.heartbeat_s:
            self._trouble = "no sign of life"
            return
        if self._held and now - self._held_since > self._ack_wait_s / 4:
            self._held_since = now  # its handler takes its time: nobody else is to get it meanwhile
            await nc.publish(self._held, b"+WPI")
        await pause(self._wake, self._ack_wait_s / 3 if self._held else self._pace.heartbeat_s)

    def _has_room(self) -> bool:
        return not self._held if self.durable else self._items.qsize() <= self._pace.batch

    async def _ask(self, nc: Client, name: str, inbox: str) -> None:
        """Send one pull; nats-py's fetch would wait until a batch is full, and loses what comes too late."""
        self._asked = 1 if self.durable else self._pace.batch
        pull: dict[str, Any] = {
            "batch": self._asked,
            "expires": int(self._pace.expires_s * 1e9),
            "idle_heartbeat": int(self._pace.heartbeat_s * 1e9),
        }
        if not self.durable:
            pull["max_bytes"] = max(self._pace.batch_bytes, 2 * nc.max_payload)
        await nc.publish(f"{_API}.MSG.NEXT.{STREAM}.{name}", json.dumps(pull).encode(), reply=inbox)

    async def _send_answer(self, nc: Client) -> None:
        if self._answer:
            await nc.publish(self._held, self._answer)
            self._held, self._answer = "", b""

    async def _take(self, message: Msg) -> None:
        self._heard = asyncio.get_running_loop().time()
        if not message.reply.startswith(_ACK):
            self._take_status(message.headers or {})
            return
        attempt, seq, number, pending = _parse_reply(message.reply)
        self._asked -= 1
        self._taken += 1
        if self.durable:
            self._held, self._held_since = message.reply, self._heard
        elif number != self._taken:
            self._trouble = "a message is missing"
            self._wake.set()
            return
        if self.durable or seq > self._seq:
            self._items.put(Message(message.data, message.reply, seq, attempt))
            self._seq = max(self._seq, seq)
        if pending == 0 or self._taken >= self._replay:
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
            url = self._connection.url
            log.warning("%s on %s was wiped or made anew, read from its first event", STREAM, url)
            self._begin_anew()
        self._created, self._last_seq = created, last_seq
        if self._new:
            self._new, self._seq = False, last_seq
            self._go_live()

    def _note_absence(self) -> None:
        if self._created:
            log.warning("%s on %s is gone, waiting for it", STREAM, self._connection.url)
        elif not self._ready.done():
            self._items.put(f"no {STREAM} on {self._connection.url} yet")
            self._ready.set_result(None)
        self._created, self._new = "", False
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Whatever the next stream holds came after what was read: nothing of it is replay."""
        self._seq, self._held, self._answer = 0, "", b""
        self._go_live()

    def _go_live(self) -> None:
        if not self._live:
            self._live = True
            self._items.put(Mark.LIVE)

    def _next_seq(self) -> int | None:
        """Return where to read on in the stream's order; None: from where the replay begins."""
        begun = self._live or self._start_seq or (self._start_time and self._seq)
        return self._seq + 1 if begun else None

    async def _make(self, js: JetStreamContext) -> str:
        name = f"observe-{secrets.token_hex(8)}"
        place, since = self._next_seq(), self._start_time
        await self._add(js, reader_config(name, self._filters, start_seq=place, start_time=since))
        return name

    async def _add(self, js: JetStreamContext, config: api.ConsumerConfig) -> None:
        """Make a consumer of the server's, and count what it brings; while not live that is the replay."""
        self._taken, self._replay = 0, (await js.add_consumer(STREAM, config)).num_pending or 0
        if not self._live and not self._replay:
            self._seq = max(self._seq, self._last_seq)
            self._go_live()

    async def _bind(self, js: JetStreamContext) -> str:
        """Make the durable, or take it as it is but for other filters."""
        name, ack_wait_s = self.durable, self._pace.ack_wait_s
        config = reader_config(name, self._filters, start_seq=self._next_seq(), ack_wait_s=ack_wait_s)
        try:
            info = await js.consumer_info(STREAM, name)
        except NotFoundError:
            try:
                await self._add(js, config)
                return name
            except BadRequestError:  # another program was faster, and begins elsewhere
                info = await js.consumer_info(STREAM, name)
        found = info.config
        if found.deliver_subject or found.ack_policy != api.AckPolicy.EXPLICIT:
            url = self._connection.url
            raise NatsError(f"the durable {name} on {url} is not one of observe's", "take another name")
        if _filters_of(found) != _filters_of(config):
            await self._await_idle(js, info)
            both = {"filter_subject": config.filter_subject, "filter_subjects": config.filter_subjects}
            await js.add_consumer(STREAM, found.evolve(**both))
        self._ack_wait_s = found.ack_wait or ack_wait_s
        self._seq = max(self._seq, info.ack_floor.stream_seq if info.ack_floor else 0)
        self._go_live()
        return name

    async def _await_idle(self, js: JetStreamContext, info: api.ConsumerInfo) -> None:
        """See that nobody pulls from the durable; who has just ended may do so for a moment longer."""
        tries = 1 if self._ready.done() else int(self._connection.timeout_s / 2 / RETRY_S)
        while info.num_waiting:
            tries -= 1
            if tries <= 0:
                what = f"the durable {self.durable} on {self._connection.url} is in use with other filters"
                raise NatsError(what, "take another name, or the same filters")
            await asyncio.sleep(RETRY_S)
            info = await js.consumer_info(STREAM, self.durable)


def _parse_reply(reply: str) -> tuple[int, int, int, int]:
    """Return the how manieth delivery it is, the places in stream and consumer, and how many come after it.

    nats-py's `metadata` tells that too, but takes as long as all the rest of reading a message.
    """
    parts = reply.split(".")  # $JS.ACK.[domain.account.]stream.consumer.attempt.seq.number.time.pending
    at = 4 if len(parts) == 9 else 6
    return int(parts[at]), int(parts[at + 1]), int(parts[at + 2]), int(parts[at + 4])


def _filters_of(config: api.ConsumerConfig) -> list[str]:
    return sorted([config.filter_subject] if config.filter_subject else config.filter_subjects or [])
