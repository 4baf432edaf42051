"""One process in full, as lines for people and as JSON: for `show`, `top` and `web`. Pure."""

from collections.abc import Iterator

from ..reader.description import Description
from ..times import format_time
from .output import Style, printable
from .rows import age_words, stale_words, status_words
from .tables import EventTable
from .words import detail


def description_lines(description: Description, style: Style) -> Iterator[str]:
    """Yield the lines of one process."""
    row = description.row
    yield printable(f"{row.place} on {row.place.stack}")
    for title, words in _facts(description, style):
        yield f"  {title:<10}{printable(words)}"
    if description.events:
        yield ""
        yield from EventTable(style, named=False).replay(description.events)
    if crash := description.crash:
        yield ""
        yield printable(f"last crash, {style.clock(crash.timestamp)}: {detail(crash, style.clock)}")
        yield from (f"  | {printable(line)}" for line in crash.log_tail or ["(no log was sent along)"])


def _facts(description: Description, style: Style) -> Iterator[tuple[str, str]]:
    row, now = description.row, style.now()
    if description.stale is not None:
        was, why = status_words(row), stale_words(description.stale, style, now)
        yield "status", f"{description.stale.word}, {was} when last heard of: {why}"
    else:
        yield "status", status_words(row) + ", flapping" * row.is_flapping(now)
    if row.alive and row.since is not None:
        up = "" if description.stale else f", up {age_words(row.since, now)}"
        yield "run", f"pid {row.pid or '-'}{up}, since {style.clock(format_time(row.since))}"
    elif row.ended_at is not None:
        code = "" if row.exit_code is None else f", exit {row.exit_code}"
        why = f", {row.reason}" if row.reason not in ("", "exit") else ""
        at = style.clock(format_time(row.ended_at))
        yield "run", f"ended {age_words(row.ended_at, now)} ago, at {at}{code}{why}"
    probe = "with a probe" if row.has_probe else "without a probe"
    yield "health", f"{row.health}, {probe}"
    crashes = row.crashes_24h(now)
    yield "restarts", f"{row.restarts}, and {crashes} crash{'es' * (crashes != 1)} in 24h"


def description_json(description: Description, style: Style) -> dict[str, object]:
    """Return one process as a JSON object."""
    row = description.row
    found = row.to_dict(style.now(), description.stale)
    states = (event.state for event in reversed(description.events) if event.state)
    found |= {"state": next(states, {}), "events": [event.to_dict() for event in description.events]}
    return found | ({"last_crash": description.crash.to_dict()} if description.crash else {})
