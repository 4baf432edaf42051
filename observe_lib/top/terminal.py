"""The terminal that `top` draws on: curses, from taking it over to giving it back as it was.
Only for the main thread; the one module that knows curses, which it imports when it is used.
"""

import locale
import os
import select
import sys
from collections.abc import Sequence
from contextlib import suppress

from ..calling import how_to_call
from ..errors import ObserveError, UsageError
from .spans import Line

#: how long a lone Esc waits for the rest of a key's sequence, in milliseconds
ESC_DELAY_MS = 25

_KEY_NAMES = {
    "KEY_UP": "up", "KEY_DOWN": "down", "KEY_LEFT": "left", "KEY_RIGHT": "right", "KEY_PPAGE": "page_up",
    "KEY_NPAGE": "page_down", "KEY_HOME": "home", "KEY_END": "end", "KEY_ENTER": "enter",
    "KEY_BACKSPACE": "backspace", "KEY_F(1)": "?", "KEY_F(10)": "q", "KEY_RESIZE": "resize",
}  # fmt: skip
_LETTERS = {
    "\n": "enter", "\r": "enter", "\x1b": "esc", "\x7f": "backspace", "\b": "backspace", "\x0c": "redraw",
    "\x06": "page_down", "\x02": "page_up", "\x0e": "down", "\x10": "up",  # Ctrl-F, B, N, P
}  # fmt: skip
_COLOUR_NUMBERS = {"red": 1, "green": 2, "yellow": 3, "cyan": 6}


def check_terminal() -> None:
    """UsageError where there is no terminal, ObserveError where curses cannot use it."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("top needs a terminal", f"for a script: {how_to_call('ps')}, or watch --json")
    try:
        import curses
    except ModuleNotFoundError as error:
        what = "this Python was built without curses"
        raise ObserveError(what, f"{how_to_call('ps')} needs none") from error
    try:
        curses.setupterm()
    except curses.error as error:
        kind = os.environ.get("TERM", "")
        raise ObserveError(f"nothing is known of a terminal of type {kind!r}", "try TERM=xterm") from error
    if not curses.tigetstr("cup"):
        raise ObserveError("this terminal cannot place its cursor", f"{how_to_call('watch')} needs no such")


def has_unicode() -> bool:
    """Whether more than ASCII can be drawn; takes over the locale that the environment names."""
    with suppress(locale.Error):
        locale.setlocale(locale.LC_ALL, "")
    return "UTF" in locale.nl_langinfo(locale.CODESET).upper()


class Terminal:
    """A context manager: within it the terminal is a screen; after it, however that ends, what it was."""

    def __init__(self, colour: bool, ascii_only: bool) -> None:
        import curses

        #: nobody is at the other end any more
        self.is_gone = False
        self._curses, self._colour, self._ascii = curses, colour, ascii_only
        self._lines: list[Line] = []
        self._poll = select.poll()
        self._poll.register(sys.stdin.fileno(), select.POLLIN)

    def __enter__(self) -> "Terminal":
        self._window = self._curses.initscr()
        try:
            self._set_up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        curses = self._curses
        for undo in (lambda: curses.curs_set(1), curses.nocbreak, curses.echo, curses.endwin):
            with suppress(curses.error):
                undo()

    def size(self) -> tuple[int, int]:
        """Return columns and lines as they are now; after a change everything is drawn again."""
        height, width = self._window.getmaxyx()
        with suppress(OSError):
            now = os.get_terminal_size(sys.stdout.fileno())
            if now.columns > 0 and now.lines > 0 and (now.lines, now.columns) != (height, width):
                self._curses.resizeterm(now.lines, now.columns)
                self._forget()
                return now.columns, now.lines
        return width, height

    def _forget(self) -> None:
        """Draw everything again at the next time, whatever the terminal shows."""
        self._lines = []
        self._window.clear()

    def keys(self, timeout_s: float) -> list[str]:
        """Return the keys that were pressed, [] after `timeout_s` without any."""
        state = [flags for _, flags in self._poll.poll(int(timeout_s * 1000))]
        self.is_gone = any(flags & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for flags in state)
        found = list[str]()
        with suppress(self._curses.error):  # there are no more
            while len(found) < 1000:
                found.append(self._key_name(self._window.get_wch()))
        if "redraw" in found:
            self._forget()
        return found

    def _key_name(self, key: int | str) -> str:
        """Return a key as `press` knows it; one that has no name there is ""."""
        if isinstance(key, str):
            return _LETTERS.get(key, key)
        return _KEY_NAMES.get(self._curses.keyname(key).decode("ascii", "replace"), "")

    def draw(self, lines: Sequence[Line]) -> None:
        """Draw the lines that are not yet on the screen."""
        spilt = False
        for number, line in enumerate(lines):
            if spilt or number >= len(self._lines) or self._lines[number] != line:
                spilt = self._draw_line(number, line)
        self._lines = list(lines)
        self._window.noutrefresh()
        self._curses.doupdate()

    def _draw_line(self, number: int, line: Line) -> bool:
        """Return whether curses went on in the next line: it may find a letter wider than we do."""
        with suppress(self._curses.error):  # the last column of the last line, or it became smaller just now
            self._window.move(number, 0)
            self._window.clrtoeol()
            for text, paint in line:
                if self._ascii and not text.isascii():
                    text = text.encode("ascii", "backslashreplace").decode()
                self._window.addstr(text, self._attribute(paint))
        return self._window.getyx()[0] > number

    def _attribute(self, paint: str) -> int:
        curses, found = self._curses, 0
        plain = {"bold": curses.A_BOLD, "dim": curses.A_DIM, "reverse": curses.A_REVERSE}
        for word in paint.split():
            if word in plain:
                found |= plain[word]
            elif self._colour:
                found |= curses.color_pair(_COLOUR_NUMBERS[word])
        return found

    def _set_up(self) -> None:
        curses = self._curses
        curses.noecho()
        curses.cbreak()
        self._window.keypad(True)
        self._window.nodelay(True)
        curses.set_escdelay(ESC_DELAY_MS)
        with suppress(curses.error):
            curses.curs_set(0)
        self._colour = self._colour and curses.has_colors()
        if self._colour:
            curses.start_color()
            curses.use_default_colors()
            for number in _COLOUR_NUMBERS.values():
                curses.init_pair(number, number, -1)
