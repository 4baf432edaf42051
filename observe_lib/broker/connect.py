"""One connection to NATS, made once: which servers, how they greet, and why there is none.
Coroutines for the loop thread only; `session` makes it again, and keeps it.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import nats.errors
from nats.aio.client import Client

from ..errors import NatsError, NatsRefusedError
from ..log import log
from ..settings import NatsSettings
from .credentials import START_HINT, credentials_of, unreachable
from .loop import ignore

#: a server takes no longer than this for each step of its greeting
CONNECT_WITHIN_S = 2.0
#: what a server says that hangs up at once is there within
LAST_WORDS_S = 0.5
#: closing a connection that is none takes no longer
BROKEN_CLOSE_S = 0.5
#: an idle connection is asked this often whether it still lives; three questions unanswered end it
_LIVELY = {"ping_interval": 5.0, "max_outstanding_pings": 2}

#: what may come of connecting, and of what is done over a connection, and passes or is mended elsewhere; an
#: answer that makes no sense is the server's affair, not our end
CONNECT_ERRORS = (
    nats.errors.Error,
    OSError,
    asyncio.TimeoutError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
)


async def connect(
    settings: NatsSettings,
    name: str,
    timeout_s: float = 5.0,
    *,
    others: Sequence[str] = (),
    on_error: Callable[[Exception], object] = ignore,
) -> Client:
    """Return a connection, each server tried once; NatsError: what went wrong with the last one.

    `others` are servers (host and port) beside those of the settings. `on_error` hears what is refused later.
    """
    scheme = "tls" if "tls://" in settings.url else "nats"  # NATS_CA makes either one encrypted
    urls = list(dict.fromkeys([*settings.url.split(","), *(f"{scheme}://{one}" for one in others)]))
    random.shuffle(urls)  # so that the clients of a cluster spread over it
    options = {**credentials_of(settings), **_LIVELY, "name": name}
    options["connect_timeout"] = min(timeout_s, CONNECT_WITHIN_S)
    clock = asyncio.get_running_loop().time
    end, failure = clock() + timeout_s, NatsError(f"{settings.url}: no answer", START_HINT)

    async def note_error(error: Exception) -> None:
        log.debug("nats: %s", error)
        on_error(error)

    for url in urls:
        if (left_s := end - clock()) <= 0:
            break
        try:
            client = await _connect_to(url, settings, options, left_s)
        except NatsError as error:
            failure = error
        else:
            client._error_cb = note_error
            return client
    raise failure


class _Client(Client):
    """As the library's, but nothing goes out in clear where TLS is wanted: its greeting decides."""

    no_tls: NatsRefusedError | None = None  # what to say of a server without TLS; None: it may go without

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if initial_connection and self.no_tls is not None and not self.options["tls_handshake_first"]:
            if not (info.get("tls_required") or info.get("tls_available")):
                raise self.no_tls
            info["tls_required"] = True  # where it may be had it is had: the library looks at this
        await super()._process_info(info, initial_connection)


async def _connect_to(url: str, settings: NatsSettings, options: dict[str, Any], timeout_s: float) -> Client:
    clock = asyncio.get_running_loop().time
    end = clock() + timeout_s
    no_tls = _without_tls(url, settings)
    try:
        return await _greet(url, settings, options, timeout_s, no_tls)
    except NatsError as error:
        cause, left_s = error.__cause__, end - clock()
        silent = isinstance(cause, asyncio.TimeoutError) or "info message" in str(cause).lower()
        if no_tls is None or not silent or left_s <= 0:
            raise
        return await _greet(url, settings, {**options, "tls_handshake_first": True}, left_s, no_tls)


def _without_tls(url: str, settings: NatsSettings) -> NatsRefusedError | None:
    """Return what to say of this server where TLS is wanted and it has none; None where it is not wanted."""
    if url.startswith("tls:"):
        hint = "write nats:// to do without, or switch it on there"
        return NatsRefusedError(f"{settings.url} speaks no TLS", hint)
    if settings.ca or settings.cert:
        hint = "take that away to do without, or switch TLS on there"
        which = "NATS_CA" if settings.ca else "NATS_CERT"
        return NatsRefusedError(f"{settings.url} speaks no TLS, which {which} asks for", hint)
    return None


async def _greet(
    url: str,
    settings: NatsSettings,
    options: dict[str, Any],
    timeout_s: float,
    no_tls: NatsRefusedError | None,
) -> Client:
    """Return a connection; `timeout_s` is for all of the greeting, however it trickles in."""
    client = _Client()
    client.no_tls = no_tls
    cause: Exception = nats.errors.Error("nats: hangs up at once")

    async def give_up(error: Exception) -> None:
        raise error  # the library would try for ever

    try:
        await asyncio.wait_for(client.connect(url, error_cb=give_up, **options), timeout_s)
    except (*CONNECT_ERRORS, AssertionError) as error:
        cause = error
    finally:
        if not client.is_connected:
            await drop(client)
    if client.is_connected:
        return client
    if client._server_info and not isinstance(cause, asyncio.TimeoutError):
        cause = await _last_words(url) or cause
    raise unreachable(settings, cause, options["connect_timeout"]) from cause


async def _last_words(url: str) -> Exception | None:
    """Return what a server says that hangs up at once; nats-py may be told of the end only."""
    parts = urlsplit(url)
    with suppress(OSError, ValueError, asyncio.TimeoutError):
        opened = asyncio.open_connection(parts.hostname, parts.port or 4222)
        reader, writer = await asyncio.wait_for(opened, LAST_WORDS_S)
        try:
            for _ in range(2):
                word, _, text = (await asyncio.wait_for(reader.readline(), LAST_WORDS_S)).partition(b" ")
                if word == b"-ERR":
                    return nats.errors.Error(f"nats: {text.decode().strip()}")
        finally:
            writer.close()
    return None


async def drop(client: Client) -> None:
    """Close what is no connection, or not any more, without sending what waits; never waits long."""
    client._pending.clear()
    client._pending_data_size = 0
    writer = getattr(client._transport, "_io_writer", None)
    if writer is not None:
        writer.transport.abort()
    closing = asyncio.ensure_future(client.close())  # it may raise anything, a CancelledError of its own too
    await asyncio.wait((closing,), timeout=BROKEN_CLOSE_S)
    if not closing.cancel() and not closing.cancelled():
        closing.exception()
