"""The engine of report, top and web: which spans events make of a process, and what was before the first."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest

from observe_lib.events import Event
from observe_lib.reader.timeline import Shade, Timeline
from observe_lib.times import UTC, format_time

ALIVE = {"pid": 7, "is_running": True, "is_ready": "Not Ready"}
LETTERS = {Shade.UP: "u", Shade.UNHEALTHY: "!", Shade.DOWN: "d", Shade.OUTAGE: "x"}


@dataclass
class Drawn(Timeline):
    """Writes down each span, as `letter start-end`."""

    spans: list[str] = field(default_factory=list)

    def span(self, start: float, end: float, shade: Shade) -> None:
        self.spans.append(f"{LETTERS[shade]} {start:g}-{end:g}")


def told(event_type: str, second: float, seq: int | None = None, **fields: Any) -> Event:
    moment = format_time(datetime.fromtimestamp(second, UTC))
    return Event(event_type, "web", "default", moment, seq=seq, observed_at=moment, **fields)


HISTORIES: dict[str, tuple[list[Event], list[str]]] = {
    "nothing was there before": ([told("started", 20)], ["u 20-100"]),
    "it was down before": ([told("started", 20, old_status="Pending")], ["d 10-20", "u 20-100"]),
    "found running: seen from then on": ([told("started", 20, initial=True)], ["u 20-100"]),
    "it ran before": ([told("stopped", 30)], ["u 10-30", "d 30-100"]),
    "it ran for a while before": ([told("stopped", 30, run_seconds=5.0)], ["u 25-30", "d 30-100"]),
    "down since a crash": ([told("crashed", 30)], ["u 10-30", "x 30-100"]),
    "a crash and its restart": (
        [told("crashed", 30), told("restarted", 40)],
        ["u 10-30", "x 30-40", "u 40-100"],
    ),
    "given up": (
        [told("crashed", 30), told("status_changed", 50, old_status="Restarting", new_status="Completed")],
        ["u 10-30", "x 30-50", "d 50-100"],
    ),
    "unhealthy for a while": (
        [told("unhealthy", 30), told("healthy", 40)],
        ["u 10-30", "! 30-40", "u 40-100"],
    ),
    "removed": ([told("stopped", 30, reason="removed")], ["u 10-30"]),
    "renamed, and not ready": (
        [told("started", 20), told("status_changed", 30, renamed_from="default/old", state=ALIVE)],
        ["u 20-30", "! 30-100"],
    ),
    "a launch that failed": ([told("crashed", 30, reason="launch_failed")], ["x 30-100"]),
    "stored twice": (
        [told("started", 20, 1), told("crashed", 30, 2), told("crashed", 30, 2)],
        ["u 20-30", "x 30-100"],
    ),
    "an event is missing: nothing is known until the next": (
        [told("started", 20, 1), told("restarted", 60, 4)],
        ["u 60-100"],
    ),
    "what was before the time": ([told("started", 5, 1), told("crashed", 30, 2)], ["u 10-30", "x 30-100"]),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_the_spans_of_a_process(name: str) -> None:
    events, expected = HISTORIES[name]
    timeline = Drawn(10.0, 100.0)
    for event in events:
        timeline.note(event)
    timeline.spend(100.0)
    assert timeline.spans == expected
