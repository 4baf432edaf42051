"""Show a live screen of all processes and what happens to them; ? there shows its keys.
The main thread reads keys and draws; the consumer's own threads only leave what they heard.
"""

import argparse
import logging
import os
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, tzinfo
from threading import Event as Flag
from typing import TYPE_CHECKING

from ..errors import EXIT_OK, ObserveError
from ..events import Event
from ..flags import add_nats_flags, add_selection_flags, add_store_flag
from ..reader.board import Board, note_events
from ..reader.description import Description, descriptions_of
from ..rows import Place
from ..settings import nats_settings
from ..signals import Stop, stopped_by_signals
from ..subjects import OBSERVE
from ..text.output import wants_colour
from ..text.tables import selected
from ..times import UTC, now_utc
from .screen import fit, layout_of, render
from .terminal import Terminal, check_terminal, has_unicode
from .view import View, linked, press

if TYPE_CHECKING:
    from ..reader.consumer import Consumer

ORDER = 7
ARGUMENTS = " [NAME ...]"
EXAMPLES = (
    "top",
    "top 'shop/*' --stack host-a",
)

#: the screen is drawn no more often than this, and looks as often whether there is anything new
FRAME_S = 0.1
#: what is new is taken over after so many times what it took to show it: most of a core is for others
SHOW_REST = 4
#: how long the connection's last words stay in the footer
WORDS_S = 5.0


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `top`."""
    add_selection_flags(parser)
    group = parser.add_argument_group("output")
    group.add_argument("--utc", action="store_true", help="print times in UTC [local]")
    colour = "use colours [auto; NO_COLOR wins]"
    group.add_argument("--color", choices=("auto", "always", "never"), default="auto", help=colour)
    add_nats_flags(parser)
    add_store_flag(parser)


def run(args: argparse.Namespace) -> int:
    """Run the verb until somebody ends it."""
    with stopped_by_signals("SIGTERM", "SIGHUP", "SIGQUIT") as stop:  # Ctrl-C interrupts at once
        return run_top(args, stop)


def run_top(args: argparse.Namespace, stop: Stop) -> int:
    """Show the screen until `q`, `stop` or Ctrl-C; in every case the terminal is then what it was before."""
    flags = vars(args)
    patterns, stack = selected(flags)
    settings = nats_settings(flags, os.environ)
    from ..broker.embedded import past_served

    past = past_served(settings, flags, follow=True)
    check_terminal()
    from ..reader.consumer import Consumer

    zone = UTC if flags["utc"] else None
    colour = wants_colour(flags["color"], True, os.environ)
    view = View(_second(), url=settings.url, patterns=tuple(patterns), stack=stack, ascii=not has_unicode())
    with past, Consumer(settings) as consumer:
        live = Live(consumer, view.patterns, view.stack)
        with LastWords() as words, Terminal(colour, view.ascii) as terminal:
            show_view(view, live, terminal, words, zone, stop)
    return EXIT_OK


def show_view(
    view: View, live: "Live", terminal: Terminal, words: "LastWords", zone: tzinfo | None, stop: Stop
) -> None:
    """Keys in, lines out, until a key or `stop` ends it, or nobody looks at the terminal any more."""
    drawn, drawn_size, drawn_at = None, (0, 0), 0.0
    while not stop.is_set() and not terminal.is_gone:
        keys, size = terminal.keys(FRAME_S), terminal.size()
        for key in keys:
            view = fit(press(view, key, layout_of(view, size[1]).page), *size)
        if view.mode == "quit":
            return
        view = replace(live.current(view), note=words.now())
        if view != drawn or size != drawn_size or "redraw" in keys:
            stop.wait(max(0.0, drawn_at + FRAME_S - time.monotonic()))
            begun = time.monotonic()
            view = drawn = fit(view, *size)
            terminal.draw(render(view, *size, zone))
            drawn_size, drawn_at = size, time.monotonic()
            live.rest(SHOW_REST * (drawn_at - begun))


class Live:
    """What the consumer's threads heard, for the main thread to look at. NatsError if nothing may be read."""

    def __init__(self, consumer: "Consumer", patterns: Sequence[str], stack: str | None) -> None:
        self._consumer = consumer
        self._board, self._heard = Board(), deque[Event]()
        self._details: Details | None = None
        self._states = consumer.follow_states(patterns, stack)
        self._read, self._rests_until = Flag(), 0.0
        read = self._read.set
        consumer.subscribe(
            self._heard.append,
            process=[*patterns, f"{OBSERVE}/*"] if patterns else (),
            stack=stack,
            since="1h",
            on_live=read,
            on_wait=lambda why: read(),
        )

    def rest(self, seconds: float) -> None:
        """Take nothing new over for so long."""
        self._rests_until = time.monotonic() + seconds

    def current(self, view: View) -> View:
        """Return the view as of now; an equal one where nothing changed, not even the second."""
        connected, now = self._consumer.connected, _second()
        reading = not (self._read.is_set() and self._states.is_whole)
        view = replace(view, description=self._description(view, connected), reading=reading)
        if not view.paused and time.monotonic() >= self._rests_until:
            if events := [self._heard.popleft() for _ in range(len(self._heard))]:
                self._board = note_events(self._board, events)
            view = replace(view, now=now, board=self._board, states=self._states.states)
        return linked(view, connected, now)

    def _description(self, view: View, connected: bool) -> Description | None:
        """Return what was read of the process that details are wanted of; begin to read it."""
        place = view.cursor if view.mode == "details" else None
        if self._details is not None and self._details.place != place:
            self._details.close()
            self._details = None
        if self._details is None and place is not None and connected:
            self._details = Details(self._consumer, place)
        return self._details.description if self._details else None


class Details:
    """Reads what `show` shows of one process, and again whenever something happens to it."""

    def __init__(self, consumer: "Consumer", place: Place) -> None:
        self.place = place
        self.description: Description | None = None
        self._consumer = consumer
        subscription = consumer.subscribe(
            self._read, process=str(place), new=True, companions=False, on_live=self._read
        )
        self.close = subscription.stop

    def _read(self, event: Event | None = None) -> None:
        with suppress(ObserveError):  # the server is away: what is there stays
            names = [str(self.place)]
            for description in descriptions_of(self._consumer, names, self.place.stack, now_utc()):
                if description.row.place == self.place:
                    self.description = description


class LastWords(logging.Handler):
    """A context manager: within it nothing is logged into the screen, which shows the last words itself."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._last = (0.0, "")  # until when it is shown

    def __enter__(self) -> "LastWords":
        self._others, logging.getLogger().handlers = logging.getLogger().handlers, [self]
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger().handlers = self._others

    def emit(self, record: logging.LogRecord) -> None:
        self._last = (time.monotonic() + WORDS_S, record.getMessage())

    def now(self) -> str:
        """Return what was logged last for a few seconds, then ""."""
        until, text = self._last
        return text if time.monotonic() < until else ""


def _second() -> datetime:
    """Return the present time in whole seconds: nothing on the screen is finer."""
    return now_utc().replace(microsecond=0)
