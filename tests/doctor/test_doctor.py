import asyncio
import json
import os
import shutil
import subprocess
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import nats
import nats.errors
import pytest

from observe_lib import cli
from observe_lib.adapter.outbox import Outbox
from observe_lib.adapter.outbox_facts import OutboxFacts
from observe_lib.broker.lease import identity
from observe_lib.doctor.findings import Finding, clock_finding
from observe_lib.doctor.leases import adapter_finding, alerter_finding
from observe_lib.doctor.nats import bucket_finding, stream_finding
from observe_lib.doctor.outbox import outbox_finding, outbox_findings
from observe_lib.doctor.room import room_finding, write_error
from observe_lib.events import dump_json
from observe_lib.rows import StackRow
from observe_lib.times import format_time, now_utc
from tests.nats_server import RealNats, free_port
from tests.stand_in import StandIn, make_state


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in os.environ:
        if name.startswith(("PC_", "NATS_", "OBSERVE_")):
            monkeypatch.delenv(name)


def test_a_finding_is_a_line_and_what_to_do_below_it():
    assert Finding("warn", "push", "missing", "get it").lines() == [
        "warn  push              missing",
        "                        get it",
    ]
    assert Finding("skip", "stream, bucket", "need NATS").lines() == ["skip  stream, bucket: need NATS"]
    found = Finding("ok", "nats", "there", facts={"rtt_ms": 1.5}).to_dict()
    assert found == {"check": "nats", "result": "ok", "text": "there", "rtt_ms": 1.5}


@pytest.mark.parametrize(
    ("ahead_s", "result", "told"),
    [(0.5, "ok", "as here"), (61, "warn", "61.0s ahead of here"), (-3, "warn", "3.0s behind here")],
)
def test_clocks(ahead_s, result, told):
    found = clock_finding([("nats", 0.0), ("process-compose", ahead_s)])
    assert (found.result, found.text) == (result, f"nats as here, process-compose {told}")


CONFIG = {"storage": "file", "max_age": 86400 * 10**9, "duplicate_window": 3600 * 10**9, "discard": "old"}


@pytest.mark.parametrize(
    ("change", "told", "result"),
    [
        ({}, "", "ok"),
        ({"max_age": 0}, "", "ok"),
        ({"storage": "memory"}, "in memory", "warn"),
        ({"duplicate_window": 10**9}, "forgets ids after 1.0s", "warn"),
        ({"discard": "new"}, "discard new", "warn"),
        ({"sealed": True}, "sealed", "fail"),
    ],
    ids=str,
)
def test_the_streams_configuration(change, told, result):
    found = stream_finding({"config": {**CONFIG, **change}, "state": {"messages": 3, "bytes": 2**20}})
    assert (found.result, told in found.text) == (result, True)
    assert "3 events, 1.0 MiB" in found.text


FULL = {
    "config": {**CONFIG, "discard": "new", "max_bytes": 2**20},
    "state": {"messages": 3, "bytes": 2**20 - 9},
}


@pytest.mark.parametrize(
    ("account", "streams", "error", "result", "told"),
    [
        ({"storage": 2**20, "limits": {"max_storage": -1}}, {}, "", "ok", "1.0 MiB used"),
        ({"storage": 2**20, "limits": {"max_storage": 2**21}}, {}, "", "ok", "1.0 MiB used of 2.0 MiB"),
        ({"storage": 2**21, "limits": {"max_storage": 2**21}}, {}, "", "fail", "account is full: 2.0 MiB of"),
        ({}, {"S": FULL}, "", "fail", "S is full: 1.0 MiB"),
        ({}, {"S": {**FULL, "config": CONFIG}, "T": None}, "", "ok", "used"),
        ({}, {}, "write error: no space left on device", "fail", "takes no writes: write error"),
    ],
)
def test_room(account, streams, error, result, told):
    found = room_finding(account, streams, error)
    assert (found.result, told in found.text, bool(found.hint)) == (result, True, result == "fail")


