"""Follow a process-compose and publish what happens to its processes, until Ctrl-C.
The main thread waits for signals; what the adapter needs is imported only when it is run.
"""

import argparse
import os
import socket
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from ..flags import add_adapter_flags
from ..settings import (
    VERSION,
    adapter_numbers,
    compose_settings,
    is_container_id,
    nats_settings,
    stack_name,
    state_directory,
    stream_limits,
)
from ..signals import stopped_by_signals
from ..text.output import mute, say_note
from ..times import now_utc

if TYPE_CHECKING:
    from ..adapter.adapter import AdapterOptions
    from ..adapter.parts import AdapterParts
    from ..broker.embedded import EmbeddedServer
    from ..log import Say

ORDER = 1
ARGUMENTS = ""
EXAMPLES = (
    "adapter --nats-url nats://127.0.0.1:4222",
    "adapter --compose-port 8080 --poll-interval 500ms",
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `adapter`."""
    add_adapter_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Run it until a signal ends it; an ObserveError where it may not begin."""
    hostname = socket.gethostname()
    options = adapter_options(args, hostname, now_utc())
    from ..adapter.adapter import run_adapter

    say = mute if args.quiet else say_note
    if options.stack == hostname and is_container_id(hostname):
        say("stack", f"{hostname} is a container's id, another one after every start: name it with --stack")
    with stopped_by_signals() as stop:
        return run_adapter(options, say, stop, adapter_parts(args, options, say))


def adapter_options(args: argparse.Namespace, hostname: str, born: datetime) -> "AdapterOptions":
    """Return what the flags, the environment and the host's name say; UsageError where that is nonsense.

    `born`: when the program began; importing the adapter takes a while.
    """
    flags = vars(args)
    compose, nats = compose_settings(flags, os.environ), nats_settings(flags, os.environ)
    stack = stack_name(flags, os.environ, hostname)
    numbers, limits = adapter_numbers(flags), stream_limits(flags)
    from ..adapter.adapter import AdapterOptions
    from ..broker.stream import StreamOptions

    return AdapterOptions(
        compose=compose,
        nats=nats,
        stack=stack,
        state_dir=state_directory(flags, os.environ),
        takeover=args.takeover,
        end_with_project=args.end_with_project,
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
