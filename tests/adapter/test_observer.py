"""The observer's own events: what is told of process-compose, by what was told last."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from observe_lib.adapter.observer import ADAPTER, observer_event, source_answers, source_silent
from observe_lib.compose.state import ProcessState
from observe_lib.detect.known import Known, Run
from tests.stand_in import make_state

NOW = datetime(2026, 1, 5, 12, 0, 36, tzinfo=timezone.utc)
BEFORE = NOW - timedelta(seconds=36)

ALIVE = Known(ProcessState.from_raw(make_state("web", pid=7, process_start_time="")), run=Run(7, ""))
ENDING = replace(ALIVE, terminating=True)
ENDED = replace(ALIVE, ended=True)


def type_of(told):
    return told[0] if told else None


def extra_of(told):
    return observer_event("process-compose", told[0], NOW, **told[1]).extra


@pytest.mark.parametrize(
    "last, told",
    [
        (None, "started"),
        ("stopped", "started"),
        ("started", None),
        ("healthy", None),
        ("unhealthy", "healthy"),
    ],
)
def test_it_answers(last, told):
    found = source_answers(last, BEFORE, NOW)
    assert type_of(found) == told
    if told == "healthy":
        assert extra_of(found) == {"blind_seconds": 36.0}


@pytest.mark.parametrize(
    "last, known, told",
    [
        ("started", [ALIVE, ENDED], "unhealthy"),
        ("healthy", [ALIVE], "unhealthy"),
        ("started", [ENDED, ENDED], "stopped"),
        ("started", [ENDED, ENDING], "stopped"),
        ("started", [ENDING, ALIVE], "unhealthy"),
        ("started", [], "stopped"),
        ("unhealthy", [ALIVE], None),
        ("unhealthy", [ENDED], None),
        ("stopped", [ALIVE], None),
        (None, [ALIVE], None),
    ],
)
def test_it_does_not_answer(last, known, told):
    found = source_silent(last, "connection refused", BEFORE, known)
    assert type_of(found) == told
    if told:
        since = {"error": "connection refused", "since": "2026-01-05T12:00:00.000Z"}
        assert extra_of(found) == since


def test_never_answered_before_has_no_since():
    assert extra_of(source_silent("started", "why", None, [ALIVE])) == {"error": "why"}
    assert extra_of(source_answers("unhealthy", None, NOW)) == {}


def test_the_events_are_the_observers_own():
    event = observer_event(ADAPTER, "started", NOW, last_alive="2026-01-05T11:00:00.000Z", absent=None)
    assert event.of_observer and event.subject == "core.process._observe.adapter.started"
    assert event.to_dict() == {
        "type": "started",
        "process": "adapter",
        "namespace": "_observe",
        "timestamp": "2026-01-05T12:00:36.000Z",
        "subject": "core.process._observe.adapter.started",
        "severity": "info",
        "schema": 1,
        "observed_at": "2026-01-05T12:00:36.000Z",
        "last_alive": "2026-01-05T11:00:00.000Z",
    }


@pytest.mark.parametrize(
    "told, severity", [("unhealthy", "warning"), ("healthy", "info"), ("stopped", "info")]
)
def test_severity(told, severity):
    assert observer_event("process-compose", told, NOW).severity == severity
