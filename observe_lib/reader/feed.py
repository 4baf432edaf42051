"""One reading of a stream, PROCESS_EVENTS or the bucket's: a coroutine on the loop thread pulls into a
bounded queue, one other thread empties it. Whatever breaks, it goes on where it was; never runs a handler.
"""

import asyncio
import concurrent.futures
import itertools
import json
import queue
import secrets
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, cast

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NotFoundError

from ..broker.loop import SLICE_S, pause
from ..broker.session import BrokenError
from ..broker.stream import STREAM, ask_stream, reader_config
from ..errors import NatsError
from ..log import log
from ..times import earlier, now_utc, parse_time
from .connection import Connection
from .message import ACK, Message, parse_reply

#: how long one request to the server may take
REQUEST_S = 3.0
#: reading is tried again after the first, then ever later
RETRY_S = 0.05
RETRY_MAX_S = 1.0
#: no adapter's clock is further ahead of the server's: `since` goes by the former, the stream by the latter
SKEW_MAX_S = 300.0

_API = f"{api.DEFAULT_PREFIX}.CONSUMER"
_numbers = itertools.count(1)


class Mark(Enum):
    """What a feed says beside messages, in order with them; a text says what is missing yet."""

    LIVE = "the replay is over"
    WIPED = "the stream was wiped, or is gone: what comes from now on is another's"
    END = "nothing more will come"


Item = Message | Mark | str


