"""One trouble: of one process, or of a stack as a whole; what is open, told and over of it. And the rules.
Pure; the engine changes troubles, the bucket keeps them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from ..rows import Place
from ..times import format_time, parse_time

#: what opens trouble, the worst first
KINDS = ("stale", "flapping", "crashed", "unhealthy")
#: how long each kind has to last before anybody is told, unless `--for` says otherwise
HOLD_S = {"stale": 30.0, "flapping": 0.0, "crashed": 0.0, "unhealthy": 30.0}
SEVERITIES = {"stale": "error", "flapping": "error", "crashed": "error", "unhealthy": "warning"}


@dataclass(frozen=True)
class Rules:
    """What one wants to be told, when, and how often."""

    types: frozenset[str] = frozenset(KINDS)
    hold_s: Mapping[str, float] = field(default_factory=lambda: HOLD_S)
    settle_s: float = 60.0
    repeat_s: float = 4 * 3600.0
    limit: int = 20
    limit_s: float = 3600.0
    also_open: bool = False
    one_each: bool = False  #: a message for each process: for a command that acts on one


@dataclass(frozen=True)
class OpenTrouble:
    """From the first sign until it is over, and told."""

    place: Place
    kind: str
    began: datetime  #: when it happened: the crash, the first Not Ready
    due: datetime  #: it is told from then on, if it lasts
    crashes: int = 0  #: how many the process had in all
    crashes_before: int = 0  #: how many before this
    crashed_at: datetime | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)  #: what else the summary needs
    before: bool = False  #: it was there at the very first start: nobody is told
    well_since: datetime | None = None  #: since when it looks as if it were over
    over_at: datetime | None = None
    over: str = ""  #: why it is over
    told_at: datetime | None = None  #: when it was told last
    group: str = ""  #: of the message that told it first
    ready_at: datetime | None = None  #: since when it waits to be told, or that it is over
    silenced_by: str = ""  #: the silence that keeps it from being told

    @property
    def is_end(self) -> bool:
        """Whether what is to be told of it is that it is over."""
        return self.over_at is not None and self.told_at is not None

    def worse(self, kind: str, due: datetime) -> "OpenTrouble":
        """Return it with a kind that may be worse, told as soon as either says."""
        kind = min(kind, self.kind, key=KINDS.index)
        return replace(self, kind=kind, due=min(due, self.due))

    def open_again(self) -> "OpenTrouble":
        """Return it as not over."""
        ready_at = None if self.over_at is not None else self.ready_at
        return replace(self, over_at=None, well_since=None, ready_at=ready_at)


@dataclass(frozen=True)
class Notice:
    """One message: which troubles it tells of, firing or resolved; `held` of others are held back."""

    status: str
    group: str
    at: datetime
    places: tuple[Place, ...] = ()
    held: int = 0


Kept = TypeVar("Kept", OpenTrouble, Notice)


def kept_fields(one: OpenTrouble | Notice) -> dict[str, Any]:
    """Return it as the bucket keeps it, without what does not apply."""
    given = {name: value for name, value in vars(one).items() if value}
    return {name: format_time(told) if isinstance(told, datetime) else told for name, told in given.items()}


def read_kept(kind: type[Kept], found: Mapping[str, Any]) -> Kept:
    """Read what `kept_fields` wrote; ValueError, LookupError or TypeError where it did not."""
    return kind(
        **{one.name: _READERS[one.type](found[one.name]) for one in fields(kind) if one.name in found}
    )


_READERS: Mapping[Any, Callable[[Any], Any]] = {
    datetime: parse_time,
    datetime | None: parse_time,
    Place: lambda told: Place(*map(str, told)),
    tuple[Place, ...]: lambda told: tuple(Place(*map(str, one)) for one in told),
    Mapping[str, Any]: dict,
    str: str,
    int: int,
    bool: bool,
}


def after_s(moment: datetime, seconds: float) -> datetime:
    """Return the moment so many seconds later."""
    return moment + timedelta(seconds=seconds)
