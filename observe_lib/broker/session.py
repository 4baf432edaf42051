"""One connection to NATS, for ever: made, kept, replaced when it breaks; what is under way over it then ends.
Coroutines for the loop thread only. Whatever is not sent when it breaks is dropped: senders send again.
"""

import asyncio
import re
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import APIError

from ..errors import NatsError, NatsRefusedError
from ..settings import NatsSettings
from .connect import CONNECT_ERRORS, connect, drop
from .credentials import START_HINT, grant_for
from .loop import T, ignore
from .stream import refused, server_address

#: a broken connection is tried again this often, so that a server that is back is found at once
RECONNECT_S = 0.25
#: what JetStream does not answer by then is asked again
ASK_WITHIN_S = 2.0
#: waits between two tries; the last one goes on for ever
AGAIN_S = (0.05, 0.1, 0.25, 0.5, 1.0)
#: a trouble is over when it worked again and none came for so long
CALM_S = 2.0

#: "resource limits exceeded for account": a 400 that passes as soon as there is room again
NO_ROOM = 10002
_DENIED = re.compile(r'permissions violation for (publish|subscription) to "([^"]+)"', re.IGNORECASE)
Attempt = Callable[[Client], Coroutine[Any, Any, T]]


class BrokenError(Exception):
    """The connection broke before what was done over it was over."""


class DeniedError(NatsError):
    """Permissions refuse this subject: to be tried again later, others go on meanwhile."""


