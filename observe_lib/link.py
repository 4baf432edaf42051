"""The adapter's connection to NATS: opened for ever, replaced when it closes, sent over until acknowledged.
Coroutines for the loop thread only; never gives up, and says each trouble once.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError

from .config import NatsSettings
from .errors import NatsError
from .stream import connect

#: a message not acknowledged by then is sent again, under its own id
ACK_WAIT_S = 2.0
#: waits between two tries; the last one goes on for ever
SEND_AGAIN_S = (0.05, 0.1, 0.25, 0.5, 1.0)
#: what permissions refuse is tried again this often: somebody may grant it
DENIED_AFTER_S = 30.0
#: room that the headers take of a server's max_payload
HEADER_ROOM = 1024

_WRONG_LAST = frozenset((10071, 10164))
_DENIED = re.compile(r'permissions violation for publish to "([^"]+)"', re.IGNORECASE)


class WrongLastError(NatsError):
    """The record was not at the revision that was expected: somebody else wrote it, or it is gone."""


class TooLargeError(NatsError):
    """The message is larger than the server takes."""


class SkippedError(NatsError):
    """The server will never take this message."""


class Link:
    """One connection for one adapter.

    `say(topic, text)` tells people; `ensure(js)` makes what is missing, at the start and whenever the server
    says that there is no stream.
    """

    def __init__(
        self,
        settings: NatsSettings,
        name: str,
        say: Callable[[str, str], None],
        ensure: Callable[[JetStreamContext], Awaitable[None]],
    ) -> None:
        self._settings, self._name, self._say, self._ensure = settings, name, say, ensure
        self._client: Client | None = None
        self._up = asyncio.Event()
        self._mending = asyncio.Lock()
        self._closing = False
        self._troubles: set[str] = set()
        self._denied: set[str] = set()

    @property
    def js(self) -> JetStreamContext:
        """JetStream over the present connection."""
        assert self._client is not None, "open() comes first"
        return self._client.jetstream(timeout=ACK_WAIT_S)

    @property
    def where(self) -> str:
        """The server's address, without secrets."""
        url = self._client.connected_url if self._client else None
        return f"{url.scheme}://{url.netloc.rpartition('@')[2]}" if url else self._settings.url

    async def open(self) -> None:
        """Connect, however long it takes, and see that stream and bucket are there."""
        await self._connect()
        await self.until_done(self._see_to_it)

    async def close(self) -> None:
        """Close for good."""
        self._closing = True
        if self._client is not None:
            await self._client.close()

    async def send(
        self,
        subject: str,
        payload: bytes,
        headers: Mapping[str, str],
        is_stored: Callable[[], Awaitable[bool]] | None = None,
    ) -> api.PubAck | None:
        """Publish until it is acknowledged. WrongLastError, TooLargeError and SkippedError are for good.

        `is_stored` is asked before each further try; None is returned where it says yes.
        """
        tried = False
        if len(payload) + HEADER_ROOM > self._max_payload():
            raise TooLargeError(f"{len(payload)} bytes for {subject}: more than NATS takes")

        async def publish() -> api.PubAck | None:
            nonlocal tried
            if tried and is_stored is not None and await is_stored():
                return None
            tried = True
            try:
                return await self.js.publish(subject, payload, timeout=ACK_WAIT_S, headers=dict(headers))
            except nats.errors.TimeoutError:
                await self._wait_if_denied(subject)
                raise

        ack: api.PubAck | None = await self.until_done(publish)
        return ack

    async def until_done(self, attempt: Callable[[], Awaitable[Any]]) -> Any:
        """Return what the attempt returns, trying for ever where trying again can help."""
        tries = 0
        while True:
            await self._up.wait()
            try:
                result = await attempt()
            except NatsError as error:  # a stream that is not as it must be: for people to mend
                self._trouble(f"{error}; {error.hint}")
            except NotFoundError as error:
                self._trouble(f"{error.description}, looking after it")
                await self._mend()
            except APIError as error:
                self._sort(error)
            except NoStreamResponseError:
                self._trouble("no stream or bucket answers, looking after it")
                await self._mend()
            except nats.errors.ConnectionClosedError:
                await self._replace()
            except nats.errors.MaxPayloadError as error:
                raise TooLargeError("more than NATS takes") from error
            except (nats.errors.Error, OSError) as error:
                if self._up.is_set():
                    self._trouble(str(error) or type(error).__name__)
            else:
                if self._troubles:
                    self._troubles.clear()
                    self._say("nats", "takes events again")
                return result
            await asyncio.sleep(SEND_AGAIN_S[min(tries, len(SEND_AGAIN_S) - 1)])
            tries += 1

    def _sort(self, error: APIError) -> None:
        """Raise what trying again cannot mend; say the rest."""
        if error.err_code in _WRONG_LAST:
            raise WrongLastError(str(error.description)) from error
        if error.err_code == 10054:  # message size exceeds maximum allowed
            raise TooLargeError(str(error.description)) from error
        if error.code == 400:
            raise SkippedError(str(error.description)) from error
        self._trouble(f"{error.description} ({error.code})")

    async def _connect(self) -> None:
        self._client = await connect(
            self._settings,
            name=self._name,
            forever=True,
            on_state=lambda why: self._say("nats", f"{why}, trying again"),
            on_link=self._on_link,
            on_error=self._on_error,
        )
        self._up.set()

    def _on_link(self, up: bool) -> None:
        if self._closing:
            return
        if up:
            self._say("nats", f"{self.where}: connected again")
            self._up.set()
        elif self._up.is_set():
            self._up.clear()
            self._say(
                "nats", f"{self._settings.url}: connection lost, trying again; nothing is lost meanwhile"
            )
            if self._client is not None and self._client.is_closed:
                self._up.set()  # the next send finds it closed, and replaces it

    def _on_error(self, error: Exception) -> None:
        match = _DENIED.search(str(error))
        if match:
            self._denied.add(match.group(1))

    async def _wait_if_denied(self, subject: str) -> None:
        if not any(denied.lower() == subject.lower() for denied in self._denied):
            return
        self._denied = {denied for denied in self._denied if denied.lower() != subject.lower()}
        grant = "$KV.PROCESS_STATES.>" if subject.startswith("$KV.") else "core.process.>"
        self._trouble(f"may not publish to {subject}: grant publish on {grant}; trying every 30s")
        await asyncio.sleep(DENIED_AFTER_S)

    async def _see_to_it(self) -> None:
        await self._ensure(self.js)

    async def _mend(self) -> None:
        """Ensure stream and bucket once for all who found them missing."""
        if self._mending.locked():
            async with self._mending:
                return
        async with self._mending:
            try:
                await self._see_to_it()
            except (nats.errors.Error, NatsError, OSError) as error:
                self._trouble(str(error) or type(error).__name__)

    async def _replace(self) -> None:
        if self._mending.locked():
            async with self._mending:
                return
        async with self._mending:
            if self._client is not None and self._client.is_closed:
                self._say("nats", "the connection was closed, opening a new one")
                await self._connect()

    def _max_payload(self) -> int:
        return self._client.max_payload if self._client else 2**20

    def _trouble(self, text: str) -> None:
        if text not in self._troubles:
            self._troubles.add(text)
            self._say("nats", text)
