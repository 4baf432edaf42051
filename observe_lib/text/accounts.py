"""A report as JSON: what `report --json` prints and the page asks for. Pure."""

from collections.abc import Mapping
from typing import Any

from ..reader.accounts import Account, total_of
from ..reader.audit import Findings
from ..reader.gaps import stamp_text
from ..times import format_time


def report_json(findings: Findings) -> dict[str, Any]:
    """Return the whole report as one JSON object; times in seconds, moments in RFC 3339."""
    since, start, until = (format_time(moment) for moment in findings.span)
    return _present({
        "since": since,
        "until": until,
        "kept_since": start if start != since else None,
        "events": findings.events,
        "malformed": findings.malformed or None,
        "blind": [
            {"stack": stack, "start": stamp_text(gap.start), "end": stamp_text(gap.end), "reason": gap.why}
            for stack, gap in findings.gaps
        ],
        "processes": [account_json(account) for account in findings.accounts],
        "total": account_json(total_of(findings.accounts)),
    })  # fmt: skip


def account_json(account: Account) -> dict[str, Any]:
    """Return an account as the JSON object of `report --json`: what does not apply is absent."""
    failure, percent, strip = account.last_failure, account.uptime_percent, account.strip
    return _present({
        **{name: text or None for name, text in account.place._asdict().items()},
        "uptime_percent": None if percent is None else round(percent, 4),
        "up_seconds": round(account.up_s, 3),
        "down_seconds": round(account.down_s, 3),
        "unhealthy_seconds": round(account.unhealthy_s, 3),
        "runs": account.runs,
        "crashes": account.crashes,
        "restarts": account.policy_restarts,
        "asked_restarts": account.asked_restarts,
        "mtbf_seconds": _rounded(account.mtbf_s),
        "mttr_seconds": _rounded(account.mttr_s),
        "longest_outage_seconds": _rounded(account.longest_outage_s or None),
        "failed_since": stamp_text(account.outage_at) if account.outage_at else None,
        "last_failure": failure and _present({
            "timestamp": stamp_text(failure.at),
            "reason": failure.reason or None,
            "exit_code": failure.exit_code,
        }),
        "flapping": account.flapping or None,
        "lost_events": account.lost or None,
        "unseen_crashes": account.unseen or None,
        "timeline": strip.text(account.gaps) if strip else None,
    })  # fmt: skip


def _present(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if value is not None}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
