"""Consumer: the events, and what they make of each process: its state, waiting for it, forgetting it.
Threads are those of `EventConsumer`, and one more that follows the states once they were asked for.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import datetime

from ..broker.loop import ignore
from ..errors import ObserveError, UsageError
from ..settings import choices
from ..times import now_utc
from .bucket import drop_stack, read_states
from .connection import Pace
from .event_consumer import EventConsumer
from .feed import Feed
from .states import States
from .subscription import texts_of, wanted_of
from .tracker import Tracker
from .wait import GOALS, Outcome, Waiting

#: much is read at once, by who does little with each event
BULK = Pace(batch=2000)
#: waiting looks this often whether something was heard
LOOK_GAP_S = 0.1
#: and thinks again this often anyway: that nothing is heard any more is no event
LOOK_AGAIN_S = 0.5


class Consumer(EventConsumer):
    """Reads events and states from one NATS; a context manager. Its methods may be called from any thread."""

    _tracker: Tracker | None = None

    def states(self, crashes_of: Sequence[str] | None = ()) -> States:
        """Return what is known of all processes now: read once, from then on kept current by the events.

        Connects if need be; the first call reads the bucket, and the crashes of a day of the processes that
        `crashes_of` names (none given: all; None: of none). Later calls cost little.
        """
        connection = self._connected()
        with self._lock:
            if self._tracker is None:
                self._tracker = Tracker(connection, crashes_of=crashes_of).open()
            return self._tracker.states

    def wait_for(
        self,
        process: str | Sequence[str],
        goals: str | Sequence[str] = ("ready",),
        *,
        fail_on: str | Sequence[str] = (),
        stack: str | None = None,
        timeout_s: float = 60.0,
        on_outcome: Callable[[Outcome], object] = ignore,
    ) -> list[Outcome]:
        """Wait until each of these processes was one of `goals`, and return how each came out.

        Goals: ready, running, healthy, stopped, completed. `on_outcome` is called with each as it comes.
        Raises GoalMissedError when one cannot become so any more (or had an event of a type in `fail_on`),
        TimedOutError, UsageError.
        """
        patterns, asked = wanted_of(process).processes, choices("goals", texts_of(goals), GOALS)
        if not patterns or not asked:
            raise UsageError("nothing to wait for", "name a process, and what it is to become")
        if all(pattern.startswith("!") for pattern in patterns):  # all but these, and at least one
            patterns = ("*", *patterns)
        about = (texts_of(fail_on), stack, self._settings.as_flag)
        waiting = Waiting(patterns, asked, time.monotonic(), *about)
        with closing(Tracker(self._connected(), crashes_of=None, on_event=waiting.hear).open()) as tracker:
            self._keep(waiting, tracker, timeout_s, on_outcome)
        return list(waiting.outcomes.values())

    def _keep(
        self, waiting: Waiting, tracker: Tracker, timeout_s: float, on_outcome: Callable[[Outcome], object]
    ) -> None:
        """Look again and again until it is over."""
        end, seen, looked = waiting.began + timeout_s, States(), float("-inf")
        while True:
            states, now, clock = tracker.states, now_utc(), time.monotonic()
            if states is not seen or clock >= min(looked + LOOK_AGAIN_S, end):
                seen, looked = states, clock
                for outcome in waiting.look(states, now, clock):
                    on_outcome(outcome)
                if failure := waiting.failure():
                    raise failure
                if waiting.over:
                    return
                if clock >= end:
                    raise waiting.timed_out(states, now, timeout_s)
            if self.wait(min(LOOK_GAP_S, max(0.0, end - clock))):
                raise ObserveError("this Consumer was closed", "make a new one")

    def stored_states(self) -> States:
        """Return what the bucket says now, leases too, and follow nothing. NatsError: it may not be read."""
        return self._connected().ask(read_states)[0]

    def payloads(self, subjects: list[str], since: datetime) -> Iterator[bytes]:
        """Yield everything stored from a little before `since` on, as it is stored, in order, up to now."""
        for message in Feed(self._connected(), subjects, since=since).open().stored():
            yield message.data

    def forget(self, stack: str) -> int:
        """Drop what the bucket holds of a stack, and return how many records there were; never an event.

        ObserveError while its adapter lives.
        """
        self.check_forgettable(stack)
        return self._connected().ask(lambda js: drop_stack(js, stack))

    def check_forgettable(self, stack: str) -> None:
        """ObserveError while the adapter of a stack lives: it would write its records again."""
        found = self.states(None).stacks.get(stack)
        stale = found.stale(now_utc()) if found else None
        if found and found.lease and not (stale and stale.about == "adapter"):
            host, pid = found.lease.get("host", "?"), found.lease.get("pid", "?")
            raise ObserveError(f"the adapter of {stack} is alive (pid {pid} on {host})", "stop it first")

    def _disconnect(self) -> None:
        if self._tracker is not None:
            self._tracker.close()
        self._tracker = None
        super()._disconnect()
