"""A cluster of three in trouble, the real adapter goes on: everything stored once, each trouble said once."""

import time

import pytest

from observe_lib.broker.stream import STREAM, StreamOptions, ensure
from tests.integration.faults import Adapter, admin, agree, faults_of, wait_until
from tests.integration.storm import Storm
from tests.integration.test_many_hosts import cluster, leader_of, read_led  # noqa: F401

#: long enough for other leaders, and for who is frozen to be missed
FROZEN_S = 14.0


def with_replicas(url: str, replicas: int) -> None:
    admin(url, lambda js: ensure(js, StreamOptions(replicas=replicas)))


def judge_led(url: str, storm: Storm, adapter: Adapter) -> None:
    """Wait until the stream tells all that happened, end the adapter: each event is there once, in order."""
    storm.calm()
    wait_until(lambda: not agree(read_led(url), storm), lambda: agree(read_led(url), storm))
    assert adapter.stop() == 0, adapter.said
    assert not faults_of(read_led(url)), adapter.said
    said = [line.split(maxsplit=1)[1] for line in adapter.said.splitlines() if " nats " in line]
    assert len(said) == len(set(said)), adapter.said


@pytest.mark.long
@pytest.mark.parametrize("connected_to", ["the leader", "another one"])
def test_the_leader_is_frozen_for_a_while(cluster, tmp_path, connected_to):  # noqa: F811
    url = cluster["n1"].url
    with_replicas(url, 3)
    leader = leader_of(url, STREAM)
    server = cluster[leader if connected_to == "the leader" else min(cluster.keys() - {leader})]
    with Storm(seed=7) as storm, Adapter(storm, server.url, tmp_path) as adapter:
        adapter.ready()
        storm.blow(tick_s=0.05)
        time.sleep(1)
        cluster[leader].pause()
        time.sleep(FROZEN_S)
        cluster[leader].resume()
        adapter.says("takes events again")
        judge_led(url, storm, adapter)
        assert adapter.said.count("no answer in time") == adapter.said.count("takes events again") == 1


@pytest.mark.parametrize("replicas", [[3], pytest.param([3, 1, 3], marks=pytest.mark.long)])
def test_replicas_come_and_go_in_a_storm(cluster, tmp_path, replicas):  # noqa: F811
    """What is on its way meanwhile may be neither stored nor answered: it is sent again, and stored once."""
    url = cluster["n1"].url
    with Storm(seed=8) as storm, Adapter(storm, url, tmp_path) as adapter:
        adapter.ready()
        storm.blow(tick_s=0.005)
        for number in replicas:
            at = len(read_led(url))
            wait_until(lambda at=at: len(read_led(url)) > at + 50, "a storm")
            with_replicas(url, number)
        judge_led(url, storm, adapter)
