import json
import os
from datetime import timedelta
from pathlib import Path

import pytest

from observe_lib import cli
from observe_lib.adapter.outbox import Outbox
from observe_lib.adapter.outbox_facts import OutboxFacts
from observe_lib.broker.lease import identity
from observe_lib.doctor.findings import Finding, clock_finding
from observe_lib.doctor.nats import _adapter_finding, _bucket_finding, _stream_finding
from observe_lib.doctor.outbox import outbox_finding, outbox_findings
from observe_lib.events import dump_json
from observe_lib.rows import StackRow
from observe_lib.times import format_time, now_utc
from tests.nats_server import free_port
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
    found = Finding("ok", "nats", "there", facts=(("rtt_ms", 1.5),)).to_dict()
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
    found = _stream_finding({"config": {**CONFIG, **change}, "state": {"messages": 3, "bytes": 2**20}})
    assert (found.result, told in found.text) == (result, True)
    assert "3 events, 1.0 MiB" in found.text


def test_what_is_not_there_yet():
    assert _stream_finding(None).result == _bucket_finding(None).result == "warn"
    leaderless = {"config": CONFIG, "state": {"messages": 3, "bytes": 1}, "cluster": {"name": "c"}}
    assert "has no leader" in _stream_finding(leaderless).text


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
    judged = _adapter_finding(lease(**fields))
    assert (judged.result, told in judged.text) == (result, True), judged.text
    assert bool(judged.hint) == (result != "ok")


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
    assert results == ["ok", "ok", "ok", "fail", "fail", "skip"]
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
    assert [dict(one.facts)["stack"] for one in outbox_findings(tmp_path)] == ["a", "b/c"]
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
