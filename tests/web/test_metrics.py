"""The OpenMetrics page: what is said of each process and stack, what is left out, and that it can be read."""

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from observe_lib.reader.states import StackRow, States
from observe_lib.rows import Place, ProcessRow
from observe_lib.web.metrics import metrics_text
from tests.reader.test_states import T0, WEB

UP = ProcessRow(WEB, status="Running", alive=True, health="Ready", restarts=3, crashes=5, pid=7)
DOWN = ProcessRow(Place("host-a", "default", "job"), status="Completed")
STACK = StackRow("host-a", beat_at=T0 - timedelta(seconds=4.5), lease={"pid": 1})
BOTH = States({UP.place: UP, DOWN.place: DOWN}, {"host-a": STACK})


def samples(states: States) -> dict[tuple[str, str], float]:
    """Return value by (name, process or stack), as Prometheus' own parser reads the page."""
    text = metrics_text(states, T0)
    assert text.endswith("# EOF\n")
    return {
        (one.name.removeprefix("observe_"), one.labels.get("process", one.labels["stack"])): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def test_what_is_said_of_processes_and_stacks():
    assert samples(BOTH) == {
        ("process_up", "web"): 1,
        ("process_expected", "web"): 1,
        ("process_expected", "job"): 0,
        ("process_healthy", "web"): 1,
        ("process_restarts_total", "web"): 3,
        ("process_restarts_total", "job"): 0,
        ("process_crashes_total", "web"): 5,
        ("process_crashes_total", "job"): 0,
        ("source_up", "host-a"): 1,
        ("adapter_heartbeat_age_seconds", "host-a"): 4.5,
    }


def test_no_digit_is_rounded_away():
    busy = UP._replace(restarts=1_234_567, crashes=10**15 + 1)
    late = replace(STACK, beat_at=T0 - timedelta(days=40, seconds=0.125))
    found = samples(States({WEB: busy}, {"host-a": late}))
    assert found["process_restarts_total", "web"] == 1_234_567
    assert found["process_crashes_total", "web"] == 10**15 + 1
    assert found["adapter_heartbeat_age_seconds", "host-a"] == 40 * 86400 + 0.125


def test_of_a_stack_that_is_not_heard_of_only_what_is_past_is_said():
    silent = replace(STACK, beat_at=T0 - timedelta(seconds=100))
    found = samples(States(BOTH.rows, {"host-a": silent}))
    assert not {"process_up", "process_expected", "process_healthy"} & {name for name, _ in found}
    assert found["process_restarts_total", "web"] == 3
    assert found["source_up", "host-a"] == 0
    assert found["adapter_heartbeat_age_seconds", "host-a"] == 100


def test_process_compose_away():
    away = replace(STACK, lease={"source": "unhealthy"})
    found = samples(States(BOTH.rows, {"host-a": away}))
    assert found["source_up", "host-a"] == 0
    assert ("process_up", "web") not in found


def test_unhealthy_is_0_and_no_health_is_absent():
    sick = UP._replace(health="Not Ready")
    assert samples(States({WEB: sick}, {"host-a": STACK}))["process_healthy", "web"] == 0
    plain = UP._replace(health="-")
    assert ("process_healthy", "web") not in samples(States({WEB: plain}, {"host-a": STACK}))


EXPECTED = [
    (dict(status="Running", alive=True), 1, 1),
    (dict(status="Terminating", alive=True), 1, 1),
    (dict(status="Running", alive=True, health="Not Ready"), 1, 1),
    (dict(status="Completed", reason="exit", exit_code=3), 1, 0),
    (dict(status="Restarting", reason="exit", exit_code=3), 1, 0),
    (dict(status="Restarting", reason="completed", exit_code=0, ended_well=True), 1, 0),
    (dict(status="Error", reason="launch_failed"), 1, 0),
    (dict(status="Completed", reason="completed", exit_code=0, ended_well=True), 0, None),
    (dict(status="Completed", reason="requested", exit_code=1), 0, None),
    (dict(status="Completed", reason="terminated", exit_code=143), 0, None),
    (dict(status="Disabled"), 0, None),
    (dict(status="Pending"), 0, None),
    (dict(status="Skipped"), 0, None),
    (dict(status="Scheduled", reason="completed", exit_code=0, ended_well=True), 0, None),
    (dict(status="Scheduled", reason="exit", exit_code=1), 0, None),
    (dict(status="Scheduled", alive=True), 1, 1),
]


@pytest.mark.parametrize("fields, expected, up", EXPECTED, ids=str)
def test_up_is_0_only_of_what_should_run(fields: dict[str, Any], expected: int, up: int | None) -> None:
    found = samples(States({WEB: ProcessRow(WEB, **fields)}, {"host-a": STACK}))
    assert (found["process_expected", "web"], found.get(("process_up", "web"))) == (expected, up)


def test_names_cannot_break_out_of_their_quotes():
    evil = Place('a"b\\c\nd', "x} 1\n", '"} 2')
    families = text_string_to_metric_families(metrics_text(States({evil: UP._replace(place=evil)}, {}), T0))
    places = {tuple(one.labels.values()) for family in families for one in family.samples}
    assert places == {tuple(evil)}


def test_names_follow_the_conventions():
    families = list(text_string_to_metric_families(metrics_text(BOTH, T0)))
    assert len(families) == len({family.name for family in families}) == 7
    for family in families:
        assert re.fullmatch(r"observe_[a-z_]+[a-z]", family.name) and family.documentation.endswith(".")
        assert (family.unit == "seconds") == family.name.endswith("_seconds")
        total = {one.name.endswith("_total") for one in family.samples}
        assert total == {family.type == "counter"} and family.type in ("counter", "gauge")


def test_nothing_known_is_an_empty_page():
    assert samples(States()) == {}
