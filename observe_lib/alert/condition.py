"""What alerting looks at: one process as its row says, one stack as its lease says.
Pure; a condition never changes. Rows come from others on the bus: whatever makes no sense is left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ..events import EventType
from ..rows import Place
from ..subjects import OBSERVE
from ..times import parse_time

#: what process-compose shows of what should not run
_NOT_TO_RUN = frozenset(("Disabled", "Foreground", "Skipped", "Scheduled", "Pending"))


@dataclass(frozen=True)
class Condition:
    """One process now."""

    place: Place
    alive: bool = False
    health: str = "-"
    starting: bool = False  #: not Ready yet, in a run that never was
    well_ended: bool = False  #: no run lives, and that is as it should be
    crashes: int = 0  #: how many it had in all
    crash: Mapping[str, Any] = field(default_factory=dict)  #: the last one, as the row has it
    crashed_at: datetime | None = None  #: when the last one was
    crash_seen_at: datetime | None = None  #: when its adapter saw it
    crash_id: str = ""  #: which one it is; "" for none
    is_down: bool = False  #: no run lives since that crash
    flapping_until: datetime | None = None
    unhealthy_at: datetime | None = None  #: since when it is not Ready
    since: datetime | None = None  #: when the living run began

    @property
    def unhealthy(self) -> bool:
        """Whether it is in trouble with its health; a start is none."""
        return self.alive and self.health == "Not Ready" and not self.starting

    def flapping(self, now: datetime) -> bool:
        """Whether it crashes again and again."""
        return self.flapping_until is not None and now < self.flapping_until


@dataclass(frozen=True)
class StackCondition:
    """One stack now: whether its adapter, and its process-compose, are heard of."""

    stack: str
    about: str = ""  #: who is not heard of: adapter or process-compose; "" when all is well
    since: datetime | None = None
    error: str = ""
    ended: bool = False  #: stopped on purpose
    processes: int = 0  #: how many of the wanted ones it has

    @property
    def place(self) -> Place:
        """Return where the trouble of the stack itself is kept."""
        return Place(self.stack, OBSERVE, self.about or "adapter")


def process_condition(row: Mapping[str, Any]) -> Condition | None:
    """Return what a row of the bucket says; None for one that names no process."""
    place = Place(*(_text_of(row.get(name)) for name in ("stack", "namespace", "process")))
    if not (place.stack and place.process):
        return None
    alive, status, health = row.get("alive") is True, _text_of(row.get("status")), _text_of(row.get("health"))
    crash, told = _mapping_of(row.get("last_crash")), _mapping_of(row.get("events"))
    crashed, stopped = (_mapping_of(told.get(kind)) for kind in (EventType.CRASHED, EventType.STOPPED))
    ended_at = _text_of(row.get("ended_at"))
    is_down = not alive and bool(crash) and ended_at == crash.get("timestamp")
    asked_for = bool(ended_at) and ended_at == stopped.get("last") and not is_down
    well_ended = row.get("ended_well") is True or asked_for or (status in _NOT_TO_RUN and not is_down)
    return Condition(
        place,
        alive,
        health or "-",
        row.get("starting") is True,
        not alive and well_ended,
        _count_of(crashed.get("count")),
        crash,
        moment_told(crash.get("timestamp")),
        moment_told(crash.get("observed_at")) or moment_told(crash.get("timestamp")),
        f"{crash.get('seq', '')}@{crash.get('observed_at', '')}" if crash else "",
        is_down,
        moment_told(row.get("flapping_until")),
        moment_told(_mapping_of(told.get(EventType.UNHEALTHY)).get("last")),
        moment_told(row.get("since")),
    )


def _count_of(value: Any) -> int:
    return value if type(value) is int and 0 <= value < 2**63 else 0


def _mapping_of(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text_of(value: Any) -> str:
    return value if isinstance(value, str) else ""


def moment_told(value: Any) -> datetime | None:
    """Return the moment that others wrote down, None where that makes no sense."""
    try:
        return parse_time(value) if isinstance(value, str) else None
    except ValueError:
        return None
