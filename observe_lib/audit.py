"""The accounts of all processes over a time: a fold over stored events that keeps sums only.
Pure; the verb `report` reads and prints.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from .accounts import FLAP_WINDOW_S, Account, Failure
from .events import Event, process_matches
from .facts import Strip, fact_of
from .gaps import Gap, Gaps, find_gaps, stamp_text
from .states import Place, States
from .times import parse_time

#: why nothing is known of a stack that was dropped from the bucket, after its last event
FORGOTTEN = "forgotten"
#: no strip: nothing is drawn
NO_STRIP: Callable[[], Strip | None] = lambda: None  # noqa: E731


class Audit:
    """Takes the stored events of a time, one after the other, and keeps one account per process.

    `since` and `until` are seconds since 1970. `patterns` and `stack` say which processes are wanted.
    """

    def __init__(
        self,
        since: float,
        until: float,
        gaps: Mapping[str, Gaps] | None = None,
        *,
        patterns: Sequence[str] = (),
        stack: str | None = None,
        strip: Callable[[], Strip | None] = NO_STRIP,
    ) -> None:
        self.since, self.until, self.gaps = since, until, dict(gaps or {})
        self.events = self.malformed = 0
        self._patterns, self._stack, self._strip = patterns, stack, strip
        self._accounts: dict[Place, Account | None] = {}  # None: not wanted
        self._heard: dict[str, float] = {}  # by stack, when it was last heard of

    def observe(self, events: Iterable[Event], away: Mapping[str, Gap]) -> None:
        """Take, before all others, the observer's own events, and which stacks nothing is heard of now."""
        self.gaps = find_gaps(self._overhear(events), self.since, self.until, away)

    def _overhear(self, events: Iterable[Event]) -> Iterator[Event]:
        for event in events:
            self._hear(event.stack or "-", parse_time(event.seen_at).timestamp())
            yield event

    def _hear(self, stack: str, seen_at: float) -> None:
        self._heard[stack] = max(seen_at, self._heard.get(stack, 0.0))

    def add(self, payload: bytes) -> None:
        """Take one event, as it is stored; what is none is counted."""
        try:
            fact = fact_of(payload)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            self.malformed += 1
            return
        if fact is None:
            return
        try:
            account = self._accounts[fact.place]
        except KeyError:
            account = self._accounts[fact.place] = self._open_account(fact.place)
        if account is not None:
            self.events += 1
            self._hear(fact.place.stack, fact.seen_at)
            account.note(fact)

    def close(self, states: States | None) -> list[Account]:
        """Return the accounts, in order, closed with what the bucket says (None: it could not be read)."""
        for row in states.rows.values() if states else ():
            if row.place not in self._accounts and not row.gone:
                account = self._accounts[row.place] = self._open_account(row.place)
                if account is not None:
                    account.assume(row)
        for stack, heard_at in self._heard.items() if states else ():
            if states and stack not in states.stacks:
                known = self.gaps.get(stack, Gaps()).listed
                self.gaps[stack] = Gaps([*known, Gap(heard_at, self.until, FORGOTTEN)])
        for place, account in self._accounts.items():
            if account is not None:
                account.gaps = self.gaps[place.stack]
                account.close(self.until)
        return [found for _, found in sorted(self._accounts.items()) if found is not None and found.shown]

    def _open_account(self, place: Place) -> Account | None:
        named = not self._patterns or any(
            process_matches(one, place.namespace, place.process) for one in self._patterns
        )
        if not named or (self._stack is not None and place.stack != self._stack):
            return None
        gaps = self.gaps.setdefault(place.stack, Gaps())
        return Account(place, self.since, self.until, gaps, self._strip())


def total_of(accounts: list[Account]) -> Account:
    """Return all accounts as one: what ran is pooled, a run that was renamed counts once."""
    total = Account(Place("", "", "all"), 0.0, 0.0, Gaps())
    for one in accounts:
        if one.ran:
            total.up_s, total.down_s = total.up_s + one.up_s, total.down_s + one.down_s
        total.unhealthy_s += one.unhealthy_s
        total.begun += one.begun
        total.living += one.living - one.renamed
        total.crashes += one.crashes
        total.policy_restarts += one.policy_restarts
        total.asked_restarts += one.asked_restarts
        total.outages, total.outage_s = total.outages + one.outages, total.outage_s + one.outage_s
        total.longest_outage_s = max(total.longest_outage_s, one.longest_outage_s)
        total.lost += one.lost
        total.last_failure = _later(total.last_failure, one.last_failure)
    return total


def _later(one: Failure | None, other: Failure | None) -> Failure | None:
    return max((failure for failure in (one, other) if failure), key=lambda found: found.at, default=None)


def uptime_percent(account: Account) -> float | None:
    """Return the share of the time it was seen in which a run lived; None where none was meant to."""
    return 100 * account.up_s / account.seen_s if account.ran and account.seen_s > 0 else None


def mtbf_s(account: Account) -> float | None:
    """Return the mean time between failures: time up per crash."""
    return account.up_s / account.crashes if account.crashes else None


def mttr_s(account: Account) -> float | None:
    """Return the mean time to repair: from a crash until a run lives again."""
    return account.outage_s / account.outages if account.outages else None


def flapping(account: Account) -> str:
    """Return "now" if it flapped at the end of the time, "yes" if at some time of it, else ""."""
    if account.flapped_at is None:
        return ""
    return "now" if account.until - account.flapped_at <= FLAP_WINDOW_S else "yes"


def account_json(account: Account) -> dict[str, Any]:
    """Return an account as the JSON object of `report --json`: what does not apply is absent."""
    stack, namespace, process = account.place
    failure, percent = account.last_failure, uptime_percent(account)
    found: dict[str, Any] = {
        "stack": stack or None,
        "namespace": namespace or None,
        "process": process if stack else None,
        "uptime_percent": None if percent is None else round(percent, 4),
        "up_seconds": round(account.up_s, 3),
        "down_seconds": round(account.down_s, 3),
        "unhealthy_seconds": round(account.unhealthy_s, 3),
        "runs": account.runs,
        "crashes": account.crashes,
        "restarts": account.policy_restarts,
        "asked_restarts": account.asked_restarts,
        "mtbf_seconds": _rounded(mtbf_s(account)),
        "mttr_seconds": _rounded(mttr_s(account)),
        "longest_outage_seconds": round(account.longest_outage_s, 3) if account.longest_outage_s else None,
        "failed_since": stamp_text(account.outage_at) if account.outage_at else None,
        "last_failure": failure and _failure_json(failure),
        "flapping": flapping(account) or None,
        "lost_events": account.lost or None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _failure_json(failure: Failure) -> dict[str, Any]:
    found = {
        "timestamp": stamp_text(failure.at),
        "reason": failure.reason or None,
        "exit_code": failure.exit_code,
    }
    return {name: value for name, value in found.items() if value is not None}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
