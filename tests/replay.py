"""Recorded traces of a real process-compose, replayed through `detect` as a poller would, and scored.

`Replay(directory)` reads a lab recording; `.events(interval_s, phase_s, push)` gives what would be told.
Expectations come from truth.jsonl (what the processes wrote down themselves), never from our own code.
"""

import bisect
import gzip
import json
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from observe_lib.adapter.poller import WORDS_WITHIN_S
from observe_lib.compose.state import ProcessState
from observe_lib.detect.changes import Change, detect, overlay, settle
from observe_lib.detect.known import Known, lives
from observe_lib.detect.runs import Words, hear, words_for, words_left
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

    def __post_init__(self) -> None:
        trace = next(self.directory.glob("trace.jsonl*"))
        self.steps = read_lines(self.directory / "steps.jsonl")
        shutdown = next((s["t"] for s in reversed(self.steps) if s["step"] == "shutdown"), float("inf"))
        self.trace = [line for line in read_lines(trace) if line["t"] < shutdown]
        self.push = [line for line in read_lines(self.directory / "push.jsonl") if line["t"] < shutdown]
        self.truth = [line for line in read_lines(self.directory / "truth.jsonl") if line["t"] < shutdown]
        self.times = [line["t"] for line in self.trace]
        self.end = min(shutdown, max([self.times[-1], *(m["t"] for m in self.push)]) + 1.0)

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
        if push:  # the doorbell rings
            moments = sorted({*moments, *(message["t"] + 0.01 for message in self.push)})
        for moment in moments:
            poller.poll(min(moment, self.end))
        return poller.told


def aged(raw: dict[str, Any], age_ns: int) -> dict[str, Any]:
    return {**raw, "age": raw["age"] + age_ns} if raw["is_running"] and raw["age"] < 2**62 else raw


class FakePoller:
    """The pure half of a poller: looks again where `detect` asks for it, lets words stand in for a dead API.

    `replay` is a `Replay`, or whatever has its times, push, reply and log_of.
    """

    def __init__(self, replay: Any, interval_s: float, push: bool) -> None:
        self.replay, self.interval_s, self.push = replay, interval_s, push
        self.known: dict[Key, Known] = {}
        self.words: Words = {}
        self.heard = 0
        self.born: datetime | None = at(replay.times[0] - 1)
        self.told: list[Event] = []
        self.again: float | None = None

    def poll(self, moment: float) -> None:
        while self.again is not None and self.again < moment:
            self.look(self.again)
        self.look(moment)

    def listen(self, moment: float, awaited: Collection[int] | None = None) -> None:
        """Hear what arrived until then; or only until the ends of the awaited pids are heard."""
        messages = self.replay.push if self.push else []
        while self.heard < len(messages) and messages[self.heard]["t"] <= moment:
            if awaited is not None and all(pid in self.words and self.words[pid].ended_at for pid in awaited):
                return
            message = messages[self.heard]
            self.heard += 1
            self.words = hear(self.words, ProcessState.from_raw(message["state"]), at(message["t"]))

    def look(self, moment: float) -> None:
        self.listen(moment)
        after, asked_at = self.replay.reply(moment), at(moment - RECORDED_EVERY_S)
        if after is None:
            if self.born is not None:
                return
            after, asked_at = overlay(self.known, self.words), at(moment)
        else:
            self.listen(moment + WORDS_WITHIN_S, [*self.over(after)])
        changes = detect(
            self.known,
            after,
            at(moment),
            words_for(self.words, asked_at) if self.push else None,
            born=self.born,
            interval_s=self.interval_s,
        )
        self.born = None
        for change in changes:
            self.take(settle(change, self.replay.log_of(change.key.process, moment)))
        self.words = words_left(self.words, asked_at)
        waits = [known.look_again_s for known in self.known.values() if known.look_again_s]
        self.again = moment + min(waits) + 0.001 if waits else None

    def over(self, after: dict[Key, ProcessState]) -> Iterator[int]:
        """Yield the pids of the runs that a reply shows ended: push may be a little behind."""
        for key, found in self.known.items():
            state = after.get(key)
            if found.alive and found.run and state and not (found.run.shows_in(state) and lives(state)):
                yield found.run.pid

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
