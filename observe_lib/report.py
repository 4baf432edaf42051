"""The verb `report`: what became of each process over a time, in figures or as a timeline.
The main thread reads the stream once, keeps sums, and prints; nothing is published.
"""

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .accounts import FLAP_WINDOW_S, FLAPS
from .audit import NO_STRIP, Audit
from .config import add_nats_flags, nats_settings
from .errors import EXIT_OK, NatsError, ObserveError, UsageError
from .events import filter_subjects
from .figures import Findings, Range, body_lines, head_lines, report_json, strip_room, tail_lines
from .gaps import Gap
from .output import add_output_flags, json_line, printable, style_of
from .states import States
from .tables import add_selection_flags, selected
from .timeline import ProcessStrip
from .times import now_utc, parse_when

if TYPE_CHECKING:
    from .past import Past

#: how to write a moment
RANGE_HINT = "write it as 15m (ago), 10:41, 10:41:07, 2025-10-16 10:41:07, or 2025-10-16T10:41:07Z"
DEFINITIONS = f"""\
what the columns mean (blind time, when nobody looked, is in none of them; it is listed below):
  UPTIME    share of the time in which a run lived; "-": it neither ran nor failed to
  RUNS      runs that lived in that time; CRASHES: bad ends of runs, and launches that failed
  RESTARTS  begun again by the restart policy; ASKED: by a command, a file watch, a reload
  MTBF      mean time between failures: time up per crash
  MTTR      mean time to repair: from a crash until a run lives again
  OUTAGE    the longest time down after a crash; with a "+" it is still down
  FLAPS     {FLAPS} crashes or turns to unhealthy within {FLAP_WINDOW_S / 60:g}m; "now": so at the end"""


def add_report_flags(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `report`."""
    parser.description = f"{parser.description}\n\n{DEFINITIONS}"
    add_selection_flags(parser)
    add = parser.add_argument_group("report").add_argument
    add("--since", metavar="WHEN", default="24h", help="15m (ago), 10:41, 2025-10-16T10:41:07Z [24h]")
    add("--until", metavar="WHEN", help="the same [now]")
    add("--timeline", action="store_true", help="one row per process: up, down, unhealthy, blind")
    add_output_flags(parser)
    add_nats_flags(parser)


def run_report(args: argparse.Namespace) -> int:
    """Print the report; an ObserveError where nothing matches a name that was asked for."""
    flags = vars(args)
    settings, style = nats_settings(flags, os.environ), style_of(flags, sys.stdout, os.environ)
    asked, (patterns, stack) = range_of(flags, style.now()), selected(flags)
    note = _mute_note if args.quiet else _note
    from .past import Past

    with Past(settings) as past:
        kept = past.retained()
        if not kept.stream:
            note(f"nothing is known on {settings.url} yet (start one: python observe.py adapter)")
            return EXIT_OK
        span = asked._replace(start=max(asked.since, min(kept.since or asked.since, asked.until)))
        states = _states_of(past, note)
        room = strip_room(states, style) if args.timeline else None
        findings = look_back(past, span, states, flags, room)
    if not findings.accounts and (patterns or stack):
        what = ", ".join([*map(repr, patterns), *([f"stack {stack}"] if stack else [])])
        raise ObserveError(f"no process matches {what} in that time", "python observe.py report shows all")
    if style.as_json:
        lines = [json_line(report_json(findings))]
    else:
        lines = [
            *head_lines(findings, style, room),
            *body_lines(findings, style, room),
            *tail_lines(findings, style),
        ]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()
    return EXIT_OK


def range_of(flags: Mapping[str, Any], now: datetime) -> Range:
    """Return the time that these flags name; UsageError where there is none."""
    found = []
    for name, text in (("--since", flags["since"]), ("--until", flags["until"])):
        try:
            found.append(parse_when(text, now) if text is not None else now)
        except ValueError as error:
            raise UsageError(f"{name}: {error}", RANGE_HINT) from error
    since, until = found[0], min(found[1], now)
    if since >= until:
        raise UsageError("that range is empty", "--since is to be earlier than --until, and than now")
    return Range(since, since, until)


def look_back(
    past: "Past", span: Range, states: States | None, flags: dict[str, Any], room: int | None
) -> Findings:
    """Read the stream: first what the observer says of itself, then everything, one event at a time."""
    (since, until), (patterns, stack) = span.stamps, selected(flags)
    strip = (lambda: ProcessStrip(since, until, room)) if room else NO_STRIP
    audit = Audit(since, until, patterns=patterns, stack=stack, strip=strip)
    audit.observe(past.observer_events(span.start), _away(states, since, until))
    for payload in past.payloads(filter_subjects(patterns, ()), span.start):
        audit.add(payload)
    accounts = audit.close(states)
    stacks = sorted({account.place.stack for account in accounts})
    return Findings(span, accounts, [(one, gap) for one in stacks for gap in audit.gaps[one].listed], audit)


def _states_of(past: "Past", note: Callable[[str], None]) -> States | None:
    try:
        return past.states()
    except NatsError as error:
        note(f"the bucket cannot be read, so a process without an event in that time is missing: {error}")
        return None


def _away(states: States | None, since: float, until: float) -> dict[str, Gap]:
    """Return the stacks that nothing is heard of now, and since when."""
    found = {}
    for name, row in states.stacks.items() if states else ():
        if silence := row.silence(now_utc()):
            start = silence.since.timestamp() if silence.since else since
            told = f"no answer: {silence.error}" if silence.error else f"{silence.about} {silence.kind}"
            found[name] = Gap(start, until, told)
    return found


def _note(text: str) -> None:
    with suppress(OSError):
        print(printable(text), file=sys.stderr, flush=True)


def _mute_note(text: str) -> None:
    pass
