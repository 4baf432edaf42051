"""NATS fails in every way it can, the real adapter goes on: nothing lost, nothing twice, nothing invented."""

import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
from nats.js.api import DiscardPolicy, StreamConfig

from observe_lib.adapter.publisher import Publisher
from observe_lib.settings import NatsSettings
from tests.integration.faults import (
    ALL,
    ALL_BUT,
    STACK,
    Adapter,
    Config,
    InProcess,
    admin,
    agree,
    faults_of,
    forgotten,
    judge,
    last_wrong,
    read_back,
    records,
    wait_until,
)
from tests.integration.storm import Storm
from tests.nats_server import RealNats, free_port

long = pytest.mark.long


@pytest.fixture
def storm():
    with Storm() as storm:
        yield storm


@pytest.fixture
def adapter(nats_server, storm, tmp_path):
    with Adapter(storm, nats_server.url, tmp_path) as adapter:
        yield adapter.ready()


@pytest.fixture
def configured(tmp_path):
    config = Config(tmp_path)
    config.write("")
    server = RealNats(tmp_path / "nats", None, "-c", str(config.path))
    yield config, server
    server.kill()


LEASE = f"{STACK}._observe.lease"


def is_well(server: RealNats, storm: Storm) -> Callable[[], bool]:
    return lambda: not agree(read_back(server.url), storm)


# --- the server goes away ---


@pytest.mark.parametrize("away_s", [1, pytest.param(8, marks=long)])
def test_killed_and_back(nats_server, storm, adapter, away_s):
    storm.blow()
    time.sleep(1)
    nats_server.kill()
    time.sleep(away_s)
    nats_server.start()
    time.sleep(1)
    judge(nats_server, storm, adapter)
    assert adapter.said.count("connection lost") == adapter.said.count("connected again") == 1


@pytest.mark.parametrize("away_s", [3, pytest.param(6, marks=long)])
def test_away_longer_than_the_duplicate_window(nats_server, storm, tmp_path, away_s):
    """The server has forgotten the ids when it is back: the adapter looks for itself."""
    with Adapter(storm, nats_server.url, tmp_path, "--duplicate-window", "2s") as adapter:
        adapter.ready()
        storm.blow(tick_s=0.005)
        time.sleep(0.7)
        nats_server.kill()
        time.sleep(away_s)
        nats_server.start()
        time.sleep(1)
        judge(nats_server, storm, adapter)


@pytest.mark.parametrize("late_s", [2, pytest.param(10, marks=long)])
def test_absent_at_the_start(storm, tmp_path, late_s):
    """What is seen meanwhile is kept, and compared as soon as the records can be read."""
    server = RealNats(tmp_path / "nats", free_port())
    with Adapter(storm, server.url, tmp_path) as adapter:
        adapter.says("connection refused").says("process-compose")
        storm.blow()
        time.sleep(late_s)
        with server:
            time.sleep(0.5)
            judge(server, storm, adapter)
    assert adapter.said.count("connection refused") == 1


@pytest.mark.parametrize("frozen_s", [2.5, pytest.param(10, marks=long), pytest.param(22, marks=long)])
def test_frozen(nats_server, storm, tmp_path, frozen_s):
    """22 s: longer than the adapter's patience with a silent connection."""
    with Adapter(storm, nats_server.url, tmp_path, "--duplicate-window", "2s") as adapter:
        adapter.ready()
        storm.blow()
        time.sleep(0.5)
        nats_server.pause()
        time.sleep(frozen_s)
        nats_server.resume()
        time.sleep(0.5)
        judge(nats_server, storm, adapter)


# --- what it keeps is gone ---


def forgets_everything(server: RealNats) -> None:
    server.kill()
    server.wipe()
    server.start()


def deletes_the_stream(server: RealNats) -> None:
    admin(server.url, lambda js: js.delete_stream("PROCESS_EVENTS"))


def deletes_the_bucket(server: RealNats) -> None:
    admin(server.url, lambda js: js.delete_key_value("PROCESS_STATES"))


