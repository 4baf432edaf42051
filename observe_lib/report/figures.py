"""What a report looks like: its table and its timeline. Pure text; the verb `report` prints it."""

import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from ..reader.accounts import Account, total_of
from ..reader.audit import Findings
from ..reader.gaps import Gaps, stamp_text
from ..reader.timeline import Shade
from ..rows import Place
from ..text.output import SCREEN_WIDTH, Style, cut_text, painted, printable, text_width
from ..text.tables import plain_table, table_line
from ..times import format_duration, format_time, seconds_between

#: so many blind times are listed, the longest ones; JSON has them all
LISTED = 8
#: on a narrow screen these columns give way, in this order
GIVE_WAY = ("MTBF", "RUNS", "ASKED", "OUTAGE", "MTTR")
#: strips have at least this much room beside the names, and names at least that much
STRIP_MIN = 20
LABEL_MIN = 12
#: a column of the timeline: up, down, unhealthy, or nobody looking; "failed" is down since a crash
BLOCKS = {"up": "█", "down": "░", "unhealthy": "▒", "blind": "·", "failed": "░", "": " "}
#: the same for a screen that has no block characters
LETTERS = {"up": "#", "down": "_", "unhealthy": "!", "blind": ".", "failed": "_", "": " "}

_STRIP_COLOURS = {
    "up": "green",
    "down": "dim",
    "unhealthy": "yellow",
    "blind": "dim",
    "failed": "red",
    "": "",
}


def report_lines(findings: Findings, style: Style, room: int | None = None) -> Iterator[str]:
    """Yield the table, or with `room` for strips the timeline, and what was looked at and what was not."""
    since, start, until = findings.span
    first, last = (style.clock(format_time(moment)) for moment in (start, until))
    column = f", a column is {format_duration(findings.span.seconds / room)}" if room else ""
    yield f"{first} to {last} ({format_duration(findings.span.seconds)}, {style.zone_text()}){column}"
    if seconds_between(since, start) > 1:
        asked = style.clock(format_time(since))
        yield f"nothing back to {asked}: what is older than {first} was dropped from the stream"
    if not findings.accounts:
        yield "no process was there in that time"
    elif room:
        yield from _timeline_lines(findings, style, room)
    else:
        yield from _table_lines(findings, style)
    yield from _left_out_lines(findings, style)


def _left_out_lines(findings: Findings, style: Style) -> Iterator[str]:
    """Yield what the figures leave out: the blind times, and the events that are missing."""
    longest = sorted(findings.gaps, key=lambda found: found[1].seconds)[-LISTED:]
    if findings.gaps:
        yield ""
    for stack, gap in findings.gaps:
        if (stack, gap) in longest:
            start, end = (style.clock(stamp_text(moment)) for moment in (gap.start, gap.end))
            yield printable(f"blind: {stack} {start} to {end} ({format_duration(gap.seconds)}): {gap.why}")
    if more := len(findings.gaps) - len(longest):
        total = format_duration(sum(gap.seconds for _, gap in findings.gaps))
        yield f"blind: {more} shorter ones, {total} in all"
    if unseen := sum(account.unseen for account in findings.accounts):
        yield f"unseen: {unseen} crashes while nobody looked are in no figure"
    for account in findings.accounts:
        if account.lost:
            missing = printable(f"{account.lost} events of {account.place}")
            yield f"lost: {missing} are not in the stream; the time around them is left out"


# --- the table ---


def _table_lines(findings: Findings, style: Style) -> list[str]:
    """Return a table that fits the screen, the last line of several being all of them."""
    several = findings.several
    rows = [_cells_of(account, style, several) for account in findings.accounts]
    if len(rows) > 1:
        flapped = sum(bool(account.flapping) for account in findings.accounts)
        total = _cells_of(total_of(findings.accounts), style, several)
        rows.append({**total, "PROCESS": "all", "FLAPS": str(flapped or "-")})
    return plain_table(rows, style.columns(), GIVE_WAY)


