"""What doctor says of alerters: a table of cases."""

from datetime import datetime, timedelta

import pytest

from observe_lib.broker.lease import identity
from observe_lib.doctor.alerters import alerter_finding
from observe_lib.reader.alerters import AlerterRecord, pack_state, unpack_state
from observe_lib.times import UTC

NOW = datetime(2025, 10, 16, 12, 0, 0, tzinfo=UTC)
ELSEWHERE = {"pid": 7, "host": "other"}
STATE = {
    "receivers": {"webhook": {"troubles": [{}, {}], "failed": 0}, "exec": {"troubles": [{}], "failed": 0}}
}


def failing(count: int) -> dict:
    return {"receivers": {"webhook": {"troubles": [], "failed": count}}}


@pytest.mark.parametrize(
    ("state", "lease", "age_s", "result", "text"),
    [
        (STATE, ELSEWHERE, 5, "ok", "ops: pid 7 on other, 2 open"),
        (STATE, {**ELSEWHERE, "stopped": True}, 300, "warn", "ops: pid 7 on other, stopped 5m ago"),
        (STATE, {**identity(), "pid": 999999999, "pid_started": 1}, 5, "warn", "is dead: nobody is told"),
        (STATE, {}, 5, "warn", "is dead: nobody is told"),
        (STATE, ELSEWHERE, 60, "warn", "ops: pid 7 on other, no word for 1m"),
        (failing(3), ELSEWHERE, 5, "warn", "0 open, 3 messages were taken by nobody"),
        ({"receivers": [1]}, ELSEWHERE, 5, "ok", "0 open"),
        ({"receivers": {"a": 3, "b": {"troubles": "x", "failed": "y"}}}, ELSEWHERE, 5, "ok", "0 open"),
    ],
)
def test_what_is_said_of_an_alerter(state, lease, age_s, result, text):
    record = AlerterRecord("ops", state, lease, NOW - timedelta(seconds=age_s))
    found = alerter_finding(record, NOW)
    assert (found.result, text in found.text) == (result, True), found
    assert bool(found.hint) == (result == "warn")


def test_a_large_state_is_compressed_and_reads_back():
    small, large = {"a": 1}, {"troubles": ["x" * 100] * 20_000}
    assert unpack_state(pack_state(small)) == small
    assert unpack_state(pack_state(large)) == large and len(pack_state(large)) < 100_000
    for nonsense in (b"", b"x", b"[1]", b"\x78\x9c\x00", b"{"):
        assert unpack_state(nonsense) is None
