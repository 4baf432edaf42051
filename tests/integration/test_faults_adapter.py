"""The adapter itself fails: killed, suspended, told to go, doubled; judged by the stream it leaves."""

import os
import subprocess
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from nats.js.api import DiscardPolicy, StreamConfig

from tests.integration.faults import (
    STACK,
    Adapter,
    InProcess,
    admin,
    agree,
    faults_of,
    forgotten,
    judge,
    last_wrong,
    read_back,
    sums,
    wait_until,
)
from tests.integration.storm import Storm
from tests.nats_server import RealNats, free_port

long = pytest.mark.long
SEED = int(os.environ.get("FAULT_SEED") or time.time_ns() % 1_000_000)


@pytest.fixture
def storm():
    with Storm(seed=SEED) as storm:
        yield storm


def only_observer(stored):
    return {one.event["namespace"] for one in stored} <= {"_observe"}


# --- kill -9 ---


@pytest.mark.parametrize("times", [4, pytest.param(20, marks=long)])
@pytest.mark.parametrize("window", ["2s", pytest.param("1h", marks=long)])
def test_killed_in_a_storm(nats_server, tmp_path, times, window):
    """At random moments, also while it opens its file; only the restart counts tell what it missed."""
    rng = Random(SEED)
    with Storm(policy=25, hand=0, pool=0, seed=SEED) as storm:
        adapter = Adapter(storm, nats_server.url, tmp_path, "--duplicate-window", window)
        adapter.start().ready()
        storm.blow(tick_s=0.005)
        for _ in range(times):
            time.sleep(rng.choice((0.1, 0.4, 0.6, 0.8, 1.2)) * rng.random() * 2)
            adapter.kill()
            if rng.random() < 0.3:
                time.sleep(rng.random())
            adapter.start()
        adapter.ready()
        try:
            judge(nats_server, storm, adapter)
            assert not forgotten(nats_server.url, storm)
            seen = len(read_back(nats_server.url))
            with adapter:
                adapter.ready()
                assert adapter.stop() == 0
            assert only_observer(read_back(nats_server.url)[seen:])
        finally:
            print(f"FAULT_SEED={SEED}")


@pytest.mark.parametrize("times", [4, pytest.param(50, marks=long)])
def test_killed_in_a_storm_while_nats_is_away(nats_server, tmp_path, times):
    """Everything that was committed is in the stream once, when at last both are there."""
    rng = Random(SEED)
    with Storm(policy=25, hand=0, pool=0, seed=SEED) as storm:
        adapter = Adapter(storm, nats_server.url, tmp_path, "--duplicate-window", "2s")
        adapter.start().ready()
        storm.blow(tick_s=0.01)
        time.sleep(0.5)
        for number in range(times):
            if number % 5 == 0:
                nats_server.kill()
            time.sleep(rng.random() * 1.5)
            adapter.kill()
            adapter.start()
            if number % 5 == 3 and number < times - 1:
                nats_server.start()
        adapter.says("outbox")
        with suppress(RuntimeError):
            nats_server.restart()
        try:
            judge(nats_server, storm, adapter)
            assert not forgotten(nats_server.url, storm)
        finally:
            print(f"FAULT_SEED={SEED}")


def test_killed_at_its_first_look(tmp_path):
    """While nothing of it is in the stream yet: nobody's past is counted at the next start.

    That finds a server that does not know the stack; what was announced waits for it, and is told once.
    """
    server = RealNats(tmp_path / "nats", free_port())
    with Storm(policy=20, hand=2, pool=0, seed=SEED) as storm:
        for process in storm.processes:
            process.state["restarts"] = 7
        storm.change("policy-0")
        with Adapter(storm, server.url, tmp_path) as adapter:
            adapter.says("process-compose")
            adapter.kill()
            with server:
                adapter.start().ready()
                wait_until(lambda: len({one.key for one in read_back(server.url)}) == 24, "all of it")
                assert adapter.stop() == 0
                stored = read_back(server.url)
    told = [one.event for one in stored if one.event["namespace"] == "default"]
    assert told and all(event.get("initial") for event in told), told
    assert sums(stored, "started") == Counter(process.name for process in storm.processes)
    assert not faults_of(stored)