@pytest.mark.parametrize("does", [forgets_everything, deletes_the_stream, deletes_the_bucket])
def test_what_the_server_keeps_is_gone(nats_server, storm, adapter, tmp_path, does):
    storm.blow()
    time.sleep(1)
    does(nats_server)
    time.sleep(1)
    storm.calm()
    wait_until(lambda: not forgotten(nats_server.url, storm), "a row of every process")
    assert adapter.stop() == 0
    stored = read_back(nats_server.url)
    assert not faults_of(stored, wiped=True) and not last_wrong(stored, storm)
    assert adapter.said.count("bucket PROCESS_STATES") == 2, adapter.said
    announced = [one for one in stored if one.event.get("initial") and one.event["seq"] > 2]
    assert bool(announced) == (does is forgets_everything)  # it knows nothing of the stack
    if does is deletes_the_bucket:
        assert not agree(stored, storm)
    with Adapter(storm, nats_server.url, tmp_path) as after:
        after.ready()
        assert after.stop() == 0
    new = read_back(nats_server.url)[len(stored) :]
    assert {one.event["namespace"] for one in new} == {"_observe"}


@pytest.mark.parametrize("does", [forgets_everything, deletes_the_bucket])
def test_the_rows_of_the_quiet_are_written_again(nats_server, adapter, storm, does):
    """Nothing happens at all, and still the bucket shows every process soon."""
    wait_until(lambda: not forgotten(nats_server.url, storm), "the first look's rows")
    does(nats_server)
    wait_until(lambda: not forgotten(nats_server.url, storm), "a row of every process")

    def announced() -> set[str]:
        told = [one.event for one in read_back(nats_server.url) if one.event["seq"] > 1]
        return {event["process"] for event in told if event["type"] == "started" and event["initial"]}

    if does is forgets_everything:  # the whole server knew nothing of the stack
        wait_until(lambda: len(announced()) == len(records(nats_server.url)) - 1, "announced once more")
    assert adapter.stop() == 0
    assert bool(announced()) == (does is forgets_everything)
    assert not faults_of(read_back(nats_server.url), wiped=True)


# --- it takes nothing ---


def test_full(nats_server, storm, tmp_path):
    """The stream's limit is reached, then raised: what waits is sent, and said once."""
    small = StreamConfig(
        name="PROCESS_EVENTS", subjects=["core.process.>"], max_bytes=100_000, discard=DiscardPolicy.NEW
    )
    admin(nats_server.url, lambda js: js.add_stream(small))
    with Adapter(storm, nats_server.url, tmp_path) as adapter:
        adapter.ready()
        storm.blow()
        adapter.says("maximum bytes exceeded")
        time.sleep(1)
        admin(nats_server.url, lambda js: js.update_stream(small.evolve(max_bytes=100_000_000)))
        adapter.says("takes events again")
        judge(nats_server, storm, adapter)
    assert adapter.said.count("maximum bytes exceeded") == 1
    assert adapter.said.count("takes events again") == 1
    assert "takes records again" not in adapter.said


@pytest.mark.parametrize("limit", ["max_file_store", "max_file"])
def test_no_room_for_jetstream(storm, tmp_path, limit):
    """The server's or the account's limit, until it is started again with more."""
    config = Config(tmp_path)
    store = f'store_dir: "{tmp_path / "nats"}"'
    account = "accounts {A {jetstream {max_file: %s}, users: [{user: u, password: p}]}}, no_auth_user: u"

    def write(size: str) -> None:
        if limit == "max_file_store":
            config.write(f"jetstream {{{store}, max_file_store: {size}}}")
        else:
            config.write(f"jetstream {{{store}, max_file_store: 1GB}}, {account % size}")

    write("150KB")
    with RealNats(tmp_path / "nats", None, "-c", str(config.path), jetstream=False) as server:
        with Adapter(storm, server.url, tmp_path) as adapter:
            adapter.ready()
            storm.blow()
            adapter.says("resource")
            time.sleep(1)
            server.stop()
            write("100MB")
            server.start()
            judge(server, storm, adapter)
        assert adapter.said.count("skipped") == 0, adapter.said


