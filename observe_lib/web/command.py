"""Serve what ps, show and watch know as one live page, as JSON and as metrics, until Ctrl-C.
The main thread wires Consumer, `LiveStates` and server together, and waits; each has threads of its own.
"""

import argparse
import glob
import ipaddress
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ..calling import how_to_call
from ..errors import EXIT_OK, ObserveError, UsageError
from ..events import Event, EventType
from ..flags import add_nats_flags, add_store_flag
from ..reader.audit import clipped, look_back, range_of
from ..reader.description import descriptions_of
from ..rows import DAY
from ..settings import NatsSettings, choices, names, nats_settings, whole_number
from ..signals import Stop
from ..text.accounts import report_json
from ..text.description import description_json
from ..text.output import Style, say_note
from ..times import now_utc, parse_time
from .live import RING, LiveStates, page_event
from .metrics import METRICS_TYPE
from .page import page_html, page_policy
from .server import HTML_TYPE, TEXT_TYPE, Answer, Guard, Query, Site, WebServer, json_body

if TYPE_CHECKING:
    from ..reader.consumer import Consumer

ORDER = 9
ARGUMENTS = ""
EXAMPLES = (
    "web",
    "web --listen 0.0.0.0:8282 --web-token-file /etc/observe.token",
)

WEB_LISTEN = "127.0.0.1:8282"
#: a token that can be guessed is none
TOKEN_LENGTH = 16
#: the timelines begin with so many of the stored events, as far as they are of the last day
HISTORY = 5 * RING
#: so many events are given at once, unless more are asked for
EVENTS_GIVEN, EVENTS_MOST = 200, 10_000
#: so many questions are put to NATS at one time
QUESTIONS = 4
QUESTION_S = 10.0


