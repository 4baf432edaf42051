"""`watch` on a real nats-server: what it replays where several stacks, or namespaces, share a name."""

import json
import subprocess
import sys
from datetime import timedelta

import pytest

from observe_lib.broker.stream import StreamOptions, ensure_bucket
from observe_lib.events import Event
from observe_lib.subjects import observer_subject
from observe_lib.times import format_time, now_utc
from tests.integration.test_consumer import ROOT, Writer

AT = "2025-10-16T16:26:%02d.123Z"


def event(
    kind: str, stack: str, seq: int, process: str = "web", namespace: str = "shop", **more: object
) -> Event:
    at = AT % seq
    return Event(kind, process, namespace, at, stack=stack, seq=seq, observed_at=at, **more)  # type: ignore[arg-type]


@pytest.fixture
def writer(writer: Writer) -> Writer:
    """The same, where there is a bucket, too."""
    writer.retry(lambda: ensure_bucket(writer.js, StreamOptions()))
    return writer


def row(writer: Writer, stack: str, namespace: str, name: str, first: str = "") -> None:
    told = {"schema": 2, "row": {"namespace": first or namespace, "process": name}, "seq": 1}
    writer.raw(f"$KV.PROCESS_STATES.{stack}.{namespace}.{name}", json.dumps(told).encode())


def watch(url: str, *words: str) -> tuple[list[str], str]:
    command = [sys.executable, "observe.py", "watch", "--no-follow", "--json", "--nats-url", url, *words]
    ended = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=30)
    assert ended.returncode == 0, ended.stderr
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    return [
        f"{one['stack']} {one['namespace']}/{one['process']} {one['type']}" for one in events
    ], ended.stderr


@pytest.fixture
def two_stacks(writer: Writer) -> Writer:
    for stack in ("one", "two"):
        row(writer, stack, "shop", "web")
        writer.put(event("started", stack, 1), event("crashed", stack, 2))
    row(writer, "one", "shop", "api")
    writer.put(event("started", "one", 1, "api"), event("started", "one", 3), event("started", "two", 3))
    for stack, kind in (("one", "unhealthy"), ("two", "started")):
        own = observer_subject("process-compose", kind)
        writer.put(event(kind, stack, 1, "process-compose", "_observe", subject=own))
    return writer


ONE = ["one shop/web crashed", "one shop/web started"]
TWO = ["two shop/web crashed", "two shop/web started"]
NEWS = "one _observe/process-compose unhealthy"


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ([], [ONE[0], TWO[0], "one shop/api started", ONE[1], TWO[1], NEWS]),
        (["web"], [ONE[0], TWO[0], ONE[1], TWO[1]]),
        (["web", "--stack", "one"], ONE),
        (["web", "--stack", "two", "--type", "crashed"], TWO[:1]),
        (["shop/*", "--stack", "one"], [ONE[0], "one shop/api started", ONE[1]]),
        (["api"], ["one shop/api started"]),
    ],
)
def test_a_name_that_two_stacks_have_is_replayed_for_both(nats_server, two_stacks, words, shown):
    assert watch(nats_server.url, *words)[0] == shown


def test_a_process_of_several_namespaces_is_found_under_each(nats_server, writer):
    for namespace in ("shop", "data"):
        row(writer, "one", namespace, "etl", "shop")
    row(writer, "one", "data", "db")
    spaces = ["shop", "data"]
    writer.put(event("started", "one", 1, "etl", namespaces=spaces), event("started", "one", 1, "db", "data"))
    writer.put(event("started", "one", 1, "web"))
    both = ["one shop/etl started", "one data/db started"]
    for words, shown in ((["data/*"], both), (["data/etl"], both[:1]), (["data/d*"], both[1:])):
        assert watch(nats_server.url, *words)[0] == shown
    assert watch(nats_server.url, "data/*", "--since", "2025-10-16T00:00:00Z")[0] == both


def test_without_a_bucket_there_is_what_the_stream_has_last(nats_server):
    writer = Writer(nats_server.url)
    writer.ensure()
    writer.put(event("started", "one", 1), event("started", "two", 2))
    writer.close()
    assert watch(nats_server.url)[0] == ["two shop/web started"]


#: the whole program, on a clock that is not the server's
OTHER_CLOCK = """
import sys
from datetime import timedelta
from observe_lib import times

real, ahead = times.now_utc, timedelta(seconds=float(sys.argv[1]))
times.now_utc = lambda: real() + ahead
from observe_lib.cli import main

sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("ahead_s", [3600.0, 0.0, -3600.0])
def test_since_finds_what_is_there_whatever_the_servers_clock_says(nats_server, writer, ahead_s):
    """The clock of adapter and reader is an hour ahead of the real server's, which stored all just now."""
    now = now_utc() + timedelta(seconds=ahead_s)
    for seq, ago_s in enumerate((600, 10), 1):
        at = format_time(now - timedelta(seconds=ago_s))
        told = {"stack": "one", "seq": seq, "observed_at": at}
        writer.put(Event("started", f"ago-{ago_s}", "shop", at, **told))
    words = ["watch", "--since", "30s", "--no-follow", "--json", "--nats-url", nats_server.url]
    command = [sys.executable, "-c", OTHER_CLOCK, str(ahead_s), *words]
    ended = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=30)
    assert [json.loads(line)["process"] for line in ended.stdout.splitlines()] == ["ago-10"], ended.stderr
