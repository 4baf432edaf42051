"""What a report looks like: its table, its timeline, its JSON. Pure text; the verb `report` prints it."""

import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from .accounts import Account
from .audit import Audit, account_json, flapping, mtbf_s, mttr_s, total_of, uptime_percent
from .gaps import Gap, stamp_text
from .output import SCREEN_WIDTH, Style, cut_text, printable, text_width
from .states import Place, States
from .tables import plain_table
from .timeline import BLOCKS, LETTERS, ProcessStrip, strip_text
from .times import format_duration, format_time, seconds_between

#: so many blind times are listed, the longest ones; JSON has them all
LISTED = 8
#: on a narrow screen these columns give way, in this order
GIVE_WAY = ("MTBF", "RUNS", "ASKED", "OUTAGE", "MTTR")
#: strips have at least this much room beside the names, and names at least that much
STRIP_MIN = 20
LABEL_MIN = 12
#: the names' room where the bucket knows none
LABEL_USUAL = 24

REPORT_TITLES = (
    "PROCESS",
    "UPTIME",
    "RUNS",
    "CRASHES",
    "RESTARTS",
    "ASKED",
    "MTBF",
    "MTTR",
    "OUTAGE",
    "FLAPS",
    "LAST FAILURE",
)


class Range(NamedTuple):
    """What is asked for; `start` is where the answer begins: later where the stream has no more."""

    since: datetime
    start: datetime
    until: datetime

    @property
    def stamps(self) -> tuple[float, float]:
        """Where the answer begins and ends, in seconds since 1970."""
        return self.start.timestamp(), self.until.timestamp()


class Findings(NamedTuple):
    """All that a report says."""

    span: Range
    accounts: list[Account]
    gaps: Sequence[tuple[str, Gap]]
    audit: Audit


def head_lines(findings: Findings, style: Style, room: int | None = None) -> list[str]:
    """Return what the time is that was looked at."""
    since, start, until = findings.span
    first, last = (style.clock(format_time(moment)) for moment in (start, until))
    column = f", a column is {format_duration(seconds_between(start, until) / room)}" if room else ""
    span = format_duration(seconds_between(start, until))
    lines = [f"{first} to {last} ({span}, {style.zone_text()}){column}"]
    if seconds_between(since, start) > 1:
        asked = style.clock(format_time(since))
        lines.append(f"nothing back to {asked}: what is older than {first} was dropped from the stream")
    return lines


def body_lines(findings: Findings, style: Style, room: int | None) -> list[str]:
    """Return the table, or with `room` for strips the timeline."""
    if not findings.accounts:
        return ["no process was there in that time"]
    if room:
        return timeline_lines(findings, style, room)
    several = _several(findings)
    rows = [cells_of_account(account, style, several) for account in findings.accounts]
    if len(rows) > 1:
        rows.append(cells_of_account(total_of(findings.accounts), style, several))
        rows[-1][-2] = str(sum(bool(flapping(one)) for one in findings.accounts) or "-")
    titles = ("STACK", *REPORT_TITLES) if several else REPORT_TITLES
    return fitting_table(titles, rows, style.columns())


def fitting_table(titles: Sequence[str], rows: Sequence[Sequence[str]], columns: int | None) -> list[str]:
    """Return a table that fits the screen: columns give way in turn, before anything is cut."""
    left_out: list[str] = []
    while True:
        kept = [number for number, title in enumerate(titles) if title not in left_out]
        cells = [[row[number] for number in kept] for row in rows]
        headers = [titles[number] for number in kept]
        lines = plain_table(headers, cells)
        if columns is None or max(map(text_width, lines)) <= columns:
            break
        if len(left_out) == len(GIVE_WAY):
            lines = plain_table(headers, cells, columns)
            break
        left_out.append(GIVE_WAY[len(left_out)])
    return [*lines, f"(no room for {', '.join(left_out)})"] if left_out else lines


def cells_of_account(account: Account, style: Style, with_stack: bool) -> list[str]:
    """Return the cells of one process, or of all."""
    percent, failure = uptime_percent(account), account.last_failure
    longest = span_text(account.longest_outage_s or None) + "+" * (account.outage_at is not None)
    cells = [
        label_of(account),
        "-" if percent is None else percent_text(percent),
        str(account.runs),
        str(account.crashes),
        str(account.policy_restarts),
        str(account.asked_restarts),
        span_text(mtbf_s(account)),
        span_text(mttr_s(account)),
        longest,
        flapping(account) or "-",
        f"{style.clock(stamp_text(failure.at))} {failure.words()}" if failure else "-",
    ]
    return [account.place.stack, *cells] if with_stack else cells


