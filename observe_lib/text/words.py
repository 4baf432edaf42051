"""What an event says in words, beyond its type: one small pure function per kind of event.
For people only: programs read the event's fields. Control characters are the screen's business.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..crash_line import telling_line
from ..events import Event, EventType
from ..times import format_duration

#: prints an RFC 3339 time as the screen shows it
Clock = Callable[[str], str]


def detail(event: Event, clock: Clock) -> str:
    """Return in words what an event says beyond its type; `clock` prints the times in it."""
    words = _OBSERVER_WORDS if event.of_observer else _WORDS
    text = words.get(event.type, _other_words)(event, clock)
    if event.count > 1:
        text = f"{event.count} times, last: {text}" if text else f"{event.count} times"
    if event.inferred:
        start = _extra_time(event, "not_before", clock)
        text += f", between {start} and {clock(event.timestamp)}" if start else ""
        text += " (inferred)"
    return (text + _last_log_line(event)).strip()


def _started_words(event: Event, clock: Clock) -> str:
    if not event.initial:
        return _pid_words(event)
    return _comma_joined(_pid_words(event), "found running", _restarts_before(event))


def _restarted_words(event: Event, clock: Clock) -> str:
    # process-compose keeps the last run's exit code after its own restarts, and zeroes it after a manual one
    code, pid = _state_int(event, "exit_code"), _pid_words(event)
    if event.restarts and (code or event.extra.get("after") == "probe"):
        return _comma_joined(f"restart {event.restarts}", pid, f"after {_cause_words(event, code)}")
    # a row's last event has no state: of how many restarts were the policy's nothing can be said
    return _comma_joined(pid, _restarts_before(event) if event.state else "")


def _cause_words(event: Event, code: int | None) -> str:
    if event.extra.get("after") == "probe":
        return "its probe killed it"
    if code is None or 0 < code <= 128:
        return f"exit {code}"
    return f"signal {code - 128} killed it" if code > 128 else "a signal killed it"


def _restarts_before(event: Event) -> str:
    return f"{event.restarts} restart{'s' * (event.restarts != 1)} before" if event.restarts else ""


def _end_words(event: Event, clock: Clock) -> str:
    code, seconds = event.exit_code, _finite(event.run_seconds)
    ran = "" if seconds is None else format_duration(max(seconds, 0.0))
    if event.reason == "requested":
        return _comma_joined("on request", f"ran {ran}" if ran else "")
    ends = {
        "replaced": "replaced by another run",
        "removed": "removed",
        "terminated": "terminated" if code is None else f"terminated ({code})",
        "probe": "killed by its readiness probe",
        "launch_failed": "could not be launched",
        "killed": f"killed by signal {code - 128}"
        if code is not None and code > 128
        else "killed by a signal",
    }
    exited = "" if code is None else f"exit {code}"
    return f"{ends.get(event.reason or '', exited)}{f' after {ran}' if ran else ''}".strip()


def _health_words(event: Event, clock: Clock) -> str:
    now, before = ("Ready", "Not Ready") if event.type == EventType.HEALTHY else ("Not Ready", "Ready")
    now, was_s = event.health or now, _finite(event.extra.get("was_seconds"))
    if event.starting and event.type == EventType.UNHEALTHY:
        return f"starting: {now} yet"
    if event.initial:
        return f"found {now}"
    return _comma_joined(now, f"was {before} for {format_duration(was_s)}" if was_s else "")


def _status_words(event: Event, clock: Clock) -> str:
    if event.renamed_to:
        return f"renamed to {event.renamed_to}"
    if event.renamed_from:
        return f"renamed from {event.renamed_from}"
    new = event.new_status or str((event.state or {}).get("status", ""))
    if event.old_status and not event.initial:
        return f"{event.old_status} -> {new}"
    code = _state_int(event, "exit_code") if new == "Completed" else None
    return _comma_joined(f"found {new}" if event.initial else new, "" if code is None else f"exit {code}")


def _other_words(event: Event, clock: Clock) -> str:
    change = f"{event.old_status} -> {event.new_status}" if event.old_status and event.new_status else ""
    return _comma_joined(event.reason or "", change, _end_words(replace(event, reason=None), clock))


def _observer_started(event: Event, clock: Clock) -> str:
    if event.process != "adapter":
        return "answers"
    alive = _extra_time(event, "last_alive", clock)
    return f"after a kill, last alive {alive}" if alive else "watching"


def _observer_stopped(event: Event, clock: Clock) -> str:
    return "watches no more" if event.process == "adapter" else "gone, as everything in it had ended"


def _observer_unhealthy(event: Event, clock: Clock) -> str:
    error, since = event.extra.get("error"), _extra_time(event, "since", clock)
    said = f"no answer: {error}" if isinstance(error, str) and error else "no answer"
    return _comma_joined(said, f"since {since}" if since and since != clock(event.timestamp) else "")


def _observer_healthy(event: Event, clock: Clock) -> str:
    unseen_s = _finite(event.extra.get("blind_seconds"))
    if unseen_s is None:
        return "answers again"
    return f"answers again, not seen for {format_duration(round(unseen_s)).replace('.0s', 's')}"


_WORDS: dict[str, Callable[[Event, Clock], str]] = {
    EventType.STARTED: _started_words,
    EventType.RESTARTED: _restarted_words,
    EventType.STOPPED: _end_words,
    EventType.CRASHED: _end_words,
    EventType.HEALTHY: _health_words,
    EventType.UNHEALTHY: _health_words,
    EventType.STATUS_CHANGED: _status_words,
}
_OBSERVER_WORDS: dict[str, Callable[[Event, Clock], str]] = {
    EventType.STARTED: _observer_started,
    EventType.STOPPED: _observer_stopped,
    EventType.HEALTHY: _observer_healthy,
    EventType.UNHEALTHY: _observer_unhealthy,
}


def _comma_joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _finite(value: Any) -> float | None:
    """Return a number that can be shown; what others sent may be anything."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 1e12 else None


def _state_int(event: Event, name: str) -> int | None:
    value = _finite((event.state or {}).get(name))
    return None if value is None else int(value)


def _pid_words(event: Event) -> str:
    pid = _state_int(event, "pid")
    return f"pid {pid}" if pid else ""


def _extra_time(event: Event, name: str, clock: Clock) -> str:
    text = event.extra.get(name)
    return clock(text) if isinstance(text, str) and text else ""


def _last_log_line(event: Event) -> str:
    """Return the log line that tells why a process crashed; a probe's kill is told in words already."""
    if event.type != EventType.CRASHED or event.reason == "probe":
        return ""
    why = event.extra.get("why")  # as a row has it, which has no log
    line = telling_line(event.log_tail or ()) or (why if isinstance(why, str) else "")
    return f": {line}" if line else ""