def test_what_happens_while_it_is_dead(nats_server, storm, tmp_path):
    """New names too: they began after the first look, so they are counted."""
    adapter = Adapter(storm, nats_server.url, tmp_path).start().ready()
    adapter.kill()
    for _ in range(3):
        for process in storm.processes:
            if process.kind == "policy":
                storm.change(process.name)
    storm.change("pool-0")
    storm.change("hand-0")
    adapter.start()
    stored = judge(nats_server, storm, adapter)
    assert any(one.event.get("last_alive") for one in stored)


def test_an_outage_of_nats_survives_a_kill(nats_server, tmp_path):
    """Each event of the outage as it was seen, not collapsed: they were in the file."""
    with Storm(policy=5, hand=0, pool=0, seed=SEED) as storm:
        adapter = Adapter(storm, nats_server.url, tmp_path).start().ready()
        nats_server.kill()
        adapter.says("connection lost")
        for _ in range(3):
            polls = storm.stand_in.requests["/processes"]
            for process in storm.processes:
                storm.change(process.name)
            wait_until(lambda at=polls: storm.stand_in.requests["/processes"] >= at + 3, "seen")
        adapter.kill()
        nats_server.start()
        adapter.start()
        stored = judge(nats_server, storm, adapter)
    told = [one.event for one in stored if one.event["type"] in ("started", "restarted")]
    assert not [event for event in told if event.get("count", 1) > 1]


# --- its file ---


def only_file(directory: Path) -> Path:
    (found,) = (directory / "state").glob("*.sqlite")
    return found


def test_the_file_is_deleted_under_the_running_adapter(nats_server, storm, tmp_path):
    """It goes on with what it has open; the next start is a first look."""
    adapter = Adapter(storm, nats_server.url, tmp_path).start().ready()
    for path in (tmp_path / "state").iterdir():
        path.unlink()
    storm.blow()
    time.sleep(0.5)
    stored = judge(nats_server, storm, adapter)
    adapter.start().ready()
    assert adapter.stop() == 0
    new = [one for one in read_back(nats_server.url)[len(stored) :] if one.event["namespace"] != "_observe"]
    assert new and all(one.event.get("initial") for one in new)
    assert {one.event["seq"] for one in new} <= {1, 2}


@pytest.mark.parametrize("lost", ["a backup", "its log"])
def test_a_file_that_is_older_than_the_stream(nats_server, tmp_path, lost):
    """From a backup, or without its -wal: told again at most, begins and ends paired."""
    with Storm(policy=8, hand=0, pool=0, seed=SEED) as storm:
        adapter = Adapter(storm, nats_server.url, tmp_path).start().ready()
        storm.blow()
        time.sleep(0.5)
        storm.calm()
        wait_until(lambda: not agree(read_back(nats_server.url), storm), "the sums")
        path = only_file(tmp_path)
        if lost == "a backup":
            adapter.stop()
            backup = path.read_bytes()
            adapter.start().ready()
        storm.blow()
        time.sleep(0.5)
        storm.calm()
        wait_until(lambda: not agree(read_back(nats_server.url), storm), "the sums")
        adapter.kill()
        before = len(read_back(nats_server.url))
        if lost == "a backup":
            path.write_bytes(backup)
        for companion in path.parent.glob("*.sqlite-*"):
            companion.unlink()
        adapter.start().ready()
        time.sleep(0.5)
        assert adapter.stop() == 0, adapter.said
        stored = read_back(nats_server.url)
        again = stored[before:]
        assert not last_wrong(stored, storm)
        begins, ends = sums(again, "started", "restarted"), sums(again, "stopped", "crashed")
        assert all(abs(begins[name] - ends[name]) <= 1 for name in begins.keys() | ends.keys())
        assert "Traceback" not in adapter.said


def tiny_disk(directory: Path, megabytes: int) -> None:
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(directory)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("may not mount a tiny file system")


@pytest.mark.parametrize("times", [1, pytest.param(4, marks=long)])
def test_a_full_disk_under_the_file_comes_and_goes(nats_server, tmp_path, times):
    """While NATS is there it stops nothing; while NATS is away what no longer fits comes collapsed."""
    disk = tmp_path / "disk"
    tiny_disk(disk, 14)
    try:
        with (
            Storm(policy=15, hand=0, pool=0, seed=SEED) as storm,
            Adapter(storm, nats_server.url, tmp_path, "--state-dir", str(disk)) as adapter,
        ):
            adapter.ready()
            for _ in range(times):
                storm.blow(tick_s=0.005)
                with suppress(OSError), (disk / "ballast").open("wb", buffering=0) as ballast:
                    while ballast.write(b"x" * 4096):
                        pass
                time.sleep(1)
                nats_server.kill()
                time.sleep(3)
                (disk / "ballast").unlink()
                nats_server.start()
            judge(nats_server, storm, adapter)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


