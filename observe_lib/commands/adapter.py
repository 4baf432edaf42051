"""Follow a process-compose and publish what happens to its processes, until Ctrl-C.
The main thread waits for signals; what the adapter needs is imported only when it is run.
"""

import argparse
import os
import socket
from datetime import datetime
from typing import TYPE_CHECKING

from ..flags import add_adapter_flags
from ..settings import (
    VERSION,
    adapter_numbers,
    compose_settings,
    is_container_id,
    nats_settings,
    stack_name,
    stream_limits,
)
from ..signals import stopped_by_signals
from ..text.output import mute, say_note
from ..times import now_utc

if TYPE_CHECKING:
    from ..adapter.adapter import AdapterOptions

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
        return run_adapter(options, say, stop)


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
        push=not args.no_push,
        embedded=not args.no_embedded,
        takeover=args.takeover,
        stream=StreamOptions(**limits),
        version=VERSION,
        born=born,
        **numbers,
    )
