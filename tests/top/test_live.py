"""What `top` makes of what its consumer hears: the events as an adapter sends them, companions among them."""

from collections.abc import Callable
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

from observe_lib.events import Event
from observe_lib.reader.board import history_of
from observe_lib.reader.subscription import Wanted, wanted_of
from observe_lib.rows import Place
from observe_lib.times import now_utc
from observe_lib.top.command import Live
from observe_lib.top.view import View
from tests.fleet import row_after, states_of, told


class Heard:
    """In the place of a Consumer: hands on what the subscription asks for."""

    connected = True

    def __init__(self, *events: Event) -> None:
        self._states = SimpleNamespace(states=states_of(*events), is_whole=True)

    def follow_states(self, patterns: Any, stack: str | None) -> SimpleNamespace:
        return self._states

    def subscribe(self, handler: Callable[[Event], object], **asked: Any) -> None:
        filters = {name: value for name, value in asked.items() if name in Wanted._fields}
        self._handler, self._wanted = handler, wanted_of(asked["process"], **filters)
        asked["on_live"]()

    def hear(self, *events: Event) -> None:
        for event in filter(self._wanted.accepts, events):
            self._handler(event)


def runs_of(name: str, now: datetime) -> list[Event]:
    """A minute's run every ten minutes of an hour, each change told twice."""
    found = []
    for minutes in range(55, 0, -10):
        for ago, kind, status in ((minutes, "started", "Running"), (minutes - 1, "stopped", "Scheduled")):
            at, seq = now - timedelta(minutes=ago), len(found) + 1
            found.append(told("host-a", name, kind, seq, at, status, reason="completed"))
            found.append(told("host-a", name, "status_changed", seq + 1, at, status, companion=True))
    return found


def test_no_event_of_the_last_hour_is_missed():
    now = now_utc()
    events = runs_of("jobs/nightly", now)
    consumer = Heard(*events)
    live = Live(consumer, (), None)  # type: ignore[arg-type]
    consumer.hear(*events)
    view = live.current(View(now))
    place = Place("host-a", "jobs", "nightly")
    assert view.board.hours[place].lost == 0
    assert "" not in history_of(view.board, row_after(*events), now, 60)[6:]
    assert {event.type for event in view.board.latest} == {"started", "stopped"}
