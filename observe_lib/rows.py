"""The row: what one process is now, as `ps` shows it. What an adapter knows and a reader shows is this.
Pure; a row never changes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from .events import Event, EventType, Seen

#: the version of what the bucket holds of a process
ROW_SCHEMA = 2
#: crashes are counted over this span (in minutes, so that a crash loop of a day stays small)
DAY = timedelta(hours=24)
#: what ends a begun run, and what begins one
ENDS = frozenset((EventType.STOPPED, EventType.CRASHED))
BEGINS = frozenset((EventType.STARTED, EventType.RESTARTED))


class Place(NamedTuple):
    """Which process of which stack, in plain text; sorts by stack, namespace, name."""

    stack: str
    namespace: str
    process: str

    @classmethod
    def of(cls, event: Event) -> "Place":
        """Return whose event it is."""
        return cls(event.stack or "-", event.namespace, event.process)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.process}"


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """One process of one stack, as the last thing heard of it says. Whether that still holds is the
    stack's to say: `States.stale(row, now)`.
    """

    place: Place
    status: str = ""  #: process-compose's word: Running, Completed, Restarting, ...; "Removed" when gone
    health: str = "-"  #: Ready, Not Ready or -
    has_probe: bool = False
    was_healthy: bool = False  #: it was Ready at some time, so that it can be
    alive: bool = False  #: a run of it lives, Terminating included
    gone: bool = False  #: its name is no more
    pid: int | None = None  #: of the living run
    since: datetime | None = None  #: when the living run began
    ended_at: datetime | None = None  #: when the last run ended
    exit_code: int | None = None  #: of the last run, while none lives
    reason: str = ""  #: why the last run ended: DESIGN section 4's classes
    restarts: int = 0
    crashes: tuple[tuple[datetime, int], ...] = ()  #: (minute, how many), oldest first, of a day at most
    last: Event | None = None  #: the last event that is no companion
    last_crash: Event | None = None  #: with its log tail; None: not read, or none
    crashed_at: datetime | None = None  #: when it last crashed, also where the event was not read
    state: Mapping[str, Any] = field(default_factory=dict)  #: as process-compose last sent it
    folded: Seen = Seen()  #: what the fields above hold
    counted: Seen = Seen()  #: what crashes holds

    def crashes_since(self, moment: datetime) -> int:
        """Return how many crashes there were from that minute on."""
        return sum(count for minute, count in self.crashes if minute >= minute_of(moment))

    @property
    def ended_well(self) -> bool:
        """Whether its last run ended by itself as it should: exit 0, or a code in `success_exit_codes`."""
        if self.alive or self.gone or self.status not in ("Completed", "Scheduled", "Watching"):
            return False
        if self.reason:
            return self.reason == "completed"
        return self.exit_code == 0 or self.exit_code in success_codes(self.state)


def success_codes(state: Mapping[str, Any]) -> Sequence[Any]:
    """Return the exit codes that mean success beside 0; none where others sent what is no list."""
    codes = state.get("success_exit_codes")
    return codes if isinstance(codes, list) else ()


def whole_or_none(value: Any) -> int | None:
    """Return a whole number of 64 bits, None for anything else."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and -(2**63) <= value < 2**63 else None


def minute_of(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)
