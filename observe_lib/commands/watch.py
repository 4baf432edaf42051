"""Show the last event of each kind per process, then what happens from now on.
The main thread prints; the subscription's thread only hands over, and waits when the screen is slow.
"""

import argparse
import os
import queue
import select
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO

from ..calling import how_to_call
from ..errors import EXIT_FAILED, EXIT_OK, UsageError
from ..events import OBSERVE, Event, EventType, Key, Severity, process_matches
from ..flags import NAMES_HELP, add_nats_flags, add_output_flags, add_store_flag
from ..settings import choice, choices, moment_of, nats_settings, whole_number
from ..text.output import Style, json_line, mute, print_note, printable, style_of, write_lines
from ..text.tables import EventTable, selected
from ..times import UTC, format_time, now_utc

if TYPE_CHECKING:
    from ..reader.event_consumer import EventConsumer
    from ..reader.retained import Retained

ORDER = 2
ARGUMENTS = " [NAME ...]"
EXAMPLES = (
    "watch 'shop/*' --exclude-type status_changed",
    "watch --process default/caddy --type crashed --json",
)

#: events between the subscription's thread and the screen; when it is full, NATS waits
INBOX_SIZE = 1000
#: how often an idle watch looks whether anybody still reads what it prints
IDLE_LOOK_S = 1.0
#: the observer's own last events that a replay shows: those that tell why nothing else comes
NOT_GOOD = frozenset((EventType.UNHEALTHY, EventType.STOPPED))
LIVE_LINE = "--- live (above: last event of each kind per process) ---"

#: events, None where the replay is over, a text that says why there is nothing to read
_Item = Event | str | None

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
    def names_observer(self) -> bool:
        """Whether the observer's own events were asked for by name."""
        return any(name.startswith(f"{OBSERVE}/") for name in self.processes)

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
    """Prints the events it is given: those before `live()` as one table, the later ones row by row."""

    def __init__(self, out: TextIO, style: Style, wanted: Selection, note: Callable[[str], None]) -> None:
        self.wanted, self.note = wanted, note
        self._out, self._style = out, style
        self._table = EventTable(style)
        self._replay: list[Event] = []
        self._unmatched = dict.fromkeys(name for name in wanted.processes if not name.startswith("!"))
        self._is_live = wanted.ranged
        self._printed = 0
        self._first_at = self._last_at = ""
        self._stack_of: dict[Key, str | None] = {}
        self._said_both = False

    @property
    def is_full(self) -> bool:
        """Whether as many events as wanted were printed."""
        return self.wanted.count is not None and self._printed >= self.wanted.count

    @property
    def found(self) -> bool:
        """Whether anything was printed of the processes that were named, if any were."""
        return bool(self._printed) or not self.wanted.processes

    def add(self, event: Event) -> None:
        """Take one event, in stream order."""
        for pattern in [one for one in self._unmatched if process_matches(one, *event.key)]:
            del self._unmatched[pattern]
        if not self.wanted.shows(event) or self.is_full:
            return
        if self._is_live:
            self._write(self._lines(event, [] if self._style.as_json else self._table.live(event)))
        else:
            self._replay.append(event)

    def live(self) -> None:
        """Print the replay; what comes from now on is printed as it comes."""
        wanted, as_json = self.wanted, self._style.as_json
        events = self._newer_stacks(_without_observer(self._replay, wanted.names_observer))[: wanted.count]
        self._replay, self._is_live = [], True
        table = [] if as_json or not events else self._table.replay(events)
        header, rows = table[:2], table[2:] or [""] * len(events)
        lines = [line for event, row in zip(events, rows, strict=True) for line in self._lines(event, [row])]
        if wanted.follow and not as_json and not self.is_full:
            lines.append(LIVE_LINE if events else self._live_line())
        self._write([*header, *lines])
        if not (self.is_full or wanted.new or wanted.last is not None):
            self._note_unmatched()

    def _live_line(self) -> str:
        """Return what divides live events from a replay that shows none."""
        wanted = self.wanted
        if wanted.new or wanted.ranged:
            return "--- live ---"
        what = "nothing that matches" if wanted.processes or wanted.narrow else "nothing"
        return f"--- live ({what} is stored yet) ---"

    def _lines(self, event: Event, row: list[str]) -> list[str]:
        """Return what is printed of an event, and remember how many there were, of what time, of whom."""
        self._printed += 1
        self._first_at = min(self._first_at or event.seen_at, event.seen_at)
        self._last_at = max(self._last_at, event.seen_at)
        stack = self._stack_of.setdefault(event.key, event.stack)
        if stack != event.stack and self.wanted.ranged and not (event.of_observer or self._said_both):
            self._said_both = True
            self.note(f"{stack or '-'} and {event.stack or '-'} both have {event.key}: see the column STACK")
        if self._style.as_json:
            return [json_line(event.to_dict())]
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

    def _newer_stacks(self, events: list[Event]) -> list[Event]:
        """Leave out what an older stack said of a name that a newer one has too, and say so once."""
        newest = {event.key: event.stack for event in events}
        older = next((e for e in events if not e.of_observer and e.stack != newest[e.key]), None)
        if older is None:
            return events
        both = f"{older.stack or '-'} and {newest[older.key] or '-'} both have {older.key}"
        self.note(f"{both}: of such a name only the newer one's events are replayed")
        return [event for event in events if event.of_observer or event.stack == newest[event.key]]

    def _note_unmatched(self) -> None:
        some = self.wanted.narrow or self.wanted.ranged
        what = "no event that you want of" if some else "no process matches"
        there = "yet; waiting" if self.wanted.follow else "in what is stored"
        for name in self._unmatched:
            self.note(f"{what} {name!r} {there}")

    def _write(self, lines: Iterable[str]) -> None:
        write_lines(lines, self._out)


