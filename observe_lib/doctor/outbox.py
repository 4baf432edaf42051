"""What `doctor` sees of the outboxes on this host: where they are, how large, who has them, what waits.
Reads files only, and disturbs no adapter.
"""

from datetime import datetime
from pathlib import Path

from ..adapter.outbox_facts import OutboxFacts, look
from ..calling import how_to_call
from ..subjects import decode_token
from ..times import format_duration, now_utc, seconds_between
from .findings import OK, WARN, Finding

#: with less room on its disk a file may soon take nothing more
ROOM_LEAST = 64_000_000


def outbox_findings(directory: Path | None) -> list[Finding]:
    """Return one finding per outbox in the state directory; none where there is none."""
    if directory is None or not directory.is_dir():
        return []
    names = (decode_token(path.name.removesuffix(".sqlite")) for path in sorted(directory.glob("*.sqlite")))
    found = ((name, look(directory, name)) for name in names)
    return [outbox_finding(name, facts, now_utc()) for name, facts in found if facts]


def outbox_finding(stack: str, facts: OutboxFacts, now: datetime) -> Finding:
    """Judge one outbox: nobody sends what waits where no adapter has it, or where its disk is full."""
    owner = f"pid {facts.pid or '?'} has it" if facts.held else "no adapter has it"
    told = f"{stack}: {facts.path}, {facts.size / 1e6:.1f} MB, {owner}, "
    told += f"{facts.waiting:,} event{'s' * (facts.waiting != 1)} wait{'s' * (facts.waiting == 1)}"
    if facts.oldest is not None:
        told += f", the oldest {format_duration(max(0.0, seconds_between(facts.oldest, now)))} old"
    told += f", {facts.room / 1e6:,.0f} MB free on its disk"
    hint = ""
    if facts.trouble:
        told, hint = f"{told}; {facts.trouble}", "the adapter says what it makes of it"
    elif facts.room < ROOM_LEAST:
        hint = f"free some room on the disk of {facts.path.parent}"
    elif facts.waiting and not facts.held:
        hint = f"start its adapter (--stack {stack}), or drop it: {how_to_call('forget', stack)}"
    values = {
        "stack": stack,
        "path": str(facts.path),
        "bytes": facts.size,
        "held": facts.held,
        "waiting": facts.waiting,
        "disk_free_bytes": facts.room,
    }
    return Finding(WARN if hint else OK, "outbox", told, hint, values)
