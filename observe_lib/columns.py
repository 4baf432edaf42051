"""The table of processes in `top`: which columns fit a width, and the cells of a row.
Pure; a cell is a span of text that names its paint.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from .board import condition_of, history_of
from .detail import detail
from .output import Style, cut_text, printable, text_width
from .states import DAY, ProcessRow, Silence
from .tables import age_words
from .times import format_time, parse_time
from .view import View

#: a process's name is not given less than this, while there is another column that can go
NAME_MIN = 16
#: what every row begins with: the cursor, a mark for what is wrong, a space
PREFIX = 3
#: columns stand closer on a screen that is narrower than this
NARROW = 60
#: titles are written out from this width on
WIDE = 110
#: an hour in so many cells, the most that fit
HISTORY_CELLS = (60, 30, 20, 12)

#: per word of `CELLS`: how a cell of a history looks, where there is UTF-8 and where there is only ASCII
GLYPHS = {"crashed": "█", "unhealthy": "▄", "blind": "?", "down": "·", "up": "▁", "": " "}
PLAIN_GLYPHS = {"crashed": "X", "unhealthy": "!", "blind": "?", "down": ".", "up": "_", "": " "}
#: per word of `CONDITIONS` and `CELLS`: its paint
PAINTS = {"crashed": "red", "unhealthy": "yellow", "stale": "dim", "up": "green", "done": "cyan"}
PAINTS |= dict.fromkeys(("down", "idle", "gone", "blind"), "dim")
#: per word of `CONDITIONS`: what stands before the name, so that colour is not needed
MARKS = {"crashed": "×", "unhealthy": "!", "stale": "?"}


class Span(NamedTuple):
    """A text, all of it printable, and its paint: words out of bold, dim, reverse and colours."""

    text: str
    paint: str = ""


Line = tuple[Span, ...]


class Subject(NamedTuple):
    """What the cells of a row are made of."""

    row: ProcessRow
    view: View
    style: Style
    silence: Silence | None
    condition: str


@dataclass(frozen=True)
class Column:
    """One column: its titles (long and short), its least width, and how it makes a cell that wide."""

    titles: tuple[str, str]
    width: int
    cell: Callable[[Subject, int], Sequence[Span]]
    right: bool = False

    def title(self, screen: int) -> str:
        """Return the title for a screen that wide."""
        return self.titles[0 if screen >= WIDE else 1]


def columns_for(view: View, screen: int) -> list[Column]:
    """Return the columns that fit a screen that wide, as wide as they are to be drawn."""
    gap = gap_of(screen)
    several = len(view.states.stacks) > 1
    wanted = [name for name in _PRIORITY if name != "stack" or several]
    chosen, left = ["process"], screen - PREFIX - NAME_MIN
    for name in wanted:
        least = _column(name, screen).width + gap
        if least <= left:
            chosen.append(name)
            left -= least
    widths = {name: _column(name, screen).width for name in chosen}
    left = _widen(widths, "process", view.listing.name_width, left)
    widths["process"] = min(widths["process"], screen - PREFIX)
    if "history" in widths:
        now = widths["history"]
        left = _widen(widths, "history", next(one for one in HISTORY_CELLS if one <= now + left), left)
    if "stack" in widths:
        left = _widen(widths, "stack", max(map(text_width, view.states.stacks), default=0), left)
    if "last" in widths:
        widths["last"] += left
    ordered = [name for name in _COLUMNS if name in widths]
    return [replace(_COLUMNS[name], width=max(0, widths[name])) for name in ordered]


def heading_line(columns: Sequence[Column], screen: int) -> Line:
    """Return the titles."""
    cells = [Span(padded(column.title(screen), column.width, column.right), "bold dim") for column in columns]
    return (Span(" " * PREFIX), *_joined(([cell] for cell in cells), gap_of(screen)))


def row_line(subject: Subject, columns: Sequence[Column], screen: int, selected: bool) -> Line:
    """Return a row, padded to the screen's width so that the cursor is a bar."""
    mark = MARKS.get(subject.condition, " ")
    mark = "x" if subject.view.ascii and mark == "×" else mark
    prefix = Span(f"{'>' if selected else ' '}{mark} ", PAINTS.get(subject.condition, ""))
    line = [prefix, *_joined((fit_cell(column, subject) for column in columns), gap_of(screen))]
    used = sum(text_width(span.text) for span in line)
    line.append(Span(" " * max(0, screen - used)))
    return (Span("".join(span.text for span in line), "reverse"),) if selected else tuple(line)


def fit_cell(column: Column, subject: Subject) -> list[Span]:
    """Return a cell, exactly as wide as its column."""
    spans, used = [], 0
    for text, paint in column.cell(subject, column.width):
        text = cut_text(printable(text), column.width - used)
        used += text_width(text)
        spans.append(Span(text, paint))
    blank = Span(" " * max(0, column.width - used))
    return [blank, *spans] if column.right else [*spans, blank]


