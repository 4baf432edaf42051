"""Show the last event of each kind per process, then what happens from now on.
The main thread prints; the subscription's thread only hands over, and waits when the screen is slow.
"""

import argparse
import os
import select
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO

from ..calling import how_to_call
from ..errors import EXIT_FAILED, EXIT_OK, NatsError, UsageError
from ..events import Event, EventType, Severity
from ..flags import NAMES_HELP, add_nats_flags, add_output_flags, add_store_flag
from ..settings import choice, choices, moment_of, nats_settings, whole_number
from ..subjects import process_matches
from ..text.output import Style, json_line, mute, print_note, printable, stored_line, style_of, write_lines
from ..text.tables import EventTable, selected
from ..times import UTC, format_time, now_utc

if TYPE_CHECKING:
    from ..reader.event_consumer import EventConsumer
    from ..reader.replay import Replay
    from ..reader.retained import Retained
    from ..reader.subscription import Arrival, Subscription, Wanted

ORDER = 2
ARGUMENTS = " [NAME ...]"
EXAMPLES = (
    "watch 'shop/*' --exclude-type status_changed",
    "watch --process default/caddy --type crashed --json",
)

#: how often an idle watch looks whether anybody still reads what it prints
IDLE_LOOK_S = 1.0
#: so much is asked for at once
BATCH = 1000
#: what was printed waits no longer than this for more
FLUSH_S = 0.05
#: so many lines are printed at once, at most
WAITING_LINES = 500
#: of a long replay the first rows say how wide the columns are
TABLE_ROWS = 50
LIVE_LINE = "--- live (above: last event of each kind per process) ---"

_LOUDNESS = {str(severity): rank for rank, severity in enumerate(Severity)}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `watch`."""
    parser.add_argument("name", nargs="*", metavar="NAME", help=NAMES_HELP)
    add = parser.add_argument_group("events").add_argument
    add("--process", metavar="NAME", action="append", help="the same as NAME; repeatable")
    types = ", ".join(EventType)
    add("--type", metavar="TYPE", action="append", help=f"only these, repeatable or with commas: {types}")
    add("--exclude-type", metavar="TYPE", action="append", help="all but these, repeatable or with commas")
    loud = f"at least this loud: {', '.join(Severity)} [debug]"
    add("--severity", metavar="LEVEL", default="debug", help=loud)
    add("--stack", metavar="STACK", help="only this process-compose [all]")
    add("--new", action="store_true", help="only what happens from now on")
    when = "15m, 1w, today, yesterday, now, 10:41:07, 2025-10-16 10:41:07, RFC 3339, Unix seconds"
    add("--since", metavar="TIME", help=f"every event observed since then: {when}")
    add("--until", metavar="TIME", help="and none that was observed then or later")
    add("-n", "--last", metavar="N", help="only the last N of those stored")
    add("--no-follow", action="store_true", help="end with what is stored, and say how much that was")
    add("--count", metavar="N", help="end after N events [go on until Ctrl-C]")
    add("--logs", action="store_true", help="with each crash the end of its log, as it was sent along")
    add_output_flags(parser)
    add_nats_flags(parser)
    add_store_flag(parser)


@dataclass(frozen=True)
class Selection:
    """Which events to show, and when to stop."""

    processes: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    exclude_types: tuple[str, ...] = ()
    severity: str = Severity.DEBUG
    stack: str | None = None
    new: bool = False
    count: int | None = None
    companions: bool = False
    since: datetime | None = None
    until: datetime | None = None
    last: int | None = None
    follow: bool = True
    logs: bool = False
    nats_flag: str = ""  # for the commands in hints

    @property
    def ranged(self) -> bool:
        """Whether every event of some time is wanted, instead of the last of each kind."""
        return self.since is not None or self.until is not None or self.last is not None

    def shows(self, event: Event) -> bool:
        """Whether the event is loud enough, and tells more than another one does; an unknown loudness is."""
        loud = _LOUDNESS.get(event.severity, len(_LOUDNESS)) >= _LOUDNESS[self.severity]
        return loud and (self.companions or not event.companion)

    @property
    def filters(self) -> dict[str, Any]:
        """What the Consumer is asked for."""
        names = ("types", "exclude_types", "stack", "since", "until")
        return {"process": self.processes, **{name: getattr(self, name) for name in names}}

    @property
    def narrow(self) -> bool:
        """Whether a process can have events of which none is wanted."""
        return bool(self.types or self.exclude_types or self.stack or self.severity != Severity.DEBUG)


def selection_of(flags: dict[str, Any], now: datetime | None = None) -> Selection:
    """Return what the flags of `watch` ask for."""
    types = choices("--type", flags["type"], EventType)
    excluded = choices("--exclude-type", flags["exclude_type"], EventType)
    if types and not set(types) - set(excluded):
        raise UsageError("--exclude-type leaves nothing of --type", "leave one of them out")
    processes, stack = selected(flags)
    return Selection(
        processes=tuple(processes),
        types=tuple(name for name in types if name not in excluded),
        exclude_types=() if types else tuple(excluded),
        severity=choice("--severity", flags["severity"], Severity),
        stack=stack,
        new=flags["new"],
        count=_number_of(flags, "count", 999_999_999),
        companions=flags["verbose"] or flags["output"] == "json",
        logs=flags["logs"],
        **_range_of(flags, now or now_utc()),
    )


def _range_of(flags: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Return the fields of a Selection that say which time is wanted."""
    zone, last = UTC if flags["utc"] else None, _number_of(flags, "last", 1_000_000)
    since, until = (
        None if flags[name] is None else moment_of(f"--{name}", flags[name], now, zone)
        for name in ("since", "until")
    )
    if flags["new"] and (since or until or last or flags["no_follow"]):
        raise UsageError("--new leaves nothing of what is stored", "leave it out, or the other flags")
    if since and until and since >= until:
        raise UsageError("--since is not before --until", "--since 2h --until 1h is the hour before the last")
    follow = not flags["no_follow"] and (until is None or until > now)
    return {"since": since, "until": until, "last": last, "follow": follow}


