"""The timeline: one row per process, and in each column what mattered in its part of the time.
Pure text; a strip's size depends on its columns, never on the number of events.
"""

from array import array
from typing import NamedTuple

from .facts import Shade
from .gaps import Gaps

_SHADES = len(Shade)


class Glyphs(NamedTuple):
    """How a column is drawn: with the process up, down, unhealthy, or nobody looking."""

    up: str
    down: str
    unhealthy: str
    blind: str

    def legend(self) -> str:
        """Return what each means."""
        return "  ".join(f"{glyph} {name}" for name, glyph in self._asdict().items())


BLOCKS = Glyphs("█", "░", "▒", "·")
#: for a screen that has no block characters
LETTERS = Glyphs("#", "_", "!", ".")
#: as the numbers of SGR sequences
GLYPH_COLOURS = Glyphs("32", "31", "33", "2")


class Slot(NamedTuple):
    """What a process was in one column's time; "" where it was not there."""

    what: str  #: a field of Glyphs, or ""
    failed: bool = False


class ProcessStrip:
    """The seconds that one process was up, unhealthy, down and failed, per column of the range."""

    def __init__(self, since: float, until: float, columns: int) -> None:
        self._since, self._width_s, self.columns = since, (until - since) / columns, columns
        self._seconds = array("d", bytes(8 * _SHADES * columns))

    def add(self, start: float, end: float, shade: Shade) -> None:
        """Count a span, within the range, in which the process was seen to be so."""
        number = int((start - self._since) / self._width_s)
        while start < end and number < self.columns:
            edge = self._since + (number + 1) * self._width_s
            if edge > start:
                self._seconds[number * _SHADES + shade] += min(end, edge) - start
                start = edge
            number += 1

    def column(self, number: int, gaps: Gaps) -> Slot:
        """Return what a column shows: trouble, however short; else what there was most of."""
        at = number * _SHADES
        up, unhealthy, down, failed = self._seconds[at : at + _SHADES]
        if failed:
            return Slot("down", True)
        if unhealthy:
            return Slot("unhealthy")
        start = self._since + number * self._width_s
        blind = self._width_s - gaps.seen_s(start, start + self._width_s)
        if blind > max(up + down, self._width_s / 2):
            return Slot("blind")
        return Slot(("up" if up >= down else "down") if up or down else "")


def strip_text(strip: ProcessStrip, gaps: Gaps, glyphs: Glyphs, colour: bool) -> str:
    """Return the strip as text, its colours one sequence per stretch of the same kind."""
    columns = [strip.column(number, gaps) for number in range(strip.columns)]
    parts, last = [], ""
    for column in columns:
        code = getattr(GLYPH_COLOURS, column.what) if column.what else ""
        if column.what == "down" and not column.failed:
            code = GLYPH_COLOURS.blind
        if colour and code != last:
            parts.append(f"\x1b[{code or 0}m" if not last else f"\x1b[0m\x1b[{code}m" if code else "\x1b[0m")
        last = code
        parts.append(getattr(glyphs, column.what) if column.what else " ")
    return "".join(parts) + ("\x1b[0m" if colour and last else "")
