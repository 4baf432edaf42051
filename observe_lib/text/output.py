"""How verbs print: what is printable, how wide it is, in which colour; an event's row, its JSON line; notes.
Runs in whichever thread asks; the colours of events are known only here.
"""

import json
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime, tzinfo
from functools import lru_cache
from typing import Any, NamedTuple, TextIO

from ..events import Event
from ..times import UTC, now_utc, parse_time
from .words import detail

#: the header's note ends here; a terminal that is narrower cuts every row at its own width
SCREEN_WIDTH = 100
#: the colour of the event word
COLOURS = {
    "crashed": "red",
    "unhealthy": "yellow",
    "restarted": "yellow",
    "started": "green",
    "healthy": "green",
    "stopped": "cyan",
    "status_changed": "dim",
}
#: colours as the numbers of SGR sequences
SGR = {"red": 31, "green": 32, "yellow": 33, "cyan": 36, "dim": 2}


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


def stored_line(payload: bytes) -> str:
    """Return JSON that was read from these bytes as the line that it is; "" if it may not be printed so.

    JSON holds control characters of ASCII between its parts alone, but for the last one.
    """
    if payload.isascii():
        spaces = b"\n" in payload or b"\r" in payload or b"\t" in payload
        return "" if spaces or b"\x7f" in payload else payload.decode()
    text = payload.decode("utf-8", "replace")
    return text if text.isprintable() else ""


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


class Style(NamedTuple):
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


def colour_of(event: Event) -> str:
    """Return the colour of the event's word, "" for none; not to be Ready yet is no trouble."""
    return "" if event.starting else COLOURS.get(event.type, "")


def painted(text: str, colour: str) -> str:
    """Return the text in a colour, as it is where there is none."""
    return f"\x1b[{SGR[colour]}m{text}\x1b[0m" if colour else text


def style_of(flags: Mapping[str, Any], out: TextIO, environ: Mapping[str, str]) -> Style:
    """Return what the flags ask for; rows are cut only where `out` is a terminal."""
    terminal = out.isatty()
    return Style(
        as_json=flags["output"] == "json",
        colour=wants_colour(flags.get("color", "auto"), terminal, environ),
        zone=UTC if flags.get("utc") else None,
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
    """Print a line on stderr; that nobody can read it any more is no reason to end.

    Line and end are one string: two threads' lines never run together.
    """
    with suppress(OSError, ValueError):
        sys.stderr.write(f"{printable(text)}\n")
        sys.stderr.flush()


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
