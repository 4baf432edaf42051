"""What is sent: the JSON that Alertmanager sends to a webhook, version 4, field by field; and its one line.
Pure; the texts of processes, logs included, come from others.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ..crash_line import telling_line
from ..rows import Place
from ..times import format_duration, format_time, parse_time
from .trouble import SEVERITIES, Notice, OpenTrouble, Rules

#: Alertmanager's word for a time that is not known yet
NO_TIME = "0001-01-01T00:00:00Z"
#: of so many crashes of one message the log's end goes along
LOGS = 20
#: so many names stand in one line
NAMES = 3
#: the payload's version, of Alertmanager's documentation
WEBHOOK_VERSION = "4"

LogOf = Callable[[OpenTrouble], Sequence[str]]


def payload_of(
    notice: Notice,
    troubles: Mapping[Place, OpenTrouble],
    rules: Rules,
    *,
    receiver: str,
    link: str = "",
    log_of: LogOf = lambda trouble: (),
) -> dict[str, Any]:
    """Return the message; `link` is the address that leads back here, "" for none."""
    told = [troubles[place] for place in notice.places if place in troubles]
    alerts = [
        _alert(one, notice, log_of(one) if at < LOGS and notice.status == "firing" else (), link)
        for at, one in enumerate(told)
    ]
    if notice.held:
        alerts = [_held_alert(notice, rules, link)]
    return envelope(alerts, notice.status, notice.group, receiver, link)


def envelope(
    alerts: Sequence[Mapping[str, Any]], status: str, group: str, receiver: str, link: str
) -> dict[str, Any]:
    """Return the message around these alerts."""
    return {
        "version": WEBHOOK_VERSION,
        "groupKey": group,
        "truncatedAlerts": 0,
        "status": status,
        "receiver": receiver,
        "groupLabels": {},
        "commonLabels": _common([alert["labels"] for alert in alerts]),
        "commonAnnotations": _common([alert["annotations"] for alert in alerts]),
        "externalURL": link,
        "alerts": list(alerts),
    }


def alert_of(
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    began: datetime,
    over: datetime | None,
    link: str,
) -> dict[str, Any]:
    """Return one alert; `over` is None while it fires. Its kind may change, its fingerprint does not."""
    identity = "\0".join(f"{name}={labels[name]}" for name in sorted(labels) if name not in _CHANGING)
    return {
        "status": "firing" if over is None else "resolved",
        "labels": dict(labels),
        "annotations": dict(annotations),
        "startsAt": format_time(began),
        "endsAt": format_time(over) if over else NO_TIME,
        "generatorURL": link,
        "fingerprint": hashlib.sha256(identity.encode("utf-8", "replace")).hexdigest()[:16],
    }


_CHANGING = frozenset(("alertname", "severity"))


def trial_payload(status: str, now: datetime, receiver: str, link: str) -> dict[str, Any]:
    """Return a message that says that it is a test."""
    labels = {
        "stack": "test",
        "namespace": "test",
        "process": "test",
        "alertname": "test",
        "severity": "info",
    }
    over = now if status == "resolved" else None
    words = "a test of observe's alerts" if over is None else "a test of observe's alerts is over"
    alert = alert_of(labels, {"summary": words, "description": words}, now, over, link)
    return envelope([alert], status, f'{{}}:{{test="{format_time(now)}"}}', receiver, link)


def line_of(payload: Mapping[str, Any]) -> str:
    """Return a message in one line: the only summary, or how many of what."""
    summaries = [str(alert["annotations"]["summary"]) for alert in payload["alerts"]]
    if len(summaries) == 1:
        return summaries[0]
    names = [f"{alert['labels']['namespace']}/{alert['labels']['process']}" for alert in payload["alerts"]]
    kinds = sorted({str(alert["labels"]["alertname"]) for alert in payload["alerts"]})
    what = "over" if payload["status"] == "resolved" else " or ".join(kinds)
    return f"{len(names)} {what}: {', '.join(names[:NAMES])}{', …' if len(names) > NAMES else ''}"


def _alert(trouble: OpenTrouble, notice: Notice, log: Sequence[str], link: str) -> dict[str, Any]:
    summary = _summary(trouble, notice)
    why = trouble.facts.get("why") if notice.status == "firing" else ""
    last = why if isinstance(why, str) and why else telling_line(log)
    labels = {
        "alertname": trouble.kind,
        "stack": trouble.place.stack,
        "namespace": trouble.place.namespace,
        "process": trouble.place.process,
        "severity": SEVERITIES[trouble.kind],
    }
    annotations = {
        "summary": f"{summary}: {last}" if last and trouble.kind in ("crashed", "flapping") else summary,
        "description": "\n".join([summary, *log]),
    }
    over = trouble.over_at if notice.status == "resolved" else None
    return alert_of(labels, annotations, trouble.began, over, link)


def _summary(trouble: OpenTrouble, notice: Notice) -> str:
    if trouble.kind == "stale":
        return _stale_summary(trouble, notice)
    name, crashes = trouble.place, _crashes_of(trouble)
    if notice.status == "resolved":
        well_s = (notice.at - trouble.over_at).total_seconds() if trouble.over_at else 0.0
        how = str(trouble.facts.get("over", "runs"))
        lasting = f" for {_span(well_s)}" if how in ("runs", "is healthy") and well_s >= 1 else ""
        after = f", after {_times_in(trouble, crashes, 'crash')}" if crashes else ""
        return f"{name} {how}{lasting}{after}"
    if trouble.kind == "unhealthy":
        return f"{name} unhealthy: Not Ready for {_span((notice.at - trouble.began).total_seconds())}"
    code, reason = trouble.facts.get("exit_code"), trouble.facts.get("reason")
    why = f", exit {code}" if code is not None else f", {reason}" if reason else ""
    if trouble.kind == "flapping":
        return f"{name} flapping: {_times_in(trouble, crashes, 'crash')}{why}"
    return f"{name} crashed{f' {_times_in(trouble, crashes)}' if crashes > 1 else ''}{why}"


def _stale_summary(trouble: OpenTrouble, notice: Notice) -> str:
    stack, count = trouble.place.stack, trouble.facts.get("processes", 0)
    processes = f"{count} process{'es' if count != 1 else ''}"
    if notice.status == "resolved":
        return f"{stack}: {trouble.facts.get('over', 'heard of again')}, {processes}"
    about, error = trouble.facts.get("about"), trouble.facts.get("error")
    said = "no word from its adapter" if about == "adapter" else "no answer from its process-compose"
    return f"{stack}: {processes}, {said} since {format_time(trouble.began)}{f': {error}' if error else ''}"


def _crashes_of(trouble: OpenTrouble) -> int:
    count = trouble.facts.get("crashes", 0)
    if trouble.kind == "unhealthy" or not isinstance(count, int):
        return 0
    return max(1, count - trouble.crashes_before)  # counted anew: its adapter began anew


def _times_in(trouble: OpenTrouble, count: int, noun: str = "") -> str:
    last = parse_time(trouble.facts["crashed_at"]) if "crashed_at" in trouble.facts else trouble.began
    times = f"{count} {noun}{'es' if count != 1 else ''}" if noun else f"{count} times"
    span_s = (last - trouble.began).total_seconds()
    return f"{times} in {_span(span_s)}" if count > 1 and span_s > 0 else times


def _span(seconds: float) -> str:
    return format_duration(max(0.0, round(seconds))).replace(".0s", "s")


def _held_alert(notice: Notice, rules: Rules, link: str) -> dict[str, Any]:
    words = f"{notice.held} alert{'s' if notice.held != 1 else ''} held back"
    words += f": {rules.limit} messages within {_span(rules.limit_s)} were sent"
    labels = {"alertname": "held_back", "stack": "", "namespace": "", "process": "", "severity": "warning"}
    return alert_of(labels, {"summary": words, "description": words}, notice.at, None, link)


def _common(found: Sequence[Mapping[str, str]]) -> dict[str, str]:
    if not found:
        return {}
    first, *others = found
    return {name: text for name, text in first.items() if all(one.get(name) == text for one in others)}