class Session:
    """The connection of one program, from `open()` to `close()`.

    `say(topic, text)` tells people each trouble once, and its end once. Hooks are called in the loop:
    `on_up()` with each connection, the first one too; `on_denied(subject)` when we may not publish or
    subscribe there: the subject in lower case, as the server tells it.
    """

    def __init__(
        self,
        settings: NatsSettings,
        name: str,
        *,
        timeout_s: float = 5.0,
        say: Callable[[str, str], object] = ignore,
        on_up: Callable[[], object] = ignore,
        on_denied: Callable[[str], object] = ignore,
    ) -> None:
        self._settings, self._name, self._timeout_s, self._say = settings, name, timeout_s, say
        self._on_up, self._on_denied = on_up, on_denied
        self._client: Client | None = None
        self._keeping: asyncio.Future[None] | None = None
        self._up = asyncio.Event()
        self._absences: set[str] = set()  # what was said of the present outage
        #: what is under way: the subject that it is about, and what ends it early
        self._under_way: dict[asyncio.Future[Any], tuple[str, asyncio.Future[None]]] = {}
        self._served = False  # something was done: this server is no wrong one
        #: what was said of events, rows and requests, and is not over
        self.troubles = Troubles(say)
        #: the last thing that the server did not permit, in its words
        self.denied = ""

    # --- what there is ---

    @property
    def client(self) -> Client | None:
        """The present connection; None while there is none."""
        return self._client if self._up.is_set() and self._client and self._client.is_connected else None

    @property
    def is_up(self) -> bool:
        """Whether it is connected just now."""
        return self.client is not None

    @property
    def js(self) -> JetStreamContext:
        """JetStream over the last connection."""
        assert self._client is not None, "open() comes first"
        return self._client.jetstream(timeout=ASK_WITHIN_S)

    @property
    def url(self) -> str:
        """The server's address, of all of them while there is no connection; without secrets."""
        return server_address(self.js) if self._client is not None else self._settings.url

    @property
    def server_version(self) -> str:
        """The server's version in its words; "" before the first connection."""
        return str(self._client._server_info.get("version", "")) if self._client else ""

    @property
    def max_payload(self) -> int:
        """The most bytes of headers and payload that the server takes; 1 MiB before it told."""
        return self._client.max_payload if self._client else 2**20

    # --- from the beginning to the end ---

    async def open(self, *, wait: bool = True) -> None:
        """Connect: with `wait` for as long as it takes, else NatsError once each server was tried.

        NatsRefusedError: this server will not have us; later on that is only said.
        """
        self._begin(await self._connect(NatsRefusedError if wait else NatsError))
        self._keeping = asyncio.ensure_future(self._keep())

    async def close(self) -> None:
        """End what is under way, and close it for good."""
        if self._keeping is not None:
            self._keeping.cancel()
        tasks = list(self._under_way)
        for _, end in self._under_way.values():
            end.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=2)
        if self._client is not None:
            await (self._client.close() if self.is_up else drop(self._client))

    async def until_up(self) -> Client:
        """Return the connection, as soon as there is one."""
        while (client := self.client) is None:
            self._up.clear()
            await self._up.wait()
        return client

    # --- what is done over it ---

    async def ask(self, attempt: Attempt[T], about: str = "") -> T:
        """Return what the attempt over the live connection returns; BrokenError when that breaks meanwhile.

        DeniedError when the server refuses to let us publish to the subject that it is `about`.
        """
        task = asyncio.ensure_future(attempt(await self.until_up()))
        end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._under_way[task] = about, end
        try:
            await asyncio.wait((task, end), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if is_cut := task.cancel():
                await asyncio.wait((task,), timeout=1)
            del self._under_way[task]
        if is_cut:
            end.result()
        if task.cancelled():  # nats-py does so to what waits over a connection that it closes
            raise BrokenError
        return task.result()

    async def until_done(self, attempt: Attempt[T], about: str = "requests") -> T:
        """Return what the attempt returns, trying for ever what can pass; says so once, and that it is over.

        What will not pass is raised: DeniedError, what JetStream answers with 4xx, and a NatsRefusedError
        until something was done once; later on somebody may mend that, too.
        """
        tries = 0
        while True:
            try:
                result = await self.ask(attempt, about)
            except BrokenError:
                continue
            except (NatsError, *CONNECT_ERRORS) as error:
                if not (_may_pass(error) or (self._served and isinstance(error, NatsRefusedError))):
                    raise
                if self.is_up:  # else it was said already
                    why = self.explain(error)
                    self.troubles.note(about, f"{why}; {why.hint}")
            else:
                self._served = True
                self.troubles.end(about)
                return result
            await asyncio.sleep(AGAIN_S[min(tries, len(AGAIN_S) - 1)])
            tries += 1

    def explain(self, error: Exception, what: str = "refuses that") -> NatsError:
        """Return the two lines for what came of a question; `what` it does where it refuses."""
        url = self._settings.url
        if isinstance(error, NatsError):
            return error
        if isinstance(error, APIError):
            return refused(url, error, what, self._client._server_info if self._client else {})
        if not isinstance(error, (nats.errors.Error, OSError, asyncio.TimeoutError)):
            return NatsError(f"{url}: an answer that makes no sense: {error!r}", "what listens there?")
        if match := _DENIED.search(self.denied):
            return NatsError(f"{url}: {self.denied}", f"grant {grant_for(*match.groups())}")
        return NatsError(f"{url}: no answer", "is it overloaded? try again")

    # --- keeping it ---

    async def _keep(self) -> None:
        while True:
            client = self._client
            assert client is not None and client._reading_task is not None
            await asyncio.wait((client._reading_task,))  # it ends with the connection, for whatever reason
            self._end()
            others = [one.netloc for one in client.discovered_servers]  # the cluster told of them
            await drop(client)
            await asyncio.sleep(RECONNECT_S)
            self._begin(await self._connect((), others))

    async def _connect(self, fatal: type[NatsError] | tuple[()], others: Sequence[str] = ()) -> Client:
        while True:
            try:
                connection = (self._settings, self._name, self._timeout_s)
                return await connect(*connection, others=others, on_error=self._hear)
            except NatsError as error:
                if isinstance(error, fatal):
                    raise
                self._note_absence(error)
            await asyncio.sleep(RECONNECT_S)

    def _begin(self, client: Client) -> None:
        known, self._client = self._client is not None, client
        client.options["allow_reconnect"] = False  # a broken one is closed, and what it did not send is gone
        self.denied = ""
        self._absences.clear()
        self._up.set()
        if known:
            self._say("nats", f"{self.url}: connected again")
        self._on_up()

    def _end(self) -> None:
        self._up.clear()
        for _, end in self._under_way.values():
            _fail(end, BrokenError())
        self._say("nats", f"{self._settings.url}: connection lost, trying again; nothing is lost meanwhile")

    def _note_absence(self, error: NatsError) -> None:
        """Say each reason why there is no connection once; that nobody listens only before the first one."""
        plain, lasts = error.hint == START_HINT, isinstance(error, NatsRefusedError)
        if str(error) in self._absences or (plain and self._client is not None):
            return
        self._absences.add(str(error))
        again = "" if lasts else ", trying again"
        self._say("nats", f"{error}{again}" if plain else f"{error}{again}; {error.hint}")

    def _hear(self, error: Exception) -> None:
        match = _DENIED.search(str(error))
        if match is None:
            return
        self.denied = str(error).removeprefix("nats: ")
        for about, end in self._under_way.values():
            if about.lower() == match.group(2).lower():
                hint = f"grant {grant_for(*match.groups())}"
                _fail(end, DeniedError(f"may not publish to {about}", hint))
        self._on_denied(match.group(2).lower())


class Troubles:
    """Says each trouble once, and its end once: when it works again and nothing is wrong for a while."""

    def __init__(self, say: Callable[[str, str], object]) -> None:
        self._say = say
        self._said: dict[str, set[str]] = {}
        self._ending: dict[str, asyncio.TimerHandle] = {}

    def note(self, about: str, text: str) -> None:
        """Something is wrong with this."""
        if about in self._ending:
            self._ending.pop(about).cancel()
        said = self._said.setdefault(about, set())
        if text not in said:
            said.add(text)
            self._say("nats", text)

    def end(self, about: str) -> None:
        """This works."""
        if about in self._said and about not in self._ending:
            later = asyncio.get_running_loop().call_later
            self._ending[about] = later(CALM_S, self._settle, about)

    def _settle(self, about: str) -> None:
        del self._said[about], self._ending[about]
        self._say("nats", "answers again" if about == "requests" else f"takes {about} again")


def _fail(end: "asyncio.Future[None]", why: Exception) -> None:
    if not end.done():
        end.set_exception(why)


def _may_pass(error: Exception) -> bool:
    if isinstance(error, APIError):
        return (error.code or 503) >= 500 or error.err_code == NO_ROOM
    return not isinstance(error, (NatsRefusedError, DeniedError))
