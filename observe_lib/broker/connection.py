"""The connection of those who read, and what they ask over it.
It has a loop thread of its own; what is `async` runs there, the rest may be called from any thread.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import nats.errors
from nats.js import JetStreamContext
from nats.js.errors import APIError

from ..errors import NatsError, NatsRefusedError, ObserveError
from ..log import log
from ..settings import NatsSettings
from .client import BrokenError, Lifeline
from .loop import Bridge, T
from .stream import refused

#: ending what reads, and the connection, takes no longer
CLOSE_S = 5.0


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


class Connection:
    """What readers share: one loop thread, one connection over it, and the pace."""

    def __init__(self, settings: NatsSettings, name: str, timeout_s: float, pace: Pace) -> None:
        self.bridge, self.pace, self.timeout_s, self.url = Bridge(), pace, timeout_s, settings.url
        #: the last thing that the server did not permit, in its words
        self.denied = ""
        self._lost = False
        self._line = Lifeline(
            settings,
            name,
            timeout_s,
            on_link=self._on_link,
            on_error=self._on_error,
            on_state=self._note_refusal,
        )
        #: does work over the live connection, see `Lifeline`; in the loop's thread
        self.hold = self._line.hold

    @property
    def is_up(self) -> bool:
        """Whether it is connected just now."""
        return self._line.is_up

    def open(self) -> "Connection":
        """Connect, or raise NatsError."""
        self.bridge.start()
        try:
            self.bridge.run(self._line.live(NatsError))
        except BaseException:
            self.bridge.stop()
            raise
        return self

    def ask(self, question: Callable[[JetStreamContext], Coroutine[Any, Any, T]]) -> T:
        """Return the answer, asked again where the connection breaks; NatsError: refused, or none in time."""
        return self.bridge.run(self.answer(question))

    def close(self) -> None:
        """End what uses the connection, the connection, and the loop; within a bound."""
        with suppress(ObserveError, TimeoutError):
            self.bridge.run(self._line.close(), CLOSE_S)
        self.bridge.stop()

    # --- in the loop's thread ---

    async def answer(self, question: Callable[[JetStreamContext], Coroutine[Any, Any, T]]) -> T:
        """As `ask`."""
        while True:
            try:
                return await self.hold(lambda nc: question(nc.jetstream(timeout=self.timeout_s)))
            except BrokenError:
                continue
            except (APIError, nats.errors.Error, asyncio.TimeoutError) as error:
                raise self.explain(error, "refuses that") from error

    def explain(self, error: Exception, what: str) -> NatsError:
        """Return the two lines for what came of a question; `what` it does where it refuses."""
        if isinstance(error, APIError):
            return refused(self.url, error, what)
        hint = "this user needs $JS.API.>, $JS.ACK.> and _INBOX.>" if self.denied else ""
        return NatsError(f"{self.url}: {self.denied or 'no answer'}", hint or "is it overloaded? try again")

    def _on_link(self, up: bool) -> None:
        """Say that it is lost where that stops somebody, and that it is back."""
        if up and self._lost:
            log.warning("connected to %s again", self.url)
        self._lost = not up and bool(self._line.flying)
        if self._lost:
            log.warning("lost the connection to %s, trying again", self.url)

    def _note_refusal(self, error: NatsError) -> None:
        if isinstance(error, NatsRefusedError):  # a password was changed, for example
            log.warning("%s; %s", error, error.hint)

    def _on_error(self, error: Exception) -> None:
        if "permissions violation" in str(error).lower():
            self.denied = str(error).removeprefix("nats: ")