@long
def test_disk_full(storm, tmp_path):
    """A file system of 2 MB: the server itself gives JetStream up, and is started again with more room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("may not mount a tiny file system")
    try:
        with RealNats(disk) as server, Adapter(storm, server.url, tmp_path) as adapter:
            adapter.ready()
            (disk / "ballast").write_bytes(b"x" * 1_500_000)
            storm.blow(tick_s=0.005)
            time.sleep(8)
            storm.calm()
            (disk / "ballast").unlink()
            subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
            server.kill()
            server.start()
            judge(server, storm, adapter)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


@pytest.mark.parametrize(
    ("denied", "grant"),
    [
        ('"core.process.default.policy-1.>"', "grant publish on core.process.>"),
        ('"core.process.default.>"', "grant publish on core.process.>"),
        ('"$KV.PROCESS_STATES.storm.default.policy-1"', "grant publish on $KV.PROCESS_STATES.>"),
    ],
)
def test_denied_and_later_granted(configured, storm, monkeypatch, denied, grant):
    monkeypatch.setattr("observe_lib.adapter.publisher.HELD_S", 3.0)
    monkeypatch.setattr("observe_lib.adapter.row_publisher.ROW_HELD_S", 3.0)
    config, server = configured
    config.write(ALL_BUT % denied)
    server.start()
    url = server.url.replace("//", "//u:p@")
    settings = NatsSettings(server.url, url_given=True, user="u", password="p")
    with InProcess(storm, settings) as adapter:
        adapter.ready().says(grant)
        storm.blow()
        time.sleep(2)
        if "policy-1" in denied:  # the others are not held up by it
            assert len({one.key for one in read_back(url)}) > len(storm.processes) - 4
            stored = {f"default.{one.event['process']}" for one in read_back(url)}
            shown = {key.removeprefix(f"{STACK}.") for key in records(url)}
            assert ("default.policy-1" in stored) == ("KV" in denied)
            assert ("default.policy-1" in shown) == ("KV" not in denied)
        config.reload(server, ALL)
        kind = "rows" if "KV" in denied else "events"
        adapter.says(f"takes {kind} again")
        storm.calm()
        wait_until(lambda: not agree(read_back(url), storm), "the sums")
        adapter.stop()
        stored = read_back(url)
        assert not agree(stored, storm) and not faults_of(stored) and not last_wrong(stored, storm)
    assert adapter.said.count(grant) == 1, adapter.said
    assert adapter.said.count("again") == 1, adapter.said


def test_thrown_out(configured, storm, tmp_path):
    """Its password is no longer right: the library closes the connection for good, the adapter does not."""
    config, server = configured
    config.write(ALL)
    server.start()
    with Adapter(storm, server.url.replace("//", "//u:p@"), tmp_path) as adapter:
        adapter.ready()
        storm.blow()
        time.sleep(0.5)
        config.reload(server, ALL.replace("password: p", "password: other"))
        adapter.says("authorization violation")
        time.sleep(1)
        config.reload(server, ALL)
        storm.calm()
        url = server.url.replace("//", "//u:p@")
        wait_until(lambda: not agree(read_back(url), storm), "the sums")
        assert adapter.stop() == 0
        stored = read_back(url)
        assert not agree(stored, storm) and not faults_of(stored) and not last_wrong(stored, storm)


def test_answers_that_make_no_sense(nats_server, storm, monkeypatch):
    """Every fifth acknowledgement is unreadable, or an error nobody knows: what it was for comes again."""
    take, answers = Publisher._take_answer, 0
    strange = (b"half", b"{}", b"null", b'{"error": 7}', b'{"error": {"code": 502, "description": "odd"}}')

    async def answer(self: Publisher, message: Any) -> None:
        nonlocal answers
        answers += 1
        if answers % 5 == 0:
            message.data = strange[answers // 5 % len(strange)]
        await take(self, message)

    monkeypatch.setattr(Publisher, "_take_answer", answer)
    with InProcess(storm, nats_server.url) as adapter:
        adapter.ready()
        storm.blow()
        time.sleep(1)
        judge(nats_server, storm, adapter)
    assert "makes no sense" in adapter.said and adapter.failure is None


@pytest.mark.parametrize("size", [6000, 1500])
def test_messages_too_large(configured, storm, tmp_path, size):
    """First the log goes, then what is not needed of the state; no event does."""
    config, server = configured
    config.write(f"max_payload: {size}")
    server.start()
    storm.stand_in.logs = {process.name: ["x" * 500] * 20 for process in storm.processes}
    for process in storm.processes:
        process.state["description"] = "y" * 800
    with Adapter(storm, server.url, tmp_path, "--log-lines", "20") as adapter:
        adapter.ready()
        storm.blow(tick_s=0.1)
        time.sleep(2)
        stored = judge(server, storm, adapter)
    assert not any("log_tail" in one.event for one in stored)
    assert "skipped" not in adapter.said


@long
def test_another_answers_there_meanwhile(nats_server, storm, adapter):
    """Something that speaks no NATS has the port for a while: no reason to give up for ever."""
    import socket

    storm.blow()
    nats_server.kill()
    with socket.create_server(("127.0.0.1", nats_server.port)) as other:
        other.settimeout(10)
        for greeting in (
            b"\x00" * 70_000 + b"\n",
            b"INFO {not json\r\n",
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
        ):
            connection, _ = other.accept()
            connection.sendall(greeting)
            connection.close()
    nats_server.start()
    judge(nats_server, storm, adapter)