def _number_of(flags: dict[str, Any], name: str, high: int) -> int | None:
    flag = "-n/--last" if name == "last" else f"--{name}"
    return None if flags[name] is None else whole_number(flag, flags[name], 1, high)


class Screen:
    """Prints the events it is given: the first ones of a replay as a table, the others row by row."""

    def __init__(self, out: TextIO, style: Style, wanted: Selection, note: Callable[[str], None]) -> None:
        self.wanted, self.note = wanted, note
        self._out, self._style = out, style
        self._table = EventTable(style)
        self._replay: list[Event] = []
        self._waiting: list[str] = []
        self._unmatched = dict.fromkeys(name for name in wanted.processes if not name.startswith("!"))
        self._by_row = style.as_json or wanted.ranged
        self._printed = 0
        self._first_at = self._last_at = ""
        self._stack_of: dict[tuple[str, str], str | None] = {}
        self._said_both = False

    @property
    def is_full(self) -> bool:
        """Whether as many events as wanted were printed."""
        return self.wanted.count is not None and self._printed >= self.wanted.count

    @property
    def found(self) -> bool:
        """Whether anything was printed of the processes that were named, if any were."""
        return bool(self._printed) or not self.wanted.processes

    def add(self, event: Event, payload: bytes = b"") -> None:
        """Take one event, in stream order, and how it is stored; `flush()` comes later."""
        if self._unmatched:
            spaces = event.namespaces or (event.namespace,)
            for one in list(self._unmatched):
                if any(process_matches(one, space, event.process) for space in spaces):
                    del self._unmatched[one]
        if not self.wanted.shows(event) or self.is_full:
            return
        if self._by_row:
            self._write(self._lines(event, payload, [] if self._style.as_json else self._table.live(event)))
            return
        self._replay.append(event)
        if len(self._replay) >= TABLE_ROWS:
            self._print_table()

    def live(self) -> None:
        """Print what is left of the replay; what comes from now on is printed as it comes."""
        wanted = self.wanted
        self._print_table()
        if wanted.follow and not self._style.as_json and not self.is_full:
            self._write([LIVE_LINE if self._printed and not wanted.ranged else self._live_line()])
        self.flush()
        if not (self.is_full or wanted.new or wanted.last is not None):
            self._note_unmatched()

    def flush(self) -> None:
        """Print what is waiting for that."""
        write_lines(self._waiting, self._out)
        self._waiting = []

    def _print_table(self) -> None:
        if not self._by_row:
            self._by_row = True
            left = None if self.wanted.count is None else self.wanted.count - self._printed
            events, self._replay = self._replay[:left], []
            table = self._table.replay(events) if events else []
            self._write(table[:2])  # the header
            for event, row in zip(events, table[2:], strict=True):
                self._write(self._lines(event, b"", [row]))

    def _live_line(self) -> str:
        """Return what divides live events from a replay that shows none."""
        wanted = self.wanted
        if wanted.new or wanted.ranged:
            return "--- live ---"
        what = "nothing that matches" if wanted.processes or wanted.narrow else "nothing"
        return f"--- live ({what} is stored yet) ---"

    def _lines(self, event: Event, payload: bytes, row: list[str]) -> list[str]:
        """Return what is printed of an event, and remember how many there were, of what time, of whom."""
        self._printed += 1
        self._first_at = min(self._first_at or event.seen_at, event.seen_at)
        self._last_at = max(self._last_at, event.seen_at)
        stack = self._stack_of.setdefault((event.namespace, event.process), event.stack)
        if stack != event.stack and self.wanted.ranged and not (event.of_observer or self._said_both):
            self._said_both = True
            self.note(f"{stack or '-'} and {event.stack or '-'} both have {event.key}: see the column STACK")
        if self._style.as_json:
            return [stored_line(payload) or json_line(event.to_dict())]
        tail = (event.log_tail or []) if self.wanted.logs else []
        return [*row, *(printable(f"          | {line}") for line in tail)]

    def summary(self, stored: "Retained | None") -> str:
        """Return in one line how much was printed, of what time, and whether that is all there was."""
        text = f"{self._printed} event{'s' * (self._printed != 1)}"
        if self._printed:
            text += f", from {self._style.clock(self._first_at)} to {self._style.clock(self._last_at)}"
        wanted, first = self.wanted, stored.first_at if stored else None
        reached = wanted.last is not None and self._printed >= wanted.last
        if first is None or reached or not wanted.ranged or (wanted.since and wanted.since >= first):
            return text
        return f"{text}; what was before {self._style.clock(format_time(first))} is not retained any more"

    def _note_unmatched(self) -> None:
        some = self.wanted.narrow or self.wanted.ranged
        what = "no event that you want of" if some else "no process matches"
        there = "yet; waiting" if self.wanted.follow else "in what is stored"
        for name in self._unmatched:
            self.note(f"{what} {name!r} {there}")

    def _write(self, lines: Iterable[str]) -> None:
        self._waiting += lines
        if len(self._waiting) > WAITING_LINES:
            self.flush()


