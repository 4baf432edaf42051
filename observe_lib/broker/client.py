"""How a connection to NATS is made and kept: servers, who we are, TLS, and what to say where there is none.
Coroutines for the loop thread only.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import nats.errors
from nats.aio.client import Client, RawCredentials

from ..errors import NatsError, NatsRefusedError
from ..log import log
from ..settings import NatsSettings
from .loop import T, ignore

#: a broken connection is tried again this often, so that a server that is back is found at once
RECONNECT_S = 0.25
#: a server takes no longer than this for each step of its greeting
CONNECT_WITHIN_S = 2.0
#: closing a connection that is none takes no longer
BROKEN_CLOSE_S = 0.5
#: an idle connection is asked this often whether it still lives; three questions unanswered end it
PING_S = 5.0

#: the settings of a connection that is tried for ever
_ENDURING: dict[str, Any] = {
    "reconnect_time_wait": RECONNECT_S,
    "max_reconnect_attempts": -1,
    "ping_interval": PING_S,
    "max_outstanding_pings": 2,
}
_START_HINT = "start one (nats-server -js), or name another: NATS_URL or --nats-url"
_TLS_HINT = "set NATS_CA=/path/to/ca.pem (and NATS_CERT, NATS_KEY)"
#: how the other side of TLS says that it takes no certificate of ours
_CERTIFICATE_ALERTS = ("ALERT_UNKNOWN_CA", "ALERT_BAD_CERTIFICATE", "ALERT_CERTIFICATE")


class BrokenError(Exception):
    """The connection broke before what was done over it was over."""


class Lifeline:
    """One connection for ever: what is done over it ends when it breaks, and a new one is made at once.

    `on_link(up)` hears of each connection made and lost, `on_error` what the server refuses, and `on_state`
    each new reason why there is no connection. All are called in the loop's thread.
    """

    def __init__(
        self,
        settings: NatsSettings,
        name: str,
        timeout_s: float = 5.0,
        *,
        on_link: Callable[[bool], None] = ignore,
        on_error: Callable[[Exception], None] = ignore,
        on_state: Callable[[NatsError], None] = ignore,
    ) -> None:
        self._settings, self._name, self._timeout_s = settings, name, timeout_s
        self._on_link, self._on_error, self._on_state = on_link, on_error, on_state
        self._making = asyncio.Lock()
        self._renewing: asyncio.Future[Client] | None = None
        self._closing = self._lost = False
        self._cut_short: dict[asyncio.Future[Any], Exception] = {}
        self.client: Client | None = None
        #: what is done over it just now, and what each is about
        self.flying: dict[asyncio.Future[Any], str] = {}

    @property
    def is_up(self) -> bool:
        """Whether it is connected just now."""
        return self.client is not None and not self._lost and bool(self.client.is_connected)

    async def live(self, fatal: type[NatsError] | tuple[()] = ()) -> Client:
        """Return the connection, made now if there is none, for as long as that takes.

        An error of the kind `fatal` ends that: NatsError is any, NatsRefusedError one that lasts.
        """
        while not self.is_up:
            async with self._making:
                if self._closing:
                    await asyncio.get_running_loop().create_future()  # the loop ends soon
                if not self.is_up:
                    await self._make(fatal)
        assert self.client is not None
        return self.client

    async def hold(self, work: Callable[[Client], Coroutine[Any, Any, T]], about: str = "") -> T:
        """Return what the work over a live connection returns; BrokenError when that breaks meanwhile."""
        flying = asyncio.ensure_future(work(await self.live()))
        self.flying[flying] = about
        try:
            await asyncio.wait((flying,))
        finally:
            if flying.cancel():
                await asyncio.wait((flying,), timeout=1)
            del self.flying[flying]
            why = self._cut_short.pop(flying, None)
        if why is not None:
            raise why
        if flying.cancelled():  # nats-py does so to what waits over a connection that it closes
            raise BrokenError
        return flying.result()

    def end_early(self, flying: "asyncio.Future[Any]", why: Exception) -> None:
        """Have what is done over the connection raise this."""
        if flying.cancel():
            self._cut_short[flying] = why

    async def close(self) -> None:
        """End what is done over it, and close it for good."""
        self._closing = True
        for task in (*self.flying, *filter(None, (self._renewing,))):
            task.cancel()
        if self.flying:
            await asyncio.wait(tuple(self.flying), timeout=2)
        if self.client is not None:
            await (self.client.close() if self.is_up else close_broken(self.client))

    async def _make(self, fatal: type[NatsError] | tuple[()]) -> None:
        others, said = list[str](), ""
        if self.client is not None:  # a cluster may have told of servers that are not among the settings
            self._note_break()  # nobody may have said so yet, and once it is closed nobody will
            others = [one.netloc for one in self.client.discovered_servers]
            await close_broken(self.client)
            await asyncio.sleep(RECONNECT_S)
        while True:
            try:
                client = await connect(self._settings, self._name, self._timeout_s, others=others)
                break
            except NatsError as error:
                if isinstance(error, fatal):
                    raise
                if str(error) != said:
                    said = str(error)
                    self._on_state(error)
            await asyncio.sleep(RECONNECT_S)

        async def note_break() -> None:
            if client is self.client:
                self._note_break()

        self.client, self._lost = client, False
        client._disconnected_cb = client._closed_cb = note_break
        client._error_cb = _hearing(self._on_error)
        self._on_link(True)

    def _note_break(self) -> None:
        """Leave nobody waiting over a broken connection, nor use it again, although nats-py may mend it."""
        if self._lost or self._closing:
            return
        self._lost = True
        for flying in self.flying:
            self.end_early(flying, BrokenError())
        self._on_link(False)
        self._renewing = asyncio.ensure_future(self.live())


class _GaveUp(Exception):
    """Ends the library's first connecting, which would otherwise go on for ever."""


