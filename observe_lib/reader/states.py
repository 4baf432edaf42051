"""What is now: the rows of the processes and their stacks. Pure; a `States` never changes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from ..rows import Place, ProcessRow, StackRow, Stale

if TYPE_CHECKING:
    from .silences import Silence


@dataclass(frozen=True, slots=True)
class States:
    """Everything that is known: the processes by place, and the stacks by name."""

    rows: Mapping[Place, ProcessRow] = field(default_factory=dict)
    stacks: Mapping[str, StackRow] = field(default_factory=dict)
    silences: "tuple[Silence, ...]" = ()  #: those that are over too

    def stale(self, row: ProcessRow, now: datetime) -> Stale | None:
        """Return why what a row says may no longer hold, None if it does."""
        stack = self.stacks.get(row.place.stack)
        return stack.stale(now) if stack else None

    def select(self, patterns: Iterable[str] = (), stack: str | None = None) -> list[ProcessRow]:
        """Return the rows that any pattern (none given: all) names, in order of their places."""
        wanted = tuple(patterns)
        rows = (row for row in self.rows.values() if stack is None or row.place.stack == stack)
        return sorted((row for row in rows if row.is_wanted(wanted)), key=lambda row: row.place)


def stale_stacks_of(states: States, now: datetime) -> dict[str, Stale]:
    """Return why nothing is heard of a stack, for each of which that is so: asked once, not once per row."""
    return {name: why for name, stack in states.stacks.items() if (why := stack.stale(now))}
