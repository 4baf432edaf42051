"""The row: what one process is now, as its adapter wrote it into the bucket; the stack's row: its lease.
Pure. All that the bucket holds is read here, bounded; readers add to it only what the clock changes.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from sys import intern
from typing import Any, NamedTuple

from .events import Event, EventType, read_json
from .subjects import process_matches, process_wanted
from .times import format_time, parse_time, seconds_between

DAY = timedelta(hours=24)
#: an adapter that missed two heartbeats is not heard of any more
STALE_S = 20.0
#: what `ProcessRow.condition` and a stack's `Stale` make of a process, trouble first
CONDITIONS = (
    *("flapping", "crashed", "unhealthy", "stale"),
    *("starting", "up", "idle", "done", "down", "ended"),
)

#: statuses of what is not meant to run just now
_IDLE = frozenset(("Disabled", "Pending", "Scheduled", "Skipped", "Foreground", "Watching"))
_BAD_REASONS = frozenset(("exit", "killed", "probe", "launch_failed"))
_HANGUPS = frozenset((129, 130, 143))


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


class Stale(NamedTuple):
    """Why a stack is not heard of: `about` adapter or process-compose, `reason` silent, stopped or away."""

    about: str
    reason: str
    since: datetime | None
    error: str = ""

    @property
    def word(self) -> str:
        """What its processes are: ended where somebody stopped the stack, else stale."""
        return "ended" if self.reason == "stopped" else "stale"


class ProcessRow(NamedTuple):
    """One process of one stack, as its adapter told. Whether that still holds is the stack's to say:
    `States.stale(row, now)`. What is rarely asked for is read from `raw` again each time.
    """

    place: Place
    status: str = ""  #: process-compose's word: Running, Completed, Restarting, ...
    namespaces: tuple[str, ...] = ()  #: where it has several, all of them
    health: str = "-"  #: Ready, Not Ready or -
    starting: bool = False  #: Not Ready, as it was not Ready yet
    has_probe: bool = False  #: a readiness probe
    was_healthy: bool = False  #: it was Ready at some time, so that it can be
    alive: bool = False  #: a run of it lives, Terminating included
    pid: int | None = None  #: of the living run
    since: datetime | None = None  #: when the living run began
    ended_at: datetime | None = None  #: when the last run ended
    exit_code: int | None = None  #: of the last run, while none lives
    reason: str = ""  #: why the last run ended: DESIGN section 4's classes
    ended_well: bool = False  #: the last run ended by itself as it should
    restarts: int = 0
    crashes: int = 0  #: as many as were told, since there is a memory of it
    crash_hours: Mapping[str, int] | None = None  #: crashes by hour, `2025-10-16T16`
    crashed_at: datetime | None = None  #: when it last crashed
    flapping_until: datetime | None = None
    last_type: str = ""  #: of the last event that is no companion
    last_at: datetime | None = None
    seq: int = 0  #: of the last event that it knows of
    raw: bytes = b""  #: as it is in the bucket

    @classmethod
    def read(cls, payload: bytes) -> "ProcessRow":
        """Read what the bucket holds of a process; ValueError if that is no row, or not sane."""
        told = read_json(payload)
        found, counted = _row_in(told), dict[str, datetime]()
        for kind, one in found.get("events", {}).items():
            _check_kinds(one, _COUNTED, _COUNTED_ALWAYS)
            counted[kind] = _time_told(one["last"])
        last, hours = _event_in(found, "last_event"), found.get("crash_hours")
        _event_in(found, "last_crash")
        if hours is not None and not set(map(type, hours.values())) <= {int}:
            raise ValueError("crash_hours does not hold whole numbers")
        return cls(
            Place(intern(found["stack"]), intern(found["namespace"]), found["process"]),
            intern(found["status"]),
            _texts(found, "namespaces"),
            intern(found.get("health", "-")),
            found.get("starting", False),
            found.get("has_ready_probe", False),
            found.get("was_healthy", False),
            found["alive"],
            found.get("pid"),
            _time_told(found["since"]) if "since" in found else None,
            _time_told(found["ended_at"]) if "ended_at" in found else None,
            found.get("exit_code"),
            intern(found.get("reason", "")),
            found.get("ended_well", False),
            found.get("restarts", 0),
            found.get("events", {}).get(EventType.CRASHED, {}).get("count", 0),
            hours,
            counted.get(EventType.CRASHED),
            _time_told(found["flapping_until"]) if "flapping_until" in found else None,
            intern(last.get("type", "")),
            _time_told(last["timestamp"]) if last else None,
            told["seq"],
            payload,
        )

    # --- what the clock makes of it ---

    def crashes_24h(self, now: datetime) -> int:
        """Return how many crashes there were in 24 hours, the present one among them."""
        if not self.crash_hours:
            return 0
        oldest = format_time(now - DAY)[:13]
        return sum(count for hour, count in self.crash_hours.items() if hour > oldest)

    def is_flapping(self, now: datetime) -> bool:
        """Whether it crashed again and again of late, and is on again or about to be."""
        goes_on = self.alive or self.status == "Restarting"
        return goes_on and self.flapping_until is not None and now < self.flapping_until

    def condition(self, now: datetime, stale: Stale | None = None) -> str:
        """Return the one word of `CONDITIONS` that says how it is; `stale` is that of its stack."""
        if stale is not None:
            return stale.word
        if self.is_flapping(now):
            return "flapping"
        if self.alive:
            return "up" if self.health != "Not Ready" else "starting" if self.starting else "unhealthy"
        if self.ended_well and self.status == "Completed":
            return "done"
        if self._ended_badly():
            return "crashed"
        return "idle" if self.status in _IDLE else "down"

    @property
    def is_expected(self) -> bool:
        """Whether a run of it should live: one does, is to come again, or ended as it should not have."""
        return self.alive or self.status == "Restarting" or (self.status not in _IDLE and self._ended_badly())

    def _ended_badly(self) -> bool:
        if self.reason:
            return self.reason in _BAD_REASONS
        if self.status == "Error":
            return True
        if self.exit_code is None or self.ended_well or self.status not in ("Completed", "Restarting"):
            return False
        return self.exit_code not in _HANGUPS and self.exit_code != 0

    def to_dict(self, now: datetime, stale: Stale | None = None) -> dict[str, Any]:
        """Return the JSON object of `ps --json`: the row as it was told, and what the clock makes of it."""
        found = {**self.told, "crashes_24h": self.crashes_24h(now)}
        if self.since is not None:
            found["up_seconds"] = max(0.0, round(seconds_between(self.since, now), 3))
        if self.is_flapping(now):
            found["flapping"] = True
        if stale is not None:
            found |= {stale.word: True, "stale_reason": f"{stale.about} {stale.reason}"}
            if stale.since:
                found["stale_since"] = format_time(stale.since)
        return found

    # --- what is rarely asked for ---

    @property
    def told(self) -> dict[str, Any]:
        """The row as it is in the bucket."""
        if self.raw:
            return dict(_row_in(read_json(self.raw)))
        return {**self.place._asdict(), "status": self.status, "alive": self.alive, "restarts": self.restarts}

    @property
    def last(self) -> Event | None:
        """The last event that is no companion, without state and log."""
        return self._event("last_event")

    @property
    def last_crash(self) -> Event | None:
        """The last crash, without state and log; `why` in its `extra` is the line that tells why."""
        return self._event("last_crash")

    def count_of(self, event_type: str) -> tuple[int, datetime | None]:
        """Return how many events of a type there were, and when the last one was.

        An `unhealthy` before its run was Ready once is a start, and not counted.
        """
        one = (self.told.get("events") or {}).get(event_type)
        return (one["count"] - one.get("starting", 0), parse_time(one["last"])) if one else (0, None)

    def matches(self, pattern: str) -> bool:
        """Whether a pattern names it, in any of its namespaces."""
        spaces = self.namespaces or (self.place.namespace,)
        return any(process_matches(pattern, space, self.place.process) for space in spaces)

    def is_wanted(self, patterns: Sequence[str]) -> bool:
        """Whether it is any of these names and globs (none given: of all), and none after `!`."""
        return process_wanted(patterns, self.namespaces or (self.place.namespace,), self.place.process)

    def _event(self, name: str) -> Event | None:
        brief = self.told.get(name)
        if not brief:
            return None
        known = {**self.place._asdict(), "type": brief["type"], "timestamp": brief["timestamp"]}
        try:
            return Event.from_dict({**brief, **known})
        except ValueError:
            return Event.from_dict(known)


@dataclass(frozen=True, slots=True)
class StackRow:
    """One stack: what the lease tells of its adapter and its process-compose."""

    name: str
    beat_at: datetime | None = None  #: the last heartbeat, on our own clock; None: there is no lease
    lease: Mapping[str, Any] = field(default_factory=dict)  #: as it is in the bucket
    dead: bool = False  #: its adapter's process is known to be no more

    @classmethod
    def read(cls, name: str, payload: bytes, beat_at: datetime) -> "StackRow":
        """Read a lease; ValueError if it is none, or not sane."""
        lease = {key: value for key, value in read_json(payload).items() if value is not None}
        _check_kinds(lease, _LEASE)
        if "source_since" in lease:
            parse_time(lease["source_since"])
        return cls(name, beat_at, lease)

    @property
    def waiting(self) -> int:
        """How many events wait at the adapter for NATS, as it told last."""
        return int(self.lease.get("waiting", 0))

    def stale(self, now: datetime) -> Stale | None:
        """Return why its rows are stale, None if they are not."""
        if self.beat_at is None:
            return None
        lease = self.lease
        if lease.get("stopped"):
            return Stale("adapter", "stopped", self.beat_at)
        source, since = lease.get("source"), lease.get("source_since")
        source_since = parse_time(since) if since else None
        if source == EventType.STOPPED:
            return Stale("process-compose", "stopped", source_since)
        if self.dead or seconds_between(self.beat_at, now) > STALE_S:
            return Stale("adapter", "silent", self.beat_at)
        if source == EventType.UNHEALTHY:
            return Stale("process-compose", "away", source_since, lease.get("source_error", ""))
        return None


# --- what is bounded ---

_ROW: dict[str, type] = {
    **dict.fromkeys(("stack", "namespace", "process", "status", "health", "reason"), str),
    **dict.fromkeys(("since", "ended_at", "flapping_until"), str),
    **dict.fromkeys(("alive", "starting", "has_ready_probe", "was_healthy", "ended_well"), bool),
    **dict.fromkeys(("pid", "exit_code", "restarts"), int),
    **dict.fromkeys(("crash_hours", "events"), dict),
}
_ROW_ALWAYS, _COUNTED_ALWAYS = frozenset(("status", "alive")), frozenset(("count", "last"))
_EVENT_TOLD: dict[str, type] = {"type": str, "timestamp": str}
_COUNTED: dict[str, type] = {"count": int, "last": str, "starting": int}
_LEASE: dict[str, type] = {
    **dict.fromkeys(("owner", "host", "version", "watches", "source", "source_since", "source_error"), str),
    **dict.fromkeys(("pid", "waiting", "published"), int),
    **dict.fromkeys(("push", "stopped"), bool),
    **dict.fromkeys(("last_reply", "at"), str),
}


@lru_cache(16)  # most of a row's moments are told twice
def _time_told(text: str) -> datetime:
    return parse_time(text)


def _row_in(told: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the row in what the bucket holds of a process."""
    found = told.get("row")
    if not isinstance(found, dict):
        raise ValueError("it holds no row")
    if type(told.get("seq")) is not int:
        raise ValueError("its seq is no whole number")
    _check_kinds(found, _ROW, _ROW_ALWAYS)
    if not (found.get("stack") and found.get("namespace") and found.get("process")):
        raise ValueError("it does not tell whose row it is")
    return found


def _check_kinds(found: Any, kinds: Mapping[str, type], needed: Set[str] = frozenset()) -> None:
    """See that fields have the types of the contract; ValueError."""
    if type(found) is not dict or not found.keys() >= needed:
        raise ValueError(f"no such object: {found!r}"[:200])
    for name, value in found.items():
        if name in kinds and type(value) is not kinds[name]:
            raise ValueError(f"{name} is {value!r}"[:200])


def _event_in(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return what a row tells of an event, {} where it tells nothing."""
    if name not in found:
        return {}
    event: dict[str, Any] = found[name]
    _check_kinds(event, _EVENT_TOLD, _EVENT_TOLD.keys())
    _time_told(event["timestamp"])
    return event


def _texts(found: Mapping[str, Any], name: str) -> tuple[str, ...]:
    texts = found.get(name)
    if texts is None:
        return ()
    if type(texts) is not list or not all(type(one) is str for one in texts):
        raise ValueError(f"{name} is {texts!r}"[:200])
    return tuple(map(intern, texts))
