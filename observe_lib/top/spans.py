"""How `top` lays out a line: cells side by side, made of spans, so that colour never counts as width.
Pure text; nothing here prints.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..text.output import cut_text, text_width


class Span(NamedTuple):
    """A text, all of it printable, and its paint: words out of bold, dim, reverse and colours."""

    text: str
    paint: str = ""


Line = tuple[Span, ...]


class Cell(NamedTuple):
    """What stands in one column of one line, and how wide and at which side."""

    spans: Sequence[Span]
    width: int
    right: bool = False


def laid_out(cells: Iterable[Cell], gap: int = 2) -> list[Span]:
    """Return cells beside each other, each cut and padded to the width of its column."""
    line = list[Span]()
    for spans, width, right in cells:
        kept = cut_spans(spans, width)
        blank = Span(" " * (width - spans_width(kept)))
        line += [Span(" " * gap)] if line else []
        line += [blank, *kept] if right else [*kept, blank]
    return line


def spans_width(spans: Iterable[Span]) -> int:
    """Return how many columns spans need."""
    return sum(text_width(span.text) for span in spans)


def cut_spans(spans: Iterable[Span], width: int) -> Line:
    """Return as much of the spans as fits."""
    kept, left = list[Span](), width
    for span in spans:
        text = cut_text(span.text, left)
        kept.append(Span(text, span.paint))
        left -= text_width(text)
        if text != span.text:
            break
    return tuple(kept)