# --- suspended, told to go ---


@pytest.mark.parametrize("frozen_s", [2, pytest.param(60, marks=long)])
def test_suspended(nats_server, tmp_path, frozen_s):
    with (
        Storm(policy=20, hand=0, pool=0, seed=SEED) as storm,
        Adapter(storm, nats_server.url, tmp_path) as adapter,
    ):
        adapter.ready()
        storm.blow()
        time.sleep(0.5)
        adapter.pause()
        time.sleep(frozen_s)
        adapter.resume()
        judge(nats_server, storm, adapter)


@long
def test_suspended_and_replaced(nats_server, tmp_path):
    """Who wakes up after 20 s finds another host's one in its place, sends nothing any more, and says who."""
    with (
        Storm(policy=20, hand=0, pool=0, seed=SEED) as storm,
        Adapter(storm, nats_server.url, tmp_path) as sleeper,
    ):
        sleeper.ready()
        storm.blow()
        time.sleep(1)
        sleeper.pause()
        time.sleep(0.5)
        before = len(read_back(nats_server.url))
        with Adapter(storm, nats_server.url, another_host(tmp_path)) as other:
            other.says("was held by").ready()
            sleeper.resume()
            assert sleeper.ended() == 1
            assert f"held by pid {other.pid}" in sleeper.said
            well_after(nats_server, storm, other, before)


@long
def test_suspended_and_replaced_with_the_stream_full(nats_server, tmp_path):
    """What it had in flight and could not store is never sent by it again; no id comes twice."""
    small = StreamConfig(
        name="PROCESS_EVENTS", subjects=["core.process.>"], max_bytes=60_000, discard=DiscardPolicy.NEW
    )
    admin(nats_server.url, lambda js: js.add_stream(small))
    with (
        Storm(policy=20, hand=0, pool=0, seed=SEED) as storm,
        Adapter(storm, nats_server.url, tmp_path) as sleeper,
    ):
        sleeper.ready()
        storm.blow()
        sleeper.says("maximum bytes exceeded")
        sleeper.pause()
        before = len(read_back(nats_server.url))
        with Adapter(storm, nats_server.url, another_host(tmp_path)) as other:
            other.says("was held by").says("maximum bytes exceeded")
            sleeper.resume()
            admin(nats_server.url, lambda js: js.update_stream(small.evolve(max_bytes=100_000_000)))
            assert sleeper.ended() == 1
            well_after(nats_server, storm, other, before)


@pytest.mark.parametrize("back", ["after the next start", pytest.param("before the next start", marks=long)])
def test_told_to_go_in_an_outage(nats_server, tmp_path, back):
    with (
        Storm(policy=20, hand=0, pool=0, seed=SEED) as storm,
        Adapter(storm, nats_server.url, tmp_path, "--drain-timeout", "1s") as adapter,
    ):
        adapter.ready()
        storm.blow()
        time.sleep(0.5)
        nats_server.kill()
        time.sleep(0.5)
        begun = time.monotonic()
        assert adapter.stop() == 0
        assert time.monotonic() - begun < 1 + 5
        assert " not yet" in adapter.said
        if back == "before the next start":
            nats_server.start()
        adapter.start()
        if back == "after the next start":
            adapter.says("connection refused")
            nats_server.start()
        judge(nats_server, storm, adapter)


# --- two of them ---


def another_host(directory: Path) -> Path:
    """Return where an adapter on another host would have its file."""
    path = directory / "another-host"
    path.mkdir(exist_ok=True)
    return path


def well_after(server, storm, adapter, before: int) -> None:
    """End it, and see that what it told since it took the stack is a first look and what came after."""
    storm.calm()
    time.sleep(1)
    wait_until(lambda: not last_wrong(read_back(server.url), storm), "the present")
    assert adapter.stop() == 0, adapter.said
    stored = read_back(server.url)
    ids = [one.message_id for one in stored]
    assert len(ids) == len(set(ids))
    new = [one for one in stored[before:] if one.event["namespace"] != "_observe"]
    anew = [number for number, one in enumerate(new) if one.event.get("initial")]
    assert anew and not faults_of(new[anew[0] :])


