"""JetStream as observe uses it: names, limits, how to connect, how to ensure, how to be read.
Coroutines for the loop thread only; never deletes a stream or a bucket, never prints.
"""

import asyncio
import json
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats.errors
from nats.aio.client import Client, RawCredentials
from nats.js import JetStreamContext, api
from nats.js.errors import (
    APIError,
    BadBucketError,
    BucketNotFoundError,
    NotFoundError,
    ServiceUnavailableError,
)

from .bridge import log
from .config import DEFAULT_NATS_URL, NatsSettings
from .errors import NatsError

STREAM = "PROCESS_EVENTS"
BUCKET = "PROCESS_STATES"
SUBJECTS = ["core.process.>"]
#: how long an event is kept, where no flag and no stream says otherwise
MAX_AGE_S = 86400.0
#: how long the server remembers message ids; never longer than an event is kept
DUPLICATE_WINDOW_S = 3600.0
#: a broken connection is tried again this often, so that a server that is back is found at once
RECONNECT_S = 0.25
#: the longest wait between two tries of a first connection
BACKOFF_MAX_S = 1.0
#: a server takes no longer than this for each step of its greeting
CONNECT_WITHIN_S = 2.0
#: closing a connection that never was one takes no longer
BROKEN_CLOSE_S = 0.5
#: an idle connection is asked this often whether it still lives; three questions unanswered end it
PING_S = 5.0

_START_HINT = "start one (nats-server -js), or name another: NATS_URL or --nats-url"
_BUILT_IN = "leave --nats-url out to use the built-in server"
_SEE_STREAMS = f"nats stream info {STREAM} shows what there is"
#: what to do about what JetStream answers, by its error code: no room for the account, subjects overlap
_HINTS_OF_API = {
    **dict.fromkeys((10002, 10026, 10027), "give this account more room: nats account info shows its limits"),
    10065: f"another stream takes some of {SUBJECTS[0]}: nats stream ls, and narrow or remove that one",
}
_NO_JETSTREAM = {10039, 10076}
_NAME_TAKEN = 10058
#: how the other side of TLS says that it takes no certificate of ours
_CERTIFICATE_ALERTS = ("ALERT_UNKNOWN_CA", "ALERT_BAD_CERTIFICATE", "ALERT_CERTIFICATE")


class NatsRefusedError(NatsError):
    """NATS can be reached, and says no, or it cannot even be asked: trying again mends nothing."""


def ignore(*_: object) -> None:
    """Do nothing: the callback of who does not care."""


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
            return await _connect_once(settings, name, timeout_s, on_link, on_error)
        except NatsError as error:
            if not forever or (heed_refusal and isinstance(error, NatsRefusedError)):
                raise
            if str(error) != said:
                said = str(error)
                on_state(said)
        await asyncio.sleep(wait_s)
        wait_s = min(wait_s * 2, BACKOFF_MAX_S)


class _GaveUp(Exception):
    """Ends the library's first connecting, which would otherwise go on for ever."""


async def _connect_once(
    settings: NatsSettings,
    name: str,
    timeout_s: float,
    on_link: Callable[[bool], None],
    on_error: Callable[[Exception], None],
) -> Client:
    client, servers, failures = Client(), settings.url.split(","), list[Exception]()
    connected = closing = False

    async def note_error(error: Exception) -> None:
        if connected:
            log.debug("nats: %s", error)
            on_error(error)
            return
        failures.append(error)
        if len(failures) >= len(servers) and not closing:
            raise _GaveUp

    async def note_break() -> None:
        if connected:
            on_link(False)

    async def note_return() -> None:
        on_link(True)

    options = {
        **_credentials(settings),
        "servers": servers,
        "name": name,
        "error_cb": note_error,
        "disconnected_cb": note_break,
        "closed_cb": note_break,
        "reconnected_cb": note_return,
        "connect_timeout": min(timeout_s, CONNECT_WITHIN_S),
        "reconnect_time_wait": RECONNECT_S,
        "max_reconnect_attempts": -1,
        "ping_interval": PING_S,
        "max_outstanding_pings": 2,
    }
    try:
        await asyncio.wait_for(client.connect(**options), timeout_s)
        if "tls://" in settings.url and not client._server_info.get(
            "tls_required"
        ):  # it would go on in clear
            raise NatsRefusedError(
                f"{settings.url} speaks no TLS", "write nats:// to do without, or switch it on there"
            )
        connected = True
    except (_GaveUp, asyncio.TimeoutError, OSError, nats.errors.Error) as error:
        cause, within_s = (failures[-1], min(timeout_s, CONNECT_WITHIN_S)) if failures else (error, timeout_s)
        raise unreachable(settings.url, cause, within_s) from cause
    finally:
        if not connected:
            closing = True
            # older nats-py has nothing open yet; asyncio waits for ever after a failed TLS handshake
            with suppress(AttributeError, asyncio.TimeoutError):
                await asyncio.wait_for(client.close(), BROKEN_CLOSE_S)
    return client


