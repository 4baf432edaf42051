"""Recordings of a real process-compose, replayed in every way: what is told against what the processes did.

The expectations follow from truth.jsonl, which the processes wrote themselves, by the rules of the lab's own
score.py; what a way of looking cannot see is named, exactly.
"""

from collections import Counter
from functools import cache

import pytest

from observe_lib.events import Event
from observe_lib.times import parse_time
from tests.replay import TRACES, Replay

pytestmark = pytest.mark.skipif(not TRACES.is_dir(), reason=f"no recordings in {TRACES}")

Score = Counter[tuple[str, str]]
BEGINS, TYPES = ("started", "restarted"), ("stopped", "crashed", "healthy", "unhealthy")
#: whose log ends in the probe's line when it ends
PROBE_LINE = ["Error: readiness check fail - exit status 1"]
PHASES = (0.0, 0.35, 0.7, 1.05, 1.4, 1.75)


@cache
def recording(name: str, probed: tuple[str, ...] = ()) -> Replay:
    return Replay(TRACES / name, dict.fromkeys(probed, PROBE_LINE))


def told(events: list[Event]) -> Score:
    """Count what consumers build on, by process: begins, and the rest by type."""
    found: Score = Counter()
    for event in events:
        kind = "begin" if event.type in BEGINS else event.type
        if kind != "status_changed":
            found[event.process, kind] += event.count
    return found


@cache
def real(replay_name: str) -> Score:
    """Count what really was: begins, ends by their class, failed launches, turns of health."""
    replay = recording(replay_name)
    first, last, good, gone_at = {}, {}, {}, {}
    found: Score = Counter()
    failed, health = set(), {}
    for t, state in [(line["t"], state) for line in replay.trace for state in line.get("data", ())]:
        pid, name = state["pid"], state["name"]
        if pid:
            first.setdefault(pid, name)
            last[pid], good[pid] = state, {0, *state.get("success_exit_codes", ())}
            if not state["is_running"] and state["status"] != "Terminating":
                gone_at.setdefault(pid, t)
        if state["status"] == "Error":
            failed.add(name)
        turn = state["is_ready"]
        if state["is_running"] and turn in ("Ready", "Not Ready") and health.get(pid) != turn:
            health[pid] = turn
            found[name, "healthy" if turn == "Ready" else "unhealthy"] += 1
    told_to = {line["state"]["pid"] for line in replay.push if line["state"]["status"] == "Terminating"}
    for line in replay.push:
        if line["state"]["status"] in ("Completed", "Error") and line["state"]["pid"]:
            gone_at.setdefault(line["state"]["pid"], line["t"])
    exits = {line["pid"]: line for line in replay.truth if line["what"] == "exit"}
    probed = next((step["probe_killed"] for step in replay.steps if step["step"] == "facts"), [])
    for pid in [line["pid"] for line in replay.truth if line["what"] == "start" and line["pid"] in first]:
        found[first[pid], "begin"] += 1
        name, end = last[pid]["name"], exits.get(pid)
        if end is None and pid not in gone_at:
            continue
        if end is not None and end["why"] == "own":
            well = end["code"] in good[pid]
        else:
            well = name not in probed and pid in told_to
        found[name, "stopped" if well else "crashed"] += 1
    found.update((name, "crashed") for name in failed)
    return found


def missed_and_invented(name: str, events: list[Event]) -> tuple[Score, Score]:
    want, got = real(name), told(events)
    return want - got, got - want


#: without push: who dies of the signal that asked it to end looks killed, and `web` ends well when killed
SIGNAL = (("nohandler", "stopped"), ("nohandler", "crashed"))
PROBE = (("web", "crashed"), ("web", "stopped"))
#: the project is gone before a poll can see how the last ones ended
WORKER = (("worker", "stopped"), ("worker", "crashed"))


@pytest.mark.parametrize(
    "name, all_of_it", [("zoo", 88), ("endings", 8), ("down", 7)], ids=["zoo", "endings", "down"]
)
def test_the_expectations_are_those_of_the_lab(name, all_of_it):
    assert sum(real(name).values()) == all_of_it


