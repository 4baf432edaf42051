"""A reading that the server remembers under a name: each message is acknowledged once it was handled.
A coroutine on the loop thread holds one message at a time, and gives back what no handler got.
"""

import asyncio
from typing import Any

from nats.aio.client import Client
from nats.js import JetStreamContext, api
from nats.js.errors import BadRequestError, NotFoundError

from ..broker.stream import reader_config
from ..errors import NatsError
from .connection import Connection
from .feed import RETRY_S, Feed, Message

_NAK = b"-NAK"


class DurableFeed(Feed):
    """A `Feed` whose place is kept by the server's durable consumer of that name, across programs."""

    def __init__(self, connection: Connection, filters: list[str], durable: str, new: bool = False) -> None:
        super().__init__(connection, filters, new=new)
        self.durable = durable
        # in the loop's thread: the reply subject of what the handler has, since when, and what to send there
        self._held, self._held_since, self._answer = "", 0.0, b""
        self._ack_wait_s = self._pace.ack_wait_s

    # --- in the thread that handles ---

    def done(self, message: Message) -> None:
        """Acknowledge the message."""
        self._connection.bridge.call(self._note_answer, message.reply, b"+ACK")

    def failed(self, message: Message) -> bool:
        """Have a message that was not handled come again, later each time; return whether it never will."""
        last = message.attempt > len(self._pace.retry_s)
        delay_s = 0 if last else self._pace.retry_s[message.attempt - 1]
        answer = b"+TERM" if last else _NAK + b' {"delay": %d}' % int(delay_s * 1e9)
        self._connection.bridge.call(self._note_answer, message.reply, answer)
        return last

    # --- in the loop's thread ---

    def _note_answer(self, reply: str, answer: bytes) -> None:
        if reply == self._held:  # else it is of a stream that is no more
            self._answer = answer
            self._wake.set()

    async def _turn(self, nc: Client, name: str, inbox: str) -> None:
        """Answer, see that nobody else gets what a slow handler has, then as any feed."""
        await self._send_answer(nc)
        now = asyncio.get_running_loop().time()
        if self._held and now - self._held_since > self._ack_wait_s / 4:
            self._held_since = now
            await nc.publish(self._held, b"+WPI")
        await super()._turn(nc, name, inbox)

    def _has_room(self) -> bool:
        return not self._held

    def _batch(self) -> int:
        return 1

    def _rest_s(self) -> float:
        return self._ack_wait_s / 3 if self._held else super()._rest_s()

    async def _send_answer(self, nc: Client) -> None:
        if self._answer:
            await nc.publish(self._held, self._answer)
            self._held, self._answer = "", b""

    def _is_missing(self, number: int) -> bool:
        return False  # others may read under this name too

    def _take_over(self, message: Message) -> None:
        self._held, self._held_since = message.reply, self._heard
        self._seq = max(self._seq, message.seq)
        self._hand(message)

    def _begin_anew(self) -> None:
        self._held, self._answer = "", b""
        super()._begin_anew()

    async def _attach(self, js: JetStreamContext) -> str:
        """Make the durable, or take it as it is but for other filters."""
        name, ack_wait_s = self.durable, self._pace.ack_wait_s
        config = reader_config(name, self._filters, start_seq=self._next_seq(), ack_wait_s=ack_wait_s)
        try:
            info = await js.consumer_info(self._stream, name)
        except NotFoundError:
            try:
                await self._add(js, config)
                return name
            except BadRequestError:  # another program was faster, and begins elsewhere
                info = await js.consumer_info(self._stream, name)
        found = info.config
        if found.deliver_subject or found.ack_policy != api.AckPolicy.EXPLICIT:
            url = self._connection.url
            raise NatsError(f"the durable {name} on {url} is not one of observe's", "take another name")
        if _filters_of(found) != _filters_of(config):
            await self._await_idle(js, info)
            both: dict[str, Any] = {
                "filter_subject": config.filter_subject,
                "filter_subjects": config.filter_subjects,
            }
            await js.add_consumer(self._stream, found.evolve(**both))
        self._ack_wait_s = found.ack_wait or ack_wait_s
        self._seq = max(self._seq, info.ack_floor.stream_seq if info.ack_floor else 0)
        self._go_live()
        return name

    async def _detach(self, nc: Client, name: str) -> None:
        await self._send_answer(nc)

    async def _await_idle(self, js: JetStreamContext, info: api.ConsumerInfo) -> None:
        """See that nobody pulls from the durable; who has just ended may do so for a moment longer."""
        tries = 1 if self._ready.done() else int(self._connection.timeout_s / 2 / RETRY_S)
        while info.num_waiting:
            tries -= 1
            if tries <= 0:
                what = f"the durable {self.durable} on {self._connection.url} is in use with other filters"
                raise NatsError(what, "take another name, or the same filters")
            await asyncio.sleep(RETRY_S)
            info = await js.consumer_info(self._stream, self.durable)


def _filters_of(config: api.ConsumerConfig) -> list[str]:
    return sorted([config.filter_subject] if config.filter_subject else config.filter_subjects or [])
