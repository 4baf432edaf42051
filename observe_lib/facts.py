"""What a stored event says of one process's runs, as far as `report` needs it: faster than an `Event`.
Pure; times are seconds since 1970.
"""

import json
from collections.abc import Mapping
from enum import IntEnum
from typing import Any, NamedTuple, Protocol

from .events import OBSERVE, ROOT
from .states import BEGINS, ENDS, Place, whole_or_none
from .times import parse_time

#: what a process is: a run of it lives, none does, or there is no such process (or nobody knows)
UP, DOWN, ABSENT = "up", "down", ""

_OBSERVER = f"{ROOT}.{OBSERVE}."


class Fact(NamedTuple):
    """What is needed of every stored event; `found` is its JSON object.

    `at` is when it happened; where it was only found to be so (`initial`) when that was. `stamp` is the
    event's own timestamp.
    """

    place: Place
    type: str
    at: float
    stamp: float
    seen_at: float
    seq: int
    times: int
    initial: bool
    found: Mapping[str, Any]


def fact_of(payload: bytes) -> Fact | None:
    """Read an event's JSON; None: the observer's own. ValueError, LookupError, TypeError: no event."""
    found = json.loads(payload)
    name, namespace, stack = found["process"], found["namespace"], found.get("stack") or "-"
    if not (isinstance(name, str) and isinstance(namespace, str) and isinstance(stack, str) and name):
        raise ValueError("no process")
    if namespace == OBSERVE and str(found.get("subject")).startswith(_OBSERVER):
        return None
    timestamp = found["timestamp"]
    observed = found.get("observed_at") or timestamp
    stamp = parse_time(timestamp).timestamp()
    seen_at = stamp if observed == timestamp else parse_time(observed).timestamp()
    initial = found.get("initial") is True
    seq, count = whole_or_none(found.get("seq")), whole_or_none(found.get("count"))
    at, place = seen_at if initial else stamp, Place(stack, namespace, name)
    return Fact(place, str(found["type"]), at, stamp, seen_at, seq or 0, max(1, count or 1), initial, found)


class Before(NamedTuple):
    """What a process was before its first known event, and since when at the earliest (None: for long)."""

    state: str
    unhealthy: bool = False
    since: float | None = None


def before_of(fact: Fact) -> Before:
    """Return what an event tells of the time before it."""
    found, reason = fact.found, fact.found.get("reason")
    if fact.initial or found.get("renamed_from"):
        return Before(ABSENT)
    if fact.type in BEGINS or (fact.type in ENDS and reason == "launch_failed"):
        was_there = isinstance(found.get("old_status"), str) or fact.type == "restarted"
        return Before(DOWN if was_there else ABSENT)
    if fact.type in ENDS:
        ran_s = found.get("run_seconds")
        return Before(UP, since=fact.at - max(0.0, ran_s) if isinstance(ran_s, (int, float)) else None)
    if fact.type in ("healthy", "unhealthy"):
        return Before(UP, fact.type == "healthy" and bool(found.get("was_seconds")))
    return Before(UP if raw_lives(found.get("state")) else DOWN)


def policy_restarts(fact: Fact, restarts_before: int | None, end_asked: bool | None) -> int:
    """Return how many of a `restarted` event's begins were the policy's: it raises `restarts` by one each.

    The others were asked for (a file watch counts as asking). Where the last begin's restarts are not
    known, the last end tells, else the status before.
    """
    restarts = whole_or_none(fact.found.get("restarts")) or 0
    if restarts_before is not None:
        policy = restarts - restarts_before if restarts >= restarts_before else restarts
    elif end_asked is not None:
        policy = fact.times - end_asked
    else:
        policy = fact.times if fact.found.get("old_status") == "Restarting" else 0
    return max(0, min(policy, fact.times))


def not_before(fact: Fact) -> float:
    """Return when what was not seen happened at the earliest."""
    text = fact.found.get("not_before")
    try:
        return parse_time(text).timestamp() if isinstance(text, str) else fact.at
    except ValueError:
        return fact.at


def raw_lives(state: Any) -> bool:
    """Whether a state as process-compose sent it is that of a living run."""
    if not isinstance(state, dict) or not state.get("pid"):
        return False
    return state.get("is_running") is True or state.get("status") == "Terminating"


class Shade(IntEnum):
    """What a process was in a span of time, as a strip of the timeline shows it."""

    UP = 0
    UNHEALTHY = 1
    DOWN = 2  #: and nobody expected otherwise
    OUTAGE = 3  #: down since it crashed


class Strip(Protocol):
    """Who draws: is told each span that was seen, and what the process was in it."""

    def add(self, start: float, end: float, shade: Shade) -> None: ...