@pytest.mark.parametrize("name", ["zoo", "endings", "down"])
@pytest.mark.parametrize(
    "interval_s, phase_s",
    [(None, 0.0), *((0.5, phase / 4) for phase in PHASES), *((2.0, phase) for phase in PHASES)],
)
def test_with_push_nothing_is_missed_and_nothing_invented(name, interval_s, phase_s):
    replay = recording(name, ("web", "probekill"))
    assert missed_and_invented(name, replay.events(interval_s, phase_s, push=True)) == ({}, {})


def test_a_probe_that_kills_for_good_is_told_only_by_the_log():
    missed, invented = missed_and_invented("zoo", recording("zoo").events(push=True))
    assert (missed, invented) == ({PROBE[0]: 1}, {PROBE[1]: 1})


ZOO_UNHEALTHY = {0.0: "web", 0.35: "probekill", 0.7: "probekill", 1.05: "probekill", 1.4: "web", 1.75: "web"}


@pytest.mark.parametrize(
    "name, interval_s, phase_s, missed, invented",
    [
        *(
            ("zoo", interval_s, phase_s, [SIGNAL[0], PROBE[0]], [SIGNAL[1], PROBE[1]])
            for interval_s, phase_s in [(None, 0.0), *((0.5, phase / 4) for phase in PHASES)]
        ),
        *(  # a Not Ready of one second is between two polls
            ("zoo", 2.0, phase, [SIGNAL[0], PROBE[0], (sick, "unhealthy")], [SIGNAL[1], PROBE[1]])
            for phase, sick in ZOO_UNHEALTHY.items()
        ),
        ("endings", None, 0.0, [WORKER[0], ("slow", "stopped")], [WORKER[1]]),
        ("endings", 0.5, 0.0, [WORKER[0], ("slow", "stopped")], [WORKER[1]]),
        ("endings", 2.0, 1.4, [WORKER[0], ("slow", "stopped")], [WORKER[1]]),
        (
            "endings",
            2.0,
            0.0,
            [(one, "stopped") for one in ("anchor", "slow", "worker")] + [("fatal", "crashed")],
            [],
        ),
        ("down", None, 0.0, [(one, "stopped") for one in ("anchor", "sick", "worker")], []),
        ("down", 2.0, 0.7, [(one, "stopped") for one in ("anchor", "sick", "worker")], []),
    ],
)
def test_without_push_this_is_missed_and_no_more(name, interval_s, phase_s, missed, invented):
    events = recording(name, ("web", "probekill")).events(interval_s, phase_s)
    assert missed_and_invented(name, events) == (Counter(missed), Counter(invented))
    signalled = [event for event in events if event.reason == "killed" and event.process == "nohandler"]
    assert all(event.inferred for event in signalled)


def test_with_every_reply_and_message_nothing_is_guessed_and_the_times_are_right():
    replay = recording("zoo", ("web", "probekill"))
    events = replay.events(push=True)
    assert not any(event.inferred for event in events)
    exits = {line["pid"]: line["t"] for line in replay.truth if line["what"] == "exit"}
    off = {
        f"{event.process} {event.timestamp}": parse_time(event.timestamp).timestamp()
        - exits[event.state["pid"]]
        for event in events
        if event.type in ("stopped", "crashed") and not event.inferred and event.state["pid"] in exits
    }
    assert len(off) > 25
    assert {name: late for name, late in off.items() if not -0.01 < late < 0.1} == {}


CROWD = [(None, 0.0), *((0.5, phase / 4) for phase in PHASES), *((2.0, phase) for phase in PHASES)]


@pytest.mark.parametrize("push", [False, True], ids=["polled", "pushed"])
@pytest.mark.parametrize("interval_s, phase_s", CROWD)
def test_of_300_processes_starting_at_once_every_pid_is_one_run(interval_s, phase_s, push):
    replay = recording("crowd300")
    pids, over = {}, {}
    for state in [state for line in replay.trace for state in line.get("data", ()) if state["pid"]]:
        pids[state["pid"]] = state["name"]
        if not state["is_running"]:
            over[state["pid"]] = (state["name"], "crashed" if state["exit_code"] else "stopped")
    want = Counter((name, "begin") for name in pids.values()) + Counter(over.values())
    assert (len(pids), len(over)) == (349, 89)
    assert told(replay.events(interval_s, phase_s, push)) == want
