"""docs/many-hosts.md, held against real nats-servers: a cluster, a leaf node, permissions."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import nats
import nats.errors
import pytest

from observe_lib import Consumer
from observe_lib.broker.connect import connect
from observe_lib.broker.stream import BUCKET, STREAM, StreamOptions, ensure
from observe_lib.events import EventType
from observe_lib.settings import NatsSettings
from tests.documents import file_in_docs
from tests.forms import SCRIPT
from tests.integration.faults import QUICKLY, Adapter, Storm, agree, faults_of, read_back, wait_until
from tests.nats_server import RealNats, free_port


def configured(directory: Path, name: str, text: str, port: int | None = None) -> RealNats:
    """Return a nats-server with the text as its configuration; it keeps all in a directory of its own."""
    home = directory / name
    home.mkdir()
    (home / "nats.conf").write_text(text.replace("/var/lib/nats", str(home / "store")))
    return RealNats(home, port, "-c", str(home / "nats.conf"), jetstream=False)


def ask(url: str, subject: str) -> dict:
    async def work() -> dict:
        client = await nats.connect(url, allow_reconnect=False)
        try:
            return json.loads((await client.request(subject, b"", timeout=2)).data)
        finally:
            await client.close()

    return asyncio.run(work())


# --- a cluster ---


@pytest.fixture
def cluster(tmp_path) -> Iterator[dict[str, RealNats]]:
    """Three servers by name, each with the file that the document shows."""
    text = file_in_docs("cluster.conf")
    names, routes = ("n1", "n2", "n3"), {name: free_port() for name in ("n1", "n2", "n3")}
    for name, port in routes.items():
        text = text.replace(f"nats://{name}:6222", f"nats://127.0.0.1:{port}")
    with ExitStack() as stack:
        servers = {}
        for name in names:
            own = text.replace("server_name: n1", f"server_name: {name}")
            own = own.replace("listen: 0.0.0.0:6222", f"listen: 127.0.0.1:{routes[name]}")
            servers[name] = stack.enter_context(configured(tmp_path, name, own))
        wait_until(lambda: all(answers(one.url) for one in servers.values()), "a cluster with a leader")
        yield servers


def answers(url: str) -> bool:
    try:
        return "streams" in ask(url, "$JS.API.INFO")
    except (nats.errors.Error, OSError):
        return False


def leader_of(url: str, stream: str) -> str:
    try:
        return ask(url, f"$JS.API.STREAM.INFO.{stream}").get("cluster", {}).get("leader", "")
    except (nats.errors.Error, OSError):
        return ""


def read_led(url: str) -> list:
    """Read the stream back; a cluster that is choosing a leader answers nobody, so ask again."""
    found: list = []

    def read() -> bool:
        try:
            found[:] = read_back(url)
        except nats.errors.Error:
            return False
        return True

    wait_until(read, "a cluster that answers")
    return found


def test_the_leader_of_a_cluster_dies_in_a_storm(cluster, tmp_path):
    urls = ",".join(server.url for server in cluster.values())
    with Storm(seed=7) as storm, Adapter(storm, urls, tmp_path, "--replicas", "3") as adapter:
        adapter.ready()
        any_url = cluster["n1"].url
        for stream in (STREAM, f"KV_{BUCKET}"):
            assert ask(any_url, f"$JS.API.STREAM.INFO.{stream}")["config"]["num_replicas"] == 3
        storm.blow()
        wait_until(lambda: len(read_led(any_url)) > 200, "a storm")
        leader = leader_of(any_url, STREAM)
        cluster[leader].kill()
        left = next(server.url for name, server in cluster.items() if name != leader)
        wait_until(lambda: leader_of(left, STREAM) not in ("", leader), "another leader")
        before = len(read_led(left))
        wait_until(lambda: len(read_led(left)) > before + 100, "events after the leader's end")
        cluster[leader].start()
        storm.calm()
        wait_until(lambda: not agree(read_led(left), storm), lambda: agree(read_led(left), storm))
        assert adapter.stop() == 0
        assert faults_of(read_led(left)) == []


def test_replicas_change_stream_and_bucket(cluster):
    async def ensure_with(*asked: int | None) -> list[tuple[str, str]]:
        client = await connect(NatsSettings(cluster["n1"].url), "test")
        js = client.jetstream(timeout=10)
        found = [await ensure(js, StreamOptions(replicas=replicas)) for replicas in asked]
        await client.close()
        return [(stream.done, bucket.done) for stream, bucket in found]

    done = asyncio.run(ensure_with(None, 3, 3, None, 1))
    assert done == [
        ("created", "created"),
        ("changed", "changed"),
        *[("found", "found")] * 2,
        ("changed", "changed"),
    ]
    for stream in (STREAM, f"KV_{BUCKET}"):
        assert ask(cluster["n1"].url, f"$JS.API.STREAM.INFO.{stream}")["config"]["num_replicas"] == 1


# --- a leaf node ---


def test_an_adapter_behind_a_leaf_node(tmp_path):
    inner = free_port()
    hub_text = file_in_docs("hub.conf").replace("0.0.0.0:7422", f"127.0.0.1:{inner}")
    leaf_text = file_in_docs("leaf.conf").replace("nats://hub:7422", f"nats://127.0.0.1:{inner}")
    with configured(tmp_path, "hub", hub_text) as hub, configured(tmp_path, "leaf", leaf_text) as leaf:
        wait_until(lambda: answers(leaf.url), "the leaf's link to the hub")
        with Storm(seed=8) as storm, Adapter(storm, leaf.url, tmp_path) as adapter:
            adapter.ready()
            storm.blow()
            wait_until(lambda: len(read_back(hub.url)) > 100, "a storm")
            leaf.kill()
            time.sleep(0.5)  # long enough that things happen meanwhile; how much is of no importance
            leaf.start()
            storm.calm()
            wait_until(lambda: not agree(read_back(hub.url), storm), "all of it in the hub")
            assert adapter.stop() == 0
        assert faults_of(read_back(hub.url)) == []


# --- permissions ---


@contextmanager
def tapped(url: str) -> Iterator[set[str]]:
    """Hear every subject that anybody publishes on, as a user who may do all."""
    seen, ready, stop = set[str](), threading.Event(), threading.Event()

    async def work() -> None:
        client = await nats.connect(url, user="tap", password="tap")

        async def note(message: nats.aio.msg.Msg) -> None:
            seen.add(message.subject)

        await client.subscribe(">", cb=note)
        await client.flush()
        ready.set()
        while not stop.is_set():
            await asyncio.sleep(0.05)
        await client.flush()
        await client.close()

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    assert ready.wait(10)
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def granted(text: str, who: str) -> list[str]:
    """Return the subjects that a user of the document may publish on."""
    part = text.partition(f"  {who}: {{")[2].partition("subscribe:")[0]
    return re.findall(r'^ +"([^"]+)"', part, re.M)


def covers(wide: str, narrow: str) -> bool:
    """Whether a subject with wildcards holds another one."""
    pattern = re.escape(wide).replace(r"\*", r"[^.]+").replace(">", ".+")
    return re.fullmatch(pattern, narrow) is not None


def compare(seen: set[str], allowed: list[str]) -> tuple[list[str], list[str]]:
    """Return what was published without being granted, and what was granted without being used."""
    asked = {one for one in seen if not one.startswith(("_INBOX.", "$JS.EVENT."))}
    beyond = [one for one in asked if not any(covers(wide, one) for wide in allowed)]
    return beyond, [wide for wide in allowed if not any(covers(wide, one) for one in asked)]


@pytest.fixture
def guarded(tmp_path) -> Iterator[RealNats]:
    """A server with the permissions of the document, and one user more who may do all."""
    text = file_in_docs("permissions.conf")
    text = text.replace("users: [\n", "users: [\n    {user: tap, password: tap}\n")
    with configured(tmp_path, "guarded", "jetstream { store_dir: /var/lib/nats }\n" + text) as server:
        yield server


def violations(server: RealNats) -> str:
    lines = (server.store_dir / "server.log").read_text().splitlines()
    return "\n".join(line for line in lines if "Violation" in line)


def with_user(url: str, user: str, password: str) -> str:
    return url.replace("//", f"//{user}:{password}@")


def test_an_adapter_needs_all_that_is_granted_and_no_more(guarded, tmp_path):
    text = file_in_docs("permissions.conf")
    url = with_user(guarded.url, "adapter", "change-me")
    flags = ("--duplicate-window", "500ms", "--max-age")
    with Storm(seed=9) as storm, tapped(guarded.url) as seen:
        with Adapter(storm, url, tmp_path, *flags, "1h") as adapter:
            adapter.ready()
            storm.change("policy-0")
            told = {f"core.process.default.policy-0.{kind}" for kind in ("crashed", "stopped")}
            wait_until(lambda: seen & told, seen)
            polls = storm.stand_in.requests["/processes"]
            guarded.pause()
            storm.change("policy-0")
            wait_until(lambda: storm.stand_in.requests["/processes"] > polls + 3, "seen, and not yet stored")
            adapter.kill()
            guarded.resume()
        publish_as_another_stack(guarded.url, "policy-0")  # so that the last message is not its own
        with Adapter(storm, url, tmp_path, *flags, "2h") as adapter:
            adapter.ready()
            wait_until(lambda: any("STREAM.UPDATE" in one for one in seen), seen)
            assert adapter.stop() == 0
    assert compare(seen, granted(text, "ADAPTER")) == ([], [])
    assert violations(guarded) == ""


def publish_as_another_stack(url: str, process: str) -> None:
    async def work() -> None:
        client = await nats.connect(with_user(url, "tap", "tap"), allow_reconnect=False)
        for number, kind in enumerate(EventType, 1):
            headers = {"Nats-Msg-Id": f"other.default.{process}.{number}.1700000000000"}
            subject = f"core.process.default.{process}.{kind.value}"
            await client.jetstream().publish(subject, b"{}", headers=headers)
        await client.close()

    asyncio.run(work())


def observe(url: str, *words: str) -> "subprocess.CompletedProcess[str]":
    strange = ("NATS", "PC_", "OBSERVE")
    environ = {name: text for name, text in os.environ.items() if not name.startswith(strange)}
    return subprocess.run(
        [sys.executable, str(SCRIPT), *words],
        env={**environ, "NATS_URL": url},
        cwd=SCRIPT.parent,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_reader_needs_all_that_is_granted_and_no_more(guarded, tmp_path):
    text = file_in_docs("permissions.conf")
    reader = with_user(guarded.url, "reader", "change-me-too")
    with Storm(seed=10) as storm:
        with Adapter(storm, with_user(guarded.url, "adapter", "change-me"), tmp_path) as adapter:
            adapter.ready()
            assert adapter.stop(signal.SIGTERM) == 0
        with tapped(guarded.url) as seen:
            for words in (
                "watch --count 1",
                "watch --since 1h --no-follow",
                "ps",
                "show policy-0",
                "wait policy-0 --for running --timeout 1s",
                "report --since 1h",
            ):
                done = observe(reader, *words.split())
                assert (done.returncode in (0, 3, 124), done.stderr.count("denied")) == (True, 0), done.stderr
        asked = {one for one in seen if one.startswith("$JS.")}  # the rest is what it was given to read
        assert compare(asked, granted(text, "READER")) == ([], [])
        assert violations(guarded) == ""
        done = observe(reader, "doctor", "--json", "-p", str(storm.stand_in.port))
        found = {one["check"]: one for one in map(json.loads, done.stdout.splitlines())}
        assert (done.returncode, found["permissions"]["result"]) == (0, "warn"), done.stdout
        assert "enough for a reader" in found["permissions"]["text"]
        done = observe(reader, "forget", "storm", "--yes")
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 2, done.stderr


def test_a_durable_needs_two_things_more(guarded, tmp_path):
    more = ("$JS.ACK.PROCESS_EVENTS.pager.>", "$JS.API.CONSUMER.INFO.PROCESS_EVENTS.pager")
    document = (Path(__file__).parents[2] / "docs/many-hosts.md").read_text()
    assert all(one in document for one in more)
    config = guarded.store_dir / "nats.conf"
    reader = '"$JS.API.STREAM.INFO.KV_PROCESS_STATES"\n      "$JS.API.CONSUMER'
    text = config.read_text()
    assert text.count(reader) == 1
    config.write_text(text.replace(reader, f'"{more[0]}"\n      "{more[1]}"\n      {reader}'))
    guarded.restart()
    with (
        Storm(seed=11) as storm,
        Adapter(storm, with_user(guarded.url, "adapter", "change-me"), tmp_path, usual=QUICKLY) as adapter,
    ):
        adapter.ready()
        heard: list[str] = []
        settings = NatsSettings(guarded.url, True, user="reader", password="change-me-too")
        with Consumer(settings) as consumer:
            consumer.subscribe(lambda event: heard.append(event.process), types=["started"], durable="pager")
            wait_until(lambda: len(heard) >= len([one for one in storm.processes if one.there]), heard)
        assert adapter.stop() == 0
    assert violations(guarded) == ""
