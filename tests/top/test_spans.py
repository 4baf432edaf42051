"""Lines made of spans: what is cut, what is padded."""

from observe_lib.top.spans import Cell, Span, cut_spans, laid_out


def test_cells_are_cut_and_padded_to_their_columns_at_either_side() -> None:
    cells = [
        Cell([Span("abc"), Span("def", "red")], 5),
        Cell([Span("7")], 3, right=True),
        Cell([Span("日")], 3),
    ]
    line = laid_out(cells, gap=1)
    assert "".join(span.text for span in line) == "abcd…   7 日 "
    assert [span for span in line if span.paint] == [Span("d…", "red")]


def test_spans_are_cut_as_one_text() -> None:
    spans = [Span("ab"), Span("cd", "red"), Span("ef")]
    assert cut_spans(spans, 6) == tuple(spans)
    assert cut_spans(spans, 3) == (Span("ab"), Span("…", "red"))
    assert cut_spans(spans, 0) == (Span(""),)
