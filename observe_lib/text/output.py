"""What an event looks like: its row, the table with tabulate's look, its JSON line; and how verbs print.
Runs in whichever thread asks; the colours of events are known only here.
"""

import json
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import lru_cache
from typing import Any, NamedTuple, TextIO

from ..events import Event
from ..times import UTC, now_utc, parse_time
from .words import detail

#: the header's note ends here; a terminal that is narrower cuts every row at its own width
SCREEN_WIDTH = 100
#: as narrow as these columns ever are, so that common rows never widen them; tabulate wants title + 2
TITLES = {"TIME": 8, "STACK": 7, "PROCESS": 24, "EVENT": 9, "DETAIL": 8}
#: the colour of the event word, as the number of an SGR sequence
COLOURS = {"crashed": 31, "unhealthy": 33, "restarted": 33, "started": 32, "healthy": 32, "stopped": 36}
COLOURS["status_changed"] = 2


def printable(text: str) -> str:
    """Return the text with everything that could move, hide or turn round a terminal's text spelled out."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def json_line(found: Mapping[str, Any]) -> str:
    """Return one line of JSON that reads back as the same object and holds no control character."""
    text = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text).replace("\x7f", "\\u007f")


@lru_cache(4096)
def text_width(text: str) -> int:
    """Return how many columns a terminal needs for a text."""
    if text.isascii():
        return len(text)
    shown = (c for c in text if unicodedata.category(c) not in ("Mn", "Me"))  # marks share a letter's column
    return sum(1 + (unicodedata.east_asian_width(c) in "WF") for c in shown)


def cut_text(text: str, width: int | None) -> str:
    """Return as much of a text as fits (None: all), with an ellipsis where something is missing."""
    if width is None or text_width(text) <= width:
        return text
    while text and text_width(text) >= width:
        text = text[: min(len(text) - 1, width)]
    return text + "…" if width > 0 else ""


class Row(NamedTuple):
    """One event as the cells of a table, all of them printable."""

    time: str
    stack: str
    process: str
    event: str
    detail: str


@dataclass(frozen=True)
class Style:
    """How events are shown: as JSON, in which zone, with colour, and how wide (None: nothing is cut)."""

    as_json: bool = False
    colour: bool = False
    zone: tzinfo | None = None  # None: the local one
    columns: Callable[[], int | None] = lambda: None
    now: Callable[[], datetime] = now_utc

    def clock(self, rfc3339: str) -> str:
        """Return HH:MM:SS in this style's zone, after as much of the date as is not today's."""
        try:
            moment = parse_time(rfc3339).astimezone(self.zone)
        except (ValueError, OverflowError, OSError):
            return printable(rfc3339)
        today = self.now().astimezone(self.zone)
        if moment.date() == today.date():
            return f"{moment:%H:%M:%S}"
        return f"{moment:%m-%d %H:%M:%S}" if moment.year == today.year else f"{moment:%Y-%m-%d %H:%M:%S}"

    def row(self, event: Event) -> Row:
        """Return the cells of an event."""
        process = f"{event.namespace}/{event.process}"
        cells = (event.stack or "-", process, event.type, detail(event, self.clock))
        return Row(self.clock(event.timestamp), *(printable(cell) for cell in cells))

    def zone_text(self) -> str:
        """Return the zone as `UTC+01:00`, or `UTC`."""
        if self.zone is UTC:
            return "UTC"
        offset = f"{self.now().astimezone(self.zone):%z}"
        return f"UTC{offset[:3]}:{offset[3:5]}"


class EventTable:
    """A table of events that grows: it keeps its columns' widths, and has a new header when they change."""

    def __init__(self, style: Style) -> None:
        self._style = style
        self._widths: dict[str, int] = {}
        self._stacks: dict[str, None] = {}

    def replay(self, events: Sequence[Event]) -> list[str]:
        """Return the lines of a table, header and all; its body is tabulate's."""
        from tabulate import tabulate

        rows = [self._row(event) for event in events]
        titles, cells = self._cells(TITLES), [self._cells(row) for row in rows]
        # tabulate makes a column two wider than its title
        headers = [title.ljust(TITLES[title] - 2) for title in titles]
        lines = tabulate(cells, headers=headers, tablefmt="simple", disable_numparse=True).splitlines()
        self._widths = dict(zip(titles, map(len, lines[1].split()), strict=True))
        body = (self._coloured(line, row) for line, row in zip(lines[2:], rows, strict=True))
        return [*self._header(), *body]

    def live(self, event: Event) -> list[str]:
        """Return the line of one more event, below a wider header where it would not fit the columns."""
        row, before = self._row(event), self._widths
        cells = dict(zip(self._cells(TITLES), self._cells(row), strict=True))
        self._widths = {title: max(TITLES[title], before.get(title, 0)) for title in cells}
        for title in cells.keys() - {"DETAIL"}:
            self._widths[title] = max(self._widths[title], text_width(cells[title]))
        header = [] if self._widths == before else self._header()
        return [*header, self._coloured(table_line(self._widths.values(), cells.values()), row)]

    def _row(self, event: Event) -> Row:
        """Return the row of an event; on a terminal no name takes more than half of the width."""
        row, columns = self._style.row(event), self._style.columns()
        if columns is not None:
            most = max(TITLES["PROCESS"], columns // 2)
            row = row._replace(process=cut_text(row.process, most), stack=cut_text(row.stack, most))
        self._stacks[row.stack] = None
        return row

    def _cells(self, row: Iterable[str]) -> list[str]:
        """Return what is shown of a row, or of the titles: the stack only where there are several."""
        several = len(self._stacks) > 1
        return [cell for title, cell in zip(TITLES, row, strict=True) if several or title != "STACK"]

    def _header(self) -> list[str]:
        columns = self._style.columns()
        screen = min(columns or SCREEN_WIDTH, SCREEN_WIDTH)
        stack = [] if len(self._stacks) > 1 else [stack for stack in self._stacks if stack != "-"]
        note = f"({', '.join([*stack, self._style.zone_text()])})"
        titles = table_line(self._widths.values(), self._widths)
        dashes = table_line(self._widths.values(), ("-" * width for width in self._widths.values()))
        head = titles + note.rjust(max(screen - len(titles), len(note) + 2))
        return [cut_text(head, columns), dashes.ljust(screen, "-")[:columns]]

    def _coloured(self, line: str, row: Row) -> str:
        line = cut_text(line, self._style.columns())
        at = line.find(row.process, len(row.time)) + len(row.process)
        start = line.find(row.event, at)
        if not self._style.colour or row.event not in COLOURS or start < at:
            return line
        return line[:start] + painted(row.event, COLOURS[row.event]) + line[start + len(row.event) :]


def table_line(widths: Iterable[int], cells: Iterable[str]) -> str:
    """Return the cells side by side, each as wide as its column."""
    padded = (cell + " " * (width - text_width(cell)) for width, cell in zip(widths, cells, strict=True))
    return "  ".join(padded).rstrip()


def painted(text: str, colour: int) -> str:
    """Return the text in a colour, the number of an SGR sequence."""
    return f"\x1b[{colour}m{text}\x1b[0m"


def style_of(flags: Mapping[str, Any], out: TextIO, environ: Mapping[str, str]) -> Style:
    """Return what the flags ask for; rows are cut only where `out` is a terminal."""
    terminal = out.isatty()
    return Style(
        as_json=flags["output"] == "json",
        colour=wants_colour(flags["color"], terminal, environ),
        zone=UTC if flags["utc"] else None,
        columns=(lambda: shutil.get_terminal_size((SCREEN_WIDTH, 24)).columns) if terminal else lambda: None,
    )


def wants_colour(choice: str, is_terminal: bool, environ: Mapping[str, str]) -> bool:
    """Whether to colour: NO_COLOR wins over everything, then the flag, then what stdout is."""
    if environ.get("NO_COLOR") or choice == "never":
        return False
    return choice == "always" or (is_terminal and environ.get("TERM") != "dumb")


def note_line(topic: str, text: str, now: datetime) -> str:
    """Return a line for stderr: the local time, what it is about, what there is to say."""
    return f"{now.astimezone():%H:%M:%S} {printable(topic):<18}{printable(text)}".rstrip()


def print_note(text: str) -> None:
    """Print a line on stderr; that nobody can read it any more is no reason to end."""
    with suppress(OSError, ValueError):
        print(printable(text), file=sys.stderr, flush=True)


def say_note(topic: str, text: str) -> None:
    """Print on stderr, with the time, what there is to say of a topic."""
    print_note(note_line(topic, text, now_utc()))


def mute(*words: str) -> None:
    """Say nothing: what stands for `print_note` and `say_note` with --quiet."""


def write_lines(lines: Iterable[str], out: TextIO | None = None) -> None:
    """Print data (None: on stdout), flushed so that the reader of a pipe has it at once."""
    out = out or sys.stdout
    out.write("".join(f"{line}\n" for line in lines))
    out.flush()
