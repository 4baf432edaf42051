"""The verb `watch`: the last event of each kind per process, or those of any time; then what happens.
The main thread prints; the subscription's thread only hands over, and waits when the screen is slow.
"""

import argparse
import os
import queue
import select
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from threading import Event as Flag
from typing import TYPE_CHECKING, Any, TextIO

from .config import add_nats_flags, choice, choices, moment_of, names, nats_settings, whole_number
from .errors import EXIT_OK, UsageError
from .events import OBSERVE, Event, EventType, Key, Severity, process_matches
from .output import EventTable, Style, add_output_flags, json_line, printable, style_of
from .times import UTC, format_time, now_utc

if TYPE_CHECKING:
    from .consumer import Consumer
    from .past import Retained

#: events between the subscription's thread and the screen; when it is full, NATS waits
INBOX_SIZE = 1000
#: how often an idle watch looks whether anybody still reads what it prints
IDLE_LOOK_S = 1.0
#: the observer's own last events that a replay shows: those that tell why nothing else comes
NOT_GOOD = frozenset((EventType.UNHEALTHY, EventType.STOPPED))
LIVE_LINE = "--- live (above: last event of each kind per process) ---"

_LOUDNESS = {str(severity): rank for rank, severity in enumerate(Severity)}
_LIVE = object()


