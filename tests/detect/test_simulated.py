"""Random histories polled at random moments: what is told is held against what really was."""

from collections import Counter
from random import Random

import pytest

from observe_lib.events import Event
from observe_lib.times import parse_time
from tests.history import T0, History
from tests.replay import FakePoller, at

BEGINS, ENDS, HEALTH = ("started", "restarted"), ("stopped", "crashed"), ("healthy", "unhealthy")


class Witness(FakePoller):
    """A poller that holds what is told against what consumers may build on, at every look."""

    balance = 0

    def look(self, moment: float) -> None:
        told = len(self.told)
        super().look(moment)
        when = f"at {moment - T0:.3f}"
        for event in self.told[told:]:
            assert event.type not in HEALTH or self.balance > 0, f"{event.type} of no run {when}"
            self.balance += weight(event)
        alive = any(known.alive for known in self.known.values())
        assert self.balance == alive, f"begins - ends = {self.balance} {when}"
        for event in [event for event in self.told[told:] if event.type in BEGINS + ENDS][-1:]:
            assert (event.type in BEGINS) == alive, f"the last one is {event.type} {when}"


def weight(event: Event) -> int:
    """What an event does to the number of runs alive; a launch that failed never had one."""
    if event.reason == "launch_failed":
        return 0
    return event.count * ((event.type in BEGINS) - (event.type in ENDS))


def watch(history: History, interval_s: float, push: bool, rng: Random) -> list[Event]:
    """Poll a history about every so often, and at every message where there is push."""
    poller, moments, moment = Witness(history, interval_s, push), [], T0 + 0.001
    poller.born = None if rng.random() < 0.5 else at(T0 - 1)
    while moment < history.now:
        moments.append(moment)
        moment += interval_s * rng.uniform(0.2, 1.8)
    if push:
        woken = (message["t"] + rng.uniform(0, 0.02) for message in history.push)
        early = (shown + 0.001 for shown in history.times if rng.random() < 0.3)  # before the message comes
        moments = sorted([*moments, *woken, *early])
    for moment in [*moments, history.now]:
        poller.poll(moment)
    return poller.told


def totals(told: list[Event]) -> tuple[int, int, int]:
    failures = sum(event.count for event in told if event.reason == "launch_failed")
    ends = sum(event.count for event in told if event.type in ENDS) - failures
    return sum(event.count for event in told if event.type in BEGINS), ends, failures


def truth(history: History) -> tuple[int, int, int]:
    return len(history.runs), sum(1 for run in history.runs if run.ended), history.failures


@pytest.mark.parametrize("push", [False, True], ids=["polled", "pushed"])
@pytest.mark.parametrize("interval_s", [0.05, 0.5, 2.0])
def test_no_end_without_a_begin_and_the_last_event_tells_the_present(interval_s, push):
    for seed in range(12):
        rng = Random(f"{seed} {interval_s} {push}")
        history = History(rng, quirks=True).live(30, rng.choice(("", "down", "away")) if push else "")
        watch(history, interval_s, push, rng)


@pytest.mark.parametrize("interval_s", [0.5, 2.0])
def test_every_run_that_pids_and_restarts_show_is_counted(interval_s):
    for seed in range(60):
        rng = Random(f"{seed} {interval_s}")
        history = History(rng, tidy=True).live(40)
        assert totals(watch(history, interval_s, False, rng)) == truth(history), f"seed {seed}"


@pytest.mark.parametrize("interval_s", [0.5, 2.0])
def test_nothing_is_invented_where_somebody_is_faster_than_the_polls(interval_s):
    for seed in range(60):
        rng = Random(f"{seed} {interval_s}")
        history = History(rng).live(40)
        told = totals(watch(history, interval_s, False, rng))
        assert all(ours <= real for ours, real in zip(told, truth(history), strict=True)), f"seed {seed}"


def test_with_push_every_run_is_told_apart_with_its_class_its_times_and_its_health():
    for seed in range(40):
        rng = Random(seed)
        history = History(rng, quirks=seed % 2 == 1).live(30, rng.choice(("", "down", "away")))
        told = watch(history, 2.0, True, rng)
        assert totals(told) == truth(history), f"seed {seed}"
        begins = [event for event in told if event.type in BEGINS]
        ends = [event for event in told if event.type in ENDS and event.reason != "launch_failed"]
        ended = [run for run in history.runs if run.ended]
        assert [(e.type, e.reason) for e in ends] == [(run.type, run.reason) for run in ended], f"seed {seed}"
        assert Counter(e.type for e in told if e.type in HEALTH) == Counter(history.turns), f"seed {seed}"
        for event, run in zip(begins, history.runs, strict=True):
            assert abs(moment_of(event) - run.began) < 0.05, f"seed {seed}, {event.process} {event.timestamp}"
        for event, run in zip(ends, ended, strict=True):
            assert abs(moment_of(event) - run.ended) < 0.05, f"seed {seed}, {event.process} {event.timestamp}"
            assert event.run_seconds is None or abs(event.run_seconds - (run.ended - run.began)) < 0.05


def moment_of(event: Event) -> float:
    return parse_time(event.timestamp).timestamp()
