"""The timelines that `web` draws: from when on each process was what, and when nobody looked.
Pure; the thread of `LiveStates` fills them. Times are seconds since 1970.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..events import Event
from ..reader.facts import fact_of
from ..reader.gaps import Gap, Gaps, find_gaps
from ..reader.states import Place, ProcessRow, Silence, States
from ..report.accounts import Account, Shade

#: so many changes of one process, and events of the observers, are kept
POINTS = 500
#: the far end of accounts that are never closed
_NEVER = 1e12

#: from this moment on it was so: a `Shade`, or -1 where there is no such process
Point = tuple[float, int]


@dataclass(slots=True)
class WebLine:
    """One process's points, oldest first; fresh are those not taken yet. It is the account's strip."""

    points: deque[Point] = field(default_factory=lambda: deque(maxlen=POINTS))
    fresh: list[Point] = field(default_factory=list)

    def add(self, start: float, end: float, shade: Shade) -> None:
        """Take a span that is over."""
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
        self._accounts: dict[Place, tuple[Account, WebLine]] = {}
        self._observed: deque[Event] = deque(maxlen=POINTS)

    def note(self, event: Event) -> None:
        """Take one event, in stream order."""
        if event.of_observer:
            self._observed.append(event)
            return
        fact = fact_of(event.to_json())
        if fact is not None:
            account, line = self._opened(fact.place)
            account.note(fact)
            line.turn(account.cursor, account.shade)

    def assume(self, rows: Iterable[ProcessRow]) -> None:
        """Take what the rows say, of those processes that no event told of."""
        for row in rows:
            if row.place not in self._accounts and not row.gone:
                account, line = self._opened(row.place)
                account.assume(row)
                line.turn(account.cursor, account.shade)

    def points(self, place: Place) -> list[Point]:
        """Return all points of a process."""
        found = self._accounts.get(place)
        return list(found[1].points) if found else []

    def has_fresh(self, place: Place) -> bool:
        """Whether points came since they were taken last: the row may have been told before the event."""
        return place in self._accounts and bool(self._accounts[place][1].fresh)

    def take_fresh(self, place: Place) -> list[Point]:
        """Return the points that came since this was asked last."""
        if place not in self._accounts:
            return []
        line = self._accounts[place][1]
        fresh, line.fresh = line.fresh, []
        return fresh

    def blind(self, silences: Mapping[str, Silence], until: float) -> dict[str, list[tuple[float, float]]]:
        """Return the times in which nobody looked, per stack that has any."""
        away = {
            name: Gap(silence.since.timestamp(), until, silence.kind)
            for name, silence in silences.items()
            if silence.since is not None
        }
        gaps = find_gaps(self._observed, self.since, until, away)
        spans = {name: [(gap.start, gap.end) for gap in found.listed] for name, found in gaps.items()}
        return {name: found for name, found in spans.items() if found}

    def forget(self, states: States) -> None:
        """Drop what is no more."""
        for place in self._accounts.keys() - states.rows.keys():
            del self._accounts[place]

    def _opened(self, place: Place) -> tuple[Account, WebLine]:
        if place not in self._accounts:
            line = WebLine()
            self._accounts[place] = Account(place, self.since, _NEVER, Gaps(), line), line
        return self._accounts[place]
