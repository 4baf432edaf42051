"""Recorded traces of a real process-compose, replayed through `detect` as a poller would, and scored.

`Replay(directory)` reads a lab recording; `.events(interval_s, phase_s, push)` gives what would be told.
Expectations come from truth.jsonl (what the processes wrote down themselves), never from our own code.
"""

import bisect
import gzip
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from observe_lib.compose.state import ProcessState
from observe_lib.detect.changes import Change, detect, settle
from observe_lib.detect.known import Known, leave_out
from observe_lib.detect.messages import state_heard
from observe_lib.events import Event, Key

#: a recorded reply may be this much older than the moment it stands for
RECORDED_EVERY_S = 0.06
TRACES = Path(__file__).resolve().parents[2] / "shared" / "traces"


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)


def read_lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt") as lines:
        return [json.loads(line) for line in lines if line.strip()]


@dataclass
class Replay:
    """One recording; `log_line` says whose logs end in the probe's line."""

    directory: Path
    log_lines: dict[str, list[str]] = field(default_factory=dict)
    stale_s = RECORDED_EVERY_S

    def __post_init__(self) -> None:
        trace = next(self.directory.glob("trace.jsonl*"))
        self.steps = read_lines(self.directory / "steps.jsonl")
        shutdown = next((s["t"] for s in reversed(self.steps) if s["step"] == "shutdown"), float("inf"))
        self.trace = [line for line in read_lines(trace) if line["t"] < shutdown]
        self.push = [line for line in read_lines(self.directory / "push.jsonl") if line["t"] < shutdown]
        self.truth = [line for line in read_lines(self.directory / "truth.jsonl") if line["t"] < shutdown]
        self.times = [line["t"] for line in self.trace]
        last = max([self.times[-1], *(m["t"] for m in self.push)]) + 1.0
        self.end = last if shutdown == float("inf") else shutdown  # the last reply stands until then

    def log_of(self, name: str, moment: float) -> list[str]:
        return self.log_lines.get(name, [])

    def reply(self, moment: float) -> dict[Key, ProcessState] | None:
        """Return what /processes answered at that moment; None: no answer."""
        line = self.trace[max(0, bisect.bisect_right(self.times, moment) - 1)]
        if "error" in line:
            return None
        age_ns = int((moment - line["t"]) * 1e9)
        states = (ProcessState.from_raw(aged(raw, age_ns)) for raw in line["data"])
        return {Key(state.namespace, state.name): state for state in states}

    def events(
        self, interval_s: float | None = None, phase_s: float = 0.0, push: bool = False
    ) -> list[Event]:
        """Replay it whole (no interval: every distinct reply), or polled; return every event told."""
        poller = FakePoller(self, interval_s or 2.0, push)
        if interval_s is None:
            moments = [*self.times, self.end]
        else:
            count = int((self.end - self.times[0]) / interval_s) + 2
            moments = [self.times[0] + phase_s + i * interval_s for i in range(count)]
        if push:  # each message has it poll
            woken = (message["t"] + self.stale_s + 0.01 for message in self.push)
            moments = sorted({*moments, *woken})
        for moment in moments:
            poller.poll(min(moment, self.end))
        poller.poll(self.end + 0.3)  # what it wanted to look at again
        return poller.told


def aged(raw: dict[str, Any], age_ns: int) -> dict[str, Any]:
    return {**raw, "age": raw["age"] + age_ns} if raw["is_running"] and raw["age"] < 2**62 else raw


class FakePoller:
    """The pure half of a poller: compares messages as replies, and looks again where `detect` asks for it.

    `replay` is a `Replay`, or whatever has its times, push, stale_s, reply and log_of.
    """

    def __init__(self, replay: Any, interval_s: float, push: bool) -> None:
        self.replay, self.interval_s, self.push = replay, interval_s, push
        self.known: dict[Key, Known] = {}
        self.heard = 0
        self.heard_at: dict[Key, float] = {}
        self.born: datetime | None = at(replay.times[0] - 1)
        self.told: list[Event] = []
        self.again: float | None = None

    def poll(self, moment: float) -> None:
        while self.again is not None and self.again < moment:
            self.look(self.again)
        self.look(moment)

    def listen(self, moment: float) -> None:
        """Hear what arrived until then."""
        messages = self.replay.push if self.push else []
        while self.heard < len(messages) and messages[self.heard]["t"] <= moment:
            message = messages[self.heard]
            self.heard += 1
            state = ProcessState.from_raw(message["state"])
            key = Key(state.namespace, state.name)
            before = self.known.get(key)
            told = state_heard(before, state)
            if before and told:
                self.heard_at[key] = message["t"]
                self.compare({key: before}, {key: told}, message["t"])

    def look(self, moment: float) -> None:
        self.listen(moment)
        after, asked_at = self.replay.reply(moment), moment - self.replay.stale_s
        self.again = None
        if after is None:
            return
        late = [key for key, heard_at in self.heard_at.items() if heard_at > asked_at]
        self.compare(*leave_out(self.known, after, late), moment)
        self.born = None
        waits = [known.look_again_s for known in self.known.values() if known.look_again_s]
        self.again = moment + min(waits) + 0.001 if waits else None

    def compare(self, known: Mapping[Key, Known], after: Mapping[Key, ProcessState], moment: float) -> None:
        changes = detect(
            known,
            after,
            at(moment),
            born=self.born,
            interval_s=self.interval_s,
            listening_since=at(self.replay.times[0] - 1) if self.push else None,
        )
        for change in changes:
            self.take(settle(change, self.replay.log_of(change.key.process, moment)))

    def take(self, change: Change) -> None:
        self.told += change.events
        if change.known is None:
            del self.known[change.key]
        else:
            self.known[change.key] = change.known


def begins(events: list[Event]) -> Counter[str]:
    return Counter({name: n for name, n in _sum(events, "started", "restarted").items()})


def ends(events: list[Event]) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for event in events:
        if event.type in ("stopped", "crashed"):
            found[event.process, event.type] += event.count
    return found


def _sum(events: list[Event], *types: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for event in events:
        if event.type in types:
            found[event.process] += event.count
    return found
