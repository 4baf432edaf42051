"""Drop the states of a stack that is no more, with its outbox on this host; its events stay.
The main thread asks, on a terminal, before it does.
"""

import argparse
import os
import sys

from ..calling import how_to_call
from ..errors import EXIT_FAILED, EXIT_OK, ObserveError, UsageError
from ..flags import add_nats_flags
from ..settings import nats_settings, state_directory
from ..text.output import printable

ORDER = 8
ARGUMENTS = " STACK"
EXAMPLES = (
    "forget old-host",
    "forget old-host --yes",
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `forget`."""
    parser.add_argument("stack", metavar="STACK", help="as `ps` shows it")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--state-dir", metavar="DIR", help="its files [OBSERVE_STATE_DIR, ~/.local/state/observe]"
    )
    add_nats_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Drop the stack; EXIT_FAILED when somebody said no."""
    settings = nats_settings(vars(args), os.environ)
    if not args.stack.strip():
        raise UsageError("STACK is empty", f"name one: {how_to_call('ps', settings.as_flag)} shows them")
    from ..adapter.outbox_facts import look
    from ..adapter.outbox_file import remove_file
    from ..reader.consumer import Consumer

    directory = state_directory(vars(args), os.environ)
    outbox = look(directory, args.stack) if directory else None
    with Consumer(settings) as consumer:
        states = consumer.stored_states(stack=args.stack)
        if args.stack not in states.stacks and outbox is None:
            there = ", ".join(consumer.stored_states().stacks) or "none"
            raise ObserveError(f"no stack {args.stack!r} is known", f"there are: {there}")
        consumer.check_forgettable(args.stack, states)
        if outbox is not None and outbox.held:
            raise ObserveError(f"pid {outbox.pid or '?'} has {outbox.path} open", "stop it first")
        what = ", ".join([_processes(len(states.rows)), *_never_sent(outbox.waiting if outbox else 0)])
        if not args.yes and not _confirmed(f"drop the states of {args.stack} ({what})?"):
            print("nothing was dropped", file=sys.stderr)
            return EXIT_FAILED
        consumer.forget(args.stack)
        if outbox is not None:
            remove_file(outbox.path, args.stack)
    if not args.quiet:
        print(printable(f"{args.stack} is forgotten: {what}; its events stay until they are too old"))
    return EXIT_OK


def _processes(count: int) -> str:
    return f"{count} process{'es' * (count != 1)}"


def _never_sent(waiting: int) -> list[str]:
    """Return what is lost with the outbox: events that never got to NATS."""
    return [f"{waiting:,} event{'s' * (waiting != 1)} never sent"] if waiting else []


def _confirmed(question: str) -> bool:
    """Ask on the terminal; UsageError where there is none."""
    if not sys.stdin.isatty():
        raise UsageError(f"{question} nobody is here to say so", "add --yes")
    print(printable(f"{question} [y/N] "), end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
