"""What is known of every process, in one place: a reply or a message is compared with it, and committed.
Poller, push stream and log fetcher call it from their threads; the lock is never held while one waits.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from ..broker.loop import ignore
from ..compose.state import ProcessState
from ..detect.changes import Change, announce, detect, end_unseen, settle
from ..detect.known import Known, leave_out
from ..detect.messages import state_heard
from ..events import Key
from ..log import Say
from ..times import earlier, now_utc
from .log_tail import lay_log, lines_wanted
from .outbox import Outbox
from .parts import LogSource
from .process_records import ProcessRecords
from .record import process_token

#: so many changes of one comparison wait for their logs; the rest goes without at once
LOGS_WAITED_FOR = 100
#: so many messages wait for a log, or for a file that takes no commit
KEPT_MESSAGES = 1000
Heard = tuple[ProcessState, datetime]


@dataclass(slots=True)
class _Waiting:
    """A change whose log is being fetched; its process is not compared meanwhile."""

    change: Change
    newest: Heard | None = None  # what the newest reply showed, and when it came
    tail: Sequence[str] | None = None  # the log that is there, where the file took no commit


class Comparison:
    """Compares with what the outbox's file says is known; that moves on only with a commit.

    `committed(processes)` is called after each commit: these have news. `ring()` asks for a poll at once.
    `born`: when the adapter began.
    `listening_since`: since when the push stream hears everything, None where it does not. `is_compared`:
    whether a reply was compared, since it was begun anew.
    """

    def __init__(
        self,
        outbox: Outbox,
        stack: str,
        say: Say,
        *,
        born: datetime,
        interval_s: float,
        logs: LogSource | None = None,
        log_lines: int = 20,
        committed: Callable[[Sequence[str]], None],
        ring: Callable[[], None] = ignore,
        clock: Callable[[], datetime] = now_utc,
    ) -> None:
        self._outbox, self._say = outbox, say
        self._born, self._interval_s, self._clock = born, interval_s, clock
        self._logs, self._log_lines, self._ring = logs, log_lines, ring
        self.records = ProcessRecords(outbox, stack, say, committed, clock)
        self._lock, self._known = self.records.lock, self.records.live
        self._waiting: dict[Key, _Waiting] = {}
        self._heard: dict[Key, datetime] = {}
        self._messages: deque[Heard] = deque(maxlen=KEPT_MESSAGES)  # not compared yet
        self._first_look = not (self._known or outbox.last_good)  # no reply was ever compared
        self.is_compared = self._restating = False
        self._skew_s = 0.0
        self._full = False  # that too much waits was said, and is not over
        self.listening_since: datetime | None = None

    # --- comparing ---

    def compare(self, after: Mapping[Key, ProcessState], asked_at: datetime, skew_s: float) -> list[Change]:
        """Compare a whole reply, that was asked for at `asked_at`; return what it tells, in the file or soon.

        `skew_s`: how far process-compose's clock is ahead. What the file does not take moves nothing on.
        """
        with self._lock:
            self._skew_s, now = skew_s, self._clock()
            self._try_again()
            if self._is_full():
                return []
            known, after = self._comparable(after, asked_at, now)
            changes = self._detect(known, after, now)
            taken = self.records.commit(self._held_back(changes)) is not None
            if taken:
                self._first_look, self.is_compared = False, True
                if self._restating:
                    self.restate()
            self._heard = {key: at for key, at in self._heard.items() if at > asked_at}
            return changes if taken else []

    def hear(self, state: ProcessState, at: datetime) -> None:
        """Compare what a push message that arrived `at` says of one process."""
        with self._lock:
            self._messages.append((state, at))
            self._hear_messages()

    def restate(self) -> None:
        """Announce once more what is alive, to a server that does not know this stack; compared first."""
        with self._lock:
            changes = announce(self._known, self._clock(), self._skew_s)
            self._restating = not self.is_compared or self.records.commit(changes) is None

    def end_unseen(self) -> None:
        """process-compose is gone for good, and nobody listens: what was being stopped has ended."""
        with self._lock:
            known = {key: found for key, found in self._known.items() if key not in self._waiting}
            self.records.commit(self._held_back(end_unseen(known, self._clock(), self._skew_s)))

    def forget(self, born: datetime | None = None) -> int:
        """Begin anew: somebody else was the adapter meanwhile. Return how many events waited.

        `born`: what began before is announced, not counted; None: as it was. OutboxError: nothing is done.
        """
        with self._lock:
            waited = self.records.forget()
            self._waiting.clear()
            self._heard.clear()
            self._messages.clear()
            self._first_look, self.is_compared, self._restating = True, False, False
            self._born = born or self._born
            return waited

    def settle(self) -> None:
        """Commit what still waits for its log without it, and fetch none any more."""
        with self._lock:
            self._logs = None
            for key in list(self._waiting):
                self._settled(key, ())

    # --- under the lock ---

    def _comparable(
        self, after: Mapping[Key, ProcessState], asked_at: datetime, now: datetime
    ) -> tuple[Mapping[Key, Known], Mapping[Key, ProcessState]]:
        """Leave out whose change waits for its log, names that show its pid, and what was heard of since."""
        heard = {key for key, at in self._heard.items() if at >= asked_at}
        for key, waiting in self._waiting.items():
            waiting.newest = (after[key], now) if key in after and key not in heard else None
        messages = {_key(state) for state, _ in self._messages}
        return leave_out(self._known, after, heard | messages | self._waiting.keys())

    def _hear_messages(self) -> None:
        """Compare what was heard, in its order; what waits for a log, or for the file, stays."""
        messages, taken = list(self._messages), True
        self._messages.clear()
        for message in messages:
            if _key(message[0]) in self._waiting or not (taken := taken and self._hear(*message)):
                self._messages.append(message)

    def _hear(self, state: ProcessState, at: datetime) -> bool:
        """Compare a message; False where the file takes no commit."""
        key = _key(state)
        before = self._known.get(key)
        laid = state_heard(before, state)
        if laid is None or self._is_full():
            return True
        known = {key: before} if before else {}
        if self.records.commit(self._held_back(self._detect(known, {key: laid}, at))) is None:
            return False
        self._heard[key] = at
        return True

    def _detect(
        self, known: Mapping[Key, Known], after: Mapping[Key, ProcessState], now: datetime
    ) -> list[Change]:
        return detect(
            known,
            after,
            now,
            born=earlier(self._born, -self._skew_s) if self._first_look else None,
            interval_s=self._interval_s,
            skew_s=self._skew_s,
            listening_since=self.listening_since,
            last_good=self.records.last_good,
            on_failure=self.records.leave_out,
        )

    def _held_back(self, changes: Sequence[Change]) -> list[Change]:
        """Return the changes that can be committed now; have the logs fetched that others wait for."""
        ready, asked = [], len(self._waiting)
        for change in changes:
            lines = lines_wanted(change, self._log_lines)
            if change.events and self._outbox.is_full(process_token(*change.key)):
                self._say_full()
            elif not lines or self._logs is None or asked >= LOGS_WAITED_FOR:
                ready.append(settle(change, ()) if change.needs_log else change)
            else:
                asked += 1
                self._waiting[change.key] = _Waiting(change)
                fetched = self._logs.fetch(change.key.process, lines)
                fetched.add_done_callback(partial(self._log_is_there, change.key))
        return ready

    def _is_full(self) -> bool:
        """Whether so much waits in all that nothing is compared."""
        if full := self._outbox.is_full():
            self._say_full()
        elif not self._outbox.waiting():
            self._full = False
        return full

    def _say_full(self) -> None:
        if not self._full:
            self._full = True
            self._say(
                "outbox", "too many events wait for NATS: what happens meanwhile comes as one, with a count"
            )

    def _log_is_there(self, key: Key, fetched: "Future[list[str]]") -> None:
        """Called by a log thread; a fetcher that is being ended cancels what it has not begun."""
        with self._lock:
            self._settled(key, () if fetched.cancelled() else fetched.result())
            if not self._waiting:  # not for each of many
                self._ring()

    def _settled(self, key: Key, tail: Sequence[str]) -> None:
        """Commit a change with what its log says, then compare what was kept meanwhile, in its order."""
        waiting = self._waiting.get(key)
        if waiting is None:  # committed without it, at the end
            return
        if self.records.commit([lay_log(waiting.change, tail, self._log_lines)]) is None:
            waiting.tail = tail
            return
        del self._waiting[key]
        spoken = any(_key(state) == key for state, _ in self._messages)
        self._hear_messages()
        known = self._known.get(key)
        if known and waiting.newest and not spoken and not self._is_full():
            newest, at = waiting.newest
            self.records.commit(self._held_back(self._detect({key: known}, {key: newest}, at)))

    def _try_again(self) -> None:
        """Commit what the file did not take the last time."""
        for key, tail in [(key, one.tail) for key, one in self._waiting.items() if one.tail is not None]:
            self._settled(key, tail)
        self._hear_messages()


def _key(state: ProcessState) -> Key:
    return Key(state.namespace, state.name)
