"""How long `detect` takes over many processes, beside json.loads of them."""

import json
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from observe_lib.compose.state import ProcessState
from observe_lib.detect.changes import detect
from observe_lib.events import Key
from observe_lib.times import now_utc
from tests.benchmarks.running import Rows, row
from tests.stand_in import make_state

#: what becomes of each process, in turn: a restart by policy, an end, a start by hand, a turn of health
TURNS: tuple[dict[str, Any], ...] = (
    {"pid": 900_000, "restarts": 1, "exit_code": 1, "age": 10**8},
    {
        "status": "Completed",
        "is_running": False,
        "exit_code": 3,
        "process_end_time": "2026-11-23T15:20:00.358255428Z",
    },
    {"pid": 900_000, "process_start_time": "2026-11-23T15:19:59.358255428Z", "age": 10**8},
    {"is_ready": "Ready"},
)


def crowd(count: int, turns: bool = False) -> list[dict[str, Any]]:
    """Return so many states; or what became of each."""
    plain = [make_state(f"worker-{n:05d}", pid=1000 + n) for n in range(count)]
    if not turns:
        return plain
    changed = []
    for n, raw in enumerate(plain):
        turn = TURNS[n % len(TURNS)]
        changed.append({**raw, **turn, "pid": turn.get("pid", 1000) + n})
    return changed


def states_of(raws: list[dict[str, Any]]) -> Mapping[Any, ProcessState]:
    """Return the states by key, as a poll has them."""
    return {Key(raw["namespace"], raw["name"]): ProcessState.from_raw(raw) for raw in raws}


def best_s(call: Callable[[], object], rounds: int = 7) -> float:
    """Return the CPU time of the quickest of several rounds."""
    found = []
    for _ in range(rounds):
        begin = time.process_time()
        call()
        found.append(time.process_time() - begin)
    return min(found)


def detection(count: int = 5000) -> dict[str, float]:
    """Return the seconds that detect takes over so many processes, all changed or none."""
    before, after, now = states_of(crowd(count)), states_of(crowd(count, turns=True)), now_utc()
    known = {change.key: change.known for change in detect({}, before, now) if change.known}
    later = now + timedelta(seconds=2)
    changes = detect(known, after, later)
    assert sum(len(change.events) for change in changes) == count * 7 // 4  # 2, 2, 2, 1
    return {
        "changed": best_s(lambda: detect(known, after, later)),
        "unchanged": best_s(lambda: detect(known, before, later)),
    }


def detection_rows(count: int) -> Rows:
    """Return the rows of detect over so many processes, all changed or none, beside reading their JSON."""
    body = json.dumps(crowd(count))
    bare, took = best_s(lambda: json.loads(body)), detection(count)
    return [
        row(f"detect, {count:,} processes, {what}: seconds", took[what], bare, "json.loads of them", "", 3)
        for what in ("changed", "unchanged")
    ]
