"""Count what became of each process over a time: uptime, crashes, restarts, repairs, blind time.
The main thread reads the stream once, keeps sums, and prints; nothing is published.
"""

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..errors import EXIT_OK, NatsError, ObserveError, UsageError
from ..events import Event, filter_subjects, process_matches
from ..flags import add_nats_flags, add_output_flags, add_selection_flags
from ..reader.facts import fact_of
from ..reader.gaps import Gap, Gaps, find_gaps
from ..reader.states import Place, States
from ..settings import moment_of, nats_settings
from ..text.output import json_line, mute, print_note, style_of, write_lines
from ..text.tables import selected
from ..times import UTC, now_utc, parse_time
from .accounts import FLAP_WINDOW_S, FLAPS, Account
from .figures import Findings, ProcessStrip, Range, report_json, report_lines, strip_room

if TYPE_CHECKING:
    from ..reader.past import Past, Retained

ORDER = 6
ARGUMENTS = " [NAME ...]"
EXAMPLES = (
    "report --since 7d 'shop/*'",
    "report --since 09:00 --until 10:30 --timeline",
)

#: why nothing is known of a stack that was dropped from the bucket, after its last event
FORGOTTEN = "forgotten"
DEFINITIONS = f"""\
what the columns mean (blind time, when nobody looked, is in none of them; it is listed below):
  UPTIME    share of the time in which a run lived; "-": it neither ran nor failed to
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
    add("--since", metavar="WHEN", default="24h", help="15m (ago), 10:41, 2025-10-16T10:41:07Z [24h]")
    add("--until", metavar="WHEN", help="the same [now]")
    add("--timeline", action="store_true", help="one row per process: up, down, unhealthy, blind")
    add_output_flags(parser)
    add_nats_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Print the report; an ObserveError where nothing matches a name that was asked for."""
    flags = vars(args)
    settings, style = nats_settings(flags, os.environ), style_of(flags, sys.stdout, os.environ)
    asked, (patterns, stack) = range_of(flags, style.now()), selected(flags)
    note = mute if args.quiet else print_note
    from ..reader.past import Past

    with Past(settings) as past:
        kept = past.retained()
        if not kept.stream:
            note(f"nothing is known on {settings.url} yet (start one: python observe.py adapter)")
            write_lines([json_line(report_json(Findings(asked, (), ())))] if style.as_json else ())
            return EXIT_OK
        span = clipped(asked, kept)
        states = None
        try:
            states = past.states()
        except NatsError as error:
            told = "the bucket cannot be read, so a process without an event in that time is missing"
            note(f"{told}: {error}")
        places = [row.place for row in states.select(patterns, stack)] if states else []
        room = strip_room(places, style) if args.timeline else None
        findings = look_back(past, span, states, flags, room)
    if not findings.accounts and (patterns or stack):
        what = ", ".join([*map(repr, patterns), *([f"stack {stack}"] if stack else [])])
        raise ObserveError(f"no process matches {what} in that time", "python observe.py report shows all")
    lines = [json_line(report_json(findings))] if style.as_json else report_lines(findings, style, room)
    write_lines(lines)
    return EXIT_OK


def range_of(flags: Mapping[str, Any], now: datetime) -> Range:
    """Return the time that these flags name; UsageError where there is none."""
    zone = UTC if flags.get("utc") else None
    since = moment_of("--since", flags["since"], now, zone)
    until = min(moment_of("--until", flags["until"], now, zone) if flags["until"] is not None else now, now)
    if since >= until:
        raise UsageError("that range is empty", "--since is to be earlier than --until, and than now")
    return Range(since, since, until)


def clipped(asked: Range, kept: "Retained") -> Range:
    """Return the range, beginning no earlier than what the stream retains."""
    return asked._replace(start=max(asked.since, min(kept.since or asked.since, asked.until)))