def history_spans(cells: Iterable[str], plain: bool) -> list[Span]:
    """Return a history as glyphs, neighbours of one kind in one span."""
    glyphs, spans = PLAIN_GLYPHS if plain else GLYPHS, list[Span]()
    for cell in cells:
        paint = PAINTS.get(cell, "")
        if spans and spans[-1].paint == paint:
            spans[-1] = Span(spans[-1].text + glyphs[cell], paint)
        else:
            spans.append(Span(glyphs[cell], paint))
    return spans


def padded(text: str, width: int, right: bool = False) -> str:
    """Return a text cut and filled to a width."""
    text = cut_text(text, width)
    blank = " " * max(0, width - text_width(text))
    return blank + text if right else text + blank


def gap_of(screen: int) -> int:
    """Return how far apart columns stand."""
    return 1 if screen < NARROW else 2


def _joined(cells: Iterable[Sequence[Span]], gap: int) -> list[Span]:
    spans = list[Span]()
    for cell in cells:
        spans += [*([Span(" " * gap)] if spans else []), *cell]
    return spans


def _widen(widths: dict[str, int], name: str, wanted: int, left: int) -> int:
    more = min(max(0, wanted - widths[name]), max(0, left))
    widths[name] += more
    return left - more


def _column(name: str, screen: int) -> Column:
    """Return a column as wide as it is at least, its title included."""
    column = _COLUMNS[name]
    return replace(column, width=max(column.width, len(column.title(screen))))


# --- the cells ---


def _status_cell(subject: Subject, width: int) -> Sequence[Span]:
    row, condition = subject.row, subject.condition
    text = row.status or "-"
    if condition == "stale":
        text = "stale"
    elif condition == "crashed" and row.status == "Completed" and row.exit_code is not None:
        text = f"exit {row.exit_code}"
    return [Span(text, PAINTS.get(condition, ""))]


def _health_cell(subject: Subject, width: int) -> Sequence[Span]:
    health = "-" if subject.silence else subject.row.health
    return [Span(health, {"Ready": "green", "Not Ready": "yellow"}.get(health, "dim"))]


def _history_cell(subject: Subject, width: int) -> Sequence[Span]:
    view = subject.view
    return history_spans(
        history_of(view.board, subject.row, view.now, width, subject.silence), subject.view.ascii
    )


def _last_cell(subject: Subject, width: int) -> Sequence[Span]:
    last = subject.row.last
    if last is None:
        return [Span("-", "dim")]
    words = f"{last.type} {age_words(parse_time(last.timestamp), subject.view.now)} ago"
    more = detail(last, subject.style.clock)
    return [Span(words), *([Span(f": {more}", "dim")] if more else [])]


def _count_cell(number: int, paint: str) -> Sequence[Span]:
    return [Span(str(number), paint if number else "dim")]


def _since_words(subject: Subject) -> str:
    since = subject.row.since
    return subject.style.clock(format_time(since)) if since and not subject.silence else "-"


#: in the order in which they stand
_COLUMNS = {
    "stack": Column(("STACK", "STACK"), 8, lambda one, width: [Span(one.row.place.stack)]),
    "process": Column(("PROCESS", "PROCESS"), NAME_MIN, lambda one, width: [Span(str(one.row.place))]),
    "status": Column(("STATUS", "STATUS"), 11, _status_cell),
    "health": Column(("HEALTH", "HEALTH"), 9, _health_cell),
    "pid": Column(
        ("PID", "PID"),
        7,
        lambda one, width: [Span("-" if one.silence else str(one.row.pid or "-"))],
        right=True,
    ),
    "since": Column(("SINCE", "SINCE"), 14, lambda one, width: [Span(_since_words(one))], right=True),
    "up": Column(
        ("UP", "UP"),
        7,
        lambda one, width: [Span("-" if one.silence else age_words(one.row.since, one.view.now))],
        right=True,
    ),
    "restarts": Column(
        ("RESTARTS", "RST"), 4, lambda one, width: _count_cell(one.row.restarts, ""), right=True
    ),
    "crashes": Column(
        ("CRASHES/24H", "CR/24H"),
        6,
        lambda one, width: _count_cell(one.row.crashes_since(one.view.now - DAY), "red"),
        right=True,
    ),
    "history": Column(("LAST HOUR", "LAST HOUR"), HISTORY_CELLS[-1], _history_cell),
    "last": Column(("LAST EVENT", "LAST EVENT"), 24, _last_cell),
}
#: the most important first, behind the process itself
_PRIORITY = (
    "status",
    "up",
    "stack",
    "health",
    "history",
    "crashes",
    "restarts",
    "last",
    "pid",
    "since",
)


def row_subject(view: View, row: ProcessRow, style: Style) -> Subject:
    """Return what the cells of a row are made of."""
    silence = view.listing.silences.get(row.place.stack)
    return Subject(row, view, style, silence, condition_of(row, silence))


def history_line(view: View, row: ProcessRow, screen: int) -> Line:
    """Return a line with a process's last hour, as fine as the screen's width allows."""
    title = "  last hour "
    cells = next((one for one in HISTORY_CELLS if one <= screen - len(title)), HISTORY_CELLS[-1])
    words = history_of(view.board, row, view.now, cells, view.listing.silences.get(row.place.stack))
    return (Span(title, "dim"), *history_spans(words, view.ascii))