def percent_text(percent: float) -> str:
    """Return a percentage that is 100% only if it is all of it."""
    return "100%" if percent >= 100 else f"{min(percent, 99.99):.2f}%"


def span_text(seconds: float | None) -> str:
    """Return a time span, "-" where there is none."""
    return "-" if seconds is None else format_duration(seconds)


def label_of(account: Account) -> str:
    """Return how a row is called."""
    return str(account.place) if account.place.stack else account.place.process


def tail_lines(findings: Findings, style: Style) -> list[str]:
    """Return what was left out: the blind times, and the events that are missing."""
    longest = sorted(findings.gaps, key=lambda found: found[1].seconds)[-LISTED:]
    lines = [""] if findings.gaps else []
    for stack, gap in findings.gaps:
        if (stack, gap) in longest:
            start, end = (style.clock(stamp_text(moment)) for moment in (gap.start, gap.end))
            lasted = format_duration(gap.seconds)
            lines.append(printable(f"blind: {stack} {start} to {end} ({lasted}): {gap.why}"))
    if more := len(findings.gaps) - len(longest):
        total = format_duration(sum(gap.seconds for _, gap in findings.gaps))
        lines.append(f"blind: {more} shorter ones, {total} in all")
    for account in findings.accounts:
        if account.lost:
            missing = f"{account.lost} events of {label_of(account)}"
            lines.append(
                printable(f"lost: {missing} are not in the stream; the time around them is left out")
            )
    return lines


def _several(findings: Findings) -> bool:
    return len({account.place.stack for account in findings.accounts}) > 1


# --- the timeline ---


def strip_room(states: States | None, style: Style) -> int:
    """Return how many columns a strip may have, beside the names that the bucket knows."""
    columns = style.columns() or SCREEN_WIDTH
    rows = states.rows.values() if states else ()
    stacks = {row.place.stack for row in rows}
    labels = (printable(_strip_label(row.place, len(stacks) > 1)) for row in rows)
    longest = max(LABEL_MIN, max(map(text_width, labels), default=LABEL_USUAL))
    return max(STRIP_MIN, columns - min(longest, columns // 3) - 2)


def timeline_lines(findings: Findings, style: Style, room: int) -> list[str]:
    """Return one row per process, below the times at which the strips begin and end."""
    several, (since, until) = _several(findings), findings.span.stamps
    width = max(LABEL_MIN, (style.columns() or SCREEN_WIDTH) - room - 2)
    glyphs = BLOCKS if can_print(sys.stdout.encoding, "".join(BLOCKS)) else LETTERS
    first, last = (style.clock(stamp_text(moment)) for moment in (since, until))
    lines = [f"{'':{width}}  {first}{last:>{max(1, room - len(first))}}"]
    for account in findings.accounts:
        label = cut_text(printable(_strip_label(account.place, several)), width)
        if isinstance(account.strip, ProcessStrip):
            strip = strip_text(account.strip, account.gaps, glyphs, style.colour)
            lines.append(f"{label}{' ' * (width - text_width(label))}  {strip}".rstrip())
    return [*lines, f"{glyphs.legend()}; any trouble in a column's time shows"]


def _strip_label(place: Place, with_stack: bool) -> str:
    return f"{place.stack} {place}" if with_stack else str(place)


def can_print(encoding: str | None, text: str) -> bool:
    """Whether a stream of this encoding can show a text."""
    try:
        text.encode(encoding or "ascii")
        return True
    except (UnicodeEncodeError, LookupError):
        return False


def report_json(findings: Findings) -> dict[str, Any]:
    """Return the whole report as one JSON object; times in seconds, moments in RFC 3339."""
    since, start, until = (format_time(moment) for moment in findings.span)
    blind = [
        {"stack": stack, "start": stamp_text(gap.start), "end": stamp_text(gap.end), "reason": gap.why}
        for stack, gap in findings.gaps
    ]
    audit = findings.audit
    return {
        "since": since,
        "until": until,
        **({"kept_since": start} if start != since else {}),
        "events": audit.events,
        **({"malformed": audit.malformed} if audit.malformed else {}),
        "blind": blind,
        "processes": [_with_strip(account) for account in findings.accounts],
        "total": account_json(total_of(findings.accounts)),
    }


def _with_strip(account: Account) -> dict[str, Any]:
    if not isinstance(account.strip, ProcessStrip):
        return account_json(account)
    return {**account_json(account), "timeline": strip_text(account.strip, account.gaps, BLOCKS, False)}
