"""Show it all at once: real processes, an adapter and watch, over a NATS of its own.
The main thread shows it; the parts have threads of their own, and nothing is left behind.
"""

import argparse
import os
import sys

from ..settings import whole_number
from ..signals import stopped_by_signals
from ..text.output import mute, say_note, style_of

ORDER = 11
ARGUMENTS = ""
EXAMPLES = (
    "demo",
    "demo --seconds 20",
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `demo`."""
    parser.add_argument("--seconds", metavar="N", help="end after N seconds [go on until Ctrl-C]")


def run(args: argparse.Namespace) -> int:
    """Run it until Ctrl-C, or for as long as was said."""
    seconds = None if args.seconds is None else whole_number("--seconds", args.seconds, 1, 86400)
    from .demo import run_demo

    style = style_of({"output": None}, sys.stdout, os.environ)
    with stopped_by_signals() as stop:
        return run_demo(seconds, style, say_note if args.verbose else mute, stop)
