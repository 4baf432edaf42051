"""The whole adapter on a machine without NATS: it brings its own server, and takes it away again."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import nats
import pytest
from nats.js import JetStreamContext

from observe_lib.broker import embedded
from observe_lib.broker.embedded import EmbeddedServer, greeting
from tests.nats_server import RealNats, free_port
from tests.stand_in import StandIn, make_state

ROOT = Path(__file__).resolve().parents[2]
#: observe.py, but that the default NATS is at a free port
OBSERVE = """\
import sys
from observe_lib import settings as config
config.DEFAULT_NATS_URL = sys.argv.pop(1)
from observe_lib.cli import main
sys.exit(main())
"""


class Machine:
    """A user's home, a process-compose with some processes, and a default NATS address where nobody is."""

    def __init__(self, home: Path, compose: StandIn) -> None:
        self.home, self.compose = home, compose
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self.store = home / ".local/state/observe/nats"
        self._running: list[subprocess.Popen[bytes]] = []

    def observe(self, *words: str) -> "subprocess.Popen[bytes]":
        """Start observe.py; what it says is in `said()`."""
        environ = {"HOME": str(self.home), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
        with open(self.home / "said", "ab") as said, open(self.home / "printed", "ab") as printed:
            command = [sys.executable, "-c", OBSERVE, self.url, *words]
            self._running.append(
                subprocess.Popen(command, env=environ, stdout=printed, stderr=said, stdin=subprocess.DEVNULL)
            )
        return self._running[-1]

    def adapter(self, *flags: str) -> "subprocess.Popen[bytes]":
        return self.observe("adapter", "-p", str(self.compose.port), "--no-push", *flags)

    def said(self) -> str:
        return (self.home / "said").read_text()

    def wait_said(self, text: str, times: int = 1) -> None:
        wait_for(lambda: self.said().count(text) >= times, lambda: f"{text!r} in:\n{self.said()}")

    @property
    def listens(self) -> bool:
        return greeting(self.url) is not None

    def server_pid(self) -> int:
        return int((self.store / "server.pid").read_text())

    def end(self) -> None:
        for one in self._running:
            one.kill()
            one.wait()
        if self.listens:  # a test that failed
            with suppress(OSError, ValueError):
                os.kill(self.server_pid(), signal.SIGKILL)


def wait_for(met: Callable[[], object], what: Callable[[], str] = lambda: "not met", timeout_s: float = 30.0):
    end = time.monotonic() + timeout_s
    while not met():
        assert time.monotonic() < end, what()
        time.sleep(0.02)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with StandIn([make_state("web")]) as compose:
        found = Machine(tmp_path, compose)
        yield found
        found.end()


def test_watch_finds_the_server_that_the_adapter_started(machine):
    adapter = machine.adapter()
    machine.wait_said("1 process announced")
    assert f"{machine.url}, started here, stops with me (--nats-url for yours)" in machine.said()
    assert "open to every user of this machine" in machine.said()
    assert machine.store.stat().st_mode & 0o777 == 0o700
    watch = machine.observe("watch", "--json", "--count", "1")
    assert watch.wait(30) == 0
    event = json.loads((machine.home / "printed").read_text())
    assert (event["type"], event["process"], event["initial"]) == ("started", "web", True)
    adapter.terminate()
    assert adapter.wait(30) == 0 and not machine.listens


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda one: one.name)
def test_the_server_ends_with_the_adapter(machine, number):
    adapter = machine.adapter()
    machine.wait_said("1 process announced")
    adapter.send_signal(number)
    assert adapter.wait(30) == 0 and not machine.listens
    assert "events published" in machine.said() and "not yet" not in machine.said()


def test_the_server_ends_with_an_adapter_that_has_to_give_up(machine):
    """The stack is held by another adapter, which lives: an error, and no server is left behind."""
    first = machine.adapter()
    machine.wait_said("1 process announced")
    second = machine.adapter()
    assert second.wait(40) == 1 and "is held by pid" in machine.said() and machine.listens
    first.terminate()
    assert first.wait(30) == 0 and not machine.listens


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_after_a_kill_the_server_is_gone_and_the_next_adapter_starts_it_again(machine):
    adapter = machine.adapter()
    machine.wait_said("1 process announced")
    adapter.kill()
    adapter.wait()
    wait_for(lambda: not machine.listens)
    adapter = machine.adapter()
    machine.wait_said("1 process followed")
    assert machine.said().count("started here") == 2 and machine.said().count("PROCESS_EVENTS created") == 1
    adapter.terminate()
    assert adapter.wait(30) == 0 and not machine.listens


