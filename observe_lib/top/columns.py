"""The table of processes in `top`: which columns fit a width, and the cells of a row.
Pure; a cell is made of spans of text that name their paint.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from ..reader.board import history_of
from ..rows import ProcessRow
from ..text.output import Style, printable, text_width
from ..text.rows import age_words, status_cell
from ..text.words import detail
from .spans import Cell, Line, Span, laid_out, spans_width
from .view import View

#: a process's name is not given less than this, while there is another column that can go
NAME_MIN = 16
#: and this much before the last hour and the last event have any room
NAME_WHOLE = 40
#: what every row begins with: the cursor, a mark for what is wrong, a space
PREFIX = 3
#: columns stand closer on a screen that is narrower than this, those of the processes sooner
NARROW = 60
CROWDED = 100
#: titles are written out from this width on
WIDE = 110
#: what the last event is given before the hour becomes finer: a crash with its reason
LAST_EVENT = 48
#: an hour in so many cells, the most that fit
HISTORY_CELLS = (60, 30, 20, 12)

#: per word of `CELLS`: how a cell of a history looks, where there is UTF-8 and where there is only ASCII
GLYPHS = {"crashed": "█", "unhealthy": "▄", "blind": "?", "down": "·", "up": "▁", "": " "}
PLAIN_GLYPHS = {"crashed": "X", "unhealthy": "!", "blind": "?", "down": ".", "up": "_", "": " "}
#: per word of `CONDITIONS` and `CELLS`: its paint
PAINTS = {"crashed": "red", "flapping": "red", "unhealthy": "yellow", "up": "green", "done": "cyan"}
PAINTS |= dict.fromkeys(("stale", "down", "idle", "ended", "blind"), "dim")
#: per word of `CONDITIONS`: what stands before the name, so that colour is not needed
MARKS = {"crashed": "×", "flapping": "×", "unhealthy": "!", "stale": "?"}


class Column(NamedTuple):
    """One column of the table; the lowest ranks are wanted most."""

    title: str
    rank: int
    least: int  #: its least width
    right: bool = False
    short: str = ""  #: its title on a narrow screen

    def title_on(self, screen: int) -> str:
        """Return the title for a screen that wide."""
        return self.title if screen >= WIDE else self.short or self.title


#: in the order in which they stand
COLUMNS = {
    "stack": Column("STACK", 3, 8),
    "process": Column("PROCESS", 0, NAME_MIN),
    "status": Column("STATUS", 1, 11),
    "health": Column("HEALTH", 4, 6),
    "pid": Column("PID", 7, 5, right=True),
    "up": Column("UP", 2, 7, right=True),
    "restarts": Column("RESTARTS", 6, 4, right=True, short="RST"),
    "crashes": Column("CRASHES/24H", 5, 6, right=True, short="CR/24H"),
    "history": Column("LAST HOUR", 8, HISTORY_CELLS[-1]),
    "last": Column("LAST EVENT", 9, 24),
}


def column_widths(view: View, screen: int) -> dict[str, int]:
    """Return which columns fit a screen that wide, and how wide they are to be drawn."""
    gap, widths, left = _table_gap(screen), {"process": NAME_MIN}, screen - PREFIX - NAME_MIN
    more = max(0, min(view.listing.name_width, NAME_WHOLE) - NAME_MIN)
    for name, column in sorted(COLUMNS.items(), key=lambda item: item[1].rank)[1:]:
        least = max(column.least, len(column.title_on(screen)), view.listing.least.get(name, 0))
        room = left - more * (name in ("history", "last"))  # whole names are worth more than these
        if least + gap <= room and (name != "stack" or len(view.states.stacks) > 1):
            widths[name] = least
            left -= least + gap
    stack = max(map(text_width, view.states.stacks), default=0)
    wishes = [("process", view.listing.name_width), ("stack", stack), ("last", LAST_EVENT)]
    for name, wish in (*wishes, ("history", HISTORY_CELLS[0]), ("last", screen)):
        if name in widths:
            width = widths[name] + min(max(0, wish - widths[name]), max(0, left))
            if name == "history":
                width = next(cells for cells in HISTORY_CELLS if cells <= width)
            left -= width - widths[name]
            widths[name] = width
    widths["process"] = max(0, min(widths["process"], screen - PREFIX))
    return {name: widths[name] for name in COLUMNS if name in widths}


def heading_line(widths: Mapping[str, int], screen: int) -> Line:
    """Return the titles."""
    titles = {name: [Span(COLUMNS[name].title_on(screen), "bold dim")] for name in widths}
    return (Span(" " * PREFIX), *_laid_out(titles, widths, screen))


def row_line(
    view: View, row: ProcessRow, style: Style, widths: Mapping[str, int], screen: int, selected: bool
) -> Line:
    """Return a row, padded to the screen's width so that the cursor is a bar."""
    condition = row.condition(view.judged_at, view.listing.stale_stacks.get(row.place.stack))
    mark = MARKS.get(condition, " ")
    mark = "x" if view.ascii and mark == "×" else mark
    prefix = Span(f"{'>' if selected else ' '}{mark} ", PAINTS.get(condition, ""))
    line = [prefix, *_laid_out(_cells(view, row, style, widths.get("history", 0)), widths, screen)]
    line.append(Span(" " * max(0, screen - spans_width(line))))
    return (Span("".join(span.text for span in line), "reverse"),) if selected else tuple(line)


