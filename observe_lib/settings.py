"""The settings: flag, else environment, else default; what makes no sense is a `UsageError` naming its flag.
Pure but for reading the files that hold secrets. No secret is ever part of a text made here.
"""

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from .contexts import with_context
from .errors import UsageError
from .subjects import OBSERVE
from .times import parse_duration, parse_when

#: the only place that holds it; setup.cfg and `observe_lib.__version__` read it from here
VERSION = "0.1.0"
DEFAULT_NATS_URL = "nats://127.0.0.1:4222"
DEFAULT_COMPOSE_ADDRESS = "127.0.0.1"
DEFAULT_COMPOSE_PORT = 28081
#: where process-compose itself listens when nobody says otherwise; only ever a hint
USUAL_COMPOSE_PORT = 8080

#: no stream keeps events for longer
TEN_YEARS_S = 10 * 365 * 86400.0

#: what has this length and is no path may be the secret itself, in the place of its file's name
SECRET_LENGTH = 20

_CONTAINER_ID = re.compile(r"[0-9a-f]{12}|[0-9a-f]{64}")

Flags = Mapping[str, Any]
Environ = Mapping[str, str]


@dataclass(frozen=True)
class ComposeSettings:
    """Where process-compose answers; `port_from` is default, PC_PORT_NUM or --compose-port."""

    address: str = DEFAULT_COMPOSE_ADDRESS
    port: int = DEFAULT_COMPOSE_PORT
    socket: str | None = None
    token: str | None = field(default=None, repr=False)
    port_from: str = "default"

    @property
    def url(self) -> str:
        """The place as people write it, for messages."""
        if self.socket:
            return f"unix:{self.socket}"
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{self.port}"


@dataclass(frozen=True)
class NatsSettings:
    """Where NATS is and who we are there. `url` may be several with commas, and holds no secret."""

    url: str = DEFAULT_NATS_URL
    url_given: bool = False
    creds: str | None = None
    nkey: str | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    ca: str | None = None
    cert: str | None = None
    key: str | None = None

    @property
    def as_flag(self) -> str:
        """The flag that names this server in another terminal, "" for the default one."""
        return "" if self.url == DEFAULT_NATS_URL else f"--nats-url {shlex.quote(self.url)}"


def compose_settings(flags: Flags, environ: Environ) -> ComposeSettings:
    """Return where process-compose is; as in process-compose itself a socket wins over a port."""
    socket, socket_from = _setting(flags, environ, "compose_socket", "PC_SOCKET_PATH")
    address, address_from = _setting(flags, environ, "compose_address", "PC_ADDRESS")
    port, port_from = _setting(flags, environ, "compose_port", "PC_PORT_NUM")
    tcp_flags = [source for source in (address_from, port_from) if source.startswith("--")]
    if tcp_flags and socket_from.startswith("--"):
        raise UsageError(f"{socket_from} and {tcp_flags[0]} exclude each other", "leave one of them out")
    return ComposeSettings(
        address=_compose_host(address_from, address) if address else DEFAULT_COMPOSE_ADDRESS,
        port=whole_number(port_from, port, 1, 65535) if port else DEFAULT_COMPOSE_PORT,
        socket=None if tcp_flags else socket or None,
        token=_compose_token(flags, environ),
        port_from=port_from or "default",
    )


def nats_settings(flags: Flags, environ: Environ) -> NatsSettings:
    """Return where NATS is; credentials within the URL are moved out of it."""
    environ = with_context(environ)
    text, source = _setting(flags, environ, "nats_url", "NATS_URL")
    urls = _nats_urls(source, text or DEFAULT_NATS_URL)
    pairs = [(unquote(url.username or ""), unquote(url.password or "")) for url in urls]
    user, password = next(filter(any, pairs), ("", ""))
    token, user = ("", user) if password else (user, "")  # nats://token@host, as everywhere with NATS
    creds, creds_from = _setting(flags, environ, "nats_creds", "NATS_CREDS")
    files = {name: environ.get(f"NATS_{name.upper()}") for name in ("nkey", "ca", "cert", "key")}
    named = {creds_from: creds, **{f"NATS_{name.upper()}": path for name, path in files.items()}}
    for origin, path in named.items():
        if path:
            _read_setting_file(origin, path)
    return NatsSettings(
        url=",".join(f"{url.scheme}://{url.netloc.rpartition('@')[2]}" for url in urls),
        url_given=bool(text),
        creds=creds or None,
        user=user or environ.get("NATS_USER"),
        password=password or environ.get("NATS_PASSWORD"),
        token=token or environ.get("NATS_TOKEN"),
        **files,
    )