def add_watch_flags(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `watch`."""
    parser.add_argument("name", nargs="*", metavar="NAME", help="only these: caddy, default/caddy, 'shop/*'")
    add = parser.add_argument_group("events").add_argument
    add("--process", metavar="NAME", action="append", help="the same as NAME; repeatable")
    types = ", ".join(EventType)
    add("--type", metavar="TYPE", action="append", help=f"only these, repeatable or with commas: {types}")
    add("--exclude-type", metavar="TYPE", action="append", help="all but these, repeatable or with commas")
    add(
        "--severity",
        metavar="LEVEL",
        default="debug",
        help=f"at least this loud: {', '.join(Severity)} [debug]",
    )
    add("--stack", metavar="STACK", help="only this process-compose [all]")
    add("--new", action="store_true", help="only what happens from now on")
    when = "15m, 2h, 10:41, 10:41:07, 2025-10-16 10:41:07, or RFC 3339"
    add("--since", metavar="TIME", help=f"every event observed since then: {when}")
    add("--until", metavar="TIME", help="and none that was observed then or later")
    add("-n", "--last", metavar="N", help="only the last N of those stored")
    add("--no-follow", action="store_true", help="end with what is stored, and say how much that was")
    add("--count", metavar="N", help="end after N events [go on until Ctrl-C]")
    add("--logs", action="store_true", help="with each crash the end of its log, as it was sent along")
    add_output_flags(parser)
    add_nats_flags(parser)


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

    @property
    def ranged(self) -> bool:
        """Whether every event of some time is wanted, instead of the last of each kind."""
        return self.since is not None or self.until is not None or self.last is not None

    def shows(self, event: Event) -> bool:
        """Whether the event is loud enough, and tells more than another one does; an unknown loudness is."""
        loud = _LOUDNESS.get(event.severity, len(_LOUDNESS)) >= _LOUDNESS[self.severity]
        return loud and (self.companions or not event.companion)

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
    now = now or now_utc()
    types = choices("--type", flags["type"], EventType)
    excluded = choices("--exclude-type", flags["exclude_type"], EventType)
    if types and not set(types) - set(excluded):
        raise UsageError("--exclude-type leaves nothing of --type", "leave one of them out")
    if flags["stack"] is not None and not flags["stack"].strip():
        raise UsageError("--stack is empty", "name a stack, or leave it out to see all of them")
    return Selection(
        processes=(*names("NAME", flags["name"]), *names("--process", flags["process"])),
        types=tuple(name for name in types if name not in excluded),
        exclude_types=() if types else tuple(excluded),
        severity=choice("--severity", flags["severity"], Severity),
        stack=flags["stack"],
        new=flags["new"],
        count=whole_number("--count", flags["count"], 1, 999_999_999) if flags["count"] is not None else None,
        companions=flags["verbose"] or flags["output"] == "json",
        logs=flags["logs"],
        **_range_of(flags, now),
    )


def _range_of(flags: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Return the fields of a Selection that say which time is wanted."""
    zone, last = UTC if flags["utc"] else None, flags["last"]
    since, until = (
        moment_of(f"--{name}", flags[name], now, zone) if flags[name] is not None else None
        for name in ("since", "until")
    )
    if flags["new"] and (since or until or last or flags["no_follow"]):
        raise UsageError("--new leaves nothing of what is stored", "leave it out, or the other flags")
    if since and until and since >= until:
        raise UsageError("--since is not before --until", "--since 2h --until 1h is the hour before the last")
    return {
        "since": since,
        "until": until,
        "last": whole_number("--last", last, 1, 1_000_000) if last is not None else None,
        "follow": not flags["no_follow"] and (until is None or until > now),
    }


class Screen:
    """Prints the events it is given: those before `live()` as one table, the later ones row by row."""

    def __init__(self, out: TextIO, style: Style, wanted: Selection, note: Callable[[str], None]) -> None:
        self._out = out
        self._style = style
        self._wanted = wanted
        self._note = note
        self._table = EventTable(style)
        self._replay: list[Event] = []
        self._unmatched = dict.fromkeys(wanted.processes)
        self._is_live = wanted.ranged
        self._printed = 0
        self._span: list[str] = []
        self._stack_of: dict[Key, str | None] = {}
        self._said_both = False

    @property
    def is_full(self) -> bool:
        """Whether as many events as wanted were printed."""
        return self._wanted.count is not None and self._printed >= self._wanted.count

    def add(self, event: Event) -> None:
        """Take one event, in stream order."""
        for pattern in [one for one in self._unmatched if process_matches(one, *event.key)]:
            del self._unmatched[pattern]
        if not self._wanted.shows(event) or self.is_full:
            return
        if self._is_live:
            self._printed += 1
            self._see(event)
            self._write(self._lines(event, self._table.live(event)))
        else:
            self._replay.append(event)

    def live(self) -> None:
        """Print the replay; what comes from now on is printed as it comes."""
        if self._wanted.ranged:
            self._write([] if self._style.as_json or not self._wanted.follow else ["--- live ---"])
            if self._wanted.last is None:
                self._note_unmatched()
            return
        events = self._newer_stacks(_without_observer(self._replay, self._wanted.names_observer))
        events = events[: self._wanted.count]
        self._replay, self._is_live, self._printed = [], True, len(events)
        for event in events:
            self._see(event)
        if self._style.as_json:
            self._write(json_line(event.to_dict()) for event in events)
        elif events:
            lines = self._table.replay(events)
            rows = (self._lines(event, [row]) for event, row in zip(events, lines[2:], strict=True))
            self._write([*lines[:2], *(line for row in rows for line in row)])
            self._write([] if self.is_full or not self._wanted.follow else [LIVE_LINE])
        elif self._wanted.follow:
            filtered = self._wanted.processes or self._wanted.narrow
            above = "nothing that matches is stored yet" if filtered else "nothing is stored yet"
            self._write(["--- live ---" if self._wanted.new else f"--- live ({above}) ---"])
        if not self.is_full and not self._wanted.new:
            self._note_unmatched()

    def _lines(self, event: Event, row: list[str]) -> list[str]:
        if self._style.as_json:
            return [json_line(event.to_dict())]
        tail = (event.log_tail or []) if self._wanted.logs else []
        return [*row, *(printable(f"          | {line}") for line in tail)]

    def _see(self, event: Event) -> None:
        """Remember from when to when it goes; say once that two stacks have the same name."""
        self._span = [min([*self._span[:1], event.seen_at]), max([*self._span[1:], event.seen_at])]
        stack = self._stack_of.setdefault(event.key, event.stack)
        if stack != event.stack and self._wanted.ranged and not (event.of_observer or self._said_both):
            self._said_both = True
            self._note(f"{stack or '-'} and {event.stack or '-'} both have {event.key}: see the column STACK")

    def summary(self, stored: "Retained | None") -> str:
        """Return in one line how much was printed, of what time, and whether that is all there was."""
        first = stored.first_at if stored else None
        text = f"{self._printed} event{'s' * (self._printed != 1)}"
        if self._span:
            text += f", from {self._style.clock(self._span[0])} to {self._style.clock(self._span[1])}"
        reached = self._wanted.last is not None and self._printed >= self._wanted.last
        if first is None or reached or not self._wanted.ranged:
            return text
        if self._wanted.since is not None and self._wanted.since >= first:
            return text
        return f"{text}; what was before {self._style.clock(format_time(first))} is not retained any more"

    def _newer_stacks(self, events: list[Event]) -> list[Event]:
        """Leave out what an older stack said of a name that a newer one has too, and say so once."""
        newest = {event.key: event.stack for event in events}
        older = next((e for e in events if not e.of_observer and e.stack != newest[e.key]), None)
        if older is None:
            return events
        both = f"{older.stack or '-'} and {newest[older.key] or '-'} both have {older.key}"
        self._note(f"{both}: of such a name only the newer one's events are replayed")
        return [event for event in events if event.of_observer or event.stack == newest[event.key]]

    def _note_unmatched(self) -> None:
        for name in self._unmatched:
            what = (
                "no event that you want of"
                if self._wanted.narrow or self._wanted.ranged
                else "no process matches"
            )
            there = "yet; waiting" if self._wanted.follow else "in what is stored"
            self._note(f"{what} {name!r} {there}")

    def _write(self, lines: Iterable[str]) -> None:
        self._out.write("".join(f"{line}\n" for line in lines))
        self._out.flush()


def _without_observer(events: list[Event], asked_for: bool) -> list[Event]:
    """Leave out the observer's own events but a process-compose's last one, if that is not a good one."""
    if asked_for:
        return events
    last: dict[tuple[str | None, Key], Event] = {(e.stack, e.key): e for e in events if e.of_observer}
    news = [e for e in last.values() if e.process == "process-compose" and e.type in NOT_GOOD]
    return [event for event in events if not event.of_observer or any(event is one for one in news)]


class _Inbox:
    """A bounded queue into the main thread that lets its writer go when it is closed."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Any] = queue.Queue(INBOX_SIZE)
        self._closed = Flag()

    def put(self, item: Any) -> None:
        """Hand over, waiting while it is full."""
        while not self._closed.is_set():
            try:
                return self._queue.put(item, timeout=IDLE_LOOK_S / 5)
            except queue.Full:
                continue

    def get(self) -> Any:
        """Return the next item; queue.Empty after `IDLE_LOOK_S`."""
        return self._queue.get(timeout=IDLE_LOOK_S)

    def close(self) -> None:
        """Take nothing more."""
        self._closed.set()


def run_watch(args: argparse.Namespace) -> int:
    """Run the verb until it is full, its reader is gone, or Ctrl-C."""
    flags = vars(args)
    wanted, settings = selection_of(flags), nats_settings(flags, os.environ)
    style = style_of(flags, sys.stdout, os.environ)
    note = _silent if args.quiet else _print_note
    from .consumer import Consumer

    inbox, screen = _Inbox(), Screen(sys.stdout, style, wanted, note)
    with Consumer(settings) as consumer:
        try:
            start_seq = _print_last(consumer, screen, wanted)
            if start_seq is not None:
                consumer.subscribe(
                    inbox.put,
                    process=wanted.processes,
                    types=wanted.types,
                    exclude_types=wanted.exclude_types,
                    stack=wanted.stack,
                    new=wanted.new,
                    since=None if start_seq > 1 else wanted.since,
                    until=wanted.until,
                    start_seq=start_seq,
                    on_live=lambda: inbox.put(_LIVE),
                    on_wait=inbox.put,
                )
                _print_all(inbox, screen, wanted, note)
            if not wanted.follow:
                note(screen.summary(consumer.retained()))
        finally:
            inbox.close()
    return EXIT_OK


def _print_last(consumer: "Consumer", screen: Screen, wanted: Selection) -> int | None:
    """Print the last events stored where these are wanted; return where to go on, None: not at all.

    0 is the last event per subject, or what `since` says; 1 the first event there is.
    """
    if wanted.last is None:
        return 1 if wanted.until is not None and wanted.since is None else 0
    events, place = consumer.recent(
        wanted.last,
        wanted.processes,
        wanted.types,
        exclude_types=wanted.exclude_types,
        stack=wanted.stack,
        since=wanted.since,
        until=wanted.until,
        keep=wanted.shows,
    )
    for event in events:
        screen.add(event)
    return place + 1 if wanted.follow and not screen.is_full else None


def _print_all(inbox: _Inbox, screen: Screen, wanted: Selection, note: Callable[[str], None]) -> None:
    while not screen.is_full and (wanted.until is None or not wanted.follow or now_utc() < wanted.until):
        try:
            item = inbox.get()
        except queue.Empty:
            _look_for_reader(sys.stdout)
            continue
        if item is _LIVE:
            screen.live()
            if not wanted.follow:
                return
        elif isinstance(item, str):
            note(f"{item}; waiting (start one: python observe.py adapter)")
            if not wanted.follow:
                return
        else:
            screen.add(item)


def _look_for_reader(out: TextIO) -> None:
    """Raise BrokenPipeError where `out` is a pipe that nobody reads any more: `watch | head -3` ends."""
    if not hasattr(select, "poll"):
        return
    poll = select.poll()
    poll.register(out.fileno(), 0)
    if any(state & select.POLLERR for _, state in poll.poll(0)):
        raise BrokenPipeError


def _print_note(text: str) -> None:
    with suppress(OSError):
        print(printable(text), file=sys.stderr, flush=True)


def _silent(text: str) -> None:
    pass
