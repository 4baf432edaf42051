"""Count what became of each process over a time: uptime, crashes, restarts, repairs, blind time.
The main thread reads the stream once, keeps sums, and prints; nothing is published.
"""

import argparse
import os
import sys

from ..calling import how_to_call
from ..errors import EXIT_OK, NatsError
from ..flags import add_nats_flags, add_output_flags, add_selection_flags, add_store_flag
from ..reader.accounts import FLAP_WINDOW_S, FLAPS
from ..reader.audit import Findings, clipped, look_back, range_of
from ..settings import nats_settings
from ..text.accounts import report_json
from ..text.output import json_line, mute, print_note, style_of, write_lines
from ..text.tables import no_match, selected
from .figures import ProcessStrip, report_lines, strip_room

ORDER = 6
ARGUMENTS = " [NAME ...]"
EXAMPLES = (
    "report --since 7d 'shop/*'",
    "report --since 09:00 --until 10:30 --timeline",
)
#: the range where nothing is retained yet
DEFAULT_SINCE = "24h"
DEFINITIONS = f"""\
what the columns mean (blind time, when nobody looked, is in none of them; it is listed below):
  UPTIME    share of the time in which a run lived; "-": it neither ran nor failed to,
            or runs on a schedule or once: RUNS and CRASHES tell of it
  RUNS      runs that lived in that time; CRASHES: bad ends of runs, and launches that failed
  RESTARTS  begun again by the restart policy; ASKED: by a command, a file watch, a reload
  MTBF      mean time between failures: time up per crash
  MTTR      mean time to repair: from a crash until a run lives again
  OUTAGE    the longest time down after a crash; with a "+" it is still down
  FLAPS     {FLAPS} crashes or turns to unhealthy within {FLAP_WINDOW_S / 60:g}m; "now": so at the end"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `report`."""
    parser.description = f"{parser.description}\n\n{DEFINITIONS}"
    add_selection_flags(parser)
    add = parser.add_argument_group("report").add_argument
    add("--since", metavar="WHEN", help="15m (ago), today, 10:41, 2025-10-16T10:41:07Z [all retained]")
    add("--until", metavar="WHEN", help="the same [now]")
    add("--timeline", action="store_true", help="one row per process: up, down, unhealthy, blind")
    add_output_flags(parser)
    add_nats_flags(parser)
    add_store_flag(parser)


def run(args: argparse.Namespace) -> int:
    """Print the report; an ObserveError where nothing matches a name that was asked for."""
    flags = vars(args)
    settings, style = nats_settings(flags, os.environ), style_of(flags, sys.stdout, os.environ)
    (patterns, stack), now = selected(flags), style.now()
    asked = range_of({**flags, "since": flags["since"] or DEFAULT_SINCE}, now)
    note = mute if args.quiet else print_note
    from ..broker.embedded import past_served
    from ..reader.consumer import BULK, Consumer

    with past_served(settings, flags, note), Consumer(settings, name="observe-past", pace=BULK) as consumer:
        kept = consumer.retained()
        if not kept.stream:
            begin = how_to_call("adapter", settings.as_flag)
            note(f"nothing is known on {settings.url} yet (start one: {begin})")
            write_lines([json_line(report_json(Findings(asked, (), ())))] if style.as_json else ())
            return EXIT_OK
        if flags["since"] is None and kept.oldest and kept.oldest < asked.until:
            asked = asked._replace(since=kept.oldest, start=kept.oldest)
        span = clipped(asked, kept)
        states = None
        try:
            states = consumer.stored_states()
        except NatsError as error:
            told = "the bucket cannot be read, so a process without an event in that time is missing"
            note(f"{told}: {error}")
        places = [row.place for row in states.select(patterns, stack)] if states else []
        room = strip_room(places, style) if args.timeline else None
        start, end = span.start.timestamp(), span.until.timestamp()
        strip = (lambda: ProcessStrip(start, end, room)) if room else None
        findings = look_back(consumer, span, states, patterns, stack, strip)
    if not findings.accounts and (patterns or stack):
        raise no_match("report", patterns, stack, settings.as_flag)
    lines = [json_line(report_json(findings))] if style.as_json else report_lines(findings, style, room)
    write_lines(lines)
    return EXIT_OK
