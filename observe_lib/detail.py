"""What an event says in words, beyond its type: one small pure function per type.
For people only: programs read the event's fields. Control characters are the screen's business.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

from .events import Event, EventType
from .times import format_duration

#: prints an RFC 3339 time as the screen shows it
Clock = Callable[[str], str]

_COLOUR_SEQUENCE = re.compile(r"\x1b\[[0-9;:]*m")


def detail(event: Event, clock: Clock) -> str:
    """Return in words what an event says beyond its type; `clock` prints the times in it."""
    words = _OBSERVER_WORDS if event.of_observer else _WORDS
    text = words.get(event.type, _other_words)(event, clock)
    if event.count > 1:
        text = f"{event.count} times, last: {text}" if text else f"{event.count} times"
    if event.inferred:
        text += _not_before(event, clock) + " (inferred)"
    return (text + _last_log_line(event)).strip()


def _started_words(event: Event, clock: Clock) -> str:
    parts = [_pid_words(event), "found running" if event.initial else ""]
    if event.initial and event.restarts:
        parts.append(f"{event.restarts} restart{'s' * (event.restarts != 1)} before")
    return _comma_joined(parts)


def _restarted_words(event: Event, clock: Clock) -> str:
    # process-compose keeps the last run's exit code after its own restarts, and zeroes it after a manual one
    code = _state_int(event, "exit_code")
    if code and event.restarts:
        return _comma_joined([f"restart {event.restarts} after exit {code}", _pid_words(event)])
    return _comma_joined([_pid_words(event), f"restarts {event.restarts}" if event.restarts else ""])


def _stopped_words(event: Event, clock: Clock) -> str:
    after = _after_words(event)
    if event.reason == "requested":
        return _comma_joined(["requested", after.strip()])
    if event.reason == "replaced":
        return f"replaced by another run{after}"
    if event.reason == "removed":
        return f"removed{after}"
    if event.reason == "terminated":
        return (f"terminated ({event.exit_code})" if event.exit_code is not None else "terminated") + after
    return _exit_words(event)


def _crashed_words(event: Event, clock: Clock) -> str:
    after, code = _after_words(event), event.exit_code
    if event.reason == "probe":
        return f"killed by its readiness probe{after}"
    if event.reason == "launch_failed":
        return "could not be launched"
    if event.reason == "killed":
        return (
            f"killed by signal {code - 128}" if code is not None and code > 128 else "killed by a signal"
        ) + after
    return _exit_words(event)


def _healthy_words(event: Event, clock: Clock) -> str:
    return _health_words(event, "Ready", "Not Ready")


def _unhealthy_words(event: Event, clock: Clock) -> str:
    return _health_words(event, "Not Ready", "Ready")


def _health_words(event: Event, now: str, before: str) -> str:
    was = _finite(event.extra.get("was_seconds"))
    text = event.health or now
    return (
        f"found {text}"
        if event.initial
        else text + (f", was {before} for {format_duration(was)}" if was else "")
    )


def _status_words(event: Event, clock: Clock) -> str:
    if event.renamed_to:
        return f"renamed to {event.renamed_to}"
    if event.renamed_from:
        return f"renamed from {event.renamed_from}"
    new = event.new_status or str((event.state or {}).get("status", ""))
    if event.initial or not event.old_status:
        code = _state_int(event, "exit_code") if new == "Completed" else None
        return _comma_joined(
            [f"found {new}" if event.initial else new, "" if code is None else f"exit {code}"]
        )
    return f"{event.old_status} -> {new}"


def _other_words(event: Event, clock: Clock) -> str:
    change = f"{event.old_status} -> {event.new_status}" if event.old_status and event.new_status else ""
    return _comma_joined([event.reason or "", change, _exit_words(event)])


def _observer_started(event: Event, clock: Clock) -> str:
    alive = _extra_time(event, "last_alive", clock)
    if event.process == "adapter":
        return f"after a kill, last alive {alive}" if alive else "watching"
    return "answers"


def _observer_stopped(event: Event, clock: Clock) -> str:
    return "stopped" if event.process == "adapter" else "gone, as everything in it had ended"


def _observer_unhealthy(event: Event, clock: Clock) -> str:
    error, since = event.extra.get("error"), _extra_time(event, "since", clock)
    since = f"since {since}" if since and since != clock(event.timestamp) else ""
    return _comma_joined([f"no answer: {error}" if isinstance(error, str) and error else "no answer", since])


def _observer_healthy(event: Event, clock: Clock) -> str:
    blind = _finite(event.extra.get("blind_seconds"))
    span = "" if blind is None else format_duration(float(round(blind))).replace(".0s", "s")
    return _comma_joined(["answers again", f"blind for {span}" if span else ""])


_WORDS: dict[str, Callable[[Event, Clock], str]] = {
    EventType.STARTED: _started_words,
    EventType.RESTARTED: _restarted_words,
    EventType.STOPPED: _stopped_words,
    EventType.CRASHED: _crashed_words,
    EventType.HEALTHY: _healthy_words,
    EventType.UNHEALTHY: _unhealthy_words,
    EventType.STATUS_CHANGED: _status_words,
}
_OBSERVER_WORDS: dict[str, Callable[[Event, Clock], str]] = {
    EventType.STARTED: _observer_started,
    EventType.STOPPED: _observer_stopped,
    EventType.HEALTHY: _observer_healthy,
    EventType.UNHEALTHY: _observer_unhealthy,
}


def _comma_joined(parts: Iterable[str]) -> str:
    return ", ".join(part for part in parts if part)


def _finite(value: Any) -> float | None:
    return (
        float(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e12
        else None
    )


def _state_int(event: Event, name: str) -> int | None:
    value = _finite((event.state or {}).get(name))
    return None if value is None else int(value)


def _pid_words(event: Event) -> str:
    pid = _state_int(event, "pid")
    return f"pid {pid}" if pid else ""


def _after_words(event: Event) -> str:
    seconds = _finite(event.run_seconds)
    return "" if seconds is None else f" after {format_duration(max(seconds, 0.0))}"


def _exit_words(event: Event) -> str:
    return (
        f"exit {event.exit_code}{_after_words(event)}"
        if event.exit_code is not None
        else _after_words(event).strip()
    )


def _extra_time(event: Event, name: str, clock: Clock) -> str:
    text = event.extra.get(name)
    return clock(text) if isinstance(text, str) and text else ""


def _not_before(event: Event, clock: Clock) -> str:
    start = _extra_time(event, "not_before", clock)
    return f", between {start} and {clock(event.timestamp)}" if start else ""


def _last_log_line(event: Event) -> str:
    """Return the last line that a crashed process logged; a probe's kill is told in words already."""
    if event.type != EventType.CRASHED or event.reason == "probe":
        return ""
    lines = (_COLOUR_SEQUENCE.sub("", line).strip() for line in reversed(event.log_tail or []))
    last = next((line for line in lines if line), "")
    return f": {last}" if last else ""