@dataclass(frozen=True)
class WebOptions:
    """Where to listen (an address, not a name), and who may ask."""

    address: str
    port: int
    hosts: frozenset[str] = frozenset()
    token: str | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """The page's address, for messages."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{self.port}"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `web`."""
    listen = f"where to serve; beyond this machine only with a token [{WEB_LISTEN}]"
    parser.add_argument("--listen", metavar="ADDRESS:PORT", default=WEB_LISTEN, help=listen)
    parser.add_argument(
        "--web-token-file", metavar="FILE", help="a file with the token that is demanded [none]"
    )
    allow = "a name that this page is reached by, beside addresses and localhost; repeatable"
    parser.add_argument("--allow-host", metavar="NAME", action="append", help=allow)
    add_nats_flags(parser)
    add_store_flag(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C; an ObserveError where the address cannot be had, or NATS not be reached."""
    flags = vars(args)
    options, settings = web_options(flags), nats_settings(flags, os.environ)
    from ..broker.embedded import past_served

    with past_served(settings, flags, follow=True), serve_web(options, settings) as server:
        if not args.quiet:
            _say_where(replace(options, port=server.port))
        Stop().wait()
    return EXIT_OK


def web_options(flags: Mapping[str, object]) -> WebOptions:
    """Return where to listen and what to demand; UsageError where that would not be safe."""
    address, port = listen_address(str(flags["listen"]))
    path = flags["web_token_file"]
    token = read_web_token(str(path)) if path is not None else None
    if token is None and not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
        hint = "add --web-token-file FILE, or listen on 127.0.0.1 only (and use ssh -L, or a proxy)"
        raise UsageError(f"--listen {flags['listen']} can be reached by others: a token is needed", hint)
    hosts = flags["allow_host"] or []
    assert isinstance(hosts, list)
    for host in hosts:
        if not re.fullmatch(r"[\w.-]+", host):
            raise UsageError(f"--allow-host {host!r} is no host name", "only the name: ops.example")
    return WebOptions(address, port, frozenset(str(host).lower().rstrip(".") for host in hosts), token)


def listen_address(text: str) -> tuple[str, int]:
    """Return the address and port that `127.0.0.1:8282`, `[::1]:8282`, `localhost:8282` or `8282` name."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if colon else "127.0.0.1"
    try:
        is_plain = host and re.fullmatch("[0-9]{1,5}", port) and (":" in host) == ("[" in text)
        if not is_plain or int(port) > 65535:
            raise ValueError(port)
        found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        hint = f"write it as {WEB_LISTEN}, or [::1]:8282"
        raise UsageError(f"--listen {text!r} is no address to listen on", hint) from error
    return str(found[0][4][0]), int(port)


def read_web_token(path: str) -> str:
    """Return the token in a file; UsageError where there is none, or one that can be guessed."""
    try:
        token = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise UsageError(f"--web-token-file: {path} cannot be read", "name a file that is there") from error
    if len(token) < TOKEN_LENGTH or not token.isprintable() or not token.isascii() or " " in token:
        hint = f"put a random one in: python3 -c 'import secrets; print(secrets.token_urlsafe())' > {path}"
        raise UsageError(
            f"--web-token-file: {path} holds no token of {TOKEN_LENGTH} characters or more", hint
        )
    return token


@contextmanager
def serve_web(options: WebOptions, settings: NatsSettings) -> Iterator[WebServer]:
    """Serve the page while the block runs."""
    from ..reader.consumer import Consumer

    with ExitStack() as parts:
        consumer = parts.enter_context(Consumer(settings, name="observe web"))
        live = begin_live(consumer)
        parts.callback(live.stop)
        site, guard = site_of(live, consumer, settings), Guard(options.hosts, options.token)
        try:
            server = WebServer(options.address, options.port, site, guard).start()
        except OSError as error:
            hint = f"take another one: --listen 127.0.0.1:{min(options.port + 1, 65535)}"
            raise ObserveError(f"{options.url} cannot be had: {error.strerror or error}", hint) from error
        parts.callback(server.stop)
        yield server


def begin_live(consumer: "Consumer") -> LiveStates:
    """Return the stream of states, begun with what is stored."""
    now = now_utc()
    stored, last_seq = consumer.recent(HISTORY, keep=lambda event: True)
    day = [event for event in stored if _seen_at(event) >= now - DAY]
    # where there is more than that, nothing is known of what was before the first of them
    since = min(map(_seen_at, stored)) if len(stored) == HISTORY else now - DAY
    live = LiveStates(consumer, consumer.follow_states(), max(since, now - DAY))  # still being read
    consumer.subscribe(live.hear, start_seq=last_seq + 1)
    return live.start(day)


def _seen_at(event: Event) -> datetime:
    return parse_time(event.seen_at)


def _say_where(options: WebOptions) -> None:
    say_note("web", f"{options.url}, until Ctrl-C")
    if options.token is not None:
        say_note("", "open it once as /?token=... with the token of your file")


# --- what can be asked ---


def site_of(live: LiveStates, consumer: "Consumer", settings: NatsSettings) -> Site:
    """Return every route."""
    page, policy = (
        page_html(how_to_call("adapter", settings.as_flag)),
        {"Content-Security-Policy": page_policy()},
    )
    questions = threading.BoundedSemaphore(QUESTIONS)

    def asking(question: Callable[[Query], Answer]) -> Callable[[Query], Answer]:
        def answer(query: Query) -> Answer:
            if not live.connected:
                raise ObserveError("NATS is away", "it is tried again; ask again when /healthz says ok")
            if not questions.acquire(timeout=QUESTION_S):
                raise ObserveError("too many questions at once", "ask again in a moment")
            try:
                return question(query)
            finally:
                questions.release()

        return answer

    def health(_: Query) -> Answer:
        return Answer(b"ok\n", TEXT_TYPE) if live.connected else Answer(b"NATS is away\n", TEXT_TYPE, 503)

    return Site(
        {
            "/": lambda query: Answer(page, HTML_TYPE, headers=policy),
            "/healthz": health,
            "/metrics": lambda query: Answer(live.metrics().encode("utf-8", "replace"), METRICS_TYPE),
            "/api/states": lambda query: Answer(json_body(live.states_json())),
            "/api/events": asking(lambda query: events_answer(consumer, query)),
            "/api/process": asking(lambda query: process_answer(consumer, query)),
            "/api/report": asking(lambda query: report_answer(settings, query)),
        },
        live.listen,
        live.leave,
    )


def events_answer(consumer: "Consumer", query: Query) -> Answer:
    """Return the last stored events that the query lets through, oldest first, as they are stored."""
    _refuse_unknown(query, ("since", "until", "type", "process", "stack", "limit"))
    types = choices("type", query.get("type"), [str(one) for one in EventType])
    found, _ = consumer.recent(
        whole_number("limit", _one(query, "limit") or str(EVENTS_GIVEN), 1, EVENTS_MOST),
        query.get("process", ()),
        types,
        keep=lambda event: True,
        since=_one(query, "since"),
        until=_one(query, "until"),
        stack=_one(query, "stack"),
    )
    return Answer(json_body({"events": [event.to_dict() for event in found]}))


def process_answer(consumer: "Consumer", query: Query) -> Answer:
    """Return all of one process: its row, its state as it was sent, last events, last crash."""
    _refuse_unknown(query, ("stack", "namespace", "process"))
    stack, namespace, process = (_one(query, name) or "" for name in ("stack", "namespace", "process"))
    if not (stack and namespace and process):
        raise UsageError("which process?", "ask with stack, namespace and process")
    style = Style(as_json=True)
    for found in descriptions_of(consumer, [glob.escape(f"{namespace}/{process}")], stack, style.now()):
        if found.row.place == (stack, namespace, process):
            told = description_json(found, style) | {"events": [page_event(event) for event in found.events]}
            if found.crash is not None:
                told["last_crash"] = page_event(found.crash) | {"log_tail": found.crash.log_tail or []}
            return Answer(json_body(told))
    return Answer(json_body({"error": f"there is no {namespace}/{process} on {stack} any more"}), status=404)


def report_answer(settings: NatsSettings, query: Query) -> Answer:
    """Return what `report --json` prints; over a connection of its own, as it may read the whole stream."""
    _refuse_unknown(query, ("since", "until", "process", "stack"))
    from ..reader.consumer import BULK, Consumer

    patterns, stack = names("process", query.get("process", [])), _one(query, "stack")
    asked = range_of({"since": _one(query, "since") or "24h", "until": _one(query, "until")}, now_utc())
    with Consumer(settings, name="observe-past", pace=BULK) as consumer:
        kept = consumer.retained()
        if not kept.stream:
            raise ObserveError(f"nothing is known on {settings.url} yet", "start an adapter")
        findings = look_back(consumer, clipped(asked, kept), consumer.stored_states(), patterns, stack)
    return Answer(json_body(report_json(findings)))


def _one(query: Query, name: str) -> str | None:
    return query.get(name, [""])[-1] or None


def _refuse_unknown(query: Query, known: tuple[str, ...]) -> None:
    if others := [name for name in query if name not in known]:
        raise UsageError(f"{others[0]!r} is unknown", f"there are: {', '.join(known)}")
