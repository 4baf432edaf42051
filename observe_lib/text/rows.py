"""What is said of a process and its stack: words for the cells of `ps` and other screens.
Pure text; nothing here prints.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from ..reader.states import States
from ..rows import ProcessRow, Stale
from ..times import format_duration, format_time, seconds_between
from .output import Style, printable

if TYPE_CHECKING:
    from ..reader.silences import Silence

#: so many processes are named in one line, more are only counted
NAMED = 3
#: fewer events than this are on their way, not waiting
WAITING_SAID = 100

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


def waiting_lines(states: States, rows: Iterable[ProcessRow]) -> list[str]:
    """Return one line per stack of these rows whose events wait for NATS: how many."""
    stacks = {row.place.stack: None for row in rows}
    waiting = [(name, states.stacks[name].waiting) for name in stacks if name in states.stacks]
    said = ((name, number) for name, number in waiting if number >= WAITING_SAID)
    return [printable(f"{name}: {number:,} events wait for NATS") for name, number in said]


def silence_lines(
    silences: "Iterable[Silence]", rows: Sequence[ProcessRow], style: Style, now: datetime
) -> list[str]:
    """Return one line per silence that holds for any of these rows: until when, who said so, and why."""
    held = [one for one in silences if any(one.covers(row.place, now, row.namespaces) for row in rows)]
    return [printable(silence_words(one, style)) for one in sorted(held, key=lambda one: one.until)]


def silence_words(silence: "Silence", style: Style) -> str:
    """Return a silence in one line: `shop/* silent until 11:15:02 (ops@host-a: deploy)`."""
    where = f" on {silence.stack}" if silence.stack else ""
    why = f"{silence.who}: {silence.reason}" if silence.reason else silence.who
    return f"{silence.pattern}{where} silent until {style.clock(format_time(silence.until))} ({why})"


def _were(rows: Sequence[ProcessRow]) -> str:
    if len(rows) > NAMED:
        alive = sum(row.alive for row in rows)
        return f"{alive} of its {len(rows)} processes were running"
    return ", ".join(f"{row.place} was {status_words(row)}" for row in rows)


def status_words(row: ProcessRow) -> str:
    """Return status and, where there is any, health: `Running, Ready`."""
    return row.status if row.health == "-" else f"{row.status}, {row.health}"


def status_cell(row: ProcessRow, stale: Stale | None, now: datetime) -> str:
    """Return the one or two words that say how a process is; what ended with its exit code."""
    if stale is not None:
        return stale.word
    if row.is_flapping(now):
        return "flapping"
    return row.status if row.exit_code is None else f"{row.status} {row.exit_code}"
