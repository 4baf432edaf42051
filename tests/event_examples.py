"""One event of each type, made by the real detection from states as process-compose sends them.
`python -m tests.event_examples` prints the examples of docs/events.md.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

from observe_lib.adapter.observer import SOURCE, observer_event, source_silent
from observe_lib.compose.state import ProcessState
from observe_lib.detect.changes import detect
from observe_lib.events import Event, Key

T0 = datetime(2025, 10, 16, 16, 24, 5, tzinfo=timezone.utc)
TAIL = ["listening on :8080", "bind: address already in use"]


def state(**fields: Any) -> dict[str, Any]:
    """Return the fields of a process that detection looks at, and what `fields` say otherwise."""
    usual = {"name": "caddy", "namespace": "default", "status": "Running", "is_running": True}
    usual |= {"is_ready": "-", "has_ready_probe": True, "pid": 12345, "restarts": 0, "exit_code": 0}
    return {**usual, "process_start_time": "2025-10-16T16:24:04.998Z", **fields}


OVER = {"pid": 12399, "restarts": 1, "is_running": False}
#: seconds after T0, and what the poll then shows
STORY: tuple[tuple[float, dict[str, Any]], ...] = (
    (0, state()),
    (2, state(is_ready="Ready")),
    (60, state(is_ready="Not Ready")),
    (64, state(status="Restarting", is_running=False, restarts=1, exit_code=3)),
    (66, state(pid=12399, restarts=1, exit_code=3, age=1_100_000_000)),
    (90, state(**OVER, status="Terminating")),
    (92, state(**OVER, status="Completed", process_end_time="2025-10-16T16:25:36.640Z")),
)


def events() -> Iterator[Event]:
    """Yield the story's events as they are stored."""
    known: dict[Key, Any] = {}
    seq = 0
    for after_s, raw in STORY:
        now = T0 + timedelta(seconds=after_s, milliseconds=2)
        after = {Key("default", "caddy"): ProcessState.from_raw(raw)}
        born = T0 - timedelta(minutes=1) if not known else None
        for change in detect(known, after, now, born=born):
            known[change.key] = change.known
            for event in change.events:
                seq += 1
                tail = TAIL if event.type == "crashed" else None
                yield replace(event, stack="host-a", seq=seq, log_tail=tail)
    told = source_silent("started", "connection refused", now - timedelta(seconds=2), [])
    assert told is not None
    yield replace(observer_event(SOURCE, told[0], now, **told[1]), stack="host-a", seq=2)


def examples() -> dict[str, str]:
    """Return the JSON of the first event of each type, and of the observer's own."""
    found: dict[str, str] = {}
    for event in events():
        name = "_observe" if event.of_observer else event.type
        found.setdefault(name, json.dumps(event.to_dict(), indent=2))
    return found


if __name__ == "__main__":
    for name, text in examples().items():
        print(f"### `{name}`\n\n```json\n{text}\n```\n")
