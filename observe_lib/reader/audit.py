"""The past of a time range, read once: every stored event goes into the account of its process.
The calling thread reads; kept are sums per process and the times that nobody saw, no events.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import UsageError
from ..events import Event
from ..rows import Place
from ..settings import moment_of
from ..subjects import OBSERVE, filter_subjects, process_wanted
from ..times import UTC, now_utc, seconds_between, stamp_of
from .accounts import Account, Strip
from .gaps import Gap, Gaps, find_gaps
from .states import States, stale_stacks_of

if TYPE_CHECKING:
    from .consumer import Consumer
    from .retained import Retained

#: why nothing is known of a stack that was dropped from the bucket, after its last event
FORGOTTEN = "forgotten"


class Range(NamedTuple):
    """What is asked for; `start` is where the answer begins: later where the stream has no more."""

    since: datetime
    start: datetime
    until: datetime

    @property
    def seconds(self) -> float:
        """How long the answer's time is."""
        return seconds_between(self.start, self.until)


class Findings(NamedTuple):
    """All that a report says."""

    span: Range
    accounts: Sequence[Account]
    gaps: Sequence[tuple[str, Gap]]  #: the blind times, each with its stack
    events: int = 0
    malformed: int = 0

    @property
    def several(self) -> bool:
        """Whether there is more than one stack, so that rows have to say theirs: looks at all accounts."""
        return len({account.place.stack for account in self.accounts}) > 1


def range_of(flags: Mapping[str, Any], now: datetime) -> Range:
    """Return the time that these flags name; UsageError where there is none."""
    zone = UTC if flags.get("utc") else None
    since = moment_of("--since", flags["since"], now, zone)
    until = min(moment_of("--until", flags["until"], now, zone) if flags["until"] is not None else now, now)
    if since >= until:
        raise UsageError("that range is empty", "--since is to be earlier than --until, and than now")
    return Range(since, since, until)


def clipped(asked: Range, kept: "Retained") -> Range:
    """Return the range, beginning no earlier than what the stream retains."""
    return asked._replace(start=max(asked.since, min(kept.since or asked.since, asked.until)))


def look_back(
    consumer: "Consumer",
    span: Range,
    states: States | None,
    patterns: Sequence[str] = (),
    stack: str | None = None,
    strip: Callable[[], Strip] | None = None,
) -> Findings:
    """Read the stream: first what the observer says of itself, then everything, one event at a time."""
    audit = Audit(span.start.timestamp(), span.until.timestamp(), patterns, stack, strip)
    audit.observe(consumer.events(f"{OBSERVE}/*", since=span.start, follow=False), states)
    for payload in consumer.payloads(filter_subjects(patterns, ()), span.start):
        audit.add(payload)
    accounts = audit.close(states)
    stacks = sorted({account.place.stack for account in accounts})
    gaps = [(one, gap) for one in stacks for gap in audit.gaps[one].listed]
    return Findings(span, accounts, gaps, audit.events, audit.malformed)


@dataclass
class Audit:
    """Takes the stored events of a time, one after the other, and keeps one account per process."""

    since: float  #: in seconds since 1970, as `until`
    until: float
    patterns: Sequence[str] = ()  #: which processes are wanted
    stack: str | None = None
    strip: Callable[[], Strip] | None = None  #: makes who draws a process
    gaps: dict[str, Gaps] = field(default_factory=dict)  #: by stack
    events: int = 0
    malformed: int = 0
    _accounts: dict[Place, Account | None] = field(default_factory=dict)  #: None: not wanted
    _heard: dict[str, float] = field(default_factory=dict)  #: by stack, when it was last heard of

    def observe(self, events: Iterable[Event], states: States | None) -> None:
        """Take, before all others, the observer's own events, and which stacks nothing is heard of now."""
        stale = stale_stacks_of(states, now_utc()) if states else {}
        self.gaps = find_gaps(self._overhear(events), self.since, self.until, stale)

    def _overhear(self, events: Iterable[Event]) -> Iterator[Event]:
        for event in events:
            self._hear(event)
            yield event

    def _hear(self, event: Event) -> None:
        stack, seen_at = event.stack or "-", stamp_of(event.seen_at)
        if seen_at > self._heard.get(stack, 0.0):
            self._heard[stack] = seen_at

    def add(self, payload: bytes) -> None:
        """Take one event, as it is stored; what is none is counted."""
        try:
            event = Event.from_json(payload)
        except ValueError:
            self.malformed += 1
            return
        if event.of_observer:
            return
        place = Place.of(event)
        if place not in self._accounts:
            self._accounts[place] = self._open_account(place)
        account = self._accounts[place]
        if account is not None:
            self.events += 1
            self._hear(event)
            account.note(event)

    def close(self, states: States | None) -> list[Account]:
        """Return the accounts, in order, closed with what the bucket says (None: it could not be read)."""
        if states is not None:
            self._take_bucket(states)
        found = [account for _, account in sorted(self._accounts.items()) if account is not None]
        for account in found:
            account.gaps = self.gaps[account.place.stack]
            account.close()
        return [account for account in found if account.shown]

    def _take_bucket(self, states: States) -> None:
        for row in states.rows.values():
            if row.place not in self._accounts:
                account = self._accounts[row.place] = self._open_account(row.place)
                if account is not None:
                    account.assume(row)
        for stack in self._heard.keys() - states.stacks.keys():
            known = self.gaps.get(stack, Gaps()).listed
            self.gaps[stack] = Gaps([*known, Gap(self._heard[stack], self.until, FORGOTTEN)])

    def _open_account(self, place: Place) -> Account | None:
        named = process_wanted(self.patterns, [place.namespace], place.process)
        if not named or self.stack not in (None, place.stack):
            return None
        if place.stack not in self.gaps:
            self.gaps[place.stack] = Gaps()
        gaps, strip = self.gaps[place.stack], self.strip() if self.strip else None
        return Account(self.since, self.until, place=place, gaps=gaps, strip=strip)
