"""The poller thread: asks process-compose, has each reply compared, and tells when it stops answering.
It waits for nobody but process-compose: neither for NATS nor for a log.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from ..compose.client import ComposeClient, Reply
from ..compose.state import StateReader
from ..detect.changes import Change
from ..errors import ComposeError
from ..events import EventType
from ..log import log
from ..times import now_utc, seconds_between
from .comparison import Comparison
from .observer import SOURCE, source_answers, source_silent

#: two polls are never closer than this, however often it is rung
MIN_GAP_S = 0.05
#: waits after a request that failed; the last one goes on for ever
ASK_AGAIN_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
#: so many failures in a row are an outage; a timeout is one at once, an error answer only when it lasts
FAILURES = {"refused": 2, "timeout": 1, "garbage": 3, "status": 5}
#: process-compose's clock counts where its Date is further than this from ours (it has whole seconds)
SKEW_S = 2.0
#: the skew is that of the quickest of so many replies that took less than so long
SKEW_REPLIES, QUICK_S = 10, 1.0
#: a thread that has not turned for so much longer than its interval hangs
STILL_S = 30.0


class Listener(Protocol):
    """Who tells people how process-compose itself is; called in the poller's thread."""

    def answered(self, reply: Reply, blind_s: float | None) -> None: ...

    def silent(self, error: ComposeError, since: datetime | None) -> None: ...

    def compared(self, changes: Sequence[Change]) -> None: ...

    def source_told(self) -> None: ...


class Poller:
    """One thread, from `start()` until `stop()` and `join()`; `poll()` is one round of it.

    `interval_s`: seconds from one poll's start to the next one's; `ring()` asks for one at once.
    """

    def __init__(
        self,
        client: ComposeClient,
        comparison: Comparison,
        listener: Listener,
        *,
        interval_s: float,
        clock: Callable[[], datetime] = now_utc,
    ) -> None:
        self._client, self._comparison, self._listener, self._clock = client, comparison, listener, clock
        self._interval_s = interval_s
        self._reader = StateReader()
        self._failures = 0
        self._silent = self._met = False
        self._told: set[tuple[str, int]] = set()
        self._skews: list[tuple[float, float]] = []
        self._turned_at = time.monotonic()
        self._stop, self._bell = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="observe-poller", daemon=True)
        last = comparison.records.observed(SOURCE)
        self._source = last.type if last else None

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
        """Wait for the next poll's time, or to be rung; never less than the gap."""
        if self._failures:
            due = time.monotonic() + ASK_AGAIN_S[min(self._failures, len(ASK_AGAIN_S)) - 1]
        else:
            due = begun + min(self._interval_s, self._comparison.records.look_again_s or self._interval_s)
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
        skew_s, last_good = self._skew(reply, asked_at, now), self._comparison.records.last_good
        if self._failures or not self._met:
            blind_s = seconds_between(last_good, now) if self._silent and last_good else None
            self._failures, self._silent, self._met = 0, False, True
            self._listener.answered(reply, blind_s)
        changes = self._comparison.compare(self._reader.read(reply.states), asked_at, skew_s)
        self._tell_source(source_answers(self._source, last_good, now))
        self._comparison.records.note_good(now)
        self._listener.compared(changes)

    def _skew(self, reply: Reply, asked_at: datetime, now: datetime) -> float:
        """Return how far process-compose's clock is ahead, 0 where its Date cannot tell."""
        took_s = seconds_between(asked_at, now)
        if reply.date is not None and 0 <= took_s < QUICK_S:
            self._skews = [*self._skews[1 - SKEW_REPLIES :], (took_s, seconds_between(now, reply.date))]
        skew_s = min(self._skews, default=(0.0, 0.0))[1]
        return skew_s if abs(skew_s) > SKEW_S else 0.0

    def _fail(self, error: ComposeError) -> None:
        """Count a failure; an outage is told once, and said again where its kind is another."""
        self._failures += 1
        if self._failures < FAILURES.get(error.kind, 2) and not self._silent:
            return
        if not self._silent:
            self._silent = True
            self._told.clear()
        how = error.kind, error.status  # it was not there, and now it wants a token: that is news
        why, records = self._client.reason(error), self._comparison.records
        if how not in self._told:
            self._told.add(how)
            self._listener.silent(error, records.last_good)
        self._tell_source(source_silent(self._source, why, records.last_good, records.known.values()))
        if error.kind == "refused" and self._comparison.listening_since is None:  # it ended, and nobody heard
            self._comparison.end_unseen()

    def _tell_source(self, told: tuple[EventType, Mapping[str, Any]] | None) -> None:
        if told is not None and self._comparison.records.tell(SOURCE, told[0], **told[1]):
            self._source = told[0]
            self._listener.source_told()
