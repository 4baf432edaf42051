"""How `top` looks: `render` makes the lines of a view, as spans of text that name their paint.
Pure: as text it can be tested at any size; knows no curses and no numbers of colours.
"""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import tzinfo
from typing import NamedTuple

from ..calling import how_to_call
from ..events import Event, EventType
from ..reader.board import Figures
from ..reader.description import EVENTS, Description
from ..rows import Place, ProcessRow, Stale
from ..settings import NatsSettings
from ..text.description import description_lines
from ..text.output import Style, colour_of, cut_text, printable, text_width
from ..text.rows import age_words, silence_words, stale_words
from ..times import format_time
from .columns import PAINTS, column_widths, gap_of, heading_line, history_line, history_spans, row_line
from .spans import Cell, Line, Span, cut_spans, laid_out, spans_width
from .view import ORDERS, View, listed, placed

#: the header has a second line from this height on
TALL = 14
#: the events below the table take a third of the screen, but never more lines than this
EVENTS_MAX = 20
#: in the details the facts begin at this column
FACT = 12
#: conditions that the header counts, in its order
COUNTED = ("up", "flapping", "crashed", "unhealthy", "starting", "stale", "down", "done", "idle", "ended")

_SCREEN_KEYS = (
    ("up down j k", "one row; also PageUp, PageDown, Home, End, g, G"),
    ("Enter", "all of one process, with the end of its log; Esc: back"),
    ("/", "filter by name, stack, status or event: api crashed, 'shop/*'"),
    ("s S", f"sort by: {', '.join(ORDERS)}"),
    ("t T", "which type of events to show below"),
    ("p", "pause: the screen stands still, nothing is missed"),
    ("Esc", "drop filter and event type"),
    ("?", "this help"),
    ("q", "quit"),
)
_LIST_HINTS = "/ filter|s sort|t events|Enter details|p pause|? help|q quit"
_BACK_HINTS = "Esc back|j/k scroll|p pause|q quit"
_LEGEND = {"up": "up", "down": "down", "unhealthy": "unhealthy", "crashed": "crashed", "blind": "not seen"}


class Layout(NamedTuple):
    """How many lines each part of the screen has; a heading, a rule and the footer have one each."""

    header: int
    banner: int
    page: int
    events: int


