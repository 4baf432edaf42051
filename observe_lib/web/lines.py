"""The timelines that `web` draws: from when on each process was what, and when nobody looked.
Pure; the thread of `LiveStates` fills them. Times are seconds since 1970.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..events import Event
from ..reader.gaps import find_gaps
from ..reader.states import States
from ..reader.timeline import Shade, Timeline
from ..rows import Place, ProcessRow, Stale

#: so many changes of one process, and events of the observers, are kept
POINTS = 500

#: from this moment on it was so: a `Shade`, or -1 where there is no such process
Point = tuple[float, int]


@dataclass
class WebLine(Timeline):
    """One process's points, oldest first; fresh are those not taken yet."""

    points: deque[Point] = field(default_factory=lambda: deque(maxlen=POINTS))
    fresh: list[Point] = field(default_factory=list)

    def note(self, event: Event) -> float | None:
        at = super().note(event)
        self.turn(self.cursor, self.shade)
        return at

    def assume(self, row: ProcessRow) -> None:
        super().assume(row)
        self.turn(self.cursor, self.shade)

    def span(self, start: float, end: float, shade: Shade) -> None:
        self.turn(start, shade)

    def turn(self, at: float, shade: Shade | None) -> None:
        """Take what the process is from a moment on."""
        number = -1 if shade is None else int(shade)
        if not self.points or self.points[-1][1] != number:
            point = (round(at, 3), number)
            self.points.append(point)
            self.fresh = [*self.fresh[-POINTS:], point]


class WebLines:
    """All processes' lines from `since` on."""

    def __init__(self, since: float) -> None:
        self.since = since
        self._lines: dict[Place, WebLine] = {}
        self._fresh: dict[Place, None] = {}
        self._taken: set[Place] = set()
        self._observed: deque[Event] = deque(maxlen=POINTS)

    def note(self, event: Event) -> None:
        """Take one event, in stream order."""
        if event.of_observer:
            self._observed.append(event)
        else:
            place = Place.of(event)
            line = self._lines.get(place) or self._lines.setdefault(place, WebLine(self.since))
            line.note(event)
            if line.fresh:
                self._fresh[place] = None

    def points(self, row: ProcessRow) -> list[Point]:
        """Return all points of a process; where no event told of it, what the row says."""
        line = self._lines.get(row.place)
        if line is None:
            line = WebLine(self.since)
            line.assume(row)
        return list(line.points)

    def with_fresh(self) -> list[Place]:
        """Return whose points came since they were taken last: a row may be told before its event."""
        return list(self._fresh)

    def take_fresh(self, row: ProcessRow) -> tuple[list[Point], bool]:
        """Return the points that came since this was asked last; all, and True, the first time."""
        self._fresh.pop(row.place, None)
        line, fresh = self._lines.get(row.place), list[Point]()
        if line is not None:
            fresh, line.fresh = line.fresh, []
        if row.place in self._taken:
            return fresh, False
        self._taken.add(row.place)
        return self.points(row), True

    def gaps(self, stale: Mapping[str, Stale], until: float) -> dict[str, list[tuple[float, float]]]:
        """Return the times in which nobody looked, per stack that has any."""
        found = find_gaps(self._observed, self.since, until, stale)
        return {name: [gap[:2] for gap in gaps.listed] for name, gaps in found.items() if gaps.listed}

    def forget(self, states: States) -> None:
        """Drop what is no more."""
        for place in self._lines.keys() - states.rows.keys():
            del self._lines[place]
        self._taken &= states.rows.keys()
