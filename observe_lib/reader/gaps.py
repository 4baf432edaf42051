"""Blind time: when nobody looked at a stack's processes, as the observer's own events and its lease tell.
Pure; times are seconds since 1970, as in `timeline`.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from ..events import Event, EventType
from ..rows import Stale
from ..times import UTC, format_time, parse_time

#: the two parts that can fail, and why nothing is known from before their first word
NOT_THERE = {"adapter": "no adapter", "process-compose": "no process-compose"}


def stamp_text(moment: float) -> str:
    """Return seconds since 1970 as an RFC 3339 text."""
    return format_time(datetime.fromtimestamp(moment, UTC))


def told_moment(event: Event, name: str) -> float | None:
    """Return the moment that a field of an event names, beyond the contract's; None where there is none."""
    text = event.extra.get(name)
    try:
        return parse_time(text).timestamp() if isinstance(text, str) else None
    except ValueError:
        return None


class Gap(NamedTuple):
    """From when to when a stack was not seen, and why."""

    start: float
    end: float
    why: str

    @property
    def seconds(self) -> float:
        """How long it was."""
        return self.end - self.start


class Gaps:
    """The blind times of one stack, in order and apart from each other: a clock that stands still in them."""

    def __init__(self, found: Iterable[Gap] = ()) -> None:
        self.listed: list[Gap] = []
        for gap in sorted(one for one in found if one.end > one.start):
            if self.listed and gap.start <= self.listed[-1].end:
                last = self.listed.pop()
                whys = dict.fromkeys([*last.why.split(", "), *gap.why.split(", ")])
                gap = Gap(last.start, max(last.end, gap.end), ", ".join(whys))
            self.listed.append(gap)
        self._starts = [gap.start for gap in self.listed]

    def seen_s(self, start: float, end: float) -> float:
        """Return the seconds between two moments in which the stack was seen."""
        return sum(to - since for since, to in self.visible(start, end)) if self.listed else end - start

    def hide(self, start: float, end: float) -> bool:
        """Whether what happened between two moments, or at both, may have been while nobody looked."""
        return bool(self.listed) and any(gap.start <= end and start <= gap.end for gap in self.listed)

    def visible(self, start: float, end: float) -> Iterator[tuple[float, float]]:
        """Yield the parts of a span in which the stack was seen."""
        for gap in self.listed[max(0, bisect_right(self._starts, start) - 1) :]:
            if gap.start >= end:
                break
            if gap.start > start:
                yield start, gap.start
            start = max(start, gap.end)
        if start < end:
            yield start, end


def find_gaps(
    events: Iterable[Event], since: float, until: float, stale: Mapping[str, Stale]
) -> dict[str, Gaps]:
    """Return the blind times of each stack between two moments.

    `events` are the observer's own in that time, in stream order; `stale` has the stacks that are so now.
    """
    found = {stack: [_gap_now(why, since, until)] for stack, why in stale.items()}
    lost: dict[tuple[str, str], Gap] = {}  # by stack and part; it lasts until the part is heard of again
    heard = set()
    for event in events:
        stack, part = event.stack or "-", event.process
        gaps = found.setdefault(stack, [])
        if part not in NOT_THERE:
            continue
        at = parse_time(event.timestamp).timestamp()
        if event.type in (EventType.STOPPED, EventType.UNHEALTHY):
            start = told_moment(event, "since") or at
            lost.setdefault((stack, part), Gap(start, until, _why_unseen(event)))
        elif (stack, part) in lost:
            gaps.append(lost.pop((stack, part))._replace(end=at))
        else:
            is_first = (stack, part) not in heard and event.type == EventType.STARTED
            gaps.extend(_gap_before(event, at, since if is_first else None))
        heard.add((stack, part))
    for (stack, _), gap in lost.items():
        found[stack].append(gap)
    return {
        stack: Gaps(Gap(max(start, since), min(end, until), why) for start, end, why in gaps)
        for stack, gaps in found.items()
    }


def _gap_now(stale: Stale, since: float, until: float) -> Gap:
    start = stale.since.timestamp() if stale.since else since
    return Gap(start, until, f"no answer: {stale.error}" if stale.error else f"{stale.about} {stale.reason}")


def _why_unseen(event: Event) -> str:
    error = event.extra.get("error")
    if event.type == EventType.UNHEALTHY and isinstance(error, str):
        return f"no answer: {error}"
    return f"{event.process} stopped"


def _gap_before(event: Event, at: float, since: float | None) -> Iterator[Gap]:
    """Yield the gap of whose begin nothing was heard: the event tells it, else it is all from `since` on."""
    alive_at, unseen_s = told_moment(event, "last_alive"), event.extra.get("blind_seconds")
    if event.process == "adapter" and alive_at:
        yield Gap(alive_at, at, "adapter killed")
    elif event.process != "adapter" and isinstance(unseen_s, (int, float)):
        yield Gap(at - unseen_s, at, "no answer")
    elif since is not None:
        yield Gap(since, at, NOT_THERE[event.process])
