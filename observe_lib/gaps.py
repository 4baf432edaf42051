"""Blind time: when nobody looked at a stack's processes, as the observer's own events and its lease tell.
Pure; times are seconds since 1970, as everywhere in `report`.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from .events import Event, EventType
from .times import UTC, format_time, parse_time

ADAPTER_AWAY = "no adapter"
SOURCE_AWAY = "no process-compose"


def stamp_text(moment: float) -> str:
    """Return seconds since 1970 as an RFC 3339 text."""
    return format_time(datetime.fromtimestamp(moment, UTC))


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
        self.listed = _merge(found)
        self._starts = [gap.start for gap in self.listed]
        self._before = [0.0]
        for gap in self.listed:
            self._before.append(self._before[-1] + gap.seconds)

    def seen_s(self, start: float, end: float) -> float:
        """Return the seconds between two moments in which the stack was seen."""
        if not self.listed:
            return end - start
        return end - start - (self._hidden_s(end) - self._hidden_s(start))

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

    def _hidden_s(self, moment: float) -> float:
        """Return the blind seconds up to a moment."""
        number = bisect_right(self._starts, moment)
        if not number:
            return 0.0
        gap = self.listed[number - 1]
        return self._before[number - 1] + min(moment, gap.end) - gap.start


def _merge(found: Iterable[Gap]) -> list[Gap]:
    merged: list[Gap] = []
    for gap in sorted(one for one in found if one.end > one.start):
        if merged and gap.start <= merged[-1].end:
            last = merged[-1]
            whys = [*last.why.split(", "), *gap.why.split(", ")]
            merged[-1] = Gap(last.start, max(last.end, gap.end), ", ".join(dict.fromkeys(whys)))
        else:
            merged.append(gap)
    return merged


@dataclass
class _Sight:
    """What one stack's observer has told so far: which of its two parts is away, and since when."""

    found: list[Gap] = field(default_factory=list)
    away: dict[str, tuple[float, str]] = field(default_factory=dict)
    heard: set[str] = field(default_factory=set)


def find_gaps(
    events: Iterable[Event], since: float, until: float, away: Mapping[str, Gap]
) -> dict[str, Gaps]:
    """Return the blind times of each stack between two moments.

    `events` are the observer's own in that time, in stream order; `away` says of the stacks that are silent
    now since when. A first start in the range without a word of an earlier one: nobody was there before.
    """
    stacks: dict[str, _Sight] = {}
    for event in events:
        _look_at(stacks.setdefault(event.stack or "-", _Sight()), event, since)
    for stack, gap in away.items():
        stacks.setdefault(stack, _Sight()).found.append(gap)
    return {stack: Gaps(_clip(sight, since, until)) for stack, sight in stacks.items()}


def _clip(sight: _Sight, since: float, until: float) -> Iterator[Gap]:
    lasting = (Gap(start, until, why) for start, why in sight.away.values())
    for gap in (*sight.found, *lasting):
        yield Gap(max(gap.start, since), min(gap.end, until), gap.why)


def _look_at(sight: _Sight, event: Event, since: float) -> None:
    at, what = parse_time(event.timestamp).timestamp(), event.process
    if what not in ("adapter", "process-compose"):
        return
    first, is_adapter = what not in sight.heard, what == "adapter"
    sight.heard.add(what)
    if event.type in (EventType.STOPPED, EventType.UNHEALTHY):
        error = event.extra.get("error")
        ended = "adapter stopped" if is_adapter else "process-compose stopped"
        why = f"no answer: {error}" if event.type == EventType.UNHEALTHY and isinstance(error, str) else ended
        sight.away.setdefault(what, (_told_moment(event, "since") or at, why))
        return
    start, why = sight.away.pop(what, (None, ADAPTER_AWAY if is_adapter else SOURCE_AWAY))
    blind_s = event.extra.get("blind_seconds")
    if start is None and is_adapter:
        start = _told_moment(event, "last_alive")
        why = "adapter killed" if start else why
    elif start is None and isinstance(blind_s, (int, float)):
        start, why = at - blind_s, "no answer"
    if start is None and first and event.type == EventType.STARTED:
        start = since
    if start is not None:
        sight.found.append(Gap(start, at, why))


def _told_moment(event: Event, name: str) -> float | None:
    text = event.extra.get(name)
    try:
        return parse_time(text).timestamp() if isinstance(text, str) else None
    except ValueError:
        return None
