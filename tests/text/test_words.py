import pytest

from observe_lib.events import Event
from observe_lib.subjects import observer_subject
from observe_lib.text.words import detail

AT = "2025-10-16T10:42:20.000Z"


def say(event_type, **fields):
    event = Event(type=event_type, process="api", namespace="shop", timestamp=AT, **fields)
    return detail(event, lambda text: text[11:19])


def observe(process, event_type, **extra):
    subject = observer_subject(process, event_type)
    event = Event(event_type, process, "_observe", AT, subject, extra=extra)
    return detail(event, lambda text: text[11:19])


@pytest.mark.parametrize(
    ("event_type", "fields", "text"),
    [
        ("started", {"state": {"pid": 7}}, "pid 7"),
        ("started", {"state": {"pid": 7}, "initial": True}, "pid 7, found running"),
        ("started", {"initial": True, "restarts": 1}, "found running, 1 restart before"),
        (
            "started",
            {"state": {"pid": 7}, "initial": True, "restarts": 3},
            "pid 7, found running, 3 restarts before",
        ),
        ("started", {"state": {"pid": 7}, "count": 3}, "3 times, last: pid 7"),
        ("started", {"inferred": True, "count": 2}, "2 times (inferred)"),
        ("started", {}, ""),
        (
            "restarted",
            {"restarts": 4, "state": {"pid": 7, "exit_code": 1}},
            "restart 4, pid 7, after exit 1",
        ),
        ("restarted", {"restarts": 3, "state": {"pid": 7, "exit_code": 0}}, "pid 7, 3 restarts before"),
        ("restarted", {"restarts": 3}, ""),  # as a row has it
        (
            "restarted",
            {"restarts": 3, "state": {"pid": 7, "exit_code": -1}, "extra": {"after": "probe"}},
            "restart 3, pid 7, after its probe killed it",
        ),
        (
            "restarted",
            {"restarts": 3, "state": {"pid": 7, "exit_code": 0}, "extra": {"after": "probe"}},
            "restart 3, pid 7, after its probe killed it",
        ),
        (
            "restarted",
            {"restarts": 3, "state": {"pid": 7, "exit_code": -1}},
            "restart 3, pid 7, after a signal killed it",
        ),
        (
            "restarted",
            {"restarts": 3, "state": {"pid": 7, "exit_code": 137}},
            "restart 3, pid 7, after signal 9 killed it",
        ),
        ("restarted", {"state": {"pid": 7, "exit_code": 0}}, "pid 7"),
        (
            "restarted",
            {"restarts": 6, "state": {"pid": 7, "exit_code": 1}, "inferred": True},
            "restart 6, pid 7, after exit 1 (inferred)",
        ),
        ("stopped", {"reason": "requested", "run_seconds": 50.2}, "on request, ran 50.2s"),
        ("stopped", {"reason": "requested", "exit_code": 143}, "on request"),
        ("stopped", {"reason": "completed", "exit_code": 0, "run_seconds": 1.2}, "exit 0 after 1.2s"),
        ("stopped", {"reason": "replaced", "inferred": True}, "replaced by another run (inferred)"),
        ("stopped", {"reason": "removed"}, "removed"),
        (
            "stopped",
            {"reason": "terminated", "exit_code": 143, "run_seconds": 100},
            "terminated (143) after 1m40s",
        ),
        ("stopped", {"reason": "a later one", "exit_code": 9}, "exit 9"),
        ("stopped", {}, ""),
        ("crashed", {"reason": "exit", "exit_code": 1, "run_seconds": 27}, "exit 1 after 27.0s"),
        (
            "crashed",
            {"reason": "exit", "exit_code": 1, "log_tail": ["a", "\x1b[31mbind: in use\x1b[0m", " "]},
            "exit 1: bind: in use",
        ),
        (
            "crashed",
            {"reason": "probe", "run_seconds": 41, "exit_code": -1, "log_tail": ["x"]},
            "killed by its readiness probe after 41.0s",
        ),
        (
            "crashed",
            {"reason": "killed", "exit_code": 137, "run_seconds": 2},
            "killed by signal 9 after 2.0s",
        ),
        ("crashed", {"reason": "killed", "exit_code": -1}, "killed by a signal"),
        (
            "crashed",
            {"reason": "launch_failed", "log_tail": ["no such file"]},
            "could not be launched: no such file",
        ),
        (
            "crashed",
            {"reason": "exit", "exit_code": 2, "count": 3, "inferred": True},
            "3 times, last: exit 2 (inferred)",
        ),
        (
            "crashed",
            {
                "reason": "exit",
                "exit_code": 1,
                "inferred": True,
                "extra": {"not_before": "2025-10-16T10:42:08Z"},
            },
            "exit 1, between 10:42:08 and 10:42:20 (inferred)",
        ),
        ("crashed", {"exit_code": 1, "run_seconds": float("nan")}, "exit 1"),
        ("crashed", {"exit_code": 1, "run_seconds": -5}, "exit 1 after 0.0s"),
        ("healthy", {}, "Ready"),
        ("healthy", {"health": "Ready", "initial": True}, "found Ready"),
        ("healthy", {"extra": {"was_seconds": 3}}, "Ready, was Not Ready for 3.0s"),
        (
            "unhealthy",
            {"health": "Not Ready", "extra": {"was_seconds": 39}},
            "Not Ready, was Ready for 39.0s",
        ),
        ("unhealthy", {"extra": {"was_seconds": "39"}}, "Not Ready"),
        ("unhealthy", {"starting": True}, "starting: Not Ready yet"),
        ("unhealthy", {"starting": True, "initial": True}, "starting: Not Ready yet"),
        ("status_changed", {"old_status": "Running", "new_status": "Terminating"}, "Running -> Terminating"),
        (
            "status_changed",
            {"new_status": "Completed", "initial": True, "state": {"exit_code": 0}},
            "found Completed, exit 0",
        ),
        (
            "status_changed",
            {"initial": True, "state": {"status": "Skipped", "exit_code": 1}},
            "found Skipped",
        ),
        ("status_changed", {"renamed_to": "pool-0", "old_status": "Running"}, "renamed to pool-0"),
        ("status_changed", {"renamed_from": "pool"}, "renamed from pool"),
        ("throttled", {"reason": "cpu", "old_status": "A", "new_status": "B"}, "cpu, A -> B"),
        ("throttled", {"exit_code": 3}, "exit 3"),
        ("throttled", {}, ""),
    ],
)
def test_what_an_event_says(event_type, fields, text):
    assert say(event_type, **fields) == text