def test_the_second_one_is_refused(nats_server, storm, tmp_path):
    """At once, by the lock of the file."""
    with Adapter(storm, nats_server.url, tmp_path) as first:
        first.ready()
        storm.blow()
        with Adapter(storm, nats_server.url, tmp_path) as second:
            assert second.ended() == 1
            assert f"held by pid {first.pid}" in second.said
            assert "--takeover" in second.said and f"--stack {STACK}-2" in second.said
            assert "Traceback" not in second.said
        judge(nats_server, storm, first)


def test_another_host_s_is_refused_when_the_first_one_moves(nats_server, storm, tmp_path):
    with Adapter(storm, nats_server.url, tmp_path) as first:
        first.ready()
        with Adapter(storm, nats_server.url, another_host(tmp_path)) as second:
            second.says("was held by")
            assert second.ended() == 1
            assert f"held by pid {first.pid}" in second.said and "--takeover" in second.said
        judge(nats_server, storm, first)


def test_two_started_in_the_same_millisecond(nats_server, storm, tmp_path):
    for number in range(3):
        with (
            Adapter(storm, nats_server.url, tmp_path) as one,
            Adapter(storm, nats_server.url, tmp_path) as other,
        ):
            first = wait_until(
                lambda pair=(one, other): next((a for a in pair if "held by pid" in a.said), None), "refused"
            )
            second = other if first is one else one
            assert first.ended() == 1
            second.ready()
            assert second.stop() == 0
        stored = read_back(nats_server.url)
        assert not faults_of(stored)
        starts = [one for one in stored if one.key == "_observe.adapter" and one.event["type"] == "started"]
        assert len(starts) == number + 1


def test_the_adapter_itself_is_told_of_without_any_process_compose(nats_server, tmp_path):
    """Each start and end of it, and of one that was killed when it was last alive."""

    def told() -> list[tuple[str, bool]]:
        return [(one.event["type"], "last_alive" in one.event) for one in read_back(nats_server.url)]

    adapter, expected = Adapter(free_port(), nats_server.url, tmp_path), list[tuple[str, bool]]()
    for ended, killed_before in ((adapter.stop, False), (adapter.kill, False), (adapter.stop, True)):
        adapter.start()
        expected.append(("started", killed_before))
        wait_until(lambda: told() == expected, "its begin")
        ended()
        if ended == adapter.stop:
            expected.append(("stopped", False))
        assert told() == expected


def test_taken_over(nats_server, storm, tmp_path):
    """On one host, in a storm, from one that lives: it is asked to end, and the file goes on."""
    with Adapter(storm, nats_server.url, tmp_path) as first:
        first.ready()
        storm.blow(tick_s=0.005)
        time.sleep(1)
        with Adapter(storm, nats_server.url, tmp_path, "--takeover") as second:
            assert first.ended() == 0
            assert f"held by pid {first.pid}" in second.said
            judge(nats_server, storm, second)


@long
def test_taken_over_by_another_host(nats_server, tmp_path):
    """The first one finds its lease gone and ends; the second sends nothing for the first 15 s."""
    with (
        Storm(policy=20, hand=0, pool=0, seed=SEED) as storm,
        Adapter(storm, nats_server.url, tmp_path) as first,
    ):
        first.ready()
        storm.blow()
        time.sleep(1)
        with Adapter(storm, nats_server.url, another_host(tmp_path), "--takeover") as second:
            assert first.ended() == 1
            assert f"held by pid {second.pid}" in first.said
            before = len(read_back(nats_server.url))
            second.ready()
            well_after(nats_server, storm, second, before)


def test_two_hosts_both_ways(nats_server, tmp_path):
    """Each finds that the other one had the stack meanwhile: begun anew, what waited is dropped."""
    with Storm(policy=6, hand=0, pool=0, seed=SEED) as storm:
        one = Adapter(storm, nats_server.url, tmp_path)
        other = Adapter(storm, nats_server.url, another_host(tmp_path))
        for number, adapter in enumerate((one, other, one, other)):
            before = len(read_back(nats_server.url))
            adapter.start().ready()
            storm.change("policy-0")
            wait_until(lambda: not last_wrong(read_back(nats_server.url), storm), "the present")
            assert adapter.stop() == 0
            new = [one for one in read_back(nats_server.url)[before:] if one.event["namespace"] == "default"]
            assert {one.event["seq"] for one in new if one.event.get("initial")} <= {1, 2}
            assert not faults_of(new)
            assert ("another adapter held this stack meanwhile" in adapter.said) == (number > 1)


