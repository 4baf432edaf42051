"""The flags of the verb `adapter`, what they ask for, and the parts it is given. Runs in the main thread.
Apart from `adapter` itself, so that its help needs no package.
"""

import argparse
import os
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..settings import (
    VERSION,
    Flags,
    add_compose_flags,
    add_nats_flags,
    compose_settings,
    duration_of,
    nats_settings,
    stack_name,
    state_directory,
    whole_number,
)

if TYPE_CHECKING:
    from ..adapter.adapter import AdapterOptions
    from ..adapter.parts import AdapterParts
    from ..broker.embedded import EmbeddedServer
    from ..log import Say

#: no stream keeps events for longer
TEN_YEARS_S = 10 * 365 * 86400.0


def add_adapter_flags(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `adapter`."""
    add = parser.add_argument
    add("--poll-interval", metavar="TIME", default="2s", help="how often to ask process-compose [2s]")
    add("--stack", metavar="NAME", help="what to call this process-compose [OBSERVE_STACK, the host's name]")
    add("--takeover", action="store_true", help="replace the adapter that holds this stack")
    add(
        "--state-dir",
        metavar="DIR",
        help="what is known and waits [OBSERVE_STATE_DIR, ~/.local/state/observe]",
    )
    add("--no-push", action="store_true", help="poll only, without process-compose's push stream")
    add("--no-embedded", action="store_true", help="never start a NATS server of its own")
    add("--log-lines", metavar="N", default="20", help="log lines sent along with a crash, 0: none [20]")
    add("--drain-timeout", metavar="TIME", default="5s", help="how long to flush when ending [5s]")
    add("--max-age", metavar="TIME", help="how long the stream keeps events [as it is, 24h for a new one]")
    add("--duplicate-window", metavar="TIME", help="the stream's [as it is, 10m at most for a new one]")
    add("--replicas", metavar="N", help="the stream's and the bucket's [as it is, 1 for new ones]")
    add_compose_flags(parser)
    add_nats_flags(parser)


def check_adapter_flags(given: Flags) -> None:
    """UsageError where a flag is nonsense; no file is looked at, it may be for another user's eyes."""
    files = {name: None for name in ("token_file", "nats_creds") if (given[name] or "").strip()}
    compose_settings({**given, **files}, {})
    nats_settings({**given, **files}, {})
    stack_name(given, {}, "")
    _numbers_of(given)
    _limits_of(given)


def _numbers_of(given: Flags) -> dict[str, Any]:
    return {
        "poll_interval_s": duration_of("--poll-interval", given["poll_interval"], 0.05, 3600),
        "drain_timeout_s": duration_of("--drain-timeout", given["drain_timeout"], 0.05, 3600),
        "log_lines": whole_number("--log-lines", given["log_lines"], 0, 1000),
    }


def _limits_of(given: Flags) -> dict[str, Any]:
    """Return what is asked of the stream; None is: as it is."""
    age, window, copies = given["max_age"], given["duplicate_window"], given["replicas"]
    max_age_s = None if age is None else duration_of("--max-age", age, 1, TEN_YEARS_S)
    window_s = None if window is None else duration_of("--duplicate-window", window, 0.1, TEN_YEARS_S)
    if max_age_s and window_s and window_s > max_age_s:
        raise UsageError("--duplicate-window is longer than --max-age", "make it as long at most")
    replicas = None if copies is None else whole_number("--replicas", copies, 1, 5)
    return {"max_age_s": max_age_s, "duplicate_window_s": window_s, "replicas": replicas}


def adapter_options(args: argparse.Namespace, hostname: str, born: datetime) -> "AdapterOptions":
    """Return what the flags, the environment and the host's name say; UsageError where that is nonsense.

    `born`: when the program began; importing the adapter takes a while.
    """
    flags = vars(args)
    compose, nats = compose_settings(flags, os.environ), nats_settings(flags, os.environ)
    stack = stack_name(flags, os.environ, hostname)
    numbers, limits = _numbers_of(flags), _limits_of(flags)
    from ..adapter.adapter import AdapterOptions
    from ..broker.stream import StreamOptions

    return AdapterOptions(
        compose=compose,
        nats=nats,
        stack=stack,
        state_dir=state_directory(flags, os.environ),
        takeover=args.takeover,
        stream=StreamOptions(**limits),
        version=VERSION,
        born=born,
        **numbers,
    )


def adapter_parts(args: argparse.Namespace, options: "AdapterOptions", say: "Say") -> "AdapterParts":
    """Return the parts that an adapter can do without, as the flags ask for them; says what cannot be."""
    from ..adapter.parts import AdapterParts
    from ..adapter.systemd import stay, tell_systemd
    from ..compose.logs import log_fetcher
    from ..compose.push import open_push_stream

    return AdapterParts(
        push=None if args.no_push else partial(open_push_stream, options.compose, say),
        logs=log_fetcher(options.compose),
        server=None if args.no_embedded or options.nats.url_given else _own_server(options, say),
        notify=tell_systemd,
        stay=stay,
    )


def _own_server(options: "AdapterOptions", say: "Say") -> "EmbeddedServer | None":
    from ..broker.embedded import EmbeddedServer

    if options.state_dir is None:
        say("nats", "there is no home directory for a NATS server's store")
        say("", "name a directory: --state-dir, or name a NATS: --nats-url")
        return None
    return EmbeddedServer(options.nats.url, options.state_dir / "nats", say)
