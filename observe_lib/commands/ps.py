"""Show what every process of every stack is now, one row each, trouble first.
The main thread asks once and prints; nothing is kept open.
"""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ..calling import how_to_call
from ..errors import EXIT_OK
from ..flags import add_nats_flags, add_output_flags, add_selection_flags, add_store_flag
from ..reader.states import stale_stacks_of
from ..rows import CONDITIONS, ProcessRow, Stale
from ..settings import choice, nats_settings
from ..text.output import Style, json_line, mute, painted, print_note, style_of, write_lines
from ..text.rows import age_words, silence_lines, stale_lines, status_cell, waiting_lines
from ..text.tables import no_match, plain_table, selected
from ..times import seconds_between

ORDER = 3
ARGUMENTS = " [NAME ...]"
EXAMPLES = (
    "ps 'shop/*' --sort crashes",
    "ps --stack host-a --json",
)

HEADERS = ("STACK", "PROCESS", "STATUS", "HEALTH", "PID", "UP", "RESTARTS", "CRASHES/24H", "LAST EVENT")
#: on a narrow screen these titles become short, and then these columns give way, in this order
SHORT = {"RESTARTS": "RST", "CRASHES/24H": "CR/24H"}
NARROWED = ("CRASHES/24H", "LAST EVENT", "HEALTH", "PID", "RESTARTS", "STACK", "UP")
#: conditions in grey: nothing is wrong, and nothing is to come
GREY = frozenset(("down", "ended"))
#: what rows can be sorted by: names from a to z, numbers and ages the most interesting first
SORTS: dict[str, Callable[[ProcessRow, Stale | None, datetime], Any]] = {
    "trouble": lambda row, stale, now: CONDITIONS.index(row.condition(now, stale)),
    "name": lambda row, stale, now: row.place,
    "status": lambda row, stale, now: row.status,
    "up": lambda row, stale, now: -seconds_between(row.since, now) if row.since else 0.0,
    "restarts": lambda row, stale, now: -row.restarts,
    "crashes": lambda row, stale, now: -row.crashes_24h(now),
    "last": lambda row, stale, now: -row.last_at.timestamp() if row.last_at else 0.0,
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `ps`."""
    add_selection_flags(parser)
    parser.add_argument("--sort", metavar="BY", default="trouble", help=f"{', '.join(SORTS)} [trouble]")
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
        states = consumer.stored_states(patterns, stack)
    now = style.now()
    stale, key = stale_stacks_of(states, now), SORTS[sort]
    rows = states.select(patterns, stack)
    rows.sort(key=lambda row: key(row, stale.get(row.place.stack), now))
    if not rows:
        if patterns or stack:
            raise no_match("ps", patterns, stack, settings.as_flag)
        start = how_to_call("adapter", settings.as_flag)
        print_note(f"nothing is known on {settings.url} yet (start one: {start})")
    elif style.as_json:
        write_lines(json_line(row.to_dict(now, stale.get(row.place.stack))) for row in rows)
    else:
        write_lines(table_of(rows, stale, style, now))
        below = [*stale_lines(states, rows, style, now), *waiting_lines(states, rows)]
        below += silence_lines(states.silences, rows, style, now)
        for line in [] if args.quiet else below:
            print_note(line)
    return EXIT_OK


def table_of(
    rows: Sequence[ProcessRow], stale: Mapping[str, Stale], style: Style, now: datetime
) -> list[str]:
    """Return the lines of the table: STACK only where there are several, grey what only is there."""
    shown = HEADERS if len({row.place.stack for row in rows}) > 1 else HEADERS[1:]
    table = []
    for row in rows:
        cells = dict(zip(HEADERS, cells_of(row, stale.get(row.place.stack), now), strict=True))
        table.append({title: cells[title] for title in shown})
    title, *lines = plain_table(table, style.columns(), NARROWED, SHORT)
    if style.colour:
        for at, row in enumerate(rows):
            grey = row.condition(now, stale.get(row.place.stack)) in GREY
            lines[at] = painted(lines[at], "dim" if grey else "")
    return [title, *lines]


def cells_of(row: ProcessRow, stale: Stale | None, now: datetime) -> Sequence[str]:
    """Return the cells of a row; of one that may no longer hold only what is past."""
    last = f"{row.last_type} {age_words(row.last_at, now)} ago" if row.last_at else "-"
    past = (str(row.restarts), str(row.crashes_24h(now)), last)
    name, status = str(row.place), status_cell(row, stale, now) or "-"
    if stale:
        return row.place.stack, name, status, "-", "-", "-", *past
    pid, up = str(row.pid or "-"), age_words(row.since, now)
    return row.place.stack, name, status, row.health, pid, up, *past
