"""One trouble: of one process, or of a stack as a whole; what is open, told and over of it. And the rules.
Pure; the engine changes troubles, the bucket keeps them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any

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
    patterns: tuple[str, ...] = ()
    stack: str | None = None
    hold_s: Mapping[str, float] = field(default_factory=lambda: HOLD_S)
    settle_s: float = 60.0
    repeat_s: float = 4 * 3600.0
    group_s: float = 5.0
    limit: int = 20
    limit_s: float = 3600.0
    also_open: bool = False
    counts_each: bool = False  #: each process counts as a message: for a command that acts on one


@dataclass(frozen=True)
class OpenTrouble:
    """From the first sign until it is over, and told."""

    place: Place
    kind: str
    began: datetime  #: when it happened: the crash, the first Not Ready
    due: datetime  #: it is told from then on, if it lasts
    crash_id: str = ""
    crash_seen_at: datetime | None = None
    crashes_before: int = 0  #: how many the process had before this
    facts: Mapping[str, Any] = field(default_factory=dict)  #: what the summary needs
    before: bool = False  #: it was there at the very first start: nobody is told
    well_since: datetime | None = None  #: since when it looks as if it were over
    over_at: datetime | None = None
    told_at: datetime | None = None  #: when it was told last
    group: str = ""  #: of the message that told it first
    ready_at: datetime | None = None  #: since when it waits to be told, or that it is over
    silenced_by: str = ""  #: the silence that keeps it from being told

    @property
    def is_end(self) -> bool:
        """Whether what is to be told of it is that it is over."""
        return self.over_at is not None and self.told_at is not None

    def to_dict(self) -> dict[str, Any]:
        """Return it as the bucket keeps it, without what does not apply."""
        found: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if value or one.name == "place":
                found[one.name] = format_time(value) if isinstance(value, datetime) else value
        return {**found, "place": list(self.place)}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> "OpenTrouble":
        """Read what `to_dict` wrote; ValueError, LookupError or TypeError where it did not."""
        given = {one.name: found[one.name] for one in fields(cls) if one.name in found}
        for name in _TIMES & given.keys():
            given[name] = parse_time(given[name])
        return cls(**{**given, "place": Place(*map(str, given["place"]))})

    def worse(self, kind: str, due: datetime) -> "OpenTrouble":
        """Return it with a kind that may be worse, told as soon as either says."""
        kind = min(kind, self.kind, key=KINDS.index)
        return replace(self, kind=kind, due=min(due, self.due))

    def open_again(self) -> "OpenTrouble":
        """Return it as not over."""
        if self.over_at is None and self.well_since is None:
            return self
        ready_at = None if self.over_at is not None else self.ready_at
        return replace(self, over_at=None, well_since=None, ready_at=ready_at)


_TIMES = frozenset(one.name for one in fields(OpenTrouble) if "datetime" in str(one.type))


@dataclass(frozen=True)
class Notice:
    """One message: which troubles it tells of, firing or resolved; `held` of others are held back."""

    status: str
    group: str
    at: datetime
    places: tuple[Place, ...] = ()
    held: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return it as the bucket keeps it."""
        places = [list(place) for place in self.places]
        return {
            "status": self.status,
            "group": self.group,
            "at": format_time(self.at),
            "places": places,
            "held": self.held,
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> "Notice":
        """Read what `to_dict` wrote; errors as `OpenTrouble.from_dict`."""
        places = tuple(Place(*map(str, place)) for place in found["places"])
        return cls(
            str(found["status"]), str(found["group"]), parse_time(found["at"]), places, int(found["held"])
        )


def after_s(moment: datetime, seconds: float) -> datetime:
    """Return the moment so many seconds later."""
    return moment + timedelta(seconds=seconds)