def stack_name(flags: Flags, environ: Environ, hostname: str) -> str:
    """Return the name that this process-compose has among others: --stack, OBSERVE_STACK, the host's name."""
    text, source = _setting(flags, environ, "stack", "OBSERVE_STACK")
    if not text.isprintable():
        what = f"{source} has characters in it that no screen can show: {text!r}"
        raise UsageError(what, "take a plain name")
    name = text or hostname or "localhost"
    if name == OBSERVE:
        raise UsageError(
            f"no stack can have the name {name}: observe keeps its own under it", "name it: --stack NAME"
        )
    return name


def state_directory(flags: Flags, environ: Environ) -> Path | None:
    """Return where this user's observe keeps its files: --state-dir, OBSERVE_STATE_DIR, what systemd made
    for the unit, XDG_STATE_HOME, the home directory; None where there is none of them.
    """
    text, _ = _setting(flags, environ, "state_dir", "OBSERVE_STATE_DIR")
    text = text or environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if text:
        return Path(text).absolute()
    base = Path(environ.get("XDG_STATE_HOME", ""))
    if base.is_absolute():
        return base / "observe"
    try:
        home = Path(environ.get("HOME") or Path.home())
    except RuntimeError:  # neither a variable nor an entry in the list of users
        return None
    return home / ".local/state/observe" if home.is_absolute() else None


def adapter_numbers(flags: Flags) -> dict[str, Any]:
    """Return how often the adapter asks, how long it ends, how much of a log it sends, how much may wait."""
    return {
        "poll_interval_s": duration_of("--poll-interval", flags["poll_interval"], 0.05, 3600),
        "drain_timeout_s": duration_of("--drain-timeout", flags["drain_timeout"], 0.05, 3600),
        "log_lines": whole_number("--log-lines", flags["log_lines"], 0, 1000),
        "max_waiting": whole_number("--max-waiting", flags["max_waiting"], 1000, 100_000_000),
    }


def stream_limits(flags: Flags) -> dict[str, Any]:
    """Return what the adapter's flags ask of the stream; None is: as it is."""
    age, window, copies = flags["max_age"], flags["duplicate_window"], flags["replicas"]
    max_age_s = None if age is None else duration_of("--max-age", age, 1, TEN_YEARS_S)
    window_s = None if window is None else duration_of("--duplicate-window", window, 0.1, TEN_YEARS_S)
    if max_age_s and window_s and window_s > max_age_s:
        raise UsageError("--duplicate-window is longer than --max-age", "make it as long at most")
    replicas = None if copies is None else whole_number("--replicas", copies, 1, 5)
    return {"max_age_s": max_age_s, "duplicate_window_s": window_s, "replicas": replicas}


def is_container_id(hostname: str) -> bool:
    """Whether a host name is one that a container runtime made up: another one after every start."""
    return bool(_CONTAINER_ID.fullmatch(hostname))


def whole_number(source: str, text: str, low: int, high: int) -> int:
    """Return the number that the text of a flag or variable names."""
    if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
        what = f"{source} {text!r} is no number from {low} to {high}"
        raise UsageError(what, "give it such a number, or leave it out")
    return int(text)


def duration_of(source: str, text: str, low_s: float, high_s: float) -> float:
    """Return the seconds that the text of a flag names."""
    hint = "write it as 500ms, 2s, 5m, 1h30m, 1d or 1w"
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise UsageError(f"{source}: {error}", hint) from error
    if not low_s <= seconds <= high_s:
        raise UsageError(f"{source} {text!r} is out of range: {low_s:g} to {high_s:g} seconds", hint)
    return seconds


def moment_of(source: str, text: str, now: datetime, zone: tzinfo | None = None) -> datetime:
    """Return the moment that the text of a flag names; a zone of None is the local one."""
    try:
        return parse_when(text, now, zone)
    except ValueError as error:
        hint = "write it as 15m (ago), 1w, today, 10:41, 2025-10-16 10:41:07, or 2025-10-16T10:41:07Z"
        raise UsageError(f"{source}: {error}", hint) from error