def test_the_same_host_again_is_no_first_look(nats_server, storm, tmp_path):
    with Adapter(storm, nats_server.url, tmp_path) as adapter:
        adapter.ready()
        adapter.kill()
        before = len(read_back(nats_server.url))
        adapter.start().ready()
        stored = judge(nats_server, storm, adapter)
    assert only_observer(stored[before:]), stored[before:]


def test_no_file_while_nats_comes_late(storm, tmp_path):
    """What is seen from the first look on is told in order, when NATS comes."""
    server = RealNats(tmp_path / "nats", free_port())
    with Adapter(storm, server.url, tmp_path) as adapter:
        adapter.says("process-compose")
        storm.blow()
        time.sleep(2)
        adapter.kill()
        for path in (tmp_path / "state").iterdir():
            path.unlink()
        storm.calm()
        begun = [process.begins for process in storm.processes]
        adapter.start().says("process-compose")
        time.sleep(1)
        with server:
            adapter.ready()
            wait_until(lambda: not last_wrong(read_back(server.url), storm), "the present")
            assert adapter.stop() == 0
            stored = read_back(server.url)
        assert not faults_of(stored) and not last_wrong(stored, storm)
        assert set(sums(stored, "started", "restarted").values()) == {1} and begun


def test_another_server_that_does_not_know_the_stack(storm, tmp_path):
    """One server one day, the team's the next, then the first one again: what is alive is announced there."""
    with RealNats(tmp_path / "one") as one, RealNats(tmp_path / "two") as two:
        for number, server in enumerate((one, two, one)):
            adapter = Adapter(storm, server.url, tmp_path).start().ready()
            storm.change("policy-0")
            wait_until(lambda at=server: not last_wrong(read_back(at.url), storm), "the present")
            before = read_back(server.url)
            assert adapter.stop() == 0
            alive = {process.name for process in storm.processes if process.there}
            announced = {event.event["process"] for event in before if event.event.get("initial")}
            assert announced >= alive - {"policy-0"} or number == 2
            assert "another adapter" not in adapter.said
        again = [event for event in read_back(one.url) if event.event["namespace"] == "default"]
        initial = [one for one in again if one.event.get("initial") and one.event["type"] == "started"]
        assert len(initial) == len(alive)


def test_two_stacks_share_a_server(nats_server, tmp_path):
    with (
        Storm(seed=SEED) as one,
        Storm(seed=SEED + 1) as two,
        Adapter(one, nats_server.url, tmp_path) as first,
        Adapter(two, nats_server.url, tmp_path, stack="storm.2") as second,
    ):
        first.ready(), second.ready()
        one.blow(), two.blow()
        time.sleep(1)
        two.calm()
        wait_until(lambda: not agree(read_back(nats_server.url, "storm.2"), two), "the sums")
        assert second.stop() == 0
        judge(nats_server, one, first)
        assert not faults_of(read_back(nats_server.url, "storm.2"))


# --- more than it takes ---


def test_a_queue_of_ten(nats_server, tmp_path, monkeypatch):
    """1,000 changes while NATS is away: what did not fit comes collapsed, and that is said once."""
    monkeypatch.setattr("observe_lib.adapter.outbox.MOST_OF_PROCESS", 10)
    with Storm(policy=10, hand=0, pool=0, seed=SEED) as storm:
        with InProcess(storm, nats_server.url, tmp_path / "state", poll_interval_s=0.05) as adapter:
            adapter.ready()
            nats_server.kill()
            for _ in range(100):
                for process in storm.processes:
                    storm.change(process.name)
                time.sleep(0.005)
            nats_server.start()
            stored = judge(nats_server, storm, adapter)
        assert sum(process.begins for process in storm.processes) > 500
        assert len(stored) < 300 and max(one.event.get("count", 1) for one in stored) > 10
        assert adapter.said.count("too many events") == 1
