"""What `ps`, `show` and other screens of states share: which processes, words, plain tables.
Pure text; nothing here prints.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ..errors import UsageError
from ..reader.states import DAY, ProcessRow, Silence, States
from ..settings import names
from ..times import format_duration, format_time, seconds_between
from .output import Style, cut_text, printable, table_line, text_width

#: a table's last column is never cut to less
LAST_LEAST = 12
#: so many processes are named in one line, more are only counted
NAMED = 3

#: by what a `Silence` is about, and its kind
_SILENCES = {
    ("adapter", "stopped"): "its adapter was stopped,",
    ("adapter", "silent"): "no word from its adapter",
    ("process-compose", "stopped"): "its process-compose is gone",
    ("process-compose", "away"): "its process-compose does not answer",
}


def selected(flags: dict[str, Any]) -> tuple[list[str], str | None]:
    """Return the names and the stack that these flags ask for."""
    if flags["stack"] is not None and not flags["stack"].strip():
        raise UsageError("--stack is empty", "name a stack, or leave it out to see all of them")
    return [*names("NAME", flags["name"]), *names("--process", flags["process"])], flags["stack"]


def age_words(start: datetime | None, now: datetime) -> str:
    """Return how long ago something was, in whole seconds: `43s`, `1m21s`, `41m`; "-" if it never was."""
    if start is None:
        return "-"
    seconds = max(0, int(seconds_between(start, now)))
    return f"{seconds}s" if seconds < 60 else format_duration(seconds)


def plain_table(
    rows: Sequence[Mapping[str, str]], columns: int | None = None, give_way: Sequence[str] = ()
) -> list[str]:
    """Return the lines of a table without rules; a row is its cells by title, which are made printable.

    On a terminal no name takes more than half of the columns, no stack more than a quarter; then whole
    columns give way in turn, which is said, until no more is to be cut than a part of the last one.
    """
    most = {} if columns is None else {"PROCESS": columns // 2, "STACK": columns // 4}
    cells = {
        title: [title, *(cut_text(printable(row[title]), most.get(title)) for row in rows)]
        for title in rows[0]
    }
    widths = {title: max(map(text_width, column)) for title, column in cells.items()}
    left_out = []
    for title in give_way:
        *others, last = widths.values()
        if columns is None or sum(others) + 2 * len(others) + min(last, LAST_LEAST) <= columns:
            break
        left_out.append(title)
        del widths[title]
    lines = zip(*(cells[title] for title in widths), strict=True)
    found = [cut_text(table_line(widths.values(), row), columns) for row in lines]
    return [*found, f"(no room for {', '.join(left_out)})"] if left_out else found


def silence_words(silence: Silence, style: Style, now: datetime) -> str:
    """Return why nothing is heard of a stack, since when and how long that is."""
    since = ""
    if silence.since is not None:
        since = f" since {style.clock(format_time(silence.since))} ({age_words(silence.since, now)})"
    error = f": {silence.error}" if silence.error else ""
    return _SILENCES[silence.about, silence.kind] + since + error


def stale_lines(states: States, rows: Iterable[ProcessRow], style: Style, now: datetime) -> list[str]:
    """Return one line per stack that is not heard of: why, since when, and what its processes were then."""
    of_stack: dict[str, list[ProcessRow]] = {}
    for row in rows:
        of_stack.setdefault(row.place.stack, []).append(row)
    return [
        printable(f"{stack}: {silence_words(silence, style, now)}; {_were(found)} then")
        for stack, found in of_stack.items()
        if (silence := states.silence(found[0], now))
    ]


def _were(rows: Sequence[ProcessRow]) -> str:
    if len(rows) > NAMED:
        alive = sum(row.alive for row in rows)
        return f"{alive} of its {len(rows)} processes were running"
    return ", ".join(f"{row.place} was {status_words(row)}" for row in rows)


def status_words(row: ProcessRow) -> str:
    """Return status and, where there is any, health: `Running, Ready`."""
    return row.status if row.health == "-" else f"{row.status}, {row.health}"


def row_json(row: ProcessRow, silence: Silence | None, now: datetime) -> dict[str, object]:
    """Return a row as the JSON object of `ps --json`: what does not apply is absent."""
    last, since = row.last, row.since
    found: dict[str, object] = {
        **row.place._asdict(),
        "status": row.status,
        "health": None if row.health == "-" else row.health,
        "alive": row.alive,
        "pid": row.pid,
        "since": format_time(since) if since else None,
        "up_seconds": max(0.0, round(seconds_between(since, now), 3)) if since else None,
        "ended_at": format_time(row.ended_at) if row.ended_at and not row.alive else None,
        "exit_code": row.exit_code,
        "reason": row.reason or None,
        "restarts": row.restarts,
        "crashes_24h": row.crashes_since(now - DAY),
        "last_event": {"type": last.type, "timestamp": last.timestamp} if last else None,
    }
    if silence is not None:
        found |= {"stale": True, "stale_reason": f"{silence.about} {silence.kind}"}
        found["stale_since"] = format_time(silence.since) if silence.since else None
    return {name: value for name, value in found.items() if value is not None}
