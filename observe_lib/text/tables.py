"""How tables look: cells side by side, cut and padded to their columns; the table of events that grows.
Pure text; nothing here prints.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..calling import how_to_call
from ..errors import ObserveError, UsageError
from ..events import Event
from ..settings import names
from .output import SCREEN_WIDTH, Row, Style, colour_of, cut_text, painted, printable, text_width

#: as narrow as these columns ever are, so that common rows never widen them; tabulate wants title + 2
TITLES = {"TIME": 8, "STACK": 7, "PROCESS": 16, "EVENT": 14, "DETAIL": 8}
#: the same on a terminal of fewer columns than this, where they stand closer and one word is shorter
NARROW_SCREEN = 80
NARROW_TITLES = {**TITLES, "PROCESS": 9, "EVENT": 9}
NARROW_WORDS = {"status_changed": "status"}
#: names leave so much to DETAIL
DETAIL_LEAST = 30
#: no column is padded to more: one endless name must not make every row as long
WIDEST = 120
#: a table's last column is never cut to less: `status_changed 59m59s ago`
LAST_LEAST = 25


def selected(flags: dict[str, Any]) -> tuple[list[str], str | None]:
    """Return the names and the stack that these flags ask for."""
    if flags["stack"] is not None and not flags["stack"].strip():
        raise UsageError("--stack is empty", "name a stack, or leave it out to see all of them")
    return [*names("NAME", flags["name"]), *names("--process", flags["process"])], flags["stack"]


def no_match(verb: str, patterns: Iterable[str], stack: str | None, nats_flag: str) -> ObserveError:
    """Return the error where nothing is what was asked for; the verb without names shows all there is."""
    asked = ", ".join([*map(repr, patterns), *([f"stack {stack}"] if stack else [])])
    return ObserveError(f"no process matches {asked}", f"{how_to_call(verb, nats_flag)} shows all there are")


def table_line(widths: Iterable[int], texts: Iterable[str], gap: int = 2) -> str:
    """Return the texts beside each other, each at least as wide as its column: nothing is cut."""
    pairs = zip(texts, widths, strict=True)
    line = [text + " " * (width - text_width(text)) for text, width in pairs]
    return (" " * gap).join(line).rstrip()


def plain_table(
    rows: Sequence[Mapping[str, str]],
    columns: int | None = None,
    give_way: Sequence[str] = (),
    short: Mapping[str, str] | None = None,
) -> list[str]:
    """Return the lines of a table without rules; a row is its cells by title, which are made printable.

    On a terminal no name takes more than half of the columns, no stack more than a quarter. Where it is too
    narrow, titles become `short`; then whole columns give way in turn, which is said, until no more is to be
    cut than a part of the last one.
    """
    most = {} if columns is None else {"PROCESS": columns // 2, "STACK": columns // 4}
    cells = {title: [title, *(printable(row[title]) for row in rows)] for title in rows[0]}
    for title in most.keys() & cells.keys():
        cells[title] = [cut_text(text, most[title]) for text in cells[title]]
    widths = _widths_of(cells)
    if columns is not None and sum(widths.values()) + 2 * len(widths) - 2 > columns:
        for title, other in (short or {}).items():
            cells[title][0] = other
        widths = _widths_of(cells)
    left_out = []
    for title in (one for one in give_way if one in cells):
        *others, last = widths.values()
        if columns is None or sum(others) + 2 * len(others) + min(last, LAST_LEAST) <= columns:
            break
        left_out.append(title)
        del widths[title]
    padded = (
        [text + " " * (width - text_width(text)) for text in cells[title]] for title, width in widths.items()
    )
    found = [cut_text("  ".join(line).rstrip(), columns) for line in zip(*padded, strict=True)]
    return [*found, f"(no room for {', '.join(left_out)})"] if left_out else found


def _widths_of(cells: Mapping[str, Sequence[str]]) -> dict[str, int]:
    return {title: min(max(map(text_width, column)), WIDEST) for title, column in cells.items()}


class EventTable:
    """A table of events that grows: it keeps its columns' widths, and has a new header when they change.

    Without `named` it has no column for whose events they are.
    """

    def __init__(self, style: Style, named: bool = True) -> None:
        self._style, self._named = style, named
        self._widths: dict[str, int] = {}
        self._stacks: dict[str, None] = {}

    def replay(self, events: Sequence[Event]) -> list[str]:
        """Return the lines of a table, header and all; its body is tabulate's but for endless rows."""
        from tabulate import tabulate

        rows = [self._row(event) for event in events]
        titles, cells = self._cells(TITLES), [self._cells(row) for row in rows]
        fitting = [[cut_text(cell, WIDEST) for cell in row] for row in cells]
        # tabulate makes a column two wider than its title
        headers = [title.ljust(self._least[title] - 2) for title in titles]
        lines = tabulate(fitting, headers=headers, tablefmt="simple", disable_numparse=True).splitlines()
        self._widths = dict(zip(titles, map(len, lines[1].split()), strict=True))
        for number, texts in enumerate(cells):
            if texts != fitting[number] or self._gap != 2:
                lines[number + 2] = table_line(self._widths.values(), texts, self._gap)
        body = map(self._coloured, lines[2:], rows, events)
        return [*self._header(), *body]

    def live(self, event: Event) -> list[str]:
        """Return the line of one more event, below a wider header where it would not fit the columns."""
        row, before = self._row(event), self._widths
        cells = dict(zip(self._cells(TITLES), self._cells(row), strict=True))
        self._widths = {title: max(self._least[title], before.get(title, 0)) for title in cells}
        for title in cells.keys() - {"DETAIL"}:
            self._widths[title] = max(self._widths[title], min(text_width(cells[title]), WIDEST))
        header = [] if self._widths == before else self._header()
        line = table_line(self._widths.values(), cells.values(), self._gap)
        return [*header, self._coloured(line, row, event)]

    @property
    def _narrow(self) -> bool:
        return (self._style.columns() or NARROW_SCREEN) < NARROW_SCREEN

    @property
    def _gap(self) -> int:
        return 1 if self._narrow else 2

    @property
    def _least(self) -> Mapping[str, int]:
        return NARROW_TITLES if self._narrow else TITLES

    def _row(self, event: Event) -> Row:
        """Return the row of an event; on a terminal no name takes what the words about it need."""
        row, columns, least = self._style.row(event), self._style.columns(), self._least
        self._stacks[row.stack] = None
        if columns is None:
            return row
        row = row._replace(stack=cut_text(row.stack, max(least["STACK"], columns // 8)))
        if self._narrow:
            row = row._replace(event=NARROW_WORDS.get(row.event, row.event))
        others = [text_width(row.time), least["EVENT"], DETAIL_LEAST]
        others += [text_width(row.stack)] if len(self._stacks) > 1 else []
        most = max(least["PROCESS"], min(columns // 2, columns - sum(others) - self._gap * len(others)))
        return row._replace(process=_cut_name(row.process, most))

    def _cells(self, row: Iterable[str]) -> list[str]:
        """Return what is shown of a row, or of the titles: the stack only where there are several."""
        hidden = {"STACK", "PROCESS"} if not self._named else {"STACK"} if len(self._stacks) < 2 else set()
        return [cell for title, cell in zip(TITLES, row, strict=True) if title not in hidden]

    def _header(self) -> list[str]:
        columns = self._style.columns()
        screen = min(columns or SCREEN_WIDTH, SCREEN_WIDTH)
        stack = (
            []
            if len(self._stacks) > 1 or not self._named
            else [stack for stack in self._stacks if stack != "-"]
        )
        note = f"({', '.join([*stack, self._style.zone_text()])})"
        titles = table_line(self._widths.values(), self._widths, self._gap)
        dashes = table_line(self._widths.values(), ("-" * one for one in self._widths.values()), self._gap)
        head = titles + note.rjust(max(screen - len(titles), len(note) + 2))
        return [cut_text(head, columns), dashes.ljust(screen, "-")[:columns]]

    def _coloured(self, line: str, row: Row, event: Event) -> str:
        line = cut_text(line, self._style.columns())
        at = len(row.time)
        at = line.find(row.process, at) + len(row.process) if self._named else at
        start = line.find(row.event, at)
        if not self._style.colour or start < at:
            return line
        return line[:start] + painted(row.event, colour_of(event)) + line[start + len(row.event) :]


def _cut_name(name: str, most: int) -> str:
    """Return a process's name cut to so many columns, rather its namespace than what tells it apart."""
    bare = f"…/{name.rpartition('/')[2]}"
    return bare if text_width(name) > most >= text_width(bare) else cut_text(name, most)
