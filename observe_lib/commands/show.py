"""Show all of one process: state, run, last events, last crash with the end of its log.
The main thread asks once and prints.
"""

import argparse
import os
import sys

from ..calling import how_to_call
from ..errors import EXIT_OK, UsageError
from ..flags import add_nats_flags, add_output_flags, add_selection_flags, add_store_flag
from ..reader.description import descriptions_of
from ..settings import nats_settings
from ..text.description import description_json, description_lines
from ..text.output import json_line, mute, print_note, style_of, write_lines
from ..text.tables import no_match, selected

ORDER = 5
ARGUMENTS = " NAME"
EXAMPLES = (
    "show default/caddy",
    "show web --stack host-b",
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `show`."""
    add_selection_flags(parser)
    add_output_flags(parser)
    add_nats_flags(parser)
    add_store_flag(parser)


def run(args: argparse.Namespace) -> int:
    """Print each process that is named, one below the other; an ObserveError where there is none."""
    flags = vars(args)
    patterns, stack = selected(flags)
    if not patterns:
        raise UsageError("show what?", f"name a process: {how_to_call('show default/caddy')}")
    settings, style = nats_settings(flags, os.environ), style_of(flags, sys.stdout, os.environ)
    from ..broker.embedded import past_served
    from ..reader.consumer import Consumer

    past = past_served(settings, flags, mute if args.quiet else print_note)
    with past, Consumer(settings) as consumer:
        descriptions = descriptions_of(consumer, patterns, stack, style.now())
    if not descriptions:
        raise no_match("ps", patterns, stack, settings.as_flag)
    if style.as_json:
        write_lines(json_line(description_json(description, style)) for description in descriptions)
    else:
        for number, description in enumerate(descriptions):
            write_lines([*([""] if number else []), *description_lines(description, style)])
    return EXIT_OK
