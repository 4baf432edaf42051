"""What is sent: the JSON that Alertmanager sends to a webhook, version 4, field by field; and its one line.
Pure; the texts of processes, logs included, come from others.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ..crash_line import telling_line
from ..rows import Place
from ..times import format_duration, format_time
from .trouble import SEVERITIES, Notice, OpenTrouble, Rules

#: Alertmanager's word for a time that is not known yet
NO_TIME = "0001-01-01T00:00:00Z"
#: of so many crashes of one message the log's end goes along
LOGS = 20
#: so many names stand in one line
NAMES = 3
#: the payload's version, of Alertmanager's documentation
WEBHOOK_VERSION = "4"


#: nobody's trouble: what is held back, and a test
_NOBODYS = {"held_back": "warning", "test": "info"}
_CRASHES = frozenset(("crashed", "flapping"))

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
    reason = _reason(notice, troubles, told)
    if notice.held:
        words = f"{notice.held} alert{'s' if notice.held != 1 else ''} held back"
        words += f": {rules.limit} messages within {_span(rules.limit_s)} were sent"
        told = [OpenTrouble(Place("", "", ""), "held_back", notice.at, notice.at, over=words)]
    logs = [one.place for one in told if one.kind in _CRASHES and notice.status == "firing"][:LOGS]
    alerts = [_alert(one, notice, log_of(one) if one.place in logs else (), link) for one in told]
    return {
        "version": WEBHOOK_VERSION,
        "groupKey": notice.group,
        "truncatedAlerts": 0,
        "status": notice.status,
        "receiver": receiver,
        "groupLabels": {},
        "commonLabels": _common([alert["labels"] for alert in alerts]),
        "commonAnnotations": _common([alert["annotations"] for alert in alerts]),
        "routeLabels": {},
        "externalURL": link,
        "notification_reason": reason,
        "alerts": alerts,
    }


def trial_payload(status: str, now: datetime, receiver: str, link: str) -> dict[str, Any]:
    """Return a message that says that it is a test."""
    place, over_at = Place("test", "test", "test"), now if status == "resolved" else None
    words = f"a test of observe's alerts{' is over' if over_at else ''}"
    trouble = OpenTrouble(place, "test", now, now, over=words, over_at=over_at)
    notice = Notice(status, f'{{}}:{{test="{format_time(now)}"}}', now, (place,))
    return payload_of(notice, {place: trouble}, Rules(), receiver=receiver, link=link)


def line_of(payload: Mapping[str, Any]) -> str:
    """Return a message in one line: the only summary, or how many of what."""
    summaries = [str(alert["annotations"]["summary"]) for alert in payload["alerts"]]
    if len(summaries) == 1:
        return summaries[0]
    names = [f"{alert['labels']['namespace']}/{alert['labels']['process']}" for alert in payload["alerts"]]
    kinds = sorted({str(alert["labels"]["alertname"]) for alert in payload["alerts"]})
    what = "over" if payload["status"] == "resolved" else " or ".join(kinds)
    return f"{len(names)} {what}: {', '.join(names[:NAMES])}{', …' if len(names) > NAMES else ''}"


def _reason(notice: Notice, troubles: Mapping[Place, OpenTrouble], told: Sequence[OpenTrouble]) -> str:
    """Return why it is sent, in Alertmanager's words."""
    if notice.status == "resolved":
        group = {place for place, one in troubles.items() if one.group == notice.group}
        return "some alerts resolved" if group - set(notice.places) else "all alerts resolved"
    repeated = sum(one.told_at is not None for one in told)
    if not repeated:
        return "first notification"
    return "new alerts added" if repeated < len(told) else "repeat interval elapsed"


def _common(found: Sequence[Mapping[str, str]]) -> dict[str, str]:
    if not found:
        return {}
    first, *others = found
    return {name: text for name, text in first.items() if all(one.get(name) == text for one in others)}


def _alert(trouble: OpenTrouble, notice: Notice, log: Sequence[str], link: str) -> dict[str, Any]:
    """Return one alert. Its kind may change while it lasts, its fingerprint does not."""
    over_at = trouble.over_at if notice.status == "resolved" else None
    words = _summary(trouble, notice)
    why = str(trouble.facts.get("why") or telling_line(log)) if trouble.kind in _CRASHES else ""
    summary = f"{words}: {why}" if why and over_at is None else words
    identity = "\0".join(f"{name}={text}" for name, text in sorted(trouble.place._asdict().items()))
    severity = SEVERITIES.get(trouble.kind) or _NOBODYS[trouble.kind]
    return {
        "status": "firing" if over_at is None else "resolved",
        "labels": {"alertname": trouble.kind, **trouble.place._asdict(), "severity": severity},
        "annotations": {"summary": summary, "description": "\n".join([words, *log])},
        "startsAt": format_time(trouble.began),
        "endsAt": format_time(over_at) if over_at else NO_TIME,
        "generatorURL": link,
        "fingerprint": hashlib.sha256(identity.encode("utf-8", "replace")).hexdigest()[:16],
    }


def _summary(trouble: OpenTrouble, notice: Notice) -> str:
    if trouble.kind in _NOBODYS:
        return trouble.over
    if trouble.kind == "stale":
        return _stale_summary(trouble, notice)
    name, crashes = trouble.place, _crashes_of(trouble)
    if notice.status == "resolved":
        well_s = (notice.at - trouble.over_at).total_seconds() if trouble.over_at else 0.0
        lasting = f" for {_span(well_s)}" if trouble.over in ("runs", "is healthy") and well_s >= 1 else ""
        after = f", after {_times_in(trouble, crashes, 'crash')}" if crashes else ""
        return f"{name} {trouble.over}{lasting}{after}"
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
        return f"{stack}: {trouble.over}, {processes}"
    about, error = trouble.facts.get("about"), trouble.facts.get("error")
    said = "no word from its adapter" if about == "adapter" else "no answer from its process-compose"
    return f"{stack}: {processes}, {said} since {format_time(trouble.began)}{f': {error}' if error else ''}"


def _crashes_of(trouble: OpenTrouble) -> int:
    if trouble.kind == "unhealthy":
        return 0
    return max(1, trouble.crashes - trouble.crashes_before)  # counted anew: its adapter began anew


def _times_in(trouble: OpenTrouble, count: int, noun: str = "") -> str:
    times = f"{count} {noun}{'es' if count != 1 else ''}" if noun else f"{count} times"
    span_s = ((trouble.crashed_at or trouble.began) - trouble.began).total_seconds()
    return f"{times} in {_span(span_s)}" if count > 1 and span_s > 0 else times


def _span(seconds: float) -> str:
    return format_duration(max(0.0, round(seconds))).replace(".0s", "s")