async def connect(
    settings: NatsSettings,
    name: str,
    timeout_s: float = 5.0,
    *,
    others: Sequence[str] = (),
    on_error: Callable[[Exception], None] = ignore,
) -> Client:
    """Return a connection, each server tried once; NatsError: what went wrong with the last one.

    `others` are servers (host and port) beside those of the settings. `on_error` hears what is refused later.
    """
    wants_tls = "tls://" in settings.url
    urls = [*settings.url.split(","), *(f"{'tls' if wants_tls else 'nats'}://{one}" for one in others)]
    options = _credentials(settings) | _ENDURING | {"servers": list(dict.fromkeys(urls)), "name": name}
    try:
        client = await _connect_once(settings, options, timeout_s)
    except NatsError as error:
        silent = (
            isinstance(error.__cause__, asyncio.TimeoutError)
            or "info message" in str(error.__cause__).lower()
        )
        if not (wants_tls and silent):
            raise
        client = await _connect_once(settings, options | {"tls_handshake_first": True}, timeout_s)
    if wants_tls and not client._server_info.get("tls_required"):  # it would go on in clear
        await client.close()
        hint = "write nats:// to do without, or switch it on there"
        raise NatsRefusedError(f"{settings.url} speaks no TLS", hint)
    client._error_cb = _hearing(on_error)
    return client


async def _connect_once(settings: NatsSettings, options: dict[str, Any], timeout_s: float) -> Client:
    client, failures, connected = Client(), list[Exception](), False
    step_s = min(timeout_s, CONNECT_WITHIN_S)

    async def note_failure(error: Exception) -> None:
        failures.append(error)
        if len(failures) == len(options["servers"]):
            raise _GaveUp

    try:
        options = {**options, "connect_timeout": step_s, "error_cb": note_failure}
        await asyncio.wait_for(client.connect(**options), timeout_s)
        connected = True
    except (_GaveUp, asyncio.TimeoutError, OSError, nats.errors.Error) as error:
        cause, within_s = (failures[-1], step_s) if failures else (error, timeout_s)
        raise _unreachable(settings, cause, within_s) from cause
    finally:
        if not connected:
            await close_broken(client)
    return client


