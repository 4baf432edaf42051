"""What `doctor` makes of the leases in the bucket: which adapters and alerters work, and how they fare.
Pure, but for looking whether a holder on this machine still runs.
"""

import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..broker.lease import LEASE_S, identity, is_alive, is_dead
from ..calling import how_to_call
from ..rows import StackRow
from ..times import format_duration, now_utc, parse_time, seconds_between
from .findings import FAIL, OK, WARN, Finding
from .room import RESTART_HINT

#: a queue that is longer at a heartbeat tells that NATS, or the adapter, cannot follow
LONG_QUEUE = 1000


def adapter_finding(stack: StackRow, flag: str = "") -> Finding:
    """Judge one adapter by its last heartbeat; `flag` names the server in a command."""
    lease, waiting = stack.lease, stack.waiting
    start = f"start it, or drop it: {how_to_call('forget', shlex.quote(stack.name), flag)}"
    found = _holder_finding("adapter", stack, start, {"stack": stack.name, "waiting": waiting})
    if found.result != OK:
        return found
    how = "push" if lease.get("push") else f"poll {lease.get('interval_s', '?')}s only"
    age = format_duration(found.facts["heartbeat_age_s"])
    told, hint = f"{found.text}, heartbeat {age} ago, {how}, {waiting} events waiting", ""
    domains, unseen_s = lease.get("domains"), _unseen_s(lease)
    if waiting > LONG_QUEUE:
        hint = "it cannot follow: is NATS slow, or its disk?"
    elif isinstance(domains, list) and len(domains) > 1:
        told += f"; its events are stored in {len(domains)} JetStream domains: {', '.join(map(str, domains))}"
        hint = "deny core.process.> and $KV.> on the leaf's remote: docs/recipes.md"
    elif unseen_s > 10 + 3 * float(lease.get("interval_s") or 0):
        told += f"; nothing from process-compose for {format_duration(unseen_s)}"
        hint = f"is the one at {lease.get('watches', '?')} running?"
    return replace(found, result=WARN if hint else OK, text=told, hint=hint)


def alerter_finding(alerter: StackRow, flag: str = "") -> Finding:
    """Judge one alerter by its last heartbeat; nobody has to have one."""
    lease = alerter.lease
    facts = {"name": alerter.name, "open": lease.get("open", 0), "failed": lease.get("failed", 0)}
    start = f"nobody is told; start it: {how_to_call('alert', '--name', alerter.name, flag, '...')}"
    found = _holder_finding("alerter", alerter, start, facts)
    if found.result != OK:
        return found
    told = f"{found.text}, {facts['open']} open"
    if not facts["failed"]:
        return replace(found, text=told)
    hint = f"what it said then has the reason; try it: {how_to_call('alert --test ...')}"
    told += f", {facts['failed']} messages were taken by nobody"
    return replace(found, result=WARN, text=told, hint=hint)


def _holder_finding(check: str, row: StackRow, start: str, facts: Mapping[str, Any]) -> Finding:
    """Judge what every lease tells: whether its holder goes on."""
    lease, me = row.lease, identity()
    age_s = max(0.0, seconds_between(row.beat_at, now_utc())) if row.beat_at else 0.0
    who, age = f"{row.name}: pid {lease.get('pid', '?')} on {lease.get('host', '?')}", format_duration(age_s)
    facts = {**facts, "heartbeat_age_s": round(age_s, 1)}
    if lease.get("stopped"):
        return Finding(WARN, check, f"{who}, stopped {age} ago", start, facts)
    if is_dead(lease, me):
        return Finding(WARN, check, f"{who}, is dead", start, facts)
    if age_s <= 2 * LEASE_S:
        return Finding(OK, check, who, facts=facts)
    if is_alive(lease, me):
        told = f"{who}, is alive, and has not written to NATS for {age}"
        return Finding(FAIL, check, told, f"is its disk full? {RESTART_HINT}", facts)
    return Finding(WARN, check, f"{who}, no word for {age}", start, facts)


def _unseen_s(lease: Mapping[str, Any]) -> float:
    """Return how long before its heartbeat the adapter had the last good reply, 0 where it does not tell."""
    try:
        return seconds_between(parse_time(lease["last_reply"]), parse_time(lease["at"]))
    except (KeyError, ValueError, TypeError):
        return 0.0
