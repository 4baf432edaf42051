"""A reading that the server remembers under a name: each message is acknowledged once it was handled.
A coroutine on the loop thread holds one message at a time, and gives back what no handler got.
"""

import asyncio
from typing import Any

from nats.aio.client import Client
from nats.js import JetStreamContext, api
from nats.js.errors import BadRequestError, NotFoundError

from ..broker.loop import pause
from ..broker.stream import reader_config
from ..errors import NatsError
from ..times import parse_time, seconds_between
from .connection import Connection
from .feed import REQUEST_S, RETRY_S, Feed
from .message import ACK, Message

#: so much later than it should the server sends again what nobody acknowledged
LATE_S = 0.25
#: at the end the last answer is waited for no longer
ANSWERED_S = 0.5


class DurableFeed(Feed):
    """A `Feed` whose place is kept by the server's durable consumer of that name, across programs."""

    def __init__(self, connection: Connection, filters: list[str], durable: str, new: bool = False) -> None:
        super().__init__(connection, filters, new=new)
        self.durable = durable
        # in the loop's thread: the reply subject of what the handler has, since when, and what to send there
        self._held, self._held_since, self._answer = "", 0.0, b""
        self._last = self._spare = ""  # of the last one there was, of one too many
        self._failures: dict[int, int] = {}  # how often the handler of a message raised, by its place
        self._ack_wait_s = self._pace.ack_wait_s
        # what a killed program had, and when that comes again at the latest; no pull before `_quiet_until`
        self._owed, self._owed_until, self._quiet_until = 0, 0.0, 0.0

    # --- in the thread that handles ---

    def done(self, message: Message) -> None:
        """Acknowledge the message."""
        self._failures.pop(message.seq, None)
        self._connection.bridge.call(self._note_answer, message.reply, b"+ACK")

    def failed(self, message: Message) -> bool:
        """Have a message that was not handled come again, later each time; return whether it never will."""
        failures = self._failures[message.seq] = self._failures.get(message.seq, 0) + 1
        last = failures > len(self._pace.retry_s)
        answer = b"+TERM" if last else _nak(self._pace.retry_s[failures - 1])
        self._connection.bridge.call(self._note_answer, message.reply, answer)
        if last:
            del self._failures[message.seq]
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
        return not self._held and asyncio.get_running_loop().time() >= self._quiet_until

    def _batch(self) -> int:
        return 1

    def _rest_s(self) -> float:
        quiet_s = self._quiet_until - asyncio.get_running_loop().time()
        return self._ack_wait_s / 3 if self._held else quiet_s if quiet_s > 0 else super()._rest_s()

    async def _send_answer(self, nc: Client) -> None:
        if self._answer:
            await nc.publish(self._held, self._answer)
            self._held, self._answer = "", b""

    def _is_missing(self, number: int) -> bool:
        return False  # others may read under this name too

    def _take_over(self, message: Message) -> None:
        if self._held:  # only at the end
            self._spare = message.reply
            return
        self._held = self._last = message.reply
        self._held_since = self._heard
        if message.attempt > 1:
            self._owed -= 1
        elif self._owed > 0 and self._heard < self._owed_until:  # older ones are to come first
            self._quiet_until = self._owed_until + LATE_S
            self._answer = _nak(self._owed_until - self._heard)
            self._wake.set()
            return
        self._seq = max(self._seq, message.seq)
        self._hand(message)

    def _begin_anew(self) -> None:
        self._held, self._last, self._answer = "", "", b""
        super()._begin_anew()

    async def _attach(self, js: JetStreamContext) -> str:
        name = await self._bind(js)
        await self._check_acks(js._nc, name)
        return name

    async def _check_acks(self, nc: Client, name: str) -> None:
        """See that we may acknowledge, with a word about no message; else each start would begin anew."""
        await nc.publish(f"{ACK}{self._stream}.{name}.1.0.0.0.0", b"+WPI")
        for _ in range(2):  # the PING of the first one overtakes what is published
            await nc.flush(int(REQUEST_S))
        denied = self._connection.session.denied
        if ACK.lower() in denied.lower():
            what = f"nothing can be acknowledged on {self._connection.url}, so each start would begin anew"
            raise NatsError(f"{what}: {denied}", f"grant publish on {ACK}>")

    async def _look_for_owed(self, js: JetStreamContext) -> None:
        """Note what nobody acknowledged, if nobody else reads: it comes again, and before all new ones."""
        subject = f"{js._prefix}.CONSUMER.INFO.{self._stream}.{self.durable}"
        info = await js._api_request(subject, b"", timeout=REQUEST_S)
        active, now = info["delivered"].get("last_active"), info.get("ts")
        if info["num_ack_pending"] and not info["num_waiting"] and active and now:
            ago_s = seconds_between(parse_time(active), parse_time(now))
            self._owed = info["num_ack_pending"]
            self._owed_until = asyncio.get_running_loop().time() + self._ack_wait_s - max(0.0, ago_s)

    async def _bind(self, js: JetStreamContext) -> str:
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
        if not self._ready.done():
            await self._look_for_owed(js)
        self._seq = max(self._seq, info.ack_floor.stream_seq if info.ack_floor else 0)
        self._go_live()
        return name

    async def _detach(self, nc: Client, name: str, inbound: Any) -> None:
        """Answer; at the end give back what no handler got, or it would come late, and after others."""
        await self._send_answer(nc)
        if not self.ended:
            await inbound.unsubscribe()
            return
        if self._asked > 0:
            await self._end_pull(nc, name, inbound.subject)
        await inbound.drain()
        for reply in filter(None, (self._held, self._spare)):
            await nc.publish(reply, b"-NAK")
        if self._last:  # the next program is to find all answers taken
            await nc.request(self._last, b"+WPI", timeout=ANSWERED_S)

    async def _end_pull(self, nc: Client, name: str, inbox: str) -> None:
        """Have what the last pull brings, if it brings anything: the answer to another one comes after it."""
        await self._ask(nc, name, inbox, 1, no_wait=True)
        self._asked = 2
        end = asyncio.get_running_loop().time() + ANSWERED_S
        while self._asked > 0 and (left_s := end - asyncio.get_running_loop().time()) > 0:
            await pause(self._wake, left_s)

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


def _nak(delay_s: float) -> bytes:
    return b'-NAK {"delay": %d}' % int(delay_s * 1e9)


def _filters_of(config: api.ConsumerConfig) -> list[str]:
    return sorted([config.filter_subject] if config.filter_subject else config.filter_subjects or [])