def _cells(view: View, row: ProcessRow, style: Style, history: int) -> dict[str, Sequence[Span]]:
    """Return the cells of a row; of one that may no longer hold only what is past."""
    stale = view.listing.stale_stacks.get(row.place.stack)
    condition, crashes = row.condition(view.judged_at, stale), row.crashes_24h(view.now)
    status, health = status_cell(row, stale, view.judged_at) or "-", "-" if stale else row.health
    since = None if stale else row.since
    return {
        "stack": [Span(printable(row.place.stack))],
        "process": [Span(printable(str(row.place)))],
        "status": [Span(printable(status), PAINTS.get(condition, ""))],
        "health": [Span(printable(health), _health_paint(health, condition))],
        "pid": [Span("-" if stale else str(row.pid or "-"))],
        "up": [Span(age_words(since, view.now))],
        "restarts": [Span(str(row.restarts), "" if row.restarts else "dim")],
        "crashes": [Span(str(crashes), "red" if crashes else "dim")],
        "history": _history(view, row, history) if history else (),
        "last": _last_event(row, view, style),
    }


def _health_paint(health: str, condition: str) -> str:
    """Return the paint of a health; not to be Ready yet is no trouble."""
    if health == "Not Ready" and condition != "starting":
        return "yellow"
    return "green" if health == "Ready" else "dim"


def _last_event(row: ProcessRow, view: View, style: Style) -> list[Span]:
    if row.last_at is None:
        return [Span("-", "dim")]
    words = f"{row.last_type} {age_words(row.last_at, view.now)} ago"
    more = detail(last, style.clock) if (last := row.last) else ""
    return [Span(printable(words)), *([Span(printable(f": {more}"), "dim")] if more else [])]


def _laid_out(cells: Mapping[str, Sequence[Span]], widths: Mapping[str, int], screen: int) -> list[Span]:
    line = (Cell(cells[name], width, COLUMNS[name].right) for name, width in widths.items())
    return laid_out(line, _table_gap(screen))


def _table_gap(screen: int) -> int:
    return 1 if screen < CROWDED else 2


def history_line(view: View, row: ProcessRow, screen: int) -> Line:
    """Return a line with a process's last hour, as fine as the screen's width allows."""
    title = "  last hour "
    cells = next((one for one in HISTORY_CELLS if one <= screen - len(title)), HISTORY_CELLS[-1])
    return (Span(title, "dim"), *_history(view, row, cells))


def _history(view: View, row: ProcessRow, cells: int) -> list[Span]:
    stale = view.listing.stale_stacks.get(row.place.stack)
    return history_spans(history_of(view.board, row, view.now, cells, stale), view.ascii)


def history_spans(cells: Iterable[str], plain: bool) -> list[Span]:
    """Return a history as glyphs, neighbours of one kind in one span."""
    glyphs = PLAIN_GLYPHS if plain else GLYPHS
    return [
        Span("".join(glyphs[cell] for cell in same), paint)
        for paint, same in groupby(cells, key=lambda cell: PAINTS.get(cell, ""))
    ]


def gap_of(screen: int) -> int:
    """Return how far apart columns stand."""
    return 1 if screen < NARROW else 2
