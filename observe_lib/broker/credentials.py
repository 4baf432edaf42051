"""Who we are for NATS, and what its refusals mean: what nats-py is told, and two lines for each trouble.
Reads the files that hold secrets, each time anew; asks nobody over the network, and never prints.
"""

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any

import nats.errors
from nats.aio.client import RawCredentials

from ..errors import NatsError, NatsRefusedError
from ..settings import NatsSettings, is_path

#: what to do where nobody listens
START_HINT = "start one (nats-server -js), or name another: NATS_URL or --nats-url"
_TLS_HINT = "set NATS_CA=/path/to/ca.pem (and NATS_CERT, NATS_KEY)"
_FULL_HINT = "raise max_connections there, or end programs that hold some: nats server report connections"
#: how the other side of TLS says that it takes no certificate of ours
_CERTIFICATE_ALERTS = ("ALERT_UNKNOWN_CA", "ALERT_BAD_CERTIFICATE", "ALERT_CERTIFICATE")


def credentials_of(settings: NatsSettings) -> dict[str, Any]:
    """Return what nats-py is to be told about who we are, read and checked here; NatsRefusedError.

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
        why = error.strerror if isinstance(error, OSError) else "not a text file"
        shown = path if is_path(path) else "the file with the NATS credentials"
        raise NatsRefusedError(f"{shown} cannot be read ({why})", "name one that can be") from None


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


def unreachable(settings: NatsSettings, error: Exception, timeout_s: float) -> NatsError:
    """Return the two lines that say why there is no connection; NatsRefusedError: it will not pass."""
    text = (str(error) or type(error).__name__).removeprefix("nats: ").strip("'")
    lower, hint, for_good = text.lower(), START_HINT, False
    if "authorization" in lower or "authentication" in lower:
        text, hint = lower, "set NATS_CREDS=/path/to/user.creds, or NATS_USER and NATS_PASSWORD"
        for_good = "timeout" not in lower
    elif "connections exceeded" in lower:
        text, hint = f"full, {lower}", _FULL_HINT
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
    elif "info message" in lower or not isinstance(error, (OSError, nats.errors.Error)):
        text = "what listens there is no NATS"
    elif settings.ca and not settings.cert:  # TLS 1.3 asks for a certificate after its handshake
        text, hint = f"{lower}: it may want a client's certificate", _TLS_HINT
    return (NatsRefusedError if for_good else NatsError)(f"{settings.url}: {text}", hint)


def grant_for(verb: str, subject: str) -> str:
    """Return the permission that is missing where this was refused; the server tells it in lower case."""
    if verb == "subscription":
        return "subscribe on _INBOX.>"
    wide = {"$js.": "$JS.API.>", "$kv.": "$KV.PROCESS_STATES.>"}.get(subject.lower()[:4], "core.process.>")
    return f"publish on {wide}"
