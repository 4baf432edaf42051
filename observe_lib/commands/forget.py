"""Drop the states of a stack that is no more; its events stay.
The main thread asks, on a terminal, before it does.
"""

import argparse
import os
import sys

from ..calling import how_to_call
from ..errors import EXIT_FAILED, EXIT_OK, ObserveError, UsageError
from ..flags import add_nats_flags
from ..settings import nats_settings
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
    add_nats_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Drop the stack; EXIT_FAILED when somebody said no."""
    if not args.stack.strip():
        raise UsageError("STACK is empty", f"name one: {how_to_call('ps')} shows them")
    settings = nats_settings(vars(args), os.environ)
    from ..reader.consumer import Consumer

    with Consumer(settings) as consumer:
        states = consumer.states(None)
        if args.stack not in states.stacks:
            there = ", ".join(states.stacks) or "none"
            raise ObserveError(f"no stack {args.stack!r} is known", f"there are: {there}")
        consumer.check_forgettable(args.stack)
        count = len(states.select(stack=args.stack, gone=True))
        if not args.yes and not _confirmed(f"drop the states of {args.stack} ({_processes(count)})?"):
            print("nothing was dropped", file=sys.stderr)
            return EXIT_FAILED
        consumer.forget(args.stack)
    if not args.quiet:
        dropped = f"{args.stack} is forgotten: {_processes(count)}"
        print(printable(f"{dropped}; its events stay until they are too old"))
    return EXIT_OK


def _processes(count: int) -> str:
    return f"{count} process{'es' * (count != 1)}"


def _confirmed(question: str) -> bool:
    """Ask on the terminal; UsageError where there is none."""
    if not sys.stdin.isatty():
        raise UsageError(f"{question} nobody is here to say so", "add --yes")
    print(printable(f"{question} [y/N] "), end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
