"""The poller thread: asks process-compose, compares with what is known, offers the changes.
It never waits for NATS: what the publisher does not take is compared again with the next reply.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from ..compose.client import ComposeClient, Reply
from ..compose.state import ProcessState, StateReader
from ..detect.changes import Change, detect, end_unseen
from ..detect.known import Known, leave_out
from ..detect.messages import state_heard
from ..errors import ComposeError
from ..events import Event, EventType, Key
from ..log import log
from ..times import earlier, now_utc, parse_time, seconds_between
from .observer import SOURCE, source_answers, source_silent

#: two polls are never closer than this, however often the bell rings
MIN_GAP_S = 0.05
#: waits after a request that failed; the last one goes on for ever
ASK_AGAIN_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
#: so many failures in a row are an outage; a timeout is one at once, an error answer only when it lasts
FAILURES = {"refused": 2, "timeout": 1, "garbage": 3, "status": 5}
#: process-compose's clock counts where its Date is further than this from ours (it has whole seconds)
SKEW_S = 2.0
#: a thread that has not turned for so much longer than its interval hangs
STILL_S = 30.0
#: changes that are not taken are said once, until they have all been taken for so long
QUIET_S = 60.0
#: so many states are kept of what is seen before the records can be read; then only the latest reply
KEPT_STATES = 100_000


class Outbox(Protocol):
    """Where changes go, and where what is known comes from: a `Publisher`."""

    recovered: threading.Event
    whole: bool
    known: dict[Key, Known]
    observed: dict[str, Event]
    last_reply: str | None
    known_at: datetime | None

    def offer(self, changes: Sequence[Change]) -> bool: ...


class PollListener(Protocol):
    """Who tells people how process-compose itself is; called in the poller's thread."""

    def answered(self, reply: Reply, blind_s: float | None) -> None: ...

    def silent(self, error: ComposeError, since: datetime | None) -> None: ...

    def compared(self, known: Mapping[Key, Known], changes: Sequence[Change]) -> None: ...