async def close_broken(client: Client) -> None:
    """Close what is no connection, or not any more; never waits long, whatever comes of it is no matter."""
    closing = asyncio.ensure_future(client.close())  # it may raise anything, a CancelledError of its own too
    await asyncio.wait((closing,), timeout=BROKEN_CLOSE_S)
    if not closing.cancel() and not closing.cancelled():
        closing.exception()


def _hearing(on_error: Callable[[Exception], None]) -> Callable[[Exception], Awaitable[None]]:
    async def note_error(error: Exception) -> None:
        log.debug("nats: %s", error)
        on_error(error)

    return note_error


def _credentials(settings: NatsSettings) -> dict[str, Any]:
    """Return what nats-py is to be told about who we are, read and checked here.

    nats-py reads a .creds file without a JWT in it for ever, and a broken one again at each reconnect.
    """
    found: dict[str, Any] = {}
    if settings.creds:
        text = _secret(settings.creds)
        if "BEGIN NATS USER JWT" not in text or "BEGIN USER NKEY SEED" not in text:
            hint = "make one with: nsc generate creds"
            raise NatsRefusedError(f"{settings.creds} is no NATS credentials file", hint)
        found["user_credentials"] = RawCredentials(text)
        _check_seed(settings.creds, text.partition("BEGIN USER NKEY SEED")[2].split("\n")[1])
    elif settings.nkey:
        found["nkeys_seed_str"] = _secret(settings.nkey).strip()
        _check_seed(settings.nkey, found["nkeys_seed_str"])
    elif settings.user and settings.password is not None:
        found.update(user=settings.user, password=settings.password)
    elif settings.token:
        found["token"] = settings.token
    if settings.ca or settings.cert:
        found["tls"] = _tls(settings)
    return found


def _secret(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise NatsRefusedError(f"{path} cannot be read: {error}", "name one that can be") from error


def _check_seed(path: str, seed: str) -> None:
    try:
        import nkeys
    except ImportError as error:
        raise NatsRefusedError("NATS keys need the package nkeys", "pip install nkeys") from error
    try:
        nkeys.from_seed(bytearray(seed.strip().encode())).wipe()
    except (nkeys.NkeysError, ValueError) as error:
        hint = "it is the line that begins with SU"
        raise NatsRefusedError(f"{path} holds no NATS user seed", hint) from error


def _tls(settings: NatsSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ca)
        if settings.cert:
            context.load_cert_chain(settings.cert, settings.key)
    except (OSError, ValueError) as error:
        hint = "look at NATS_CA, NATS_CERT and NATS_KEY: all PEM files"
        raise NatsRefusedError(f"the TLS files for NATS cannot be used: {error}", hint) from error
    return context


def _unreachable(settings: NatsSettings, error: Exception, timeout_s: float) -> NatsError:
    """Return the two lines that say why there is no connection."""
    text = (str(error) or type(error).__name__).removeprefix("nats: ").strip("'")
    lower, hint, for_good = text.lower(), _START_HINT, False
    if "authorization" in lower or "authentication" in lower:
        text, hint = lower, "set NATS_CREDS=/path/to/user.creds, or NATS_USER and NATS_PASSWORD"
        for_good = "timeout" not in lower
    elif isinstance(error, ConnectionRefusedError) or "connect call failed" in lower:
        text = "connection refused"
    elif isinstance(error, socket.gaierror):
        text = "no such host"
    elif isinstance(error, ssl.SSLError):
        for_good = isinstance(error, ssl.SSLCertVerificationError)
        for_good = for_good or any(alert in text for alert in _CERTIFICATE_ALERTS)
        text, hint = f"TLS: {text}", _TLS_HINT
    elif isinstance(error, asyncio.TimeoutError):
        text = f"no answer within {timeout_s:g}s"
    elif "info message" in lower:
        text = "what listens there is no NATS"
    elif settings.ca and not settings.cert:  # TLS 1.3 asks for a certificate after its handshake
        text, hint = f"{lower}: it may want a client's certificate", _TLS_HINT
    return (NatsRefusedError if for_good else NatsError)(f"{settings.url}: {text}", hint)
