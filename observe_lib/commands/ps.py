"""Show what every process of every stack is now, one row each.
The main thread asks once and prints; nothing is kept open.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from ..calling import how_to_call
from ..errors import EXIT_OK, ObserveError
from ..flags import add_nats_flags, add_output_flags, add_selection_flags, add_store_flag
from ..reader.states import States
from ..rows import DAY, ProcessRow
from ..settings import choice, nats_settings
from ..text.output import json_line, mute, print_note, style_of, write_lines
from ..text.rows import age_words, row_json, stale_lines
from ..text.tables import plain_table, selected
from ..times import parse_time, seconds_between

ORDER = 3
ARGUMENTS = " [NAME ...]"
EXAMPLES = (
    "ps 'shop/*' --sort crashes",
    "ps --stack host-a --json",
)

HEADERS = ("STACK", "PROCESS", "STATUS", "HEALTH", "PID", "UP", "RESTARTS", "CRASHES/24H", "LAST EVENT")
#: on a narrow screen these columns give way, in this order
NARROWED = ("RESTARTS", "PID", "CRASHES/24H", "LAST EVENT", "HEALTH", "STACK", "UP")
#: what rows can be sorted by: names from a to z, numbers and ages the most interesting first
SORTS: dict[str, Callable[[ProcessRow, datetime], Any]] = {
    "name": lambda row, now: row.place,
    "status": lambda row, now: row.status,
    "up": lambda row, now: -seconds_between(row.since, now) if row.since else 0.0,
    "restarts": lambda row, now: -row.restarts,
    "crashes": lambda row, now: -row.crashes_since(now - DAY),
    "last": lambda row, now: -parse_time(row.last.timestamp).timestamp() if row.last else 0.0,
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `ps`."""
    add_selection_flags(parser)
    parser.add_argument("--sort", metavar="BY", default="name", help=f"{', '.join(SORTS)} [name]")
    add_output_flags(parser)
    add_nats_flags(parser)
    add_store_flag(parser)


def run(args: argparse.Namespace) -> int:
    """Print the table; an ObserveError where a name was asked for that there is not."""
    flags = vars(args)
    patterns, stack = selected(flags)
    sort = choice("--sort", flags["sort"], SORTS)
    settings, style = nats_settings(flags, os.environ), style_of(flags, sys.stdout, os.environ)
    from ..broker.embedded import past_served
    from ..reader.consumer import Consumer

    past = past_served(settings, flags, mute if args.quiet else print_note)
    with past, Consumer(settings) as consumer:
        states = consumer.states(patterns)
    now = style.now()
    rows = sorted(states.select(patterns, stack), key=lambda row: (SORTS[sort](row, now), row.place))
    if not rows:
        if what := [*map(repr, patterns), *([f"stack {stack}"] if stack else [])]:
            hint = f"{how_to_call('ps', settings.as_flag)} shows all there are"
            raise ObserveError(f"no process matches {', '.join(what)}", hint)
        start = how_to_call("adapter", settings.as_flag)
        print_note(f"nothing is known on {settings.url} yet (start one: {start})")
    elif style.as_json:
        write_lines(json_line(row_json(row, states.stale(row, now), now)) for row in rows)
    else:
        cells = [dict(zip(HEADERS, cells_of(row, states, now), strict=True)) for row in rows]
        write_lines(plain_table(cells, style.columns(), NARROWED))
        for line in [] if args.quiet else stale_lines(states, rows, style, now):
            print_note(line)
    return EXIT_OK


def cells_of(row: ProcessRow, states: States, now: datetime) -> Sequence[str]:
    """Return the cells of a row; of one that may no longer hold only what is past."""
    last = f"{row.last.type} {age_words(parse_time(row.last.timestamp), now)} ago" if row.last else "-"
    past = (str(row.restarts), str(row.crashes_since(now - DAY)), last)
    if states.stale(row, now):
        return row.place.stack, str(row.place), "stale", "-", "-", "-", *past
    pid, up = str(row.pid or "-"), age_words(row.since, now)
    return row.place.stack, str(row.place), row.status or "-", row.health, pid, up, *past
