"""What a stored event says of one process's runs, as far as `report` needs it: faster than an `Event`.
Pure; times are seconds since 1970.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..events import OBSERVE, ROOT, read_json
from ..times import parse_stamp
from .states import BEGINS, ENDS, Place, whole_or_none

#: what a process is: a run of it lives, none does, or there is no such process (or nobody knows)
UP, DOWN, ABSENT = "up", "down", ""

_OBSERVER = f"{ROOT}.{OBSERVE}."


class Fact(NamedTuple):
    """What is needed of a stored event: made faster than an `Event`. `found` is its JSON object."""

    place: Place
    type: str
    at: float  #: when it happened; where it was only found to be so (`initial`), when that was
    stamp: float  #: its timestamp
    seen_at: float
    seq: int
    times: int
    initial: bool
    found: Mapping[str, Any]


def fact_of(payload: bytes) -> Fact | None:
    """Read an event's JSON; None: the observer's own. ValueError, LookupError, TypeError: no event."""
    found = read_json(payload)
    name, namespace, stack = found["process"], found["namespace"], found.get("stack") or "-"
    if not (isinstance(name, str) and isinstance(namespace, str) and isinstance(stack, str) and name):
        raise ValueError("no process")
    if namespace == OBSERVE and str(found.get("subject")).startswith(_OBSERVER):
        return None
    timestamp = found["timestamp"]
    observed = found.get("observed_at") or timestamp
    stamp = parse_stamp(timestamp).timestamp()
    seen_at = stamp if observed == timestamp else parse_stamp(observed).timestamp()
    initial = found.get("initial") is True
    seq, count = whole_or_none(found.get("seq")), whole_or_none(found.get("count"))
    at, place = seen_at if initial else stamp, Place(stack, namespace, name)
    return Fact(place, str(found["type"]), at, stamp, seen_at, seq or 0, max(1, count or 1), initial, found)


def before_of(fact: Fact) -> tuple[str, bool, float | None]:
    """Return what an event tells of the time before it: the state, unhealthy, since when (None: for long)."""
    found, reason = fact.found, fact.found.get("reason")
    if fact.initial or found.get("renamed_from"):
        return ABSENT, False, None
    if fact.type in BEGINS or (fact.type in ENDS and reason == "launch_failed"):
        was_there = isinstance(found.get("old_status"), str) or fact.type == "restarted"
        return DOWN if was_there else ABSENT, False, None
    if fact.type in ENDS:
        ran_s = found.get("run_seconds")
        return UP, False, fact.at - max(0.0, ran_s) if isinstance(ran_s, (int, float)) else None
    if fact.type in ("healthy", "unhealthy"):
        return UP, fact.type == "healthy" and bool(found.get("was_seconds")), None
    return UP if raw_lives(found.get("state")) else DOWN, False, None


def raw_lives(state: Any) -> bool:
    """Whether a state as process-compose sent it is that of a living run."""
    if not isinstance(state, dict) or not state.get("pid"):
        return False
    return state.get("is_running") is True or state.get("status") == "Terminating"


def restarts_of(fact: Fact) -> int:
    return whole_or_none(fact.found.get("restarts")) or 0