class Poller:
    """One thread, from `start()` until `stop()` and `join()`; `poll()` is one round of it.

    `born`: when the adapter began. `interval_s`: seconds from one poll's start to the next one's. `hear`
    compares a push message in the caller's thread, `ring` asks for a poll at once.
    """

    def __init__(
        self,
        client: ComposeClient,
        outbox: Outbox,
        listener: PollListener,
        *,
        interval_s: float,
        born: datetime,
        clock: Callable[[], datetime] = now_utc,
    ) -> None:
        self._client, self._outbox, self._listener, self._clock = client, outbox, listener, clock
        self._interval_s, self._born = interval_s, born
        self._known: dict[Key, Known] | None = None
        self._first_look = self._forgetful = False
        self._kept: list[tuple[Mapping[Key, ProcessState], datetime, datetime]] = []
        self._reader = StateReader()
        self._failed: set[Key] = set()
        self._unsettled: set[Key] = set()
        self._heard_at: dict[Key, datetime] = {}
        self._comparing = threading.RLock()
        self._failures = 0
        self._silent = False
        self._told: set[tuple[str, int]] = set()
        self._source: str | None = None
        self._skew_s = 0.0
        self._refused_at: datetime | None = None
        self._turned_at = time.monotonic()
        self._stop = threading.Event()
        self._bell = threading.Event()
        self._thread = threading.Thread(target=self._run, name="observe-poller", daemon=True)
        self.last_good: datetime | None = None
        self.listening_since: datetime | None = None

    def start(self) -> None:
        """Start polling."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end, breaking off a request that is under way."""
        self._stop.set()
        self._bell.set()
        self._client.interrupt()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread to end."""
        self._thread.join(timeout_s)

    def works(self) -> bool:
        """Whether the thread still turns: its longest request and its longest wait together are shorter."""
        turns = self._interval_s + STILL_S
        return self._thread.is_alive() and time.monotonic() - self._turned_at < turns

    def ring(self) -> None:
        """Have it poll at once; rings closer together than 50 ms are one."""
        self._bell.set()

    def hear(self, raw: Mapping[str, Any], at: datetime) -> None:
        """Compare what a push message says of a process; replies asked for before it say nothing of that."""
        try:
            message = ProcessState.from_raw(raw)
        except ValueError as error:
            log.info("push: not a state: %s", error)
            return
        key = Key(message.namespace, message.name)
        with self._comparing:
            before = (self._known or {}).get(key)
            state = state_heard(before, message)
            if before is not None and state is not None:
                self._heard_at[key] = at
                self._offer(self._detect({key: before}, {key: state}, at))

    def _run(self) -> None:
        while not self._stop.is_set():
            begun = self._turned_at = time.monotonic()
            self._bell.clear()
            try:
                self.poll()
            except Exception:  # the thread's top: a fault of ours must not end the watching
                log.exception("a poll failed")
            self._pause(begun)

    def _pause(self, begun: float) -> None:
        """Wait for the next poll's time, or the bell; never less than the gap."""
        if self._failures:
            due = time.monotonic() + ASK_AGAIN_S[min(self._failures, len(ASK_AGAIN_S)) - 1]
        else:
            known = self._known or {}
            waits = [known[key].look_again_s or self._interval_s for key in self._unsettled if key in known]
            due = begun + min([self._interval_s, *waits])
        self._stop.wait(max(0.0, min(due, begun + MIN_GAP_S) - time.monotonic()))
        self._bell.wait(max(0.0, due - time.monotonic()))

    def poll(self, timeout_s: float | None = None) -> None:
        """Ask once, and compare what is answered with what is known."""
        asked_at = self._clock()
        try:
            reply = self._client.processes(timeout_s)
        except ComposeError as error:
            if not self._stop.is_set() or timeout_s is not None:  # else we broke it off ourselves
                self._fail(error)
            return
        now = self._clock()
        self._skew_s = seconds_between(now, reply.date) if reply.date else 0.0
        if abs(self._skew_s) <= SKEW_S:
            self._skew_s = 0.0
        if self._failures or self.last_good is None:
            blind_s = seconds_between(self.last_good, now) if self._silent and self.last_good else None
            self._failures, self._silent = 0, False
            self._listener.answered(reply, blind_s)
        if self._compare(self._reader.read(reply.states), now, asked_at):
            self._tell_source(source_answers(self._source, now, self.last_good))
        self.last_good = now

    def _recall(self) -> bool:
        """Take over what the records hold as soon as they have been read; comparing waits for that."""
        if self._known is None and self._outbox.recovered.is_set():
            self._known = dict(self._outbox.known)
            self._first_look = not (self._known and self._outbox.whole)
            self._unsettled = {key for key, found in self._known.items() if found.look_again_s}
            if SOURCE in self._outbox.observed:
                event = self._outbox.observed[SOURCE]
                self._source = event.type
                told = event.extra.get("since") if event.type == EventType.UNHEALTHY else None
                seen = told or self._outbox.last_reply or event.seen_at
                self.last_good = self.last_good or parse_time(seen)
            self._catch_up()
        return self._known is not None

    def _keep(self, after: Mapping[Key, ProcessState], now: datetime, asked_at: datetime) -> None:
        """Keep what nobody can compare yet, unless it is what was kept last."""
        if self._kept:
            last = self._kept[-1][0]
            if len(last) == len(after) and all(last.get(key) is state for key, state in after.items()):
                return
            if sum(len(kept[0]) for kept in self._kept) > KEPT_STATES:
                if not self._forgetful:
                    log.warning(
                        "NATS is away for so long that only the latest reply of process-compose is kept"
                    )
                self._forgetful = True
                self._kept.pop()
        self._kept.append((after, now, asked_at))

    def _catch_up(self) -> None:
        """Compare what was seen before the records could be read, one reply after the other."""
        kept, self._kept = self._kept, []
        since = None
        for after, now, asked_at in kept:
            self._compare(after, now, asked_at, since)
            since = now

    def _compare(
        self,
        after: Mapping[Key, ProcessState],
        now: datetime,
        asked_at: datetime,
        since: datetime | None = None,
    ) -> bool:
        """Detect and offer; what is known moves on only if the offer is taken."""
        if not self._recall() or self._known is None:
            self._keep(after, now, asked_at)
            return False
        if self._outbox.known_at is not None and asked_at < self._outbox.known_at:
            return False  # what is known may be newer than this reply
        with self._comparing:
            late = [key for key, heard_at in self._heard_at.items() if heard_at > asked_at]
            changes = self._detect(*leave_out(self._known, after, late), now, since)
            if not self._offer(changes):
                return False
            self._first_look = False
            self._heard_at = {key: self._heard_at[key] for key in late}
        self._listener.compared(self._known, changes)
        return True

    def _detect(
        self,
        known: Mapping[Key, Known],
        after: Mapping[Key, ProcessState],
        now: datetime,
        since: datetime | None = None,
    ) -> list[Change]:
        return detect(
            known,
            after,
            now,
            born=earlier(self._born, -self._skew_s) if self._first_look else None,
            interval_s=self._interval_s,
            skew_s=self._skew_s,
            listening_since=self.listening_since,
            last_good=since or self.last_good,
            on_failure=self._say_failure,
        )

    def _say_failure(self, key: Key, error: Exception) -> None:
        """Say once that a process cannot be compared; all others are."""
        if key not in self._failed:
            log.warning("%s cannot be compared and stays as it was", key, exc_info=error)
        self._failed.add(key)

    def _offer(self, changes: Sequence[Change]) -> bool:
        if not self._outbox.offer(changes):
            now = self._clock()
            if self._refused_at is None or seconds_between(self._refused_at, now) > QUIET_S:
                log.warning(
                    "too many events wait for NATS: what happens meanwhile is told as one, with a count"
                )
            self._refused_at = now
            return False
        if self._known is not None:
            for change in changes:
                self._take(self._known, change)
        return True

    def _take(self, known: dict[Key, Known], change: Change) -> None:
        if change.known is None:
            known.pop(change.key, None)
        else:
            known[change.key] = change.known
        if change.known is not None and change.known.look_again_s:
            self._unsettled.add(change.key)
        else:
            self._unsettled.discard(change.key)

    def _fail(self, error: ComposeError) -> None:
        """Count a failure; from the outage on, only push tells."""
        self._failures += 1
        if self._failures < FAILURES.get(error.kind, 2) and not self._silent:
            return
        now, kind = self._clock(), (error.kind, error.status)
        if not self._silent:
            self._silent = True
            self._told.clear()
        if kind not in self._told:  # it was not there, and now it wants a token: that is news
            self._told.add(kind)
            self._listener.silent(error, self.last_good)
        if self._recall() and self._known is not None:
            if error.kind == "refused" and self.listening_since is None:  # it has ended, all was heard
                self._end_with_it(now)
            why = self._client.reason(error)
            self._tell_source(source_silent(self._source, now, why, self.last_good, self._known.values()))

    def _end_with_it(self, now: datetime) -> None:
        """End what was being stopped, if nothing else was left: process-compose waits for that, then goes."""
        known = self._known or {}
        if not all(found.terminating for found in known.values() if found.alive):
            return
        changes = end_unseen(known, now, self._skew_s)
        if changes and self._outbox.offer(changes):
            for change in changes:
                self._take(known, change)

    def _tell_source(self, change: Change | None) -> None:
        if change is not None and self._outbox.offer([change]):
            self._source = change.events[0].type
