"""How the adapter sends: over one connection, until it is acknowledged, whatever happens meanwhile.
Coroutines for the loop thread only; never gives up, and says each trouble, and its end, once.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

import nats.errors
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError

from ..errors import NatsError, NatsRefusedError
from ..settings import NatsSettings
from .client import BrokenError, Lifeline
from .loop import ignore
from .stream import server_address

#: a message not acknowledged by then is sent again, under its own id
ACK_WAIT_S = 2.0
#: waits between two tries; the last one goes on for ever
SEND_AGAIN_S = (0.05, 0.1, 0.25, 0.5, 1.0)
#: what permissions refuse is tried again this often: somebody may grant it
DENIED_AFTER_S = 30.0
#: what asks for something, and is neither an event nor a record
REQUESTS = "requests"

_WRONG_LAST = frozenset((10071, 10164))
_TOO_LARGE = frozenset((10054, 10097))
#: "resource limits exceeded for account": a 400 that passes as soon as there is room again
_NO_ROOM = 10002
_DENIED = re.compile(r'permissions violation for (publish|subscription) to "([^"]+)"', re.IGNORECASE)


#: what passes, or is mended elsewhere; an answer that makes no sense is the server's affair, not our end
_PASSING = (nats.errors.Error, OSError, ValueError, LookupError, TypeError, AttributeError)


class WrongLastError(NatsError):
    """The record was not at the revision that was expected: somebody else wrote it, or it is gone."""


class TooLargeError(NatsError):
    """The message is larger than the server takes."""


class SkippedError(NatsError):
    """The server will never take this message."""


class DeniedError(NatsError):
    """Permissions refuse this subject: to be tried again DENIED_AFTER_S later, others go on meanwhile."""


class Link:
    """One connection for one adapter.

    `say(topic, text)` tells people; `ensure(js)` makes what is missing, at the start and whenever the server
    says that there is no stream. `on_connect(url, version)` is called with each new connection.
    """

    def __init__(
        self,
        settings: NatsSettings,
        name: str,
        say: Callable[[str, str], None],
        ensure: Callable[[JetStreamContext], Awaitable[None]],
        on_connect: Callable[[str, str], None] = ignore,
    ) -> None:
        self._settings, self._say, self._ensure, self._on_connect = settings, say, ensure, on_connect
        self._line = Lifeline(
            settings,
            name,
            on_link=self._on_link,
            on_error=self._on_error,
            on_state=self._note_absence,
        )
        self._mending = asyncio.Lock()
        self._met = self._opened = False
        self.on_return: Callable[[], None] = ignore  # a broken connection works again
        self._troubles: dict[str, set[str]] = {}
        self._denied: dict[str, set[str]] = {}

    @property
    def js(self) -> JetStreamContext:
        """JetStream over the present connection."""
        assert self._line.client is not None, "open() comes first"
        return self._line.client.jetstream(timeout=ACK_WAIT_S)

    @property
    def server(self) -> tuple[int, ...]:
        """The server's version, as numbers."""
        return tuple(int(part) for part in re.findall(r"\d+", self._version)[:2])

    async def open(self) -> None:
        """Connect, however long it takes, and see that stream and bucket are there.

        NatsRefusedError: this server will not have us, or not as it is; later on that is only said.
        """
        await self._line.live(NatsRefusedError)
        await self.until_done(self._see_to_it)
        self._opened = True

    async def close(self) -> None:
        """Close for good."""
        await self._line.close()

    async def send(
        self,
        subject: str,
        payload: bytes,
        headers: Mapping[str, str],
        is_stored: Callable[[], Awaitable[bool]] | None = None,
    ) -> api.PubAck | None:
        """Publish until it is acknowledged, None where `is_stored`, asked before each further try, says yes.

        WrongLastError, TooLargeError and SkippedError are for good; DeniedError until somebody grants it.
        """
        tried = False
        limit = self._line.client.max_payload if self._line.client else 2**20
        if len(payload) + _header_bytes(headers) > limit:
            raise TooLargeError(f"{len(payload)} bytes for {subject}: more than NATS takes")

        async def publish() -> api.PubAck | None:
            nonlocal tried
            if tried and is_stored is not None and await is_stored():
                return None
            tried = True
            return await self.js.publish(subject, payload, timeout=ACK_WAIT_S, headers=dict(headers))

        ack: api.PubAck | None = await self.until_done(publish, subject)
        return ack

    async def until_done(self, attempt: Callable[[], Coroutine[Any, Any, Any]], subject: str = "") -> Any:
        """Return what the attempt (to publish to `subject`) returns, trying for ever where that can help."""
        about, tries = _about(subject), 0
        while True:
            try:
                result = await self._line.hold(lambda _: attempt(), subject)
            except DeniedError:
                raise
            except BrokenError:
                continue
            except NatsError as error:  # a stream that is not as it must be: for people to mend
                if isinstance(error, NatsRefusedError) and not self._opened:
                    raise
                self._trouble(about, f"{error}; {error.hint}")
            except NotFoundError as error:
                self._trouble(about, f"{error.description}, looking after it")
                await self._mend()
            except APIError as error:
                self._sort(about, error)
            except NoStreamResponseError:
                self._trouble(about, "no stream or bucket answers, looking after it")
                await self._mend()
            except nats.errors.MaxPayloadError as error:
                raise TooLargeError("more than NATS takes") from error
            except _PASSING as error:
                if self._line.is_up:  # else it was said already
                    self._trouble(about, _words(error))
            else:
                self._well(about, subject)
                return result
            await asyncio.sleep(SEND_AGAIN_S[min(tries, len(SEND_AGAIN_S) - 1)])
            tries += 1

    def _sort(self, about: str, error: APIError) -> None:
        """Raise what trying again cannot mend, for a message; say the rest."""
        if about == REQUESTS:
            self._trouble(about, f"{error.description} ({error.code})")
            return
        if error.err_code in _WRONG_LAST:
            raise WrongLastError(str(error.description)) from error
        if error.err_code in _TOO_LARGE:
            raise TooLargeError(str(error.description)) from error
        if error.code == 400 and error.err_code != _NO_ROOM:
            raise SkippedError(str(error.description)) from error
        self._trouble(about, f"{error.description} ({error.code})")

    @property
    def _version(self) -> str:
        return str(self._line.client._server_info.get("version", "")) if self._line.client else ""

    def _on_link(self, up: bool) -> None:
        if not up:
            lost = "connection lost, trying again; nothing is lost meanwhile"
            self._say("nats", f"{self._settings.url}: {lost}")
        elif not self._met:
            self._met = True
            self._on_connect(server_address(self.js), self._version or "unknown")
        else:
            self._say("nats", f"{server_address(self.js)}: connected again")
            self.on_return()

    def _note_absence(self, error: NatsError) -> None:
        """Say why there is no connection yet, or why there may never be one again: a changed password."""
        if not self._met:
            self._say("nats", f"{error}, trying again")
        elif isinstance(error, NatsRefusedError):
            self._say("nats", f"{error}; {error.hint}")

    def _on_error(self, error: Exception) -> None:
        """Hear what the server refuses; it tells the subject in lower case, and no more."""
        match = _DENIED.search(str(error))
        if match is None:
            return
        verb, refused = match.groups()
        flying = self._line.flying.items()
        for task, subject in [one for one in flying if one[1].lower() == refused.lower()]:
            self._deny(subject)
            self._line.end_early(task, DeniedError(f"may not publish to {subject}"))
        if verb == "subscription" or refused.startswith("$js."):
            grant = "publish on $JS.API.>" if verb == "publish" else "subscribe on _INBOX.>"
            self._trouble(REQUESTS, f"no {verb} to {refused} is allowed: grant {grant}")

    def _deny(self, subject: str) -> None:
        """Say the first one of a kind, with what to grant; it is well again when all are granted."""
        denied = self._denied.setdefault(_about(subject), set())
        if not denied:
            grant = "$KV.PROCESS_STATES.>" if subject.startswith("$KV.") else "core.process.>"
            again = f"trying every {DENIED_AFTER_S:g}s"
            self._say("nats", f"may not publish to {subject}: grant publish on {grant}; {again}")
        denied.add(subject)

    async def _see_to_it(self) -> None:
        await self._ensure(self.js)

    async def _mend(self) -> None:
        """Ensure stream and bucket once for all who found them missing."""
        if self._mending.locked():
            async with self._mending:
                return
        async with self._mending:
            try:
                await self._line.hold(lambda _: self._see_to_it())
            except BrokenError:
                pass  # whoever asked for it tries again
            except (NatsError, *_PASSING) as error:
                self._trouble(REQUESTS, _words(error))

    def _trouble(self, about: str, text: str) -> None:
        told = self._troubles.setdefault(about, set())
        if text not in told:
            told.add(text)
            self._say("nats", text)

    def _well(self, about: str, subject: str) -> None:
        """Say that something works again, once, where it was said that it did not."""
        denied = self._denied.get(about)
        granted = denied == {subject}
        if denied:
            denied.discard(subject)
        if self._troubles.pop(about, None) or granted:
            self._say("nats", "answers again" if about == REQUESTS else f"takes {about} again")


def _about(subject: str) -> str:
    if not subject:
        return REQUESTS
    return "records" if subject.startswith("$KV.") else "events"


def _words(error: Exception) -> str:
    if isinstance(error, nats.errors.TimeoutError):
        return "no answer in time, asking again"
    known = isinstance(error, (nats.errors.Error, OSError))
    return str(error) or type(error).__name__ if known else f"an answer that makes no sense: {error!r}"


def _header_bytes(headers: Mapping[str, str]) -> int:
    return sum(len(name) + len(value) + 4 for name, value in headers.items()) + 12