@pytest.mark.parametrize(
    ("process", "event_type", "extra", "text"),
    [
        ("process-compose", "started", {}, "answers"),
        ("process-compose", "unhealthy", {"error": "connection refused"}, "no answer: connection refused"),
        (
            "process-compose",
            "unhealthy",
            {"error": "timed out", "since": "2025-10-16T10:42:10Z"},
            "no answer: timed out, since 10:42:10",
        ),
        ("process-compose", "unhealthy", {"error": 5, "since": AT}, "no answer"),
        ("process-compose", "healthy", {"blind_seconds": 35.6}, "answers again, not seen for 36s"),
        ("process-compose", "healthy", {"blind_seconds": 3600.2}, "answers again, not seen for 1h"),
        ("process-compose", "healthy", {"blind_seconds": None}, "answers again"),
        ("process-compose", "stopped", {}, "gone, as everything in it had ended"),
        ("adapter", "started", {}, "watching"),
        ("adapter", "started", {"last_alive": "2025-10-16T10:42:00Z"}, "after a kill, last alive 10:42:00"),
        ("adapter", "stopped", {}, "watches no more"),
        ("adapter", "paused", {}, ""),
    ],
)
def test_what_the_observer_says_of_itself(process, event_type, extra, text):
    assert observe(process, event_type, **extra) == text
