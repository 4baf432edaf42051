"""How a connection to NATS is made: servers, who we are, TLS, and what to say where there is none.
Coroutines for the loop thread only; what becomes of the connection afterwards is for its owner to see to.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import nats.errors
from nats.aio.client import Client, RawCredentials

from .bridge import ignore, log
from .config import NatsSettings
from .errors import NatsError
from .stream import NatsRefusedError

#: a broken connection is tried again this often, so that a server that is back is found at once
RECONNECT_S = 0.25
#: the longest wait between two tries of a first connection
BACKOFF_MAX_S = 1.0
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
#: how the other side of TLS says that it takes no certificate of ours
_CERTIFICATE_ALERTS = ("ALERT_UNKNOWN_CA", "ALERT_BAD_CERTIFICATE", "ALERT_CERTIFICATE")


async def connect(
    settings: NatsSettings,
    *,
    name: str,
    timeout_s: float = 5.0,
    forever: bool = False,
    heed_refusal: bool = False,
    on_state: Callable[[str], None] = ignore,
    on_link: Callable[[bool], None] = ignore,
    on_error: Callable[[Exception], None] = ignore,
) -> Client:
    """Return a connection that reconnects for ever; NatsError if there is none within `timeout_s`.

    With `forever` it tries until there is one (`heed_refusal`: or until NatsRefusedError says that there
    will be none), and tells `on_state` each new reason why not. Afterwards
    `on_link` hears False when the connection broke (or was given up: `is_closed`) and True when it is
    back, and `on_error` hears what the server refuses. All are called in the loop's thread.
    """
    wait_s, said = 0.1, ""
    while True:
        try:
            client = await _connect_once(settings, name, timeout_s)
        except NatsError as error:
            if not forever or (heed_refusal and isinstance(error, NatsRefusedError)):
                raise
            if str(error) != said:
                said = str(error)
                on_state(said)
        else:
            _listen(client, on_link, on_error)
            return client
        await asyncio.sleep(wait_s)
        wait_s = min(wait_s * 2, BACKOFF_MAX_S)


class _GaveUp(Exception):
    """Ends the library's first connecting, which would otherwise go on for ever."""


async def _connect_once(settings: NatsSettings, name: str, timeout_s: float) -> Client:
    """Try each server once; what went wrong with the last one is the error."""
    client, servers, failures = Client(), settings.url.split(","), list[Exception]()
    step_s, connected = min(timeout_s, CONNECT_WITHIN_S), False

    async def note_failure(error: Exception) -> None:
        failures.append(error)
        if len(failures) == len(servers):
            raise _GaveUp

    options = _credentials(settings) | _ENDURING
    options |= {"servers": servers, "name": name, "connect_timeout": step_s, "error_cb": note_failure}
    try:
        await asyncio.wait_for(client.connect(**options), timeout_s)
        wants_tls = "tls://" in settings.url
        if wants_tls and not client._server_info.get("tls_required"):  # it would go on in clear
            hint = "write nats:// to do without, or switch it on there"
            raise NatsRefusedError(f"{settings.url} speaks no TLS", hint)
        connected = True
    except (_GaveUp, asyncio.TimeoutError, OSError, nats.errors.Error) as error:
        cause, within_s = (failures[-1], step_s) if failures else (error, timeout_s)
        raise unreachable(settings.url, cause, within_s) from cause
    finally:
        if not connected:
            await close_broken(client)
    return client


async def close_broken(client: Client) -> None:
    """Close what is no connection, or not any more; never waits long."""
    # older nats-py may have nothing open yet; asyncio waits for ever after a failed TLS handshake
    with suppress(AttributeError, asyncio.TimeoutError):
        await asyncio.wait_for(client.close(), BROKEN_CLOSE_S)


def _listen(client: Client, on_link: Callable[[bool], None], on_error: Callable[[Exception], None]) -> None:
    """Have a connection that is there call these; until then other things could go wrong."""

    async def note_error(error: Exception) -> None:
        log.debug("nats: %s", error)
        on_error(error)

    async def note_break() -> None:
        on_link(False)

    async def note_return() -> None:
        on_link(True)

    client._error_cb, client._reconnected_cb = note_error, note_return
    client._disconnected_cb = client._closed_cb = note_break


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


def unreachable(url: str, error: Exception, timeout_s: float) -> NatsError:
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
        text, hint = f"TLS: {text}", "set NATS_CA=/path/to/ca.pem (and NATS_CERT, NATS_KEY)"
    elif isinstance(error, asyncio.TimeoutError):
        text = f"no answer within {timeout_s:g}s"
    elif "info message" in lower:
        text = "what listens there is no NATS"
    return (NatsRefusedError if for_good else NatsError)(f"{url}: {text}", hint)