def _credentials(settings: NatsSettings) -> dict[str, Any]:
    """Return what nats-py is to be told about who we are, read and checked here.

    nats-py reads a .creds file without a JWT in it for ever, and a broken one again at each reconnect.
    """
    found: dict[str, Any] = {}
    if settings.creds:
        text = _secret(settings.creds)
        if "BEGIN NATS USER JWT" not in text or "BEGIN USER NKEY SEED" not in text:
            raise NatsRefusedError(
                f"{settings.creds} is no NATS credentials file", "make one with: nsc generate creds"
            )
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
    lower, hint, kind = text.lower(), _START_HINT, NatsError
    if "authorization" in lower or "authentication" in lower:
        kind = NatsError if "timeout" in lower else NatsRefusedError
        text, hint = lower, "set NATS_CREDS=/path/to/user.creds, or NATS_USER and NATS_PASSWORD"
    elif isinstance(error, ConnectionRefusedError) or "connect call failed" in lower:
        text = "connection refused"
    elif isinstance(error, socket.gaierror):
        text = "no such host"
    elif isinstance(error, ssl.SSLError):
        ours_refused = any(alert in text for alert in _CERTIFICATE_ALERTS)
        for_good = ours_refused or isinstance(error, ssl.SSLCertVerificationError)
        kind = NatsRefusedError if for_good else NatsError
        text, hint = f"TLS: {text}", "set NATS_CA=/path/to/ca.pem (and NATS_CERT, NATS_KEY)"
    elif isinstance(error, asyncio.TimeoutError):
        text = f"no answer within {timeout_s:g}s"
    elif "info message" in lower:
        text = "what listens there is no NATS"
    return kind(f"{url}: {text}", hint)


@dataclass(frozen=True)
class StreamOptions:
    """What flags ask for; None: as it is, or the default where there is nothing yet."""

    max_age_s: float | None = None
    duplicate_window_s: float | None = None
    replicas: int | None = None


@dataclass(frozen=True)
class EnsuredStream:
    """The stream as it is now, and what was done to it."""

    created: bool
    changed: bool
    max_age_s: float
    duplicate_window_s: float
    storage: str


async def ensure_stream(js: JetStreamContext, options: StreamOptions) -> EnsuredStream:
    """See that PROCESS_EVENTS is there, changing only what the options name.

    NatsError when the server refuses; `nats.errors.TimeoutError` and broken connections pass through.
    """
    created = changed = False
    try:
        try:
            info = await ask_stream(js, "INFO")
        except NotFoundError:
            info, created = await _create_stream(js, options), True
        wanted = _changes(info["config"], options)
        if wanted and not created:
            info, changed = await ask_stream(js, "UPDATE", {**info["config"], **wanted}), True
    except APIError as error:
        raise refused(_where(js), error, f"refuses the stream {STREAM}") from error
    config = info["config"]
    if not any(_covers(subject, SUBJECTS[0]) for subject in config.get("subjects") or ()):
        hint = f"nats stream edit {STREAM} --subjects {SUBJECTS[0]}"
        raise NatsRefusedError(f"there is a stream {STREAM}, but it does not take {SUBJECTS[0]}", hint)
    window_s = config["duplicate_window"] / 1e9
    return EnsuredStream(created, changed, config["max_age"] / 1e9, window_s, config["storage"])