def names(source: str, texts: Iterable[str] | None) -> list[str]:
    """Return the process filters of a repeatable flag; an empty one would match nothing."""
    found = list(texts or ())
    if not all(text.removeprefix("!").strip("/") for text in found):
        raise UsageError(f"{source} is empty", "name a process: caddy, default/caddy, 'default/*'")
    return found


def choices(source: str, texts: Iterable[str] | None, allowed: Iterable[str]) -> list[str]:
    """Return the words of a repeatable flag that takes comma lists, each one allowed."""
    words = [word.strip() for text in texts or () for word in text.split(",")]
    return list(dict.fromkeys(choice(source, word, allowed) for word in words))


def choice(source: str, text: str, allowed: Iterable[str]) -> str:
    """Return the word of a flag that takes one, an allowed one."""
    known = list(allowed)
    if text not in known:
        raise UsageError(f"{source} {text!r} is unknown", f"one of: {', '.join(known)}")
    return text


def _setting(flags: Flags, environ: Environ, name: str, variable: str) -> tuple[str, str]:
    """Return the text and where it is from; an empty variable counts as not set, an empty flag is refused."""
    flag, given = f"--{name.replace('_', '-')}", flags.get(name)
    if given is None:
        text = environ.get(variable, "")
        return text, variable if text else ""
    if not given.strip():
        raise UsageError(f"{flag} is empty", f"give it a value, or leave it out (then ${variable} counts)")
    return given, flag


def _compose_host(source: str, text: str) -> str:
    host = text.removeprefix("[").removesuffix("]")
    if not re.fullmatch(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+(%\w+)?", host):
        what = f"{source} {text!r} is no host name or address"
        raise UsageError(what, "only the host: the port is --compose-port")
    return host


def _nats_urls(source: str, text: str) -> list[SplitResult]:
    """Return the servers of a list with commas; no message shows what is before the last @."""
    before, _, shown = text.rpartition("@")
    hint = "write it as nats://host:4222 (or tls://host:4222)"
    refusal = UsageError(f"{source} {('…@' if before else '') + shown!r} is no NATS address", hint)
    return [_nats_url(one.strip(), refusal) for one in text.split(",")]


def _nats_url(text: str, refusal: UsageError) -> SplitResult:
    """Return one server; `user:password@host:4222` and `host:4222` do without nats://, as with `nats`."""
    if "://" not in text and re.search(r"@|:[0-9]+$", text) and not text.startswith(("nats:", "tls:")):
        text = f"nats://{text}"
    try:
        url = urlsplit(text)
        plain = url.scheme in ("nats", "tls") and url.hostname and url.path in ("", "/") and not url.query
        if not plain or url.port == 0 or not re.fullmatch(r"[A-Za-z0-9._:%-]+", url.hostname or ""):
            raise refusal
    except ValueError:  # a port that is none, half an IPv6 address; it holds what may be a part of a password
        raise refusal from None
    return url


def _compose_token(flags: Flags, environ: Environ) -> str | None:
    path, source = _setting(flags, environ, "token_file", "PC_API_TOKEN_PATH")
    if environ.get("PC_API_TOKEN") and not source.startswith("--"):
        token, where = environ["PC_API_TOKEN"].strip(), "PC_API_TOKEN"
    elif path:
        token, where = _read_setting_file(source, path).strip(), f"{source}: {path}"
    else:
        return None
    if not token or not token.isprintable() or not token.isascii():
        raise UsageError(f"{where} holds no token", "put the token into it, as one line")
    return token


def _read_setting_file(source: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        if not is_path(path):  # `from None`: the error behind it holds the text, too
            what = f"{source} names no file; it is not shown, as it may be the secret itself"
            raise UsageError(what, "put the secret into a file, and name that") from None
        why = error.strerror if isinstance(error, OSError) else "not a text file"
        raise UsageError(f"{source}: {path} cannot be read ({why})", "name a file that is there") from error


def is_path(text: str) -> bool:
    """Whether a text that should name a file looks like one, and not like the secret that belongs into it."""
    if len(text) < SECRET_LENGTH:
        return True
    return text.startswith(("/", "~/", "./", "../")) or bool(re.fullmatch(r"[^\n]+\.\w{1,8}", text))