def run(args: argparse.Namespace) -> int:
    """Run the verb until it is full, its reader is gone, or Ctrl-C."""
    flags = vars(args)
    settings = nats_settings(flags, os.environ)
    wanted = replace(selection_of(flags), nats_flag=settings.as_flag)
    style, note = style_of(flags, sys.stdout, os.environ), mute if args.quiet else print_note
    from ..broker.embedded import past_served
    from ..reader.connection import Pace
    from ..reader.event_consumer import EventConsumer

    screen = Screen(sys.stdout, style, wanted, note)
    past = past_served(settings, flags, note, follow=wanted.follow)
    with past, EventConsumer(settings, pace=Pace(batch=BATCH)) as consumer:
        start_seq = _print_last(consumer, screen)
        if start_seq is not None:
            _print_from(consumer, screen, start_seq)
        if not wanted.follow:
            note(screen.summary(consumer.retained()))
    return EXIT_OK if wanted.follow or screen.found else EXIT_FAILED


def _print_last(consumer: "EventConsumer", screen: Screen) -> int | None:
    """Print the last events stored where these are wanted; return where to go on, None: not at all.

    0 is the last event per subject, or what `since` says; 1 the first event there is.
    """
    wanted = screen.wanted
    if wanted.last is None:
        return 1 if wanted.until is not None and wanted.since is None else 0
    events, place = consumer.recent(wanted.last, keep=wanted.shows, **wanted.filters)
    for event in events:
        screen.add(event)
    screen.flush()
    return place + 1 if wanted.follow and not screen.is_full else None


def _print_from(consumer: "EventConsumer", screen: Screen, start_seq: int) -> None:
    """Print what comes, until it is enough; for `start_seq` see `_print_last`."""
    from ..reader.feed import Mark

    wanted, filters = screen.wanted, screen.wanted.filters
    filters |= {"since": None} if start_seq > 1 else {}
    subscription = consumer.follow(wanted.new, start_seq, **filters)
    items = read_items(subscription, screen)
    try:
        if not (wanted.new or wanted.ranged):
            items = _replay_of(consumer, subscription.wanted, screen).merged(items)
        for item, message in items:
            if isinstance(item, Event):
                screen.add(item, message.data if message else b"")
            elif item is Mark.LIVE:
                screen.live()
            elif isinstance(item, str):
                waiting = "; waiting" if wanted.follow else ""
                screen.note(f"{item}{waiting} (start one: {how_to_call('adapter', wanted.nats_flag)})")
            if not (wanted.follow or isinstance(item, Event)):
                return
    finally:
        subscription.stop()
        screen.flush()


def _replay_of(consumer: "EventConsumer", wanted: "Wanted", screen: Screen) -> "Replay":
    from ..reader.replay import Replay

    try:
        return consumer.replay(wanted)
    except NatsError as error:
        screen.note(f"of a name that several stacks have, only the newest events are shown: {error}")
        return Replay((), wanted)


def read_items(subscription: "Subscription", screen: Screen) -> Iterator["Arrival"]:
    """Yield what comes until the screen has enough; it is flushed when nothing waits, and every 50 ms."""
    wanted, flushed, wait_s = screen.wanted, time.monotonic(), 0.0
    while wanted.until is None or not wanted.follow or now_utc() < wanted.until:
        came = False
        for arrival in subscription.read(wait_s):
            came = True
            yield arrival
            if screen.is_full:
                return
        if not came or time.monotonic() - flushed > FLUSH_S:
            screen.flush()
            flushed = time.monotonic()
        if not came and wait_s:
            _look_for_reader(sys.stdout)
        wait_s = 0.0 if came else IDLE_LOOK_S


def _look_for_reader(out: TextIO) -> None:
    """Raise BrokenPipeError where `out` is a pipe that nobody reads any more: `watch | head -3` ends."""
    if not hasattr(select, "poll"):
        return
    poll = select.poll()
    poll.register(out.fileno(), 0)
    if any(state & select.POLLERR for _, state in poll.poll(0)):
        raise BrokenPipeError
