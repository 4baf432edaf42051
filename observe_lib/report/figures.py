"""What a report looks like: its table, its timeline, its JSON. Pure text; the verb `report` prints it."""

import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, NamedTuple

from ..reader.gaps import Gap, Gaps, stamp_text
from ..reader.states import Place
from ..text.output import SCREEN_WIDTH, Style, cut_text, printable, text_width
from ..text.tables import plain_table
from ..times import format_duration, format_time, seconds_between
from .accounts import Account, Shade

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

#: as the numbers of SGR sequences
_STRIP_COLOURS = {"up": "32", "down": "2", "unhealthy": "33", "blind": "2", "failed": "31", "": ""}


class Range(NamedTuple):
    """What is asked for; `start` is where the answer begins: later where the stream has no more."""

    since: datetime
    start: datetime
    until: datetime

    @property
    def seconds(self) -> float:
        """How long the answer's time is."""
        return seconds_between(self.start, self.until)


class Findings(NamedTuple):
    """All that a report says."""

    span: Range
    accounts: Sequence[Account]
    gaps: Sequence[tuple[str, Gap]]  #: the blind times, each with its stack
    events: int = 0
    malformed: int = 0

    @property
    def several(self) -> bool:
        """Whether there is more than one stack, so that rows have to say theirs."""
        return len({account.place.stack for account in self.accounts}) > 1


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
    for account in findings.accounts:
        if account.lost:
            missing = printable(f"{account.lost} events of {account.place}")
            yield f"lost: {missing} are not in the stream; the time around them is left out"


# --- the table ---


def _table_lines(findings: Findings, style: Style) -> list[str]:
    """Return a table that fits the screen, the last line of several being all of them."""
    rows = [_cells_of(account, style, findings.several) for account in findings.accounts]
    if len(rows) > 1:
        flapped = sum(bool(account.flapping) for account in findings.accounts)
        total = _cells_of(total_of(findings.accounts), style, findings.several)
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


def total_of(accounts: Sequence[Account]) -> Account:
    """Return all accounts as one: what ran is pooled, a run that was renamed counts once."""
    ran = [one for one in accounts if one.ran]
    failures = [one.last_failure for one in accounts if one.last_failure]
    return Account(
        Place("", "", ""), 0.0, 0.0, Gaps(),
        up_s=sum(one.up_s for one in ran),
        down_s=sum(one.down_s for one in ran),
        unhealthy_s=sum(one.unhealthy_s for one in accounts),
        living=sum(one.living - one.renamed for one in accounts),
        begun=sum(one.begun for one in accounts),
        crashes=sum(one.crashes for one in accounts),
        policy_restarts=sum(one.policy_restarts for one in accounts),
        asked_restarts=sum(one.asked_restarts for one in accounts),
        outages=sum(one.outages for one in accounts),
        outage_s=sum(one.outage_s for one in accounts),
        longest_outage_s=max((one.longest_outage_s for one in accounts), default=0.0),
        lost=sum(one.lost for one in accounts),
        last_failure=max(failures, key=lambda failure: failure.at, default=None),
    )  # fmt: skip


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
        parts = []
        for code, same in groupby(words, lambda word: _STRIP_COLOURS[word] if colour else ""):
            text = "".join(glyphs[word] for word in same)
            parts.append(f"\x1b[{code}m{text}\x1b[0m" if code else text)
        return "".join(parts)

    def _column(self, number: int, gaps: Gaps) -> str:
        """Return what a column shows: trouble, however short; else what there was most of."""
        at = number * len(Shade)
        up, unhealthy, down, outage = self._seconds[at : at + len(Shade)]
        if outage or unhealthy:
            return "failed" if outage else "unhealthy"
        start = self._since + number * self._width_s
        blind = self._width_s - gaps.seen_s(start, start + self._width_s)
        if blind > max(up + down, self._width_s / 2):
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
    for account in findings.accounts:
        label = cut_text(_label(account.place, findings.several), width)
        if isinstance(account.strip, ProcessStrip):
            strip = account.strip.text(account.gaps, glyphs, style.colour)
            yield f"{label}{' ' * (width - text_width(label))}  {strip}".rstrip()
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


# --- JSON ---


def report_json(findings: Findings) -> dict[str, Any]:
    """Return the whole report as one JSON object; times in seconds, moments in RFC 3339."""
    since, start, until = (format_time(moment) for moment in findings.span)
    return _present({
        "since": since,
        "until": until,
        "kept_since": start if start != since else None,
        "events": findings.events,
        "malformed": findings.malformed or None,
        "blind": [
            {"stack": stack, "start": stamp_text(gap.start), "end": stamp_text(gap.end), "reason": gap.why}
            for stack, gap in findings.gaps
        ],
        "processes": [account_json(account) for account in findings.accounts],
        "total": account_json(total_of(findings.accounts)),
    })  # fmt: skip


def account_json(account: Account) -> dict[str, Any]:
    """Return an account as the JSON object of `report --json`: what does not apply is absent."""
    failure, percent, strip = account.last_failure, account.uptime_percent, account.strip
    return _present({
        **{name: text or None for name, text in account.place._asdict().items()},
        "uptime_percent": None if percent is None else round(percent, 4),
        "up_seconds": round(account.up_s, 3),
        "down_seconds": round(account.down_s, 3),
        "unhealthy_seconds": round(account.unhealthy_s, 3),
        "runs": account.runs,
        "crashes": account.crashes,
        "restarts": account.policy_restarts,
        "asked_restarts": account.asked_restarts,
        "mtbf_seconds": _rounded(account.mtbf_s),
        "mttr_seconds": _rounded(account.mttr_s),
        "longest_outage_seconds": _rounded(account.longest_outage_s or None),
        "failed_since": stamp_text(account.outage_at) if account.outage_at else None,
        "last_failure": failure and _present({
            "timestamp": stamp_text(failure.at),
            "reason": failure.reason or None,
            "exit_code": failure.exit_code,
        }),
        "flapping": account.flapping or None,
        "lost_events": account.lost or None,
        "timeline": strip.text(account.gaps) if isinstance(strip, ProcessStrip) else None,
    })  # fmt: skip


def _present(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if value is not None}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
