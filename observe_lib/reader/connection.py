"""The session of those who read, with a loop thread of its own, and what they ask over it.
Its methods may be called from any other thread.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, NamedTuple

import nats.errors
from nats.js import JetStreamContext
from nats.js.errors import APIError

from ..broker.loop import Bridge, T, ignore
from ..broker.session import BrokenError, Session
from ..errors import ObserveError
from ..log import Say, log
from ..settings import NatsSettings

#: ending what reads, and the connection, takes no longer
CLOSE_S = 5.0


class Pace(NamedTuple):
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


def _warn(_: str, text: str) -> None:
    log.warning("%s", text)


class Connection:
    """What readers share: one loop thread, one session over it, and the pace."""

    def __init__(
        self,
        settings: NatsSettings,
        name: str,
        timeout_s: float,
        pace: Pace,
        say: Say = _warn,
        on_up: Callable[[], object] = ignore,
    ) -> None:
        self.bridge, self.pace, self.timeout_s, self.url = Bridge(), pace, timeout_s, settings.url
        self.session = Session(settings, name, timeout_s=timeout_s, say=say, on_up=on_up)

    def open(self) -> "Connection":
        """Connect, or raise NatsError."""
        self.bridge.start()
        try:
            self.bridge.run(self.session.open(wait=False))
        except BaseException:
            self.bridge.stop()
            raise
        return self

    def ask(self, question: Callable[[JetStreamContext], Coroutine[Any, Any, T]]) -> T:
        """Return the answer, asked again where the connection breaks; NatsError: refused, or none in time."""
        return self.bridge.run(self._answer(question))

    def close(self) -> None:
        """End what uses the connection, the connection, and the loop; within a bound."""
        with suppress(ObserveError, TimeoutError):
            self.bridge.run(self.session.close(), CLOSE_S)
        self.bridge.stop()

    async def _answer(self, question: Callable[[JetStreamContext], Coroutine[Any, Any, T]]) -> T:
        while True:
            try:
                return await self.session.ask(lambda nc: question(nc.jetstream(timeout=self.timeout_s)))
            except BrokenError:
                continue
            except (APIError, nats.errors.Error, asyncio.TimeoutError) as error:
                raise self.session.explain(error) from error
