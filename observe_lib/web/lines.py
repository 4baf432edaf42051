"""The timelines that `web` draws: from when on each process was what, and when nobody looked.
Pure; the thread of `LiveStates` fills them. Times are seconds since 1970.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..events import Event
from ..reader.gaps import find_gaps
from ..reader.states import Stale, States
from ..reader.timeline import Shade, Timeline
from ..rows import Place, ProcessRow

#: so many changes of one process, and events of the observers, are kept
POINTS = 500

#: from this moment on it was so: a `Shade`, or -1 where there is no such process
Point = tuple[float, int]


@dataclass
class WebLine(Timeline):
    """One process's points, oldest first; fresh are those not taken yet."""

    points: deque[Point] = field(default_factory=lambda: deque(maxlen=POINTS))
    fresh: list[Point] = field(default_factory=list)

    def note(self, event: Event) -> bool:
        counts = super().note(event)
        self.turn(self.cursor, self.shade)
        return counts

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
        self._observed: deque[Event] = deque(maxlen=POINTS)

    def note(self, event: Event) -> None:
        """Take one event, in stream order."""
        if event.of_observer:
            self._observed.append(event)
        else:
            self._lines.setdefault(Place.of(event), WebLine(self.since)).note(event)

    def assume(self, rows: Iterable[ProcessRow]) -> None:
        """Take what the rows say, of those processes that no event told of."""
        for row in rows:
            if row.place not in self._lines and not row.gone:
                self._lines[row.place] = line = WebLine(self.since)
                line.assume(row)

    def points(self, place: Place) -> list[Point]:
        """Return all points of a process."""
        return list(self._lines[place].points) if place in self._lines else []

    def has_fresh(self, place: Place) -> bool:
        """Whether points came since they were taken last: the row may have been told before the event."""
        return place in self._lines and bool(self._lines[place].fresh)

    def take_fresh(self, place: Place) -> list[Point]:
        """Return the points that came since this was asked last."""
        if place not in self._lines:
            return []
        line = self._lines[place]
        fresh, line.fresh = line.fresh, []
        return fresh

    def gaps(self, stale: Mapping[str, Stale], until: float) -> dict[str, list[tuple[float, float]]]:
        """Return the times in which nobody looked, per stack that has any."""
        found = find_gaps(self._observed, self.since, until, stale)
        return {name: [gap[:2] for gap in gaps.listed] for name, gaps in found.items() if gaps.listed}

    def forget(self, states: States) -> None:
        """Drop what is no more."""
        for place in self._lines.keys() - states.rows.keys():
            del self._lines[place]
