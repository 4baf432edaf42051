"""Consumer: the events, and what is now: states, waiting for them, forgetting them.
Threads are those of `EventConsumer`, and one more for each selection of states that is followed.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import datetime

from ..broker.bucket import Bucket
from ..broker.loop import ignore
from ..errors import ObserveError, UsageError
from ..events import EventType
from ..rows import Place
from ..settings import choices
from ..subjects import encode_token
from ..times import now_utc
from .connection import Pace
from .event_consumer import EventConsumer
from .feed import Feed
from .states import States
from .states_reader import LEASE_END, StatesReader, read_states
from .subscription import texts_of, wanted_of
from .wait import GOALS, Outcome, Waiting

#: much is read at once, by who does little with each event
BULK = Pace(batch=2000)
#: waiting looks this often whether something was heard
LOOK_GAP_S = 0.1
#: and thinks again this often anyway: that nothing is heard any more is no event
LOOK_AGAIN_S = 0.5


class Consumer(EventConsumer):
    """Reads events and states from one NATS; a context manager. Its methods may be called from any thread."""

    _readers: tuple[StatesReader, ...] = ()

    def states(self, process: str | Sequence[str] = (), stack: str | None = None) -> States:
        """Return what is known of these processes now (none given: all), of all stacks or one.

        Connects if need be; the first call reads the bucket, and begins to follow it. Later ones cost little.
        """
        reader = self.follow_states(process, stack)
        reader.wait_whole()
        return reader.states

    def follow_states(self, process: str | Sequence[str] = (), stack: str | None = None) -> StatesReader:
        """Return what keeps the states of these processes; it may still be reading what there is."""
        connection, patterns = self._connected(), wanted_of(process).processes
        with self._lock:
            found = next((one for one in self._readers if one.selects == (patterns, stack)), None)
            if found is None:
                found = StatesReader(connection, patterns, stack).open()
                self._readers = (*self._readers, found)
            return found

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
        Raises GoalMissedError when one cannot become so any more (or has an event of a type in `fail_on`),
        TimedOutError, UsageError.
        """
        patterns, asked = wanted_of(process).processes, choices("goals", texts_of(goals), GOALS)
        if not patterns or not asked:
            raise UsageError("nothing to wait for", "name a process, and what it is to become")
        if all(pattern.startswith("!") for pattern in patterns):  # all but these, and at least one
            patterns = ("*", *patterns)
        about = (texts_of(fail_on), stack, self._settings.as_flag)
        waiting = Waiting(patterns, asked, time.monotonic(), *about, is_renamed=self._is_renamed)
        with closing(StatesReader(self._connected(), patterns, stack).open()) as reader:
            reader.wait_whole()
            self._keep(waiting, reader, timeout_s, on_outcome)
        return list(waiting.outcomes.values())

    def _keep(
        self,
        waiting: Waiting,
        reader: StatesReader,
        timeout_s: float,
        on_outcome: Callable[[Outcome], object],
    ) -> None:
        """Look again and again until it is over."""
        end, seen, looked = waiting.began + timeout_s, States(), float("-inf")
        while True:
            states, now, clock = reader.states, now_utc(), time.monotonic()
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

    def _is_renamed(self, place: Place) -> bool:
        """Whether the last change of status that was told of a process gave it another name."""
        found, _ = self.recent(1, str(place), [EventType.STATUS_CHANGED], stack=place.stack)
        return any(event.renamed_to for event in found)

    def stored_states(self, process: str | Sequence[str] = (), stack: str | None = None) -> States:
        """Return what the bucket says now, leases too, and follow nothing. NatsError: it may not be read."""
        return read_states(self._connected(), wanted_of(process).processes, stack)

    def payloads(self, subjects: list[str], since: datetime) -> Iterator[bytes]:
        """Yield everything stored from a little before `since` on, as it is stored, in order, up to now."""
        for message in Feed(self._connected(), subjects, since=since).open().stored():
            yield message.data

    def forget(self, stack: str) -> int:
        """Drop what the bucket holds of a stack, and return how many keys there were; never an event.

        ObserveError while its adapter lives.
        """
        connection = self._connected()
        self.check_forgettable(stack, self.stored_states(stack=stack))

        async def drop() -> int:
            bucket = Bucket(connection.session)
            keys = await bucket.keys(f"{encode_token(stack)}.>")
            for key in sorted(keys, key=lambda one: one.endswith(LEASE_END)):  # the lease last
                await bucket.delete(key)
            return len(keys)

        return connection.ask(lambda js: drop())

    def check_forgettable(self, stack: str, states: States) -> None:
        """ObserveError while the adapter of a stack lives: it would write its rows again."""
        found = states.stacks.get(stack)
        stale = found.stale(now_utc()) if found else None
        if found and found.lease and not found.dead and not (stale and stale.about == "adapter"):
            host, pid = found.lease.get("host", "?"), found.lease.get("pid", "?")
            raise ObserveError(f"the adapter of {stack} is alive (pid {pid} on {host})", "stop it first")

    def _disconnect(self) -> None:
        for reader in self._readers:
            reader.close()
        self._readers = ()
        super()._disconnect()