def look_back(
    past: "Past", span: Range, states: States | None, flags: dict[str, Any], room: int | None
) -> Findings:
    """Read the stream: first what the observer says of itself, then everything, one event at a time."""
    patterns, stack = selected(flags)
    audit = Audit(span.start.timestamp(), span.until.timestamp(), patterns, stack, room)
    audit.observe(past.observer_events(span.start), states)
    for payload in past.payloads(filter_subjects(patterns, ()), span.start):
        audit.add(payload)
    accounts = audit.close(states)
    stacks = sorted({account.place.stack for account in accounts})
    gaps = [(one, gap) for one in stacks for gap in audit.gaps[one].listed]
    return Findings(span, accounts, gaps, audit.events, audit.malformed)


@dataclass
class Audit:
    """Takes the stored events of a time, one after the other, and keeps one account per process."""

    since: float  #: in seconds since 1970, as `until`
    until: float
    patterns: Sequence[str] = ()  #: which processes are wanted
    stack: str | None = None
    room: int | None = None  #: each process has a strip of so many columns
    gaps: dict[str, Gaps] = field(default_factory=dict)  #: by stack
    events: int = 0
    malformed: int = 0
    _accounts: dict[Place, Account | None] = field(default_factory=dict)  #: None: not wanted
    _heard: dict[str, float] = field(default_factory=dict)  #: by stack, when it was last heard of

    def observe(self, events: Iterable[Event], states: States | None) -> None:
        """Take, before all others, the observer's own events, and which stacks nothing is heard of now."""
        away = _away(states, self.since, self.until)
        self.gaps = find_gaps(self._overhear(events), self.since, self.until, away)

    def _overhear(self, events: Iterable[Event]) -> Iterator[Event]:
        for event in events:
            self._hear(event.stack or "-", parse_time(event.seen_at).timestamp())
            yield event

    def _hear(self, stack: str, seen_at: float) -> None:
        self._heard[stack] = max(seen_at, self._heard.get(stack, 0.0))

    def add(self, payload: bytes) -> None:
        """Take one event, as it is stored; what is none is counted."""
        try:
            fact = fact_of(payload)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            self.malformed += 1
            return
        if fact is None:
            return
        if fact.place not in self._accounts:
            self._accounts[fact.place] = self._open_account(fact.place)
        account = self._accounts[fact.place]
        if account is not None:
            self.events += 1
            self._hear(fact.place.stack, fact.seen_at)
            account.note(fact)

    def close(self, states: States | None) -> list[Account]:
        """Return the accounts, in order, closed with what the bucket says (None: it could not be read)."""
        if states is not None:
            self._take_bucket(states)
        found = [account for _, account in sorted(self._accounts.items()) if account is not None]
        for account in found:
            account.gaps = self.gaps[account.place.stack]
            account.close()
        return [account for account in found if account.shown]

    def _take_bucket(self, states: States) -> None:
        for row in states.rows.values():
            if row.place not in self._accounts and not row.gone:
                account = self._accounts[row.place] = self._open_account(row.place)
                if account is not None:
                    account.assume(row)
        for stack in self._heard.keys() - states.stacks.keys():
            known = self.gaps.get(stack, Gaps()).listed
            self.gaps[stack] = Gaps([*known, Gap(self._heard[stack], self.until, FORGOTTEN)])

    def _open_account(self, place: Place) -> Account | None:
        _, namespace, process = place
        named = not self.patterns or any(process_matches(one, namespace, process) for one in self.patterns)
        if not named or self.stack not in (None, place.stack):
            return None
        strip = ProcessStrip(self.since, self.until, self.room) if self.room else None
        return Account(place, self.since, self.until, self.gaps.setdefault(place.stack, Gaps()), strip)


def _away(states: States | None, since: float, until: float) -> dict[str, Gap]:
    """Return the stacks that nothing is heard of now, and since when."""
    found = {}
    for name, row in states.stacks.items() if states else ():
        if silence := row.silence(now_utc()):
            start = silence.since.timestamp() if silence.since else since
            told = f"no answer: {silence.error}" if silence.error else f"{silence.about} {silence.kind}"
            found[name] = Gap(start, until, told)
    return found
