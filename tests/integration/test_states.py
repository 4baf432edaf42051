"""The library's states and ranges, and the verbs over them, against a real nats-server.

No process-compose: what the adapter would write is written by hand, so that every figure is known.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from observe_lib import Consumer, Event, NatsError, UsageError
from observe_lib.adapter.outbox import Outbox
from observe_lib.adapter.seal import Sealed
from observe_lib.broker.lease import identity
from observe_lib.broker.stream import BUCKET, STREAM, StreamOptions, ensure_bucket
from observe_lib.reader.wait import TimedOutError
from observe_lib.rows import Place
from observe_lib.times import format_time, now_utc
from tests import fleet
from tests.fleet import bucket_of, lease_json, lease_subject
from tests.integration.test_consumer import Writer
from tests.nats_server import RealNats
from tests.running import run_observe, start_observe

WEB = Place("host-a", "default", "web")


def ago(minutes: float) -> str:
    return format_time(now_utc() - timedelta(minutes=minutes))


def told(
    kind: str, seq: int, minutes: float, process: str = "web", stack: str = "host-a", **fields: Any
) -> Event:
    """What happened so many minutes ago."""
    at, status = ago(minutes), fields.pop("status", "Running")
    state = {"name": process, "namespace": "default", "status": status, "pid": 7, "is_ready": "-"}
    state["is_running"] = status == "Running"
    return Event(
        kind, process, "default", at, stack=stack, seq=seq, observed_at=at, **{"state": state, **fields}
    )


class Bucket(Writer):
    """Writes rows, leases and events as the adapter does."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.ensure()
        self.bridge.run(ensure_bucket(self.js, StreamOptions()), 5)
        self.histories: dict[Place, list[Event]] = {}

    def row(self, *events: Event, publish: bool = True) -> None:
        """Write the rows that these events make of their processes, then the events into the stream."""
        for event in events:
            self.histories.setdefault(Place.of(event), []).append(event)
        for place in {Place.of(event): None for event in events}:
            for subject, payload in bucket_of(*self.histories[place]).items():
                self.raw(subject, payload)
        if publish:
            self.put(*events)

    def drop(self, key: str) -> None:
        """Delete a key."""
        self.retry(lambda: self.js.publish(f"$KV.{BUCKET}.{key}", b"", headers={"KV-Operation": "DEL"}))

    def lease(self, stack: str, **fields: Any) -> None:
        self.raw(lease_subject(stack), lease_json(stack, **fields))

    def close(self) -> None:
        self.bridge.run(self.nc.close(), 5)
        self.bridge.stop()


@pytest.fixture
def bucket(nats_server: RealNats) -> Iterator[Bucket]:
    found = Bucket(nats_server.url)
    yield found
    found.close()


