"""What `doctor` says of alerters: whether one works, what is open, what nobody took.
Pure.
"""

from datetime import datetime

from ..broker.lease import LEASE_S, identity, is_dead
from ..calling import how_to_call
from ..reader.alerters import AlerterRecord
from ..times import format_duration, seconds_between
from .findings import OK, WARN, Finding


def alerter_finding(record: AlerterRecord, now: datetime) -> Finding:
    """Judge one alerter by its lease and its state."""
    lease, failed, opened = record.lease, record.count("failed"), record.count("troubles")
    age_s = max(0.0, seconds_between(record.renewed_at, now)) if record.renewed_at else 0.0
    facts = (
        ("name", record.name),
        ("heartbeat_age_s", round(age_s, 1)),
        ("open", opened),
        ("failed", failed),
    )
    who = f"{record.name}: pid {lease.get('pid', '?')} on {lease.get('host', '?')}"
    start = f"start it: {how_to_call('alert --name', record.name, '...')}"
    if lease.get("stopped"):
        return Finding(WARN, "alerter", f"{who}, stopped {format_duration(age_s)} ago", start, facts)
    if not lease or is_dead(lease, identity()):
        return Finding(WARN, "alerter", f"{who}, is dead: nobody is told", start, facts)
    if age_s > 2 * LEASE_S:
        return Finding(WARN, "alerter", f"{who}, no word for {format_duration(age_s)}", start, facts)
    told = f"{who}, {opened} open"
    if failed:
        hint = f"what it said then has the reason; try it: {how_to_call('alert --test ...')}"
        return Finding(WARN, "alerter", f"{told}, {failed} messages were taken by nobody", hint, facts)
    return Finding(OK, "alerter", told, facts=facts)
