"""The adapter itself fails: killed, suspended, told to go, doubled; judged by the stream it leaves."""

import os
import time
from random import Random

import pytest

from observe_lib.adapter.poller import Poller
from observe_lib.adapter.publisher import Publisher
from observe_lib.broker.stream import StreamOptions
from observe_lib.compose.client import ComposeClient
from observe_lib.settings import NatsSettings
from observe_lib.times import now_utc
from tests.integration.faults import (
    ALL,
    ALL_BUT,
    STACK,
    Adapter,
    Config,
    InProcess,
    agree,
    faults_of,
    forgotten,
    judge,
    last_wrong,
    read_back,
    records,
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
    """At random moments, also while it reads its records; only the restart counts tell what it missed."""
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


def test_killed_at_its_first_look(tmp_path):
    """Some processes have a record, some have none yet: nobody's past is counted at the next start."""
    config = Config(tmp_path)
    denied = ("policy-1", "policy-2", "hand-1", "hand-0")
    config.write(ALL_BUT % ", ".join(f'"$KV.PROCESS_STATES.storm.default.{name}"' for name in denied))
    server = RealNats(tmp_path / "nats", None, "-c", str(config.path))
    url = server.url.replace("//", "//u:p@")
    with server, Storm(policy=20, hand=2, pool=0, seed=SEED) as storm:
        for process in storm.processes:
            process.state["restarts"] = 7
        storm.change("policy-0")
        with Adapter(storm, url, tmp_path) as adapter:
            adapter.says("may not publish")
            wait_until(
                lambda: len(records(url)) == len(storm.processes) - len(denied) + 3, "all other records"
            )
            adapter.kill()
            config.reload(server, ALL)
            adapter.start().ready()
            wait_until(lambda: len(forgotten(url, storm)) == 0, "a record of every process")
            assert adapter.stop() == 0
        stored = read_back(url)
    begins, ends = sums(stored, "started", "restarted"), sums(stored, "stopped", "crashed")
    assert set(begins.values()) == {1} and not ends, begins
    assert not faults_of(stored)


def test_what_happens_while_it_is_dead(nats_server, storm, tmp_path):
    """New names too: they began after the memory was whole, so they are counted."""
    adapter = Adapter(storm, nats_server.url, tmp_path).start().ready()
    wait_until(lambda: records(nats_server.url)[f"{STACK}._observe.lease"]["whole"], "all records")
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
    """Who wakes up after 20 s finds another one in its place, writes nothing any more, and says who."""
    with (
        Storm(policy=20, hand=0, pool=0, seed=SEED) as storm,
        Adapter(storm, nats_server.url, tmp_path) as sleeper,
    ):
        sleeper.ready()
        storm.blow()
        sleeper.pause()
        with Adapter(storm, nats_server.url, tmp_path) as other:
            other.says("was held by").ready()
            sleeper.resume()
            assert sleeper.ended() == 1
            assert f"held by pid {other.pid}" in sleeper.said
            judge(nats_server, storm, other)


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


def test_the_second_one_is_refused(nats_server, storm, tmp_path, monkeypatch):
    """As soon as the first one gives a sign of life, which it does more often here than every 10 s."""
    monkeypatch.setattr("observe_lib.adapter.publisher.HEARTBEAT_S", 2.0)
    with InProcess(storm, nats_server.url) as first:
        first.ready()
        storm.blow()
        with Adapter(storm, nats_server.url, tmp_path) as second:
            # the first one is this very process, which lives
            second.says("was held by").says("held by pid")
            assert second.ended() == 1
            assert f"held by pid {os.getpid()}" in second.said
            assert "--takeover" in second.said and f"--stack {STACK}-2" in second.said
            assert "Traceback" not in second.said
        judge(nats_server, storm, first)


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
    """In a storm, from one that lives: neither tells twice what the other one told."""
    with Adapter(storm, nats_server.url, tmp_path) as first:
        first.ready()
        storm.blow(tick_s=0.005)
        time.sleep(1)
        with Adapter(storm, nats_server.url, tmp_path, "--takeover") as second:
            assert first.ended() == 1
            assert f"held by pid {second.pid}" in first.said
            judge(nats_server, storm, second)


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


class Nobody:
    """A witness that tells nobody."""

    def answered(self, *_):
        pass

    silent = compared = answered


def test_a_queue_of_ten(nats_server, caplog):
    """1,000 changes while NATS is away: what did not fit comes collapsed, and that is said."""
    said = []
    with Storm(policy=10, hand=0, pool=0, seed=SEED) as storm:
        publisher = Publisher(
            STACK,
            NatsSettings(nats_server.url, url_given=True),
            StreamOptions(),
            lambda *words: said.append(" ".join(words)),
            dict,
            owner="test",
            takeover=False,
            on_failure=lambda: None,
            limit=10,
        )
        client = ComposeClient(port=storm.stand_in.port)
        poller = Poller(client, publisher, Nobody(), interval_s=0.05, born=now_utc())
        publisher.start(), poller.start()
        wait_until(lambda: not agree(read_back(nats_server.url), storm), "the first look")
        nats_server.kill()
        for _ in range(100):
            for process in storm.processes:
                storm.change(process.name)
            time.sleep(0.005)
        nats_server.start()
        wait_until(lambda: not agree(read_back(nats_server.url), storm), "the sums")
        poller.stop(), poller.join(2), publisher.stop()
        stored = read_back(nats_server.url)
        assert not faults_of(stored) and not last_wrong(stored, storm)
    assert sum(process.begins for process in storm.processes) > 500
    assert len(stored) < 300 and max(one.event.get("count", 1) for one in stored) > 10
    assert sum("too many events" in record.message for record in caplog.records) == 1
