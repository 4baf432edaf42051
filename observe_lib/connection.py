"""The connection of those who read: held by what reads over it, replaced when the library gives it up.
It has a loop thread of its own; what is `async` runs there, the rest may be called from any thread.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import APIError

from .bridge import Bridge, T, log
from .config import NatsSettings
from .errors import NatsError, ObserveError
from .nats_client import close_broken, connect
from .stream import refused

#: a broken connection that the library has not mended by then is replaced
PATIENCE_S = 10.0
#: how often a broken one is looked at meanwhile
BREAK_LOOK_S = 0.05
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
        self._settings, self._name = settings, name
        self._nc: Client | None = None
        self._closing = False
        self._lock = asyncio.Lock()
        self._works: set[asyncio.Task[Any]] = set()

    @property
    def is_up(self) -> bool:
        """Whether it is connected just now."""
        return self._nc is not None and bool(self._nc.is_connected)

    def open(self) -> "Connection":
        """Connect, or raise NatsError."""
        self.bridge.start()
        try:
            self._nc = self.bridge.run(self._connect(forever=False))
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
            self.bridge.run(self._close(), CLOSE_S)
        self.bridge.stop()

    # --- in the loop's thread ---

    async def answer(self, question: Callable[[JetStreamContext], Coroutine[Any, Any, T]]) -> T:
        """As `ask`."""
        answers: list[T] = []

        async def put(nc: Client) -> None:
            answers.append(await question(nc.jetstream(timeout=self.timeout_s)))

        try:
            while not answers:
                await self.hold(put)
        except (APIError, nats.errors.Error, asyncio.TimeoutError) as error:
            raise self.explain(error, "refuses that") from error
        return answers[0]

    def explain(self, error: Exception, what: str) -> NatsError:
        """Return the two lines for what came of a question; `what` it does where it refuses."""
        if isinstance(error, APIError):
            return refused(self.url, error, what)
        hint = "this user needs $JS.API.>, $JS.ACK.> and _INBOX.>" if self.denied else ""
        return NatsError(f"{self.url}: {self.denied or 'no answer'}", hint or "is it overloaded? try again")

    async def hold(self, work: Callable[[Client], Coroutine[Any, Any, None]]) -> None:
        """Do `work` on a live connection; cancel it, and return, when that breaks."""
        task = asyncio.create_task(work(await self._live()))
        self._works.add(task)
        task.add_done_callback(self._works.discard)
        try:
            await asyncio.wait({task})
        finally:
            if task.cancel():
                await asyncio.wait({task}, timeout=1)
        if not task.cancelled():
            task.result()

    async def _live(self) -> Client:
        """Return the connection once it works, a new one where the library does not mend it."""
        async with self._lock:
            assert self._nc is not None, "open() comes first"
            end = time.monotonic() + PATIENCE_S
            # while it closes, too: the loop ends soon
            while self._closing or not (self.is_up or self._nc.is_closed or time.monotonic() > end):
                await asyncio.sleep(BREAK_LOOK_S)
            if not self._nc.is_connected:
                await close_broken(self._nc)
                self._nc = await self._connect(forever=True)
                log.warning("connected to %s again", self.url)
            return self._nc

    async def _close(self) -> None:
        self._closing = True
        for task in self._works:
            task.cancel()
        if self._works:
            await asyncio.wait(self._works, timeout=2)
        if self._nc:
            await self._nc.close()

    async def _connect(self, forever: bool) -> Client:
        return await connect(
            self._settings,
            name=self._name,
            timeout_s=self.timeout_s,
            forever=forever,
            on_link=self._on_link,
            on_error=self._on_error,
        )

    def _on_link(self, up: bool) -> None:
        if not self._closing and (up or self._works):
            told = "connected to %s again" if up else "lost the connection to %s, trying again"
            log.warning(told, self.url)
        if not up:
            for task in self._works:
                task.cancel()

    def _on_error(self, error: Exception) -> None:
        if "permissions violation" in str(error).lower():
            self.denied = str(error).removeprefix("nats: ")
