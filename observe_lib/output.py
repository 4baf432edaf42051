"""What an event looks like: its row, the table with tabulate's look, its JSON line.
Pure text, whichever thread asks; nothing here prints, and only here is colour known.
"""

import argparse
import json
import shutil
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import lru_cache
from typing import Any, NamedTuple, TextIO

from .detail import detail
from .events import Event
from .times import UTC, now_utc, parse_time

#: the header's note ends here; a terminal that is narrower cuts every row at its own width
SCREEN_WIDTH = 100
#: as narrow as these columns ever are, so that common rows never widen them; tabulate wants title + 2
TITLES = {"TIME": 8, "STACK": 7, "PROCESS": 24, "EVENT": 9, "DETAIL": 8}
#: the colour of the event word, as the number of an SGR sequence
COLOURS = {"crashed": 31, "unhealthy": 33, "restarted": 33, "started": 32, "healthy": 32, "stopped": 36}
COLOURS["status_changed"] = 2

_COLUMN_GAP = "  "


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
    return "".join(c if c.isprintable() else _json_escape(c) for c in text)


def _json_escape(letter: str) -> str:
    return json.dumps(letter)[1:-1] if ord(letter) > 0x7F else f"\\u{ord(letter):04x}"


def clock_text(rfc3339: str, zone: tzinfo | None = None, now: datetime | None = None) -> str:
    """Return HH:MM:SS in a zone (None: the local one), after as much of the date as is not today's."""
    try:
        moment = parse_time(rfc3339).astimezone(zone)
        today = (now or now_utc()).astimezone(zone)
    except (ValueError, OverflowError, OSError):
        return printable(rfc3339)
    if moment.date() == today.date():
        return f"{moment:%H:%M:%S}"
    return f"{moment:%m-%d %H:%M:%S}" if moment.year == today.year else f"{moment:%Y-%m-%d %H:%M:%S}"


@lru_cache(4096)
def text_width(text: str) -> int:
    """Return how many columns a terminal needs for a text."""
    if text.isascii():
        return len(text)
    shown = (c for c in text if unicodedata.category(c) not in ("Mn", "Me"))  # marks share a letter's column
    return sum(1 + (unicodedata.east_asian_width(c) in "WF") for c in shown)


def cut_text(text: str, width: int) -> str:
    """Return as much of a text as fits, with an ellipsis where something is missing."""
    if text_width(text) <= width:
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
        """Print a time in the zone of this style."""
        return clock_text(rfc3339, self.zone, self.now())

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
        self._stacks: list[str] = []

    def replay(self, events: Sequence[Event]) -> list[str]:
        """Return the lines of a table, header and all; its body is tabulate's."""
        from tabulate import tabulate

        rows = [self._shortened(self._style.row(event)) for event in events]
        self._see_stacks(rows)
        titles = self._titles()
        # tabulate makes a column two wider than its title
        headers = [title.ljust(TITLES[title] - 2) for title in titles]
        cells = [self._cells(row) for row in rows]
        lines = tabulate(cells, headers=headers, tablefmt="simple", disable_numparse=True).splitlines()
        self._widths = dict(zip(titles, map(len, lines[1].split()), strict=True))
        body = (self._coloured(line, row) for line, row in zip(lines[2:], rows, strict=True))
        return [*self._header(), *body]

    def live(self, event: Event) -> list[str]:
        """Return the line of one more event, below a wider header where it would not fit the columns."""
        row = self._shortened(self._style.row(event))
        self._see_stacks([row])
        needed = {title: max(TITLES[title], self._widths.get(title, 0)) for title in self._titles()}
        for title, cell in zip(needed, self._cells(row)[:-1], strict=False):
            needed[title] = max(needed[title], text_width(cell))
        header = [] if needed == self._widths else self._header(needed)
        return [*header, self._coloured(_table_line(needed.values(), self._cells(row)), row)]

    def _shortened(self, row: Row) -> Row:
        """On a terminal no name takes more than half of the width."""
        columns = self._style.columns()
        if columns is None:
            return row
        most = max(TITLES["PROCESS"], columns // 2)
        return row._replace(process=cut_text(row.process, most), stack=cut_text(row.stack, most))

    def _see_stacks(self, rows: Iterable[Row]) -> None:
        self._stacks = list(dict.fromkeys([*self._stacks, *(row.stack for row in rows)]))

    def _titles(self) -> list[str]:
        return [title for title in TITLES if title != "STACK" or len(self._stacks) > 1]

    def _cells(self, row: Row) -> list[str]:
        return [row[at] for at, title in enumerate(TITLES) if title != "STACK" or len(self._stacks) > 1]

    def _header(self, widths: dict[str, int] | None = None) -> list[str]:
        self._widths = widths or self._widths
        columns = self._style.columns()
        screen = min(columns or SCREEN_WIDTH, SCREEN_WIDTH)
        stack = [stack for stack in self._stacks if len(self._stacks) == 1 and stack != "-"]
        note = f"({', '.join([*stack, self._style.zone_text()])})"
        titles = _table_line(self._widths.values(), self._widths)
        dashes = _COLUMN_GAP.join("-" * width for width in self._widths.values())
        head = titles + note.rjust(max(screen - len(titles), len(note) + 2))
        return [cut_text(head, columns) if columns else head, dashes.ljust(screen, "-")[:columns]]

    def _coloured(self, line: str, row: Row) -> str:
        columns = self._style.columns()
        line = cut_text(line, columns) if columns else line
        at = line.find(row.process, len(row.time)) + len(row.process)
        start = line.find(row.event, at)
        if not self._style.colour or row.event not in COLOURS or start < at:
            return line
        end = start + len(row.event)
        return f"{line[:start]}\x1b[{COLOURS[row.event]}m{row.event}\x1b[0m{line[end:]}"


def _table_line(widths: Iterable[int], cells: Iterable[str]) -> str:
    padded = (cell + " " * (width - text_width(cell)) for width, cell in zip(widths, cells, strict=True))
    return _COLUMN_GAP.join(padded).rstrip()


def add_output_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `style_of` reads."""
    group = parser.add_argument_group("output")
    form = group.add_mutually_exclusive_group()
    form.add_argument("-o", "--output", choices=("table", "json"), help="how to print [table]")
    form.add_argument("--json", dest="output", action="store_const", const="json", help="the same as -o json")
    group.add_argument("--utc", action="store_true", help="print times in UTC [local]")
    colour = "colour the event word [auto; NO_COLOR wins]"
    group.add_argument("--color", choices=("auto", "always", "never"), default="auto", help=colour)


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