class Feed:
    """Fills a queue from a stream, from `open()` on; `items()` empties it in another thread.

    Reading is one pull at a time from a consumer of the server's, asked for when there is room; it is made
    anew after the last message taken over, whenever there is any doubt. The replay is the last message per
    subject, or everything from `start_seq` or (what was observed) `since` on.
    """

    durable = ""

    def __init__(
        self,
        connection: Connection,
        filters: list[str],
        *,
        stream: str = STREAM,
        new: bool = False,
        start_seq: int = 0,
        since: datetime | None = None,
    ) -> None:
        self.number = next(_numbers)
        self.ended = False
        self._connection, self._pace = connection, connection.pace
        self._stream, self._filters = stream, filters
        self._items: queue.SimpleQueue[list[Message] | Mark | str] = queue.SimpleQueue()
        self._put = self._got = 0  # messages that were handed over, and taken from there
        self._ready: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._running: concurrent.futures.Future[None] | None = None
        # from here on only the loop's thread
        self._wake = asyncio.Event()
        self._fresh: list[Message] = []  # they are handed over together
        self._new, self._live, self._said = new, False, ""
        self._start_seq = start_seq
        self._since = self._start_time = earlier(since, SKEW_MAX_S) if since else None
        self._created = ""  # tells this stream from another of its name
        self._last_seq = 0  # of the stream, when it was last looked at
        self._seq = max(0, start_seq - 1)  # everything up to here was taken over
        self._asked = 0  # of the present pull: so many may still come
        self._taken = self._replay = 0  # of the server's present consumer: so many came, so many are replay
        self._heard = 0.0
        self._trouble = ""

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

    def items(self) -> Generator[Item, None, None]:
        """Yield what comes, until `end()`; nothing is read any more once this is closed."""
        try:
            while not self.ended:
                for item in self.batch(SLICE_S):
                    if self.ended or item is Mark.END:
                        return
                    yield item
        finally:
            self.close()

    def batch(self, timeout_s: float) -> "list[Message] | tuple[Mark | str, ...]":
        """Return what came together: messages, or one of the others; nothing if none comes in that time."""
        try:
            found = self._items.get(timeout=timeout_s)
        except queue.Empty:
            return ()
        if not isinstance(found, list):
            return (found,)
        room_before = self._has_room()
        self._got += len(found)
        if self._has_room() and not room_before:
            self._connection.bridge.call(self._wake.set)
        return found

    def close(self) -> None:
        """Read no more."""
        self.ended = True
        if self._running:
            self._running.cancel()

    def stored(self, until_seq: int | None = None) -> Generator[Message, None, None]:
        """Yield what is stored already, up to that place if one is given, and end."""
        with closing(self.items()) as items:
            for item in items:
                if item is Mark.WIPED:
                    continue
                if not isinstance(item, Message) or (until_seq is not None and item.seq > until_seq):
                    return
                yield item

    def done(self, message: Message) -> None:
        """Acknowledge the message, where that means anything."""

    def failed(self, message: Message) -> bool:
        """Have a message that was not handled come again, where it can; return whether it never will."""
        return False

    def end(self) -> None:
        """Yield nothing more, from any thread; what was handed over can still be acknowledged."""
        self.ended = True
        self._items.put(Mark.END)

    def _note_end(self, running: "concurrent.futures.Future[None]") -> None:
        """A reading that was ended, or broke for a reason nobody thought of, leaves no reader waiting."""
        if not running.cancelled() and (error := running.exception()) is not None:
            log.error("reading %s has failed: %r", self._stream, error)
        self._items.put(Mark.END)

    # --- in the loop's thread ---

    async def _run(self) -> None:
        """Read for ever; end only when the very first try shows that reading is not permitted."""
        wait_s, loop = RETRY_S, asyncio.get_running_loop()
        while True:
            began, place = loop.time(), self._seq
            try:
                await self._connection.session.ask(self._read)
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
        session = self._connection.session
        if isinstance(error, APIError) or (session.denied and isinstance(error, asyncio.TimeoutError)):
            error = session.explain(error, f"refuses to be read: {self._stream}")
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
        self._recognise(await ask_stream(js, "INFO", stream=self._stream))
        name = await self._attach(js)
        inbox = nc.new_inbox()
        self._asked, self._trouble = 0, ""
        inbound = await nc.subscribe(inbox, future=cast(Any, _Callback(self._take)))
        if not self._ready.done():
            self._ready.set_result(None)
        try:
            while not self._trouble and nc.is_connected:
                await self._turn(nc, name, inbox)
            log.debug("reading %s anew: %s", self._stream, self._trouble)
        finally:
            with suppress(nats.errors.Error):
                await self._detach(nc, name, inbound)

    async def _turn(self, nc: Client, name: str, inbox: str) -> None:
        """Ask for more if there is room, then sleep until there is something to do."""
        now = asyncio.get_running_loop().time()
        if self._asked <= 0 and self._has_room():
            self._heard = now
            await self._ask(nc, name, inbox, self._batch())
        elif self._asked > 0 and now - self._heard > 2.5 * self._pace.heartbeat_s:
            self._trouble = "no sign of life"
            return
        await pause(self._wake, self._rest_s())

    def _has_room(self) -> bool:
        return self._put - self._got <= self._pace.batch

    def _batch(self) -> int:
        return self._pace.batch

    def _rest_s(self) -> float:
        return self._pace.heartbeat_s

    async def _ask(self, nc: Client, name: str, inbox: str, number: int, **more: Any) -> None:
        """Send one pull; nats-py's fetch would wait until a batch is full, and loses what comes too late."""
        self._asked = number
        pull: dict[str, Any] = {
            "batch": number,
            **(more or {"expires": int(self._pace.expires_s * 1e9)}),
            **({} if more else {"idle_heartbeat": int(self._pace.heartbeat_s * 1e9)}),
        }
        if number > 1:
            pull["max_bytes"] = max(self._pace.batch_bytes, 2 * nc.max_payload)
        await nc.publish(f"{_API}.MSG.NEXT.{self._stream}.{name}", json.dumps(pull).encode(), reply=inbox)

    def _take(self, message: Msg) -> None:
        self._heard = asyncio.get_running_loop().time()
        if not message.reply.startswith(ACK):
            self._take_status(message.headers or {})
            return
        try:
            attempt, seq, number, pending = parse_reply(message.reply)
        except (ValueError, IndexError):
            return  # nobody's but a stranger's
        self._asked -= 1
        self._taken += 1
        if self._is_missing(number):
            self._trouble = "a message is missing"
            self._wake.set()
            return
        self._take_over(Message(message.data, message.reply, seq, attempt, message.subject, message.headers))
        if not self._live and (pending == 0 or self._taken >= self._replay):
            self._go_live()
        if self._asked <= 0:
            self._wake.set()

    def _is_missing(self, number: int) -> bool:
        return number != self._taken

    def _take_over(self, message: Message) -> None:
        if message.seq > self._seq:
            self._seq = message.seq
            self._hand(message)

    def _hand(self, message: Message) -> None:
        if not self._fresh:
            asyncio.get_running_loop().call_soon(self._hand_over)
        self._fresh.append(message)

    def _hand_over(self) -> None:
        if self._fresh:
            self._put += len(self._fresh)
            self._items.put(self._fresh)
            self._fresh = []

    def _say(self, item: Mark | str) -> None:
        self._hand_over()
        self._items.put(item)

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
            log.warning("%s on %s was wiped or made anew, read from its first event", self._stream, url)
            self._begin_anew()
        self._created, self._last_seq = created, last_seq
        if self._since and info.get("ts"):
            self._start_time = self._since + min(timedelta(), parse_time(info["ts"]) - now_utc())
        if self._new:
            self._new, self._seq = False, last_seq
            self._go_live()

    def _note_absence(self) -> None:
        if self._created:
            log.warning("%s on %s is gone, waiting for it", self._stream, self._connection.url)
        elif not self._ready.done():
            self._say(f"no {self._stream} on {self._connection.url} yet")
            self._ready.set_result(None)
        self._new = False
        self._begin_anew()
        self._created = ""

    def _begin_anew(self) -> None:
        """Whatever the next stream holds came after what was read: nothing of it is replay."""
        self._seq = 0
        if self._created:
            self._say(Mark.WIPED)
        self._go_live()

    def _go_live(self) -> None:
        if not self._live:
            self._live = True
            self._say(Mark.LIVE)

    def _next_seq(self) -> int | None:
        """Return the place to read from; None where a time says it, or the last per subject begins."""
        begun = self._live or self._start_seq or (self._since and self._seq)
        return self._seq + 1 if begun else None

    async def _attach(self, js: JetStreamContext) -> str:
        """Make a consumer of the server's, and return its name."""
        name = f"observe-{secrets.token_hex(8)}"
        place, since = self._next_seq(), self._start_time
        await self._add(js, reader_config(name, self._filters, start_seq=place, start_time=since))
        return name

    async def _detach(self, nc: Client, name: str, inbound: Any) -> None:
        await inbound.unsubscribe()
        await nc.publish(f"{_API}.DELETE.{self._stream}.{name}")

    async def _add(self, js: JetStreamContext, config: api.ConsumerConfig) -> None:
        """Make a consumer of the server's, and count what it brings; while not live that is the replay."""
        self._taken, self._replay = 0, (await js.add_consumer(self._stream, config)).num_pending or 0
        if not self._live and not self._replay:
            self._seq = max(self._seq, self._last_seq)
            self._go_live()


class _Callback:
    """Stands where nats-py puts the future of one answer, and is given each message as it is read.

    Its own way, a queue and a task for each subscription, takes as long as all the rest of reading.
    """

    def __init__(self, function: Callable[[Msg], None]) -> None:
        self.set_result = function

    def cancelled(self) -> bool:
        return False
