"""The OpenMetrics page: what is said of each process and stack, what is left out, and that it can be read."""

import re
from dataclasses import replace
from datetime import timedelta

from observe_lib.reader.states import StackRow, States
from observe_lib.rows import Place, ProcessRow
from observe_lib.web.metrics import metrics_text
from tests.reader.test_states import T0, WEB

SAMPLE = re.compile(r'([a-z_]+)\{((?:[a-z]+="(?:[^"\\\n]|\\[\\"n])*",?)*)\} (-?[0-9.e+]+)')

UP = ProcessRow(WEB, status="Running", alive=True, health="Ready", restarts=3, crashes=5, pid=7)
DOWN = ProcessRow(Place("host-a", "default", "job"), status="Completed")
STACK = StackRow("host-a", beat_at=T0 - timedelta(seconds=4.5), lease={"pid": 1})
BOTH = States({UP.place: UP, DOWN.place: DOWN}, {"host-a": STACK})


def samples(states: States) -> dict[tuple[str, str], float]:
    """Return value by (name, process or stack); every line has to be one that the format knows."""
    text = metrics_text(states, T0)
    lines = text.split("\n")
    assert lines[-2:] == ["# EOF", ""]
    found = {}
    for line in lines[:-2]:
        if line.startswith("# "):
            assert re.match(r"# (TYPE|HELP|UNIT) [a-z_]+ .+", line)
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        labels = dict(re.findall(r'([a-z]+)="((?:[^"\\]|\\.)*)"', match[2]))
        found[match[1].removeprefix("observe_"), labels.get("process", labels["stack"])] = float(match[3])
    return found


def test_what_is_said_of_processes_and_stacks():
    assert samples(BOTH) == {
        ("process_up", "web"): 1,
        ("process_up", "job"): 0,
        ("process_healthy", "web"): 1,
        ("process_restarts_total", "web"): 3,
        ("process_restarts_total", "job"): 0,
        ("process_crashes_total", "web"): 5,
        ("process_crashes_total", "job"): 0,
        ("source_up", "host-a"): 1,
        ("adapter_heartbeat_age_seconds", "host-a"): 4.5,
    }


def test_no_digit_is_rounded_away():
    busy = replace(UP, restarts=1_234_567, crashes=10**15 + 1)
    late = replace(STACK, beat_at=T0 - timedelta(days=40, seconds=0.125))
    found = samples(States({WEB: busy}, {"host-a": late}))
    assert found["process_restarts_total", "web"] == 1_234_567
    assert found["process_crashes_total", "web"] == 10**15 + 1
    assert found["adapter_heartbeat_age_seconds", "host-a"] == 40 * 86400 + 0.125


def test_of_a_stack_that_is_not_heard_of_only_what_is_past_is_said():
    silent = replace(STACK, beat_at=T0 - timedelta(seconds=100))
    found = samples(States(BOTH.rows, {"host-a": silent}))
    assert not [name for name, _ in found if name in ("process_up", "process_healthy")]
    assert found["process_restarts_total", "web"] == 3
    assert found["source_up", "host-a"] == 0
    assert found["adapter_heartbeat_age_seconds", "host-a"] == 100


def test_process_compose_away():
    away = replace(STACK, lease={"source": "unhealthy"})
    found = samples(States(BOTH.rows, {"host-a": away}))
    assert found["source_up", "host-a"] == 0
    assert ("process_up", "web") not in found


def test_unhealthy_is_0_and_no_health_is_absent():
    sick = replace(UP, health="Not Ready")
    assert samples(States({WEB: sick}, {"host-a": STACK}))["process_healthy", "web"] == 0
    plain = replace(UP, health="-")
    assert ("process_healthy", "web") not in samples(States({WEB: plain}, {"host-a": STACK}))


def test_names_cannot_break_out_of_their_quotes():
    evil = Place('a"b\\c\nd', "x} 1\n", '"} 2')
    found = samples(States({evil: replace(UP, place=evil)}, {}))
    assert {name for _, name in found} == {'\\"} 2'}


def test_types_and_help_come_once_per_family_before_its_samples():
    text = metrics_text(BOTH, T0)
    types = re.findall(r"# TYPE ([a-z_]+) (\w+)", text)
    assert len(types) == len({name for name, _ in types}) == 6
    assert ("observe_process_restarts", "counter") in types
    assert "# UNIT observe_adapter_heartbeat_age_seconds seconds\n" in text


def test_nothing_known_is_an_empty_page():
    assert samples(States()) == {}