def _cells_of(account: Account, style: Style, with_stack: bool) -> dict[str, str]:
    """Return the cells of one process, or of all, by title."""
    percent, failure = account.uptime_percent, account.last_failure
    longest = _span_text(account.longest_outage_s or None)
    return {
        **({"STACK": account.place.stack} if with_stack else {}),
        "PROCESS": str(account.place),
        "UPTIME": "-" if percent is None else percent_text(percent),
        "RUNS": str(account.runs),
        "CRASHES": str(account.crashes),
        "RESTARTS": str(account.policy_restarts),
        "ASKED": str(account.asked_restarts),
        "MTBF": _span_text(account.mtbf_s),
        "MTTR": _span_text(account.mttr_s),
        "OUTAGE": longest + "+" * (account.outage_at is not None),
        "FLAPS": account.flapping or "-",
        "LAST FAILURE": f"{style.clock(stamp_text(failure.at))} {failure.words()}" if failure else "-",
    }


def percent_text(percent: float) -> str:
    """Return a percentage that is 100% only if it is all of it."""
    return "100%" if percent >= 100 else f"{min(percent, 99.99):.2f}%"


def _span_text(seconds: float | None) -> str:
    return "-" if seconds is None else format_duration(seconds)


# --- the timeline ---


class ProcessStrip:
    """The seconds that one process was in each `Shade`, per column of the range."""

    def __init__(self, since: float, until: float, columns: int) -> None:
        self._since, self._width_s, self._columns = since, (until - since) / columns, columns
        self._seconds = array("d", bytes(8 * len(Shade) * columns))

    def add(self, start: float, end: float, shade: Shade) -> None:
        """Count a span, within the range, in which the process was seen to be so."""
        number = int((start - self._since) / self._width_s)
        while start < end and number < self._columns:
            edge = self._since + (number + 1) * self._width_s
            if edge > start:
                self._seconds[number * len(Shade) + shade] += min(end, edge) - start
                start = edge
            number += 1

    def text(self, gaps: Gaps, glyphs: Mapping[str, str] = BLOCKS, colour: bool = False) -> str:
        """Return the strip as text, its colours one sequence per stretch of the same kind."""
        words = (self._column(number, gaps) for number in range(self._columns))
        stretches = groupby(words, lambda word: _STRIP_COLOURS.get(word, "") if colour else "")
        return "".join(painted("".join(glyphs[word] for word in same), paint) for paint, same in stretches)

    def _column(self, number: int, gaps: Gaps) -> str:
        """Return what a column shows: trouble, however short; else what there was most of."""
        at = number * len(Shade)
        up, unhealthy, down, outage = self._seconds[at : at + len(Shade)]
        if outage or unhealthy:
            return "failed" if outage else "unhealthy"
        start = self._since + number * self._width_s
        unseen_s = self._width_s - gaps.seen_s(start, start + self._width_s)
        if unseen_s > max(up + down, self._width_s / 2):
            return "blind"
        return ("up" if up >= down else "down") if up or down else ""


def strip_room(places: Sequence[Place], style: Style) -> int:
    """Return how many columns a strip may have, beside the names that are known to be asked for (if any)."""
    columns = style.columns() or SCREEN_WIDTH
    several = len({place.stack for place in places}) > 1
    labels = (_label(place, several) for place in places)
    longest = max(LABEL_MIN, max(map(text_width, labels), default=columns))
    return max(STRIP_MIN, columns - min(longest, columns // 3) - 2)


def _timeline_lines(findings: Findings, style: Style, room: int) -> Iterator[str]:
    """Yield one row per process, below the times at which the strips begin and end."""
    width = max(LABEL_MIN, (style.columns() or SCREEN_WIDTH) - room - 2)
    glyphs = BLOCKS if _can_print(sys.stdout.encoding, "".join(BLOCKS.values())) else LETTERS
    first, last = (style.clock(format_time(moment)) for moment in findings.span[1:])
    yield f"{'':{width}}  {first}{last:>{max(1, room - len(first))}}"
    several = findings.several
    for account in findings.accounts:
        label = cut_text(_label(account.place, several), width)
        if account.strip is not None:
            strip = account.strip.text(account.gaps, glyphs, style.colour)
            yield table_line((width, 0), (label, strip))
    legend = "  ".join(f"{glyphs[word]} {word}" for word in ("up", "down", "unhealthy", "blind"))
    yield f"{legend}; any trouble in a column's time shows"


def _label(place: Place, with_stack: bool) -> str:
    return printable(f"{place.stack} {place}" if with_stack else str(place))


def _can_print(encoding: str | None, text: str) -> bool:
    try:
        text.encode(encoding or "ascii")
        return True
    except (UnicodeEncodeError, LookupError):
        return False