def test_a_server_that_takes_no_writes_is_seen_without_one(tmp_path):
    """nats-server 2.15 after a full disk: its API says that all is well, also when there is room again."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("may not mount a small file system")
    monitor = free_port()

    async def fill(url):
        client = await nats.connect(url)
        js = client.jetstream(timeout=1)
        await js.add_stream(name="S", subjects=["s"])
        server_id = client._server_info["server_id"]
        assert write_error("127.0.0.1", server_id, monitor) == ""
        (disk / "ballast").write_bytes(b"x" * (shutil.disk_usage(disk).free - 1_000_000))
        with suppress(nats.errors.Error):
            while True:
                await js.publish("s", b"x" * 100_000)
        (disk / "ballast").unlink()
        await client.close()
        return server_id

    try:
        with RealNats(disk / "nats", None, "-m", str(monitor)) as server:
            server_id = asyncio.run(fill(server.url))
            assert "no space left" in write_error("127.0.0.1", server_id, monitor)
            assert write_error("127.0.0.1", "another server", monitor) == ""
        assert write_error("127.0.0.1", server_id, monitor) == ""
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_an_adapter_that_is_alive_and_writes_nothing_is_told():
    judged = adapter_finding(lease(age_s=60, **identity()))
    assert judged.result == "fail" and "has not written to NATS for 1m" in judged.text
    assert "restart nats-server" in judged.hint


def test_what_is_not_there_yet():
    assert stream_finding(None).result == bucket_finding(None).result == "warn"
    leaderless = {"config": CONFIG, "state": {"messages": 3, "bytes": 1}, "cluster": {"name": "c"}}
    assert "has no leader" in stream_finding(leaderless).text


def lease(age_s=1.0, **fields):
    at = now_utc() - timedelta(seconds=age_s)
    usual = {"pid": 1, "host": "h", "push": True, "waiting": 0, "interval_s": 2.0, "at": format_time(at)}
    return StackRow.read("s", dump_json({**usual, "last_reply": format_time(at), **fields}), at)


#: what a heartbeat tells that is not usual, the result, a part of the text
HEARTBEATS = (
    ({}, "ok", "push, 0 events waiting"),
    ({"push": False}, "ok", "poll 2.0s only"),
    ({"age_s": 60}, "warn", "no word for 1m"),
    ({"stopped": True}, "warn", "stopped 1."),
    ({**identity(), "pid": 2**22 + 1, "pid_started": 1}, "warn", "is dead"),
    ({"waiting": 5000}, "warn", "5000 events waiting"),
    ({"last_reply": "2025-10-16T16:26:18.123Z"}, "warn", "nothing from process-compose for "),
    ({"last_reply": None, "waiting": None}, "ok", "0 events waiting"),
)


@pytest.mark.parametrize(("fields", "result", "told"), HEARTBEATS, ids=range(len(HEARTBEATS)))
def test_adapters_by_their_heartbeats(fields, result, told):
    judged = adapter_finding(lease(**fields))
    assert (judged.result, told in judged.text) == (result, True), judged.text
    assert bool(judged.hint) == (result != "ok")


ALERTER = {"pid": 7, "host": "other", "open": 2, "failed": 0}


@pytest.mark.parametrize(
    ("fields", "age_s", "result", "told"),
    [
        ({}, 5, "ok", "ops: pid 7 on other, 2 open"),
        ({"stopped": True}, 300, "warn", "ops: pid 7 on other, stopped 5m ago"),
        ({**identity(), "pid": 2**22 + 1, "pid_started": 1}, 5, "warn", "is dead"),
        ({}, 60, "warn", "ops: pid 7 on other, no word for 1m"),
        ({"open": 0, "failed": 3}, 5, "warn", "0 open, 3 messages were taken by nobody"),
        ({"open": "x", "failed": None}, 5, "ok", "x open"),
    ],
)
def test_alerters_by_their_heartbeats(fields, age_s, result, told):
    at = now_utc() - timedelta(seconds=age_s)
    judged = alerter_finding(StackRow.read("ops", dump_json({**ALERTER, **fields}), at))
    assert (judged.result, told in judged.text, bool(judged.hint)) == (result, True, result == "warn"), judged


def test_nothing_is_there(capsys, tmp_path):
    words = [
        "--state-dir",
        str(tmp_path),
        "-p",
        str(free_port()),
        "--nats-url",
        f"nats://127.0.0.1:{free_port()}",
    ]
    assert cli.main(["doctor", *words]) == 1
    lines = capsys.readouterr().out.splitlines()
    results = [line.split()[0] for line in lines if not line.startswith(" ")]
    assert results == ["ok", "fail", "fail", "skip"]
    assert max(map(len, lines)) < 140


#: what is seen of an outbox that is not usual, the result, a part of the text, of the hint
OUTBOXES = (
    ({}, "ok", "s: /state/s.sqlite, 1.5 MB, pid 7 has it, 0 events wait, 5,000 MB free", ""),
    ({"waiting": 1234}, "ok", "1,234 events wait, the oldest 2m", ""),
    ({"held": False, "pid": None}, "ok", "no adapter has it, 0 events wait", ""),
    ({"held": False, "pid": None, "waiting": 1}, "warn", "1 event waits", "observe.py forget s"),
    ({"room": 1_000_000}, "warn", "1 MB free", "free some room on the disk of /state"),
    ({"trouble": "it is no database"}, "warn", "it is no database", "the adapter says"),
)


@pytest.mark.parametrize(("fields", "result", "told", "hint"), OUTBOXES, ids=range(len(OUTBOXES)))
def test_outboxes(fields, result, told, hint):
    now = now_utc()
    oldest = now - timedelta(minutes=2) if fields.get("waiting") else None
    usual = OutboxFacts(Path("/state/s.sqlite"), 1_500_000, 5_000_000_000, True, 7, "x", 0, oldest)
    found = outbox_finding("s", usual._replace(**fields), now)
    assert (found.result, told in found.text, hint in found.hint) == (result, True, True), found


def test_every_outbox_in_the_state_directory_is_looked_at(tmp_path):
    for stack in ("a", "b/c"):
        Outbox.open(tmp_path, stack, takeover=False, say=lambda *_: None).close()
    assert [one.facts["stack"] for one in outbox_findings(tmp_path)] == ["a", "b/c"]
    assert outbox_findings(tmp_path / "nowhere") == outbox_findings(None) == []


def test_with_nothing_named_the_adapter_starts_a_nats(capsys, monkeypatch):
    monkeypatch.setattr("observe_lib.settings.DEFAULT_NATS_URL", f"nats://127.0.0.1:{free_port()}")
    with StandIn([make_state("web")]) as stand_in:
        assert cli.main(["doctor", "--json", "-p", str(stand_in.port)]) == 0
    found = {one["check"]: one for one in map(json.loads, capsys.readouterr().out.splitlines())}
    assert found["nats"]["result"] == "warn"
    assert found["process-compose"]["processes"] == 1
    assert found["clock"]["result"] == "ok"


def test_a_server_without_jetstream(capsys, tmp_path):
    from tests.nats_server import RealNats

    with RealNats(tmp_path, jetstream=False) as nats, StandIn([make_state("web")]) as stand_in:
        assert cli.main(["doctor", "--nats-url", nats.url, "-p", str(stand_in.port)]) == 1
    out = capsys.readouterr().out
    assert "has no JetStream" in out
    assert "start it with -js" in out
    assert "skip  stream" in out