def within(condition: Callable[[], Any], seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_states_come_from_the_bucket_and_go_on_with_it(nats_server: RealNats, bucket: Bucket) -> None:
    bucket.lease("host-a", waiting=7)
    for seq, minutes in enumerate((2000, 100, 50, 50, 20), start=1):
        bucket.row(told("crashed", seq, minutes, exit_code=1))
    bucket.row(told("started", 6, 10))
    bucket.row(told("started", 1, 10, stack="host-b"))
    with Consumer(nats_server.url) as consumer:
        states = consumer.states()
        row = states.rows[WEB]
        assert row.alive and row.since is not None and len(states.rows) == 2
        assert row.crashes_24h(now_utc()) == 5 - 1 and row.crashes == 5  # one is older
        assert row.last_crash is not None and row.last_crash.seq == 5
        assert not states.stacks["host-b"].lease and states.stacks["host-a"].waiting == 7
        bucket.row(told("crashed", 7, 0, exit_code=1), told("restarted", 8, 0, restarts=1))
        within(lambda: consumer.states().rows[WEB].restarts == 1)
        row = consumer.states().rows[WEB]
        assert row.alive and row.crashes_24h(now_utc()) == 5
        assert states.rows[WEB].restarts == 0, "what was returned before does not change"


def test_what_is_deleted_is_seen_at_once_and_a_stack_with_it(nats_server: RealNats, bucket: Bucket) -> None:
    bucket.lease("host-a")
    bucket.row(told("started", 1, 10))
    bucket.row(told("started", 1, 10, process="api", stack="host-b"))
    with Consumer(nats_server.url) as consumer:
        assert set(consumer.states().stacks) == {"host-a", "host-b"}
        bucket.drop("host-a.default.web")
        within(lambda: WEB not in consumer.states().rows)
        bucket.drop("host-b.default.api")
        within(lambda: set(consumer.states().stacks) == {"host-a"})
        bucket.lease("host-b", stopped=True)
        within(lambda: "host-b" in consumer.states().stacks)
        assert consumer.forget("host-b") == 1
        within(lambda: set(consumer.states().stacks) == {"host-a"})


def test_a_process_of_several_namespaces_is_found_in_each_and_shown_once(
    nats_server: RealNats, bucket: Bucket
) -> None:
    feed = told("started", 1, 10, process="feed", namespaces=["shop", "data"])
    place = Place("host-a", "shop", "feed")
    (payload,) = bucket_of(replace(feed, namespace="shop", subject="")).values()
    for space in ("shop", "data"):
        bucket.raw(f"$KV.{BUCKET}.host-a.{space}.feed", payload)
    with Consumer(nats_server.url) as consumer:
        for names in ("data/*", "data/feed", "shop/f*", "feed", ()):
            assert list(consumer.stored_states(names).rows) == [place], names
            assert list(consumer.states(names).rows) == [place], names
        ran = run_observe(nats_server.url, "ps", "data/*", "shop/*", "--json")
        assert [json.loads(line)["namespaces"] for line in ran.out.splitlines()] == [["shop", "data"]]
        bucket.drop("host-a.data.feed")
        bucket.row(told("started", 1, 10))
        within(lambda: WEB in consumer.states().rows)
        assert place in consumer.states().rows
        bucket.drop("host-a.shop.feed")
        within(lambda: place not in consumer.states().rows)


SELECTIONS: dict[str, tuple[tuple[str, ...], str | None, int]] = {
    "everything": ((), None, 6),
    "a stack": ((), "host-b", 2),
    "a name": (("web",), None, 2),
    "a name of a stack": (("default/web",), "host-b", 1),
    "a glob": (("w*",), None, 2),
    "a glob of a stack": (("*",), "host-a", 4),
    "several": (("w?b", "default/odd name*"), "host-a", 2),
    "a wide and a narrow one": (("default/*", "web"), None, 6),
    "a pattern in either part": (("default/*", "*/web"), None, 6),
    "a name that would be a lease": (("lease",), None, 1),
    "a namespace and its end": (("default/le*", "*/lease"), None, 1),
    "nothing": (("nope", "no*"), None, 0),
}


@pytest.mark.parametrize("name", SELECTIONS)
def test_what_is_asked_for_is_read_and_no_more(name: str, nats_server: RealNats, bucket: Bucket) -> None:
    patterns, stack, number = SELECTIONS[name]
    for process in ("web", "odd name*", "lease"):
        bucket.row(told("started", 1, 10, process=process))
    bucket.row(told("started", 1, 10, stack="host-b"))
    bucket.row(told("started", 1, 10, process="x" * 300), told("started", 1, 9, process="z", stack="host-b"))
    for owner in ("host-a", "host-b"):
        bucket.lease(owner)
    with Consumer(nats_server.url) as consumer:
        for states in (consumer.stored_states(patterns, stack), consumer.states(patterns, stack)):
            assert len(states.select(patterns, stack)) == number
            assert set(states.stacks) == {"host-a", "host-b"} if stack is None else {stack}
            assert states.stacks[stack or "host-a"].lease


def test_what_is_neither_row_nor_lease_harms_no_other(nats_server: RealNats, bucket: Bucket) -> None:
    bucket.row(told("started", 1, 10))
    for key in ("host-a.default.bad", "host-a._observe.lease", "host-a.default.old"):
        bucket.raw(f"$KV.{BUCKET}.{key}", b'{"schema": 1, "state": {}, "pid": "x"}')
    for key in ("_observe.alert.pager", "host-a._observe.doctor", "one.two", "a.b.c.d"):
        bucket.raw(f"$KV.{BUCKET}.{key}", b"whatever")
    with Consumer(nats_server.url) as consumer:
        states = consumer.states()
        assert list(states.rows) == [WEB] and not states.stacks["host-a"].lease
        bucket.row(told("started", 1, 10, process="bad"))
        within(lambda: len(consumer.states().rows) == 2)


def test_an_empty_server_is_no_error_and_what_comes_later_is_seen(nats_server: RealNats) -> None:
    with Consumer(nats_server.url) as consumer:
        assert not consumer.states().rows
        with pytest.raises(TimedOutError):
            consumer.wait_for("web", timeout_s=0.2)
        writer = Bucket(nats_server.url)
        writer.row(told("started", 1, 0))
        within(lambda: WEB in consumer.states().rows)
        assert consumer.wait_for("web", timeout_s=10)[0].reached
        writer.close()


def test_a_server_that_is_killed_and_back_again(nats_server: RealNats, bucket: Bucket) -> None:
    bucket.row(told("started", 1, 10))
    with Consumer(nats_server.url) as consumer:
        assert consumer.states().rows[WEB].alive
        nats_server.kill()
        assert consumer.states().rows[WEB].alive
        nats_server.start()
        bucket.row(told("stopped", 2, 0, exit_code=0, reason="completed"))
        within(lambda: not consumer.states().rows[WEB].alive)


def test_a_bucket_that_was_wiped_holds_nothing_of_before(nats_server: RealNats, bucket: Bucket) -> None:
    bucket.row(told("started", 1, 10))
    with Consumer(nats_server.url) as consumer:
        assert WEB in consumer.states().rows
        nats_server.kill()
        nats_server.wipe()
        nats_server.start()
        later = Bucket(nats_server.url)
        later.row(told("started", 1, 0, process="other"))
        within(lambda: [str(place) for place in consumer.states().rows] == ["default/other"])
        later.close()


def test_a_heartbeat_is_seen_without_any_event(nats_server: RealNats, bucket: Bucket) -> None:
    bucket.row(told("started", 1, 10))
    bucket.lease("host-a", stopped=True)
    with Consumer(nats_server.url) as consumer:
        assert consumer.states().stale(consumer.states().rows[WEB], now_utc()) is not None
        bucket.lease("host-a")
        within(lambda: consumer.states().stale(consumer.states().rows[WEB], now_utc()) is None)


def test_an_adapter_of_this_machine_that_dies_is_seen_without_a_word(
    nats_server: RealNats, bucket: Bucket
) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    bucket.lease("host-a", **identity(process.pid))
    with Consumer(nats_server.url) as consumer:
        assert consumer.states().stacks["host-a"].stale(now_utc()) is None
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()
        within(lambda: consumer.states().stacks["host-a"].dead)


def test_ten_thousand_processes(nats_server: RealNats, bucket: Bucket) -> None:
    async def write() -> None:
        for number in range(10_000):
            (message,) = bucket_of(told("started", 1, 10, process=f"p{number}")).items()
            await bucket.js.publish_async(*message)
        await bucket.js.publish_async_completed()

    bucket.bridge.run(write(), 60)
    with Consumer(nats_server.url) as consumer:
        assert len(consumer.states().rows) == 10_000
        assert len(consumer.stored_states("p?9*").rows) == 9 * 111 and len(consumer.states("p77").rows) == 1
        bucket.row(told("crashed", 2, 0, process="p9999", status="Completed", exit_code=1))
        within(lambda: not consumer.states().rows[Place("host-a", "default", "p9999")].alive)


# --- ranges ---


@pytest.fixture
def history(bucket: Bucket) -> Bucket:
    """An hour: web every ten minutes, api once, one companion, and the adapter."""
    for seq, minutes in enumerate(range(60, 0, -10), start=1):
        bucket.put(told("restarted", seq, minutes))
        if minutes == 30:
            bucket.put(told("crashed", 1, 29, process="api", exit_code=1, log_tail=["bye"]))
            bucket.put(told("status_changed", 2, 29, process="api", companion=True))
            bucket.put(replace(told("restarted", 1, 28), stack="host-b"))
    return bucket


def seqs(events: list[Event]) -> list[tuple[str, int | None]]:
    return [(event.process, event.seq) for event in events]


RANGES: dict[str, tuple[dict[str, Any], list[tuple[str, int]]]] = {
    "since": ({"since": "25m"}, [("web", 5), ("web", 6)]),
    "since and until": ({"since": "55m", "until": "35m"}, [("web", 2), ("web", 3)]),
    "until alone": ({"until": "45m"}, [("web", 1), ("web", 2)]),
    "a process": ({"since": "1d", "process": "api", "types": ["crashed"]}, [("api", 1)]),
    "a glob, not a type": ({"since": "1d", "process": "def*/a*", "exclude_types": "crashed"}, [("api", 2)]),
    "a stack": ({"since": "1d", "stack": "host-b"}, [("web", 1)]),
    "RFC 3339": ({"since": lambda: ago(15)}, [("web", 6)]),
    "a moment": ({"since": lambda: now_utc() - timedelta(minutes=15)}, [("web", 6)]),
    "nothing": ({"since": "1s"}, []),
}


@pytest.mark.parametrize("name", RANGES)
def test_events_of_a_range(name: str, nats_server: RealNats, history: Bucket) -> None:
    filters, expected = RANGES[name]
    filters = {key: value() if callable(value) else value for key, value in filters.items()}
    assert seqs(list(Consumer(nats_server.url).events(follow=False, **filters))) == expected


def test_a_range_goes_by_when_it_was_observed_not_when_it_was_stored(
    nats_server: RealNats, history: Bucket
) -> None:
    events = list(Consumer(nats_server.url).events(since="65m", until="55m"))
    assert seqs(events) == [("web", 1)]


def test_after_a_range_it_goes_on(nats_server: RealNats, history: Bucket) -> None:
    with Consumer(nats_server.url) as consumer:
        events = consumer.events("web", since="15m")
        assert next(events).seq == 6
        history.put(told("stopped", 7, 0))
        assert next(events).seq == 7
        events.close()


@pytest.mark.parametrize("number, expected", [(1, [6]), (2, [5, 6]), (50, [1, 2, 3, 4, 5, 6])])
def test_the_last_events(number: int, expected: list[int], nats_server: RealNats, history: Bucket) -> None:
    with Consumer(nats_server.url) as consumer:
        events, place = consumer.recent(number, "web", stack="host-a")
        assert [event.seq for event in events] == expected and place == 9


def test_the_last_events_of_a_rare_process_are_found_far_back(nats_server: RealNats, bucket: Bucket) -> None:
    bucket.put(told("started", 1, 30, process="rare"))
    bucket.put_many([told("restarted", seq, 20) for seq in range(1, 3001)])
    with Consumer(nats_server.url) as consumer:
        assert seqs(consumer.recent(3, "rare")[0]) == [("rare", 1)]
        loud, _ = consumer.recent(2, keep=lambda event: event.seq in (17, 2000))
        assert [event.seq for event in loud] == [17, 2000]


def test_the_last_events_of_a_stream_that_is_empty(nats_server: RealNats, bucket: Bucket) -> None:
    for _ in range(2):  # never used, then all of it gone
        with Consumer(nats_server.url) as consumer:
            assert consumer.recent(3)[0] == []
        bucket.put(told("started", 1, 30))
        bucket.bridge.run(bucket.js.purge_stream(STREAM), 10)


def test_what_makes_no_sense_is_refused(nats_server: RealNats) -> None:
    with Consumer(nats_server.url) as consumer:
        for filters in ({"since": "tomorrow"}, {"until": "25:00"}, {"since": "1h", "new": True}):
            with pytest.raises(UsageError):
                next(consumer.events(**filters))
        for names, goals in (((), ["ready"]), ("web", []), ("web", ["happy"])):
            with pytest.raises(UsageError):
                consumer.wait_for(names, goals, timeout_s=0.1)


WATCHES: dict[str, tuple[list[str], list[int], str]] = {
    "a range": (["web", "--since", "55m", "--until", "35m"], [2, 3], "2 events, from "),
    "the last": (["web", "-n", "2", "--no-follow", "--stack", "host-a"], [5, 6], "2 events, from "),
    "the last loud one": (["-n", "1", "--no-follow", "--severity", "error"], [1], "1 event, from "),
    "all but": (["api", "--since", "1h", "--no-follow", "--exclude-type", "status_changed"], [1], "1 event"),
    "so many": (["web", "--since", "1d", "--no-follow", "--count", "2"], [1, 2], "2 events"),
    "none": (["web", "--since", "1s", "--no-follow"], [], "0 events"),
    "the last of each kind": (["api", "--no-follow"], [1, 2], "2 events"),
}


@pytest.mark.parametrize("name", WATCHES)
def test_watch_over_a_range(name: str, nats_server: RealNats, history: Bucket) -> None:
    words, expected, said = WATCHES[name]
    ran = run_observe(nats_server.url, "watch", "--json", *words)
    assert ran.code == (0 if expected else 1), ran  # a name that is not found, as of ps
    assert [json.loads(line)["seq"] for line in ran.out.splitlines()] == expected
    assert ran.err.splitlines()[-1].startswith(said)


def test_what_is_printed_as_a_time_is_taken_as_one(nats_server: RealNats, history: Bucket) -> None:
    def rows_since(since: str) -> list[list[str]]:
        words = ("watch", "web", "--since", since, "--no-follow", "--stack", "host-a")
        ran = run_observe(nats_server.url, *words)
        assert ran.code == 0, ran
        return [re.split(" {2,}", line.strip()) for line in ran.out.splitlines()]

    table = rows_since("1d")  # after midnight the first of these rows bear a date, which makes all wider
    assert rows_since(table[-2][0])[-2:] == table[-2:]


def test_watch_says_once_that_two_stacks_share_a_name_and_shows_whose_each_is(
    nats_server: RealNats, history: Bucket
) -> None:
    ran = run_observe(nats_server.url, "watch", "web", "--since", "1d", "--no-follow")
    assert ran.err.splitlines()[0] == "host-a and host-b both have default/web: see the column STACK"
    assert len(ran.err.splitlines()) == 2 and " host-b " in ran.out


def test_watch_says_what_is_not_retained_any_more(nats_server: RealNats, history: Bucket) -> None:
    history.bridge.run(history.js.purge_stream("PROCESS_EVENTS", seq=4), 5)
    ran = run_observe(nats_server.url, "watch", "--since", "2h", "--no-follow")
    assert "is not retained any more" in ran.err
    assert "retained" not in run_observe(nats_server.url, "watch", "-n", "1", "--no-follow").err


def test_watch_shows_the_logs_of_crashes(nats_server: RealNats, history: Bucket) -> None:
    ran = run_observe(nats_server.url, "watch", "api", "--since", "1h", "--no-follow", "--logs")
    assert ran.out.splitlines()[-1].strip() == "| bye"


@pytest.mark.parametrize(
    "words",
    [
        ["--since", "1h", "--until", "2h"],
        ["--since", "soon"],
        ["--new", "--since", "1h"],
        ["--new", "--no-follow"],
        ["-n", "0"],
    ],
    ids=" ".join,
)
def test_watch_refuses_what_makes_no_sense(words: list[str]) -> None:
    ran = run_observe("nats://127.0.0.1:1", "watch", *words)
    assert ran.code == 2 and len(ran.err.splitlines()) == 2


# --- verbs ---


def test_ps_shows_trouble_first_filters_and_says_why_rows_are_stale(
    nats_server: RealNats, bucket: Bucket
) -> None:
    bucket.lease("host-a", waiting=1234)
    bucket.lease("host-b", stopped=True)
    bucket.row(told("crashed", 1, 30, process="b", reason="exit"), told("restarted", 2, 25, process="b"))
    bucket.row(told("started", 1, 10, process="a"))
    bucket.row(*(told("crashed", seq, 4, process="c", reason="exit") for seq in (1, 2, 3)))
    bucket.row(told("restarted", 4, 3, process="c"))
    bucket.row(told("crashed", 1, 9, process="d", status="Completed", exit_code=3, reason="exit"))
    bucket.row(told("started", 1, 10, stack="host-b"))
    table = run_observe(nats_server.url, "ps")
    assert [re.split(" {2,}", line)[:3] for line in table.out.splitlines()] == [
        ["STACK", "PROCESS", "STATUS"],
        ["host-a", "default/c", "flapping"],
        ["host-a", "default/d", "Completed 3"],
        ["host-a", "default/a", "Running"],
        ["host-a", "default/b", "Running"],
        ["host-b", "default/web", "ended"],
    ]
    below = table.err.splitlines()
    assert below[0].startswith("host-b: its adapter was stopped")
    assert "default/web was Running then" in below[0]
    assert below[1] == "host-a: 1,234 events wait for NATS"
    by_crashes = run_observe(nats_server.url, "ps", "--sort", "crashes", "--json", "[a-b]")
    assert [json.loads(line)["process"] for line in by_crashes.out.splitlines()] == ["b", "a"]
    assert run_observe(nats_server.url, "ps", "nope").code == 1
    assert run_observe(nats_server.url, "ps", "--sort", "beauty").code == 2


def test_ps_without_anything_says_so(nats_server: RealNats) -> None:
    ran = run_observe(nats_server.url, "ps")
    assert (ran.code, ran.out) == (0, "") and ran.err.startswith("nothing is known on nats://")


def test_show_finds_a_crash_of_longer_ago_than_the_states_look_back(
    nats_server: RealNats, bucket: Bucket
) -> None:
    crash = told("crashed", 1, 60 * 30, exit_code=3, log_tail=["evil \x1b[2J"])
    bucket.put(crash)
    bucket.row(crash, told("started", 2, 10), publish=False)
    ran = run_observe(nats_server.url, "show", "web")
    assert ran.code == 0 and "  | evil \\x1b[2J" in ran.out and "0 crashes in 24h" in ran.out
    assert run_observe(nats_server.url, "show", "nope").code == 1
    assert run_observe(nats_server.url, "show").code == 2


def test_forget_drops_the_states_of_one_dead_stack_and_no_event(
    nats_server: RealNats, bucket: Bucket
) -> None:
    for stack in ("host-a", "host-a-2"):
        bucket.row(told("started", 1, 10, stack=stack))
        bucket.lease(stack)
    assert "is alive" in run_observe(nats_server.url, "forget", "host-a", "--yes").err
    bucket.lease("host-a", stopped=True)
    assert run_observe(nats_server.url, "forget", "host-a").code == 2
    assert run_observe(nats_server.url, "forget", "host-a", "--yes").code == 0
    with Consumer(nats_server.url) as consumer:
        assert list(consumer.states().stacks) == ["host-a-2"]
        assert len(list(consumer.events(since="1h", follow=False))) == 2
    assert run_observe(nats_server.url, "forget", "host-a", "--yes").code == 1


def test_forget_takes_the_outbox_of_this_host_along(
    nats_server: RealNats, bucket: Bucket, tmp_path: Path
) -> None:
    bucket.row(told("started", 1, 10))
    bucket.lease("host-a", stopped=True)
    directory = tmp_path / "state"
    outbox = Outbox.open(directory, "host-a", takeover=False, say=lambda *_: None)
    outbox.commit([], [Sealed("default.web", "core.process.default.web.started", "i.1.1", b"{}")], None)
    words = ("forget", "host-a", "--state-dir", str(directory))
    held = run_observe(nats_server.url, *words, "--yes")
    assert held.code == 1 and f"pid {os.getpid()} has " in held.err and len(held.err.splitlines()) == 2
    outbox.close()
    asked = run_observe(nats_server.url, *words)
    assert asked.code == 2 and "(1 process, 1 event never sent)" in asked.err
    done = run_observe(nats_server.url, *words, "--yes")
    assert done.code == 0 and "1 event never sent" in done.out
    assert list(directory.iterdir()) == []
    assert run_observe(nats_server.url, *words, "--yes").code == 1


def test_wait_waits_for_nats_too(tmp_path: Path) -> None:
    """As in a CI job: NATS, stream, bucket and the name appear one after the other, after it was begun."""
    server = RealNats(tmp_path)
    waiting = start_observe(server.url, "wait", "shop/db", "--timeout", "60s")
    assert waiting.stderr is not None
    assert waiting.stderr.readline() == f"{server.url}: connection refused, waiting for it\n"
    with server:
        life = fleet.life("host-a", "shop/db", "ready", now_utc())
        asyncio.run(fleet.store(server.url, {("host-a", "shop/db"): life}))
        out, err = waiting.communicate(timeout=60)
    assert (waiting.returncode, err) == (0, "")
    assert out.startswith("shop/db  ready")


def test_wait_gives_up_a_nats_that_does_not_come(tmp_path: Path) -> None:
    server = RealNats(tmp_path)
    ran = run_observe(server.url, "wait", "shop/db", "--timeout", "1s")
    assert (ran.code, ran.out) == (124, "")
    said = [f"{server.url}: connection refused, waiting for it"]
    said += [f"observe: {server.url}: connection refused, for 1.0s"]
    assert ran.err.splitlines()[:2] == said and "--nats-url" in ran.err.splitlines()[2]


def test_a_server_without_jetstream_is_two_lines(tmp_path: Any) -> None:
    with RealNats(tmp_path / "bare", jetstream=False) as bare:
        ran = run_observe(bare.url, "ps")
        assert ran.code == 1 and "has no JetStream" in ran.err and len(ran.err.splitlines()) == 2
        with Consumer(bare.url) as consumer, pytest.raises(NatsError):
            consumer.states()


def test_the_clock_that_ages_are_told_by_is_the_servers(nats_server: RealNats, bucket: Bucket) -> None:
    bucket.lease("host-a", at="2001-01-01T00:00:00.000Z")
    bucket.row(told("started", 1, 10))
    with Consumer(nats_server.url) as consumer:
        beat_at = consumer.states().stacks["host-a"].beat_at
        assert isinstance(beat_at, datetime) and abs((now_utc() - beat_at).total_seconds()) < 10
