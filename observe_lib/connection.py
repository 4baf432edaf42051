"""The connection of a Consumer: held by what reads over it, replaced when the library gives it up.
Coroutines for the loop thread only; says when it is lost and when it is back, once each.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import APIError

from .bridge import T, log
from .config import NatsSettings
from .errors import NatsError
from .stream import connect, refused

#: a broken connection that the library has not mended by then is replaced
PATIENCE_S = 10.0


class Connection:
    """One connection, made by `open()`; `url`, `denied` and `users` may be read by who works over it."""

    def __init__(self, settings: NatsSettings, name: str, timeout_s: float) -> None:
        self.url = settings.url
        #: the last thing that the server did not permit, in its words
        self.denied = ""
        self._settings, self._name, self._timeout_s = settings, name, timeout_s
        self._nc: Client | None = None
        self._closing = False
        self._lock, self._changed = asyncio.Lock(), asyncio.Event()
        self._works: set[asyncio.Task[None]] = set()
        #: the feeds that use it
        self.users: set[asyncio.Task[None]] = set()

    @property
    def is_up(self) -> bool:
        """Whether it is connected just now."""
        return self._nc is not None and bool(self._nc.is_connected)

    async def open(self) -> None:
        """Connect for the first time, or raise NatsError."""
        self._nc = await self._connect(forever=False)

    async def hold(self, work: Callable[[Client], Coroutine[Any, Any, None]]) -> None:
        """Do `work` on a live connection; cancel it, and return, when that breaks."""
        nc = await self._live()
        task = asyncio.create_task(work(nc))
        self._works.add(task)
        task.add_done_callback(self._works.discard)
        try:
            await asyncio.wait({task})
        finally:
            if task.cancel():
                await asyncio.wait({task}, timeout=1)
        if not task.cancelled():
            task.result()

    async def ask(
        self, question: Callable[[JetStreamContext], Coroutine[Any, Any, T]], timeout_s: float
    ) -> T:
        """Return the answer, asked again where the connection breaks; NatsError: refused, or none in time."""
        answers: list[T] = []

        async def put(nc: Client) -> None:
            answers.append(await question(nc.jetstream(timeout=timeout_s)))

        try:
            while not answers:
                await self.hold(put)
        except APIError as error:
            raise refused(self.url, error, "refuses that") from error
        except (nats.errors.Error, asyncio.TimeoutError) as error:
            hint = "this user needs $JS.API.> and _INBOX.>" if self.denied else "is it overloaded? try again"
            raise NatsError(f"{self.url}: {self.denied or 'no answer'}", hint) from error
        return answers[0]

    async def close(self) -> None:
        """End what uses the connection, then the connection."""
        self._closing = True
        tasks = self.users | self._works
        for task in self.users:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=2)
        if self._nc:
            await self._nc.close()

    async def _live(self) -> Client:
        async with self._lock:
            loop = asyncio.get_running_loop()
            end = loop.time() + PATIENCE_S
            while (nc := self._nc) and not nc.is_connected and not nc.is_closed and loop.time() < end:
                self._changed.clear()
                timer = loop.call_at(end, self._changed.set)
                await self._changed.wait()
                timer.cancel()
            if not nc or not nc.is_connected:
                if nc:
                    await nc.close()
                nc = self._nc = await self._connect(forever=True)
                log.warning("connected to %s again", self.url)
            return nc

    async def _connect(self, forever: bool) -> Client:
        return await connect(
            self._settings,
            name=self._name,
            timeout_s=self._timeout_s,
            forever=forever,
            on_link=self._on_link,
            on_error=self._on_error,
        )

    def _on_link(self, up: bool) -> None:
        self._changed.set()
        if not self._closing and (up or self._works):
            log.warning(
                "connected to %s again" if up else "lost the connection to %s, trying again", self.url
            )
        if not up:
            for task in self._works:
                task.cancel()

    def _on_error(self, error: Exception) -> None:
        if "permissions violation" in str(error).lower():
            self.denied = str(error).removeprefix("nats: ")
