"""Show all of one process: state, run, last events, last crash with the end of its log.
The main thread asks once and prints.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import EXIT_OK, ObserveError, UsageError
from ..events import Event, EventType
from ..flags import add_nats_flags, add_output_flags, add_selection_flags
from ..reader.states import DAY, ProcessRow, Silence
from ..settings import nats_settings
from ..text.output import EventTable, Style, json_line, printable, style_of, write_lines
from ..text.tables import age_words, row_json, selected, silence_words, status_words
from ..text.words import detail
from ..times import format_time

if TYPE_CHECKING:
    from ..reader.consumer import Consumer

ORDER = 5
ARGUMENTS = " NAME"
EXAMPLES = (
    "show default/caddy",
    "show web --stack host-b",
)

#: how many of its last events are shown
EVENTS = 10


@dataclass(frozen=True)
class Portrait:
    """One process: its row, whether that still holds, its last events and its last crash."""

    row: ProcessRow
    silence: Silence | None
    events: Sequence[Event]
    crash: Event | None


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `show`."""
    add_selection_flags(parser)
    add_output_flags(parser)
    add_nats_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Print each process that is named, one below the other; an ObserveError where there is none."""
    flags = vars(args)
    patterns, stack = selected(flags)
    if not patterns:
        raise UsageError("show what?", "name a process: python observe.py show default/caddy")
    settings, style = nats_settings(flags, os.environ), style_of(flags, sys.stdout, os.environ)
    from ..reader.consumer import Consumer

    with Consumer(settings) as consumer:
        portraits = portraits_of(consumer, patterns, stack, style)
    if not portraits:
        named = ", ".join(map(repr, patterns))
        raise ObserveError(f"no process matches {named}", "python observe.py ps shows all there are")
    if style.as_json:
        write_lines(json_line(portrait_json(portrait, style)) for portrait in portraits)
    else:
        for number, portrait in enumerate(portraits):
            write_lines([*([""] if number else []), *portrait_lines(portrait, style)])
    return EXIT_OK


def portraits_of(
    consumer: "Consumer", patterns: Sequence[str], stack: str | None, style: Style
) -> list[Portrait]:
    """Return all that is known of each process that these patterns name."""
    states, found = consumer.states(patterns), []
    for row in states.select(patterns, stack):
        name, owner = str(row.place), row.place.stack
        events, _ = consumer.recent(EVENTS, name, stack=owner, keep=lambda event: not event.companion)
        crash = row.last_crash
        if crash is None and row.crashed_at is not None:  # longer ago than the states look back
            crashes, _ = consumer.recent(1, name, [EventType.CRASHED], stack=owner)
            crash = next(iter(crashes), None)
        found.append(Portrait(row, states.silence(row, style.now()), events, crash))
    return found


def portrait_lines(portrait: Portrait, style: Style) -> Iterator[str]:
    """Yield the lines of one process."""
    row = portrait.row
    yield printable(f"{row.place} on {row.place.stack}")
    for title, words in _facts(portrait, style):
        yield f"  {title:<10}{printable(words)}"
    if portrait.events:
        yield ""
        yield from EventTable(style).replay(portrait.events)
    if crash := portrait.crash:
        yield ""
        yield printable(f"last crash, {style.clock(crash.timestamp)}: {detail(crash, style.clock)}")
        yield from (f"  | {printable(line)}" for line in crash.log_tail or ["(no log was sent along)"])


def _facts(portrait: Portrait, style: Style) -> Iterator[tuple[str, str]]:
    row, now = portrait.row, style.now()
    if portrait.silence is not None:
        was = status_words(row)
        yield "status", f"stale, {was} when last heard of: {silence_words(portrait.silence, style, now)}"
    else:
        yield "status", status_words(row)
    if row.alive and row.since is not None:
        up = "" if portrait.silence else f", up {age_words(row.since, now)}"
        yield "run", f"pid {row.pid or '-'}{up}, since {style.clock(format_time(row.since))}"
    elif row.ended_at is not None:
        code = "" if row.exit_code is None else f", exit {row.exit_code}"
        why = f", {row.reason}" if row.reason not in ("", "exit") else ""
        at = style.clock(format_time(row.ended_at))
        yield "run", f"ended {age_words(row.ended_at, now)} ago, at {at}{code}{why}"
    probe = "with a probe" if row.has_probe else "without a probe"
    yield "health", f"{row.health}, {probe}"
    crashes = row.crashes_since(now - DAY)
    yield "restarts", f"{row.restarts}, and {crashes} crash{'es' * (crashes != 1)} in 24h"


def portrait_json(portrait: Portrait, style: Style) -> dict[str, object]:
    """Return one process as a JSON object."""
    row = portrait.row
    found = row_json(row, portrait.silence, style.now())
    found |= {"state": row.state, "events": [event.to_dict() for event in portrait.events]}
    return found | ({"last_crash": portrait.crash.to_dict()} if portrait.crash else {})