def test_two_adapters_have_one_server_at_a_time_and_the_last_one_ends_it(machine):
    first = machine.adapter("--stack", "one")
    machine.wait_said("1 process announced")
    second = machine.adapter("--stack", "two")
    machine.wait_said("1 process announced", 2)
    assert machine.said().count("started here") == 1 and f"{machine.url}, version " in machine.said()
    first.terminate()
    assert first.wait(30) == 0
    machine.wait_said("started here", 2)
    machine.wait_said("connected again")
    second.terminate()
    assert second.wait(30) == 0 and not machine.listens


def test_the_projects_own_nats_is_waited_for(machine):
    machine.compose.set_states([make_state("nats")])
    adapter = machine.adapter()
    machine.wait_said("for nats to listen")
    with RealNats(machine.home / "theirs", machine.port):
        machine.wait_said("1 process announced")
        assert f"{machine.url}, version " in machine.said() and "started here" not in machine.said()
        adapter.terminate()
        assert adapter.wait(30) == 0 and machine.listens


def test_nothing_is_started_before_process_compose_answers(machine):
    machine.compose.refuse()
    machine.adapter()
    machine.wait_said("connection refused")
    assert not machine.listens and "nats " not in machine.said()
    machine.compose.reopen()
    machine.wait_said("1 process announced")


@pytest.mark.parametrize("given", [["--no-embedded"], ["--nats-url", "URL"]], ids=["--no-embedded", "a URL"])
def test_nothing_is_started_where_it_is_not_wanted(machine, given):
    adapter = machine.adapter(*[word.replace("URL", machine.url) for word in given])
    machine.wait_said("1 process, poll")
    machine.wait_said(f"{machine.url}: connection refused, trying again")
    machine.compose.wait_polls(2)
    assert not machine.listens and not machine.store.exists()
    adapter.terminate()
    assert adapter.wait(30) == 0


def test_after_a_full_disk_it_takes_writes_again(tmp_path, monkeypatch):
    """nats-server 2.15 answers no write any more once its disk was full, also when there is room again."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("may not mount a small file system")
    monkeypatch.setattr(embedded, "RESTART_ROOM_BYTES", 16_000_000)
    monkeypatch.setattr(embedded, "SERVER_LOOK_S", 0.05)
    said: list[str] = []
    url = f"nats://127.0.0.1:{free_port()}"
    server = EmbeddedServer(url, disk / "nats", lambda topic, text: said.append(text))

    async def store(js: JetStreamContext, size: int) -> bool:
        try:
            await js.publish("s", b"x" * size)
        except nats.errors.Error:
            return False
        return True

    async def scenario() -> None:
        client = await nats.connect(url, max_reconnect_attempts=-1, reconnect_time_wait=0.05)
        js = client.jetstream(timeout=1)
        await js.add_stream(name="S", subjects=["s"])
        ballast = disk / "ballast"
        ballast.write_bytes(b"x" * (shutil.disk_usage(disk).free - 1_000_000))
        while await store(js, 100_000):
            pass
        size = ballast.stat().st_size
        ballast.unlink()
        assert not await store(js, 1)  # what one would not think
        ballast.write_bytes(b"x" * size)
        server.takes_no_writes()
        while not said:
            await asyncio.sleep(0.05)
        ballast.unlink()
        while not await store(js, 1):
            await asyncio.sleep(0.05)
        await client.close()

    try:
        server.start()
        server.answered([])
        assert server.settled.wait(30)
        asyncio.run(asyncio.wait_for(scenario(), 60))
        assert said[0] == f"the built-in server takes no writes: the disk of {disk / 'nats'} is full"
        assert said[2] == "the built-in server takes no writes, restarting it"
    finally:
        server.stop()
        subprocess.run(["umount", "-l", str(disk)], check=False)


def test_the_past_can_be_read_when_the_adapter_has_ended(machine):
    adapter = machine.adapter()
    wait_for(lambda: "ready" in machine.said())
    adapter.terminate()
    assert adapter.wait(30) == 0 and not machine.listens
    for number, words in enumerate(("watch --no-follow", "report --since 1h --json"), 1):
        assert machine.observe(*words.split()).wait(30) == 0, machine.said()
        assert machine.said().count(f"{machine.store} is served until this ends") == number
        assert not machine.listens
    assert "started" in (machine.home / "printed").read_text()
    for words in ("watch", "web"):
        assert machine.observe(*words.split()).wait(30) == 1
        told, hint = machine.said().splitlines()[-2:]
        assert told.endswith(f"what the built-in server kept is in {machine.store}")
        assert "observe.py adapter" in hint and "watch --no-follow" in hint