def layout_of(view: View, height: int) -> Layout:
    """Return the parts of a screen that high; with few processes the events have the rest."""
    header, banner = 2 if height >= TALL else 1, int(_banner(view, Style()) is not None)
    if view.mode in ("details", "help"):
        return Layout(header, banner, max(1, height - header - banner - 1), 0)
    body = height - header - banner - 3
    events = max(1, min(EVENTS_MAX, body // 3))
    page = max(1, min(body - events, max(3, len(view.states.rows))))
    return Layout(header, banner, page, max(0, body - page))


def fit(view: View, width: int, height: int) -> View:
    """Return the view arranged for a screen of that size: cursor and scrolling within its bounds."""
    view = listed(view)
    page = layout_of(view, height).page
    view = placed(view, page)
    if view.mode in ("details", "help"):
        lines = len(_body_of(view, width, _style_at(view, width)))
        view = replace(view, scroll=min(view.scroll, max(0, lines - page)))
    return view


def render(view: View, width: int, height: int, zone: tzinfo | None = None) -> list[Line]:
    """Return exactly `height` lines, none wider than `width` columns; times are of a zone (None: local)."""
    view = fit(view, width, height)
    style, layout = _style_at(view, width, zone), layout_of(view, height)
    lines = _header(view, width, style, layout)
    lines += [(banner,)] if (banner := _banner(view, style)) else []
    if view.mode in ("details", "help"):
        lines += _body_of(view, width, style)[view.scroll :][: layout.page]
    else:
        table = _table(view, width, style, layout)
        lines += [*table, *[()] * (layout.page + 1 - len(table)), *_events(view, width, style, layout)]
    lines = lines[: max(0, height - 1)]
    lines += [()] * (height - 1 - len(lines))
    return [cut_spans(line, width) for line in (*lines, _footer(view, width))]


def _style_at(view: View, width: int, zone: tzinfo | None = None) -> Style:
    return Style(zone=zone, columns=lambda: width, now=lambda: view.now)


# --- the header ---


def _header(view: View, width: int, style: Style, layout: Layout) -> list[Line]:
    figures = view.listing.figures
    assert figures is not None
    clock = [Span("PAUSED ", "bold yellow")] if view.paused else []
    clock.append(Span(style.clock(format_time(view.now))))
    if layout.header == 1:
        return [_between(_counts(figures, width - 12 - 7 * view.paused), clock, width)]
    stacks = f"{_count(figures.stacks, 'stack')}, {_count(figures.adapters, 'adapter')}  "
    title = [Span("observe top", "bold"), Span(f"  {printable(view.url)}", "dim")]
    rate = [Span("reading" if view.reading else f"{figures.events_per_minute:,} events/min")]
    counts = _counts(figures, width - len(rate[0].text) - 2)
    return [_between(title, [Span(stacks), *clock], width), _between(counts, rate, width)]


def _counts(figures: Figures, width: int) -> list[Span]:
    """Return how many processes are how, as many of these figures as fit, and rather those that are bad."""
    found = {"all": Span(_count(figures.processes, "process"), "bold")}
    for name in COUNTED:
        if number := figures.counts[name]:
            found[name] = Span(f"  {number:,} {name}", PAINTS.get(name, ""))
    if figures.crashes:
        found["24h"] = Span(f"  {_count(figures.crashes, 'crash')}/24h")
    for name in ("24h", "ended", "idle", "done", "down", "starting", "up", "stale", "unhealthy"):
        if sum(len(span.text) for span in found.values()) > width:
            found.pop(name, None)
    return list(found.values())


def _count(number: int, word: str) -> str:
    plural = "es" if word.endswith(("s", "h")) else "s"
    return f"{number:,} {word}{plural * (number != 1)}"


def _banner(view: View, style: Style) -> Span | None:
    """Return why what is shown may no longer hold, else of what nobody is told, None for neither."""
    if view.lost_at is not None:
        since = f"{style.clock(format_time(view.lost_at))} ({age_words(view.lost_at, view.now)})"
        return Span(f"NATS is away since {since}, trying again; all this is as of then", "bold yellow")
    stale_stacks = view.listing.stale_stacks
    if not stale_stacks:
        held = sorted(
            (one for one in view.states.silences if view.now < one.until), key=lambda one: one.until
        )
        more = f" (and {len(held) - 1} more)" if len(held) > 1 else ""
        return Span(printable(silence_words(held[0], style) + more), "bold yellow") if held else None
    stack, stale = min(stale_stacks.items(), key=lambda one: (one[1].word != "stale", one[0]))
    more = f" (and {len(stale_stacks) - 1} more)" if len(stale_stacks) > 1 else ""
    text = printable(f"{stack}: {stale_words(stale, style, view.now)}{more}")
    return Span(text, "bold yellow" if stale.word == "stale" else "dim")  # what was stopped is no trouble


# --- the list ---


def _table(view: View, width: int, style: Style, layout: Layout) -> list[Line]:
    rows = view.listing.rows[view.offset : view.offset + layout.page]
    if not rows:
        return _nothing(view)[: layout.page + 1]
    widths = column_widths(view, width)
    return [
        heading_line(widths, width),
        *(
            row_line(view, row, style, widths, width, number == view.index)
            for number, row in enumerate(rows, view.offset)
        ),
    ]


def _nothing(view: View) -> list[Line]:
    flag = NatsSettings(view.url).as_flag
    if view.filter:
        what, hint = f"no process matches {view.filter!r}", "Esc drops the filter"
    elif view.patterns or view.stack is not None:
        what, hint = "no process matches what the command line names", f"{how_to_call('ps', flag)} shows all"
    else:
        what, hint = "nothing is known yet", f"start one: {how_to_call('adapter', flag)}"
    return [(), (Span(f"   {printable(what)}"),), (Span(f"   {hint}", "dim"),)]


def _events(view: View, width: int, style: Style, layout: Layout) -> list[Line]:
    events = view.listing.events[: layout.events]
    most = {"time": width, "process": max(10, width // 3), "event": width}
    if len(view.states.stacks) > 1 and width >= 100:
        most = {"time": width, "stack": 16, **most}
    return [_rule(view, width, layout), *_event_lines(events, width, style, most)]


def _event_lines(
    events: Sequence[Event], width: int, style: Style, limits: Mapping[str, int]
) -> Iterator[Line]:
    """Yield one line per event; its columns are as wide as these events need, and at most so wide."""
    rows = [{**style.row(event)._asdict(), "colour": colour_of(event)} for event in events]
    widths = {
        name: min(limit, max((text_width(row[name]) for row in rows), default=0))
        for name, limit in limits.items()
    }
    for row in rows:
        paints = {"time": "dim", "stack": "dim", "event": row["colour"]}
        cells = [Cell([Span(row[name], paints.get(name, ""))], most) for name, most in widths.items()]
        yield (*laid_out([*cells, Cell([Span(row["detail"])], text_width(row["detail"]))], gap_of(width)),)


def _rule(view: View, width: int, layout: Layout) -> Line:
    """Return the line between the rows and the events, which tells what is seen of either."""
    dash = "-" if view.ascii else "─"
    left = f"{dash}{dash} events{': ' + view.event_type if view.event_type else ''} "
    rows = view.listing.rows
    right = ""
    if rows:
        last = min(len(rows), view.offset + layout.page)
        right = f" {view.offset + 1}-{last} of {len(rows):,} by {view.order}"
        right += f", filter {printable(view.filter)}" if view.filter else ""
        right = cut_text(right, max(0, width - text_width(left) - 4)) + f" {dash}{dash}"
    return (Span(left + dash * max(0, width - text_width(left) - text_width(right)) + right, "dim"),)


def _footer(view: View, width: int) -> Line:
    if view.mode == "prompt":
        return (Span("filter: ", "bold"), Span(printable(view.filter)), Span(" ", "reverse"))
    if view.note:
        return (Span(printable(view.note), "yellow"),)
    hints = (_LIST_HINTS if view.mode == "list" else _BACK_HINTS).split("|")
    gap = "   " if width >= 80 else "  "
    while len(gap.join(hints)) > width and hints:
        hints.pop(0)  # the last ones are wanted most
    line = list[Span]()
    for hint in hints:
        key, _, word = hint.partition(" ")
        line += [Span(gap if line else ""), Span(key, "bold"), Span(f" {word}", "dim")]
    return tuple(line)


# --- details and help ---


def _body_of(view: View, width: int, style: Style) -> list[Line]:
    """Return all lines of the details or the help, however many fit."""
    return list(_help(view, width) if view.mode == "help" else _details(view, width, style))


def _details(view: View, width: int, style: Style) -> Iterator[Line]:
    row = view.row
    if row is None:
        yield (Span("it is no more"),)
        return
    stale = view.listing.stale_stacks.get(row.place.stack)
    description = view.description or _description_so_far(view, row, stale)
    description = replace(description, row=row, stale=stale)
    title, *facts = description_lines(replace(description, events=(), crash=None), style)
    crash = list(description_lines(replace(description, events=()), style))[1 + len(facts) :]
    yield (Span(title, f"bold {PAINTS.get(row.condition(view.judged_at, stale), '')}".strip()),)
    yield history_line(view, row, width)
    for line in facts:
        first, *more = _wrapped(line, width)
        yield (Span(first[:FACT], "dim"), Span(first[FACT:]))
        yield from ((Span(one),) for one in more)
    yield ()
    yield from _event_lines(description.events[::-1], width, style, {"time": width, "event": width})
    for line in crash:
        yield from ((Span(one),) for one in _wrapped(line, width))


def _description_so_far(view: View, row: ProcessRow, stale: Stale | None) -> Description:
    """Return what is known of it before its events were read: those among the latest of all."""
    events = view.board.latest
    found = [event for event in events if not event.of_observer and Place.of(event) == row.place]
    crash = next((event for event in reversed(found) if event.type == EventType.CRASHED), None)
    last = [event] if (event := row.last) else []
    return Description(row, stale, found[-EVENTS:] or last, crash)


def _wrapped(line: str, width: int) -> Iterator[str]:
    """Yield a line; what is too long for the screen goes on below, indented."""
    indent = "  | " if line.startswith("  | ") else " " * FACT
    while text_width(line) > width > len(indent) + 8:
        head = cut_text(line, width)[:-1]
        space = head.rfind(" ", len(indent) + 8)
        head = head[:space] if space > 0 else head
        yield head
        line = indent + line[len(head) :].lstrip()
    yield line


def _help(view: View, width: int) -> Iterator[Line]:
    wide = max(len(keys) for keys, _ in _SCREEN_KEYS)
    for keys, words in _SCREEN_KEYS:
        for number, line in enumerate(textwrap.wrap(words, max(10, width - wide - 4))):
            yield (Span(f"  {'' if number else keys:<{wide}}  ", "bold"), Span(line))
    yield ()
    for number, (cell, words) in enumerate(_LEGEND.items()):
        title = Span(f"  {'' if number else 'last hour':<{wide}}  ", "bold")
        yield (title, *history_spans([cell], view.ascii), Span(f" {words}"))


# --- lines ---


def _between(left: Sequence[Span], right: Sequence[Span], width: int) -> Line:
    """Return a line with one part at its left and one at its right end, which stays whole."""
    room = max(0, width - spans_width(right) - 2)
    kept = cut_spans(left, room)
    return (*kept, Span(" " * (room + 2 - spans_width(kept))), *right)