def _without_observer(events: list[Event], asked_for: bool) -> list[Event]:
    """Leave out the observer's own events but a process-compose's last one, if that is not a good one."""
    if asked_for:
        return events
    last: dict[tuple[str | None, Key], Event] = {(e.stack, e.key): e for e in events if e.of_observer}
    news = [e for e in last.values() if e.process == "process-compose" and e.type in NOT_GOOD]
    return [event for event in events if not event.of_observer or any(event is one for one in news)]


def run(args: argparse.Namespace) -> int:
    """Run the verb until it is full, its reader is gone, or Ctrl-C."""
    flags = vars(args)
    settings = nats_settings(flags, os.environ)
    wanted = replace(selection_of(flags), nats_flag=settings.as_flag)
    style, note = style_of(flags, sys.stdout, os.environ), mute if args.quiet else print_note
    from ..broker.embedded import past_served
    from ..reader.event_consumer import EventConsumer

    screen = Screen(sys.stdout, style, wanted, note)
    past = past_served(settings, flags, note, follow=wanted.follow)
    with past, EventConsumer(settings) as consumer:
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
    return place + 1 if wanted.follow and not screen.is_full else None


def _print_from(consumer: "EventConsumer", screen: Screen, start_seq: int) -> None:
    """Print what comes, until it is enough; for `start_seq` see `_print_last`."""
    wanted, inbox = screen.wanted, queue.Queue[_Item](INBOX_SIZE)
    filters = wanted.filters | ({"since": None} if start_seq > 1 else {})
    marks: dict[str, Any] = {"on_live": lambda: inbox.put(None), "on_wait": inbox.put}
    subscription = consumer.subscribe(inbox.put, new=wanted.new, start_seq=start_seq, **filters, **marks)
    try:
        _print_all(inbox, screen)
    finally:
        subscription.stop()
        while not inbox.empty():  # where it is full, the subscription's thread waits for room
            inbox.get_nowait()


def _print_all(inbox: queue.Queue[_Item], screen: Screen) -> None:
    wanted = screen.wanted
    while not screen.is_full and (wanted.until is None or not wanted.follow or now_utc() < wanted.until):
        try:
            item = inbox.get(timeout=IDLE_LOOK_S)
        except queue.Empty:
            _look_for_reader(sys.stdout)
            continue
        if isinstance(item, Event):
            screen.add(item)
            continue
        if item is None:
            screen.live()
        else:
            waiting = "; waiting" if wanted.follow else ""
            screen.note(f"{item}{waiting} (start one: {how_to_call('adapter', screen.wanted.nats_flag)})")
        if not wanted.follow:
            return


def _look_for_reader(out: TextIO) -> None:
    """Raise BrokenPipeError where `out` is a pipe that nobody reads any more: `watch | head -3` ends."""
    if not hasattr(select, "poll"):
        return
    poll = select.poll()
    poll.register(out.fileno(), 0)
    if any(state & select.POLLERR for _, state in poll.poll(0)):
        raise BrokenPipeError
