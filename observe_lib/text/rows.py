"""What is said of a process and its stack: words for the cells of `ps` and other screens, JSON for programs.
Pure text; nothing here prints.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from ..reader.states import Stale, States
from ..rows import DAY, ProcessRow
from ..times import format_duration, format_time, seconds_between
from .output import Style, printable

#: so many processes are named in one line, more are only counted
NAMED = 3

#: by what a `Stale` is about, and its kind
_STALE_WORDS = {
    ("adapter", "stopped"): "its adapter was stopped,",
    ("adapter", "silent"): "no word from its adapter",
    ("process-compose", "stopped"): "its process-compose is gone",
    ("process-compose", "away"): "its process-compose does not answer",
}


def age_words(start: datetime | None, now: datetime) -> str:
    """Return how long ago something was, in whole seconds: `43s`, `1m21s`, `41m`; "-" if it never was."""
    if start is None:
        return "-"
    seconds = max(0, int(seconds_between(start, now)))
    return f"{seconds}s" if seconds < 60 else format_duration(seconds)


def stale_words(stale: Stale, style: Style, now: datetime) -> str:
    """Return why nothing is heard of a stack, since when and how long that is."""
    since = ""
    if stale.since is not None:
        since = f" since {style.clock(format_time(stale.since))} ({age_words(stale.since, now)})"
    error = f": {stale.error}" if stale.error else ""
    return _STALE_WORDS[stale.about, stale.reason] + since + error


def stale_lines(states: States, rows: Iterable[ProcessRow], style: Style, now: datetime) -> list[str]:
    """Return one line per stack that is not heard of: why, since when, and what its processes were then."""
    of_stack: dict[str, list[ProcessRow]] = {}
    for row in rows:
        of_stack.setdefault(row.place.stack, []).append(row)
    return [
        printable(f"{stack}: {stale_words(stale, style, now)}; {_were(found)} then")
        for stack, found in of_stack.items()
        if (stale := states.stale(found[0], now))
    ]


def _were(rows: Sequence[ProcessRow]) -> str:
    if len(rows) > NAMED:
        alive = sum(row.alive for row in rows)
        return f"{alive} of its {len(rows)} processes were running"
    return ", ".join(f"{row.place} was {status_words(row)}" for row in rows)


def status_words(row: ProcessRow) -> str:
    """Return status and, where there is any, health: `Running, Ready`."""
    return row.status if row.health == "-" else f"{row.status}, {row.health}"


def row_json(row: ProcessRow, stale: Stale | None, now: datetime) -> dict[str, object]:
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
    if stale is not None:
        found |= {"stale": True, "stale_reason": f"{stale.about} {stale.reason}"}
        found["stale_since"] = format_time(stale.since) if stale.since else None
    return {name: value for name, value in found.items() if value is not None}
