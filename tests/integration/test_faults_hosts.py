"""A stack that moves between containers of one boot, and to a host whose clock is behind."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from observe_lib import Consumer, Event
from observe_lib.events import message_id_of
from observe_lib.reader.states import stale_stacks_of
from observe_lib.times import now_utc, parse_time, seconds_between
from tests.integration.faults import (
    STACK,
    Adapter,
    Stored,
    agree,
    faults_of,
    forgotten,
    judge,
    last_wrong,
    read_back,
    wait_until,
)
from tests.integration.storm import Storm
from tests.running import run_observe

#: what a new host's clock is behind
BEHIND_S = 600.0
#: a fifth of what they are or less, so that nobody waits for a quarter of a minute
TIMES = {"LEASE_S": 3.0, "RENEW_S": 1.0, "VALID_S": 2.4, "LOOK_EACH_S": 0.2}
#: the command line with these times
QUICK = f"""
import sys
from observe_lib.broker import lease
from observe_lib.cli import main
vars(lease).update({TIMES!r})
sys.exit(main())
"""
#: what is before it on a host whose clock is behind
CLOCK = f"""
import datetime, time
now, time.time = time.time, lambda: now() - {BEHIND_S}
class Behind(datetime.datetime):
    @classmethod
    def now(cls, zone=None):
        return cls.fromtimestamp(time.time(), zone)
datetime.datetime = Behind
"""
CONTAINER = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc")


@pytest.fixture
def storm():
    with Storm(policy=6, hand=2, pool=0) as storm:
        yield storm


def adapter_at(storm, url: str, directory: Path, *before: str, clock: str = "") -> Adapter:
    """An adapter with a directory of its own, that knows of no other one's file."""
    directory.mkdir()
    return Adapter(storm, url, directory, program=(*before, sys.executable, "-c", clock + QUICK))


def told_twice(stored: list[Stored]) -> list[str]:
    ids = [one.message_id for one in stored]
    return sorted({one for one in ids if ids.count(one) > 1})


def of_processes(stored: list[Stored]) -> list[Stored]:
    return [one for one in stored if one.event["namespace"] != "_observe"]


# --- two containers ---


class Container(Adapter):
    """An adapter in a pid namespace of its own, where it is the process 1."""

    @property
    def pid(self) -> int:
        children = Path(f"/proc/{super().pid}/task/{super().pid}/children")
        return int(wait_until(lambda: children.read_text().split(), "the process 1 of a container")[0])


def container(storm, url: str, directory: Path) -> Container:
    if subprocess.run([*CONTAINER, "true"], capture_output=True).returncode:
        pytest.skip("may not make a pid namespace")
    directory.mkdir()
    return Container(storm, url, directory, program=(*CONTAINER, sys.executable, "-c", QUICK))


def test_the_second_of_two_containers_is_refused(nats_server, storm, tmp_path):
    """Each is the process 1 of its own: that 1 is another process here does not make the first one dead."""
    with container(storm, nats_server.url, tmp_path / "one") as one:
        one.ready()
        storm.blow()
        with container(storm, nats_server.url, tmp_path / "other") as other:
            assert other.ended() == 1
        assert "was held by pid 1" in other.said and "is held by pid 1" in other.said
        judge(nats_server, storm, one)


def test_containers_of_one_stack_after_each_other(nats_server, storm, tmp_path):
    """Who was killed cannot be seen to be dead, so its lease has to be over; each one's file is its own."""
    one, other = (container(storm, nats_server.url, tmp_path / name) for name in ("one", "other"))
    with one:
        one.ready()
        storm.change("policy-0")
        wait_until(lambda: not agree(read_back(nats_server.url), storm), "the sums")
        with open(f"/proc/{one.pid}/ns/pid"):  # else the other one's namespace may get its number
            one.kill()
            before = len(read_back(nats_server.url))
            with other:
                other.says("was held by pid 1").ready()
                storm.change("policy-1")
                wait_until(lambda: not last_wrong(read_back(nats_server.url), storm), "the present")
                assert other.stop() == 0
    stored = read_back(nats_server.url)
    news = of_processes(stored[before:])
    assert not faults_of(news) and not told_twice(stored)
    assert {one.event["process"] for one in news if one.event.get("initial")} == {
        process.name for process in storm.processes
    }
    with one:  # its own file is no memory any more, its process number is 1 again
        one.ready()
        assert "another adapter held this stack meanwhile" in one.said and one.stop() == 0
    again = of_processes(read_back(nats_server.url)[len(stored) :])
    assert not faults_of(again) and all(one.event.get("initial") for one in again)
    assert not told_twice(read_back(nats_server.url))


# --- a clock that is behind ---


def id_of(event: Event) -> str:
    assert event.seq and event.observed_at
    return message_id_of(STACK, event.subject, event.seq, event.observed_at)


def is_behind(event: dict[str, Any]) -> bool:
    """Whether it was seen long before it happened."""
    return seconds_between(parse_time(event["observed_at"]), parse_time(event["timestamp"])) > BEHIND_S / 2


def test_a_new_host_s_clock_is_behind(nats_server, storm, tmp_path):
    """It takes over, and another one from it: readers get all that is stored, once, as the stream has it."""
    url, heard = nats_server.url, list[str]()

    def ids() -> list[str]:
        return [one.message_id for one in read_back(url)]

    with Consumer(url) as consumer:
        consumer.subscribe(lambda event: heard.append(id_of(event)), process=["*", "_observe/*"])
        for number, clock in enumerate(("", CLOCK, "")):
            before = len(ids())
            with adapter_at(storm, url, tmp_path / str(number), clock=clock) as adapter:
                adapter.ready()
                storm.blow()
                wait_until(lambda at=before: len(ids()) > at + 60, "a storm")
                storm.calm()
                wait_until(lambda: not last_wrong(read_back(url), storm), "the present")
                wait_until(lambda: not forgotten(url, storm), "a row of every process")
                there = {process.name: process.state["status"] for process in storm.processes}
                rows = map(json.loads, run_observe(url, "ps", "--json").out.splitlines())
                assert {row["process"]: row["status"] for row in rows if not row.get("stale")} == there
                shown = consumer.states().select()
                assert {row.place.process: row.status for row in shown} == there
                assert not stale_stacks_of(consumer.states(), now_utc())
                if number == 1:
                    adapter.kill()
                else:
                    assert adapter.stop() == 0
            news = read_back(url)[before:]
            assert not faults_of(news), adapter.said
            assert all(is_behind(one.event) == bool(clock) for one in of_processes(news)), news
        stored = ids()
        wait_until(lambda: len(heard) >= len(stored), "what is stored")
        assert heard == stored and len(stored) == len(set(stored))
        again = consumer.events(process=["*", "_observe/*"], since="1h", follow=False)
        assert [id_of(event) for event in again] == stored
    words = "watch --json --since 1h --no-follow --process * --process _observe/*"
    watched = run_observe(url, *words.split()).out.splitlines()
    assert [id_of(Event.from_json(line)) for line in watched] == stored