async def _create_stream(js: JetStreamContext, options: StreamOptions) -> dict[str, Any]:
    max_age_s = MAX_AGE_S if options.max_age_s is None else options.max_age_s
    window_s = options.duplicate_window_s or min(DUPLICATE_WINDOW_S, max_age_s or DUPLICATE_WINDOW_S)
    config = api.StreamConfig(
        name=STREAM,
        subjects=SUBJECTS,
        storage=api.StorageType.FILE,
        retention=api.RetentionPolicy.LIMITS,
        max_age=max_age_s,
        duplicate_window=window_s,
        num_replicas=options.replicas or 1,
    )
    try:
        return await ask_stream(js, "CREATE", config.as_dict())
    except APIError as error:
        if error.err_code != _NAME_TAKEN:  # else somebody else was faster: use it as it is
            raise
        return await ask_stream(js, "INFO")


def _changes(config: dict[str, Any], options: StreamOptions) -> dict[str, Any]:
    """Return the settings that differ from what was asked for, as the server writes them."""
    wanted: dict[str, Any] = {}
    if options.max_age_s is not None:
        wanted["max_age"] = int(options.max_age_s * 1e9)
    if options.duplicate_window_s is not None:
        wanted["duplicate_window"] = int(options.duplicate_window_s * 1e9)
    elif 0 < wanted.get("max_age", 0) < config["duplicate_window"]:
        wanted["duplicate_window"] = wanted["max_age"]  # the server takes no longer one
    if options.replicas is not None:
        wanted["num_replicas"] = options.replicas
    return {name: value for name, value in wanted.items() if config.get(name) != value}


async def ask_stream(js: JetStreamContext, verb: str, config: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the JSON of the server's answer; nats-py drops what it does not know of it.

    Raises `APIError` (no stream: `NotFoundError`) and `nats.errors.TimeoutError`.
    """
    body = b"" if config is None else json.dumps(config).encode()
    return await js._api_request(f"{js._prefix}.STREAM.{verb}.{STREAM}", body, timeout=js._timeout)


def _covers(wide: str, narrow: str) -> bool:
    """Whether every subject of `narrow` (which ends in `>`) is one of `wide`."""
    head, _, end = wide.rpartition(".")
    return (end or wide) == ">" and f"{narrow}.".startswith(f"{head}." if head else "")


async def ensure_bucket(js: JetStreamContext, options: StreamOptions) -> bool:
    """See that PROCESS_STATES is there; return whether it was made now. Errors as `ensure_stream`."""
    try:
        await js.key_value(BUCKET)
        return False
    except BucketNotFoundError:
        pass
    except BadBucketError as error:
        hint = f"nats stream rm KV_{BUCKET}"
        raise NatsRefusedError(f"the stream KV_{BUCKET} is no bucket", hint) from error
    except APIError as error:
        raise refused(_where(js), error, f"refuses the bucket {BUCKET}") from error
    config = api.KeyValueConfig(
        BUCKET, history=1, storage=api.StorageType.FILE, replicas=options.replicas or 1
    )
    try:
        await js.create_key_value(config)
    except APIError as error:
        if error.err_code != _NAME_TAKEN:
            raise refused(_where(js), error, f"refuses the bucket {BUCKET}") from error
        return False
    return True


def refused(where: str, error: APIError, what: str) -> NatsError:
    """Return the two lines for what JetStream's API answered; `what` follows the server's address."""
    none = isinstance(error, ServiceUnavailableError) and error.err_code is None
    if none or error.err_code in _NO_JETSTREAM:
        other = "name another one (--nats-url)" if where == DEFAULT_NATS_URL else _BUILT_IN
        return NatsRefusedError(f"{where} has no JetStream", f"start it with -js, or {other}")
    kind = NatsRefusedError if (error.code or 0) // 100 == 4 else NatsError  # 500, 503: not now
    return kind(f"{where} {what}: {error.description}", _HINTS_OF_API.get(error.err_code or 0, _SEE_STREAMS))


def _where(js: JetStreamContext) -> str:
    url = js._nc.connected_url
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}" if url else "NATS"
