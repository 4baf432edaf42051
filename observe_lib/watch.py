"""The verb `watch`: the last event of each kind per process, then what happens from now on, row by row.
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
from threading import Event as Flag
from typing import Any, TextIO

from .config import add_nats_flags, choices, names, nats_settings, whole_number
from .errors import EXIT_OK, UsageError
from .events import OBSERVE, Event, EventType, Key, Severity, process_matches
from .output import EventTable, Style, add_output_flags, json_line, printable, style_of

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
    add("--count", metavar="N", help="end after N events [go on until Ctrl-C]")
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


def selection_of(flags: dict[str, Any]) -> Selection:
    """Return what the flags of `watch` ask for."""
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
        severity=choices("--severity", [flags["severity"]], Severity)[-1],
        stack=flags["stack"],
        new=flags["new"],
        count=whole_number("--count", flags["count"], 1, 999_999_999) if flags["count"] is not None else None,
        companions=flags["verbose"] or flags["output"] == "json",
    )


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
        self._is_live = False
        self._printed = 0

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
            self._write([json_line(event.to_dict())] if self._style.as_json else self._table.live(event))
        else:
            self._replay.append(event)

    def live(self) -> None:
        """Print the replay; what comes from now on is printed as it comes."""
        events = self._newer_stacks(_without_observer(self._replay, self._wanted.names_observer))
        events = events[: self._wanted.count]
        self._replay, self._is_live, self._printed = [], True, len(events)
        if self._style.as_json:
            self._write(json_line(event.to_dict()) for event in events)
        elif events:
            self._write(self._table.replay(events) + ([] if self.is_full else [LIVE_LINE]))
        else:
            filtered = self._wanted.processes or self._wanted.narrow
            above = "nothing that matches is stored yet" if filtered else "nothing is stored yet"
            self._write(["--- live ---" if self._wanted.new else f"--- live ({above}) ---"])
        if not self.is_full and not self._wanted.new:
            self._note_unmatched()

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
            what = "no event that you want of" if self._wanted.narrow else "no process matches"
            self._note(f"{what} {name!r} yet; waiting")

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
            consumer.subscribe(
                inbox.put,
                process=wanted.processes,
                types=wanted.types,
                exclude_types=wanted.exclude_types,
                stack=wanted.stack,
                new=wanted.new,
                on_live=lambda: inbox.put(_LIVE),
                on_wait=inbox.put,
            )
            _print_all(inbox, screen, note)
        finally:
            inbox.close()
    return EXIT_OK


def _print_all(inbox: _Inbox, screen: Screen, note: Callable[[str], None]) -> None:
    while not screen.is_full:
        try:
            item = inbox.get()
        except queue.Empty:
            _look_for_reader(sys.stdout)
            continue
        if item is _LIVE:
            screen.live()
        elif isinstance(item, str):
            note(f"{item}; waiting (start one: python observe.py adapter)")
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
