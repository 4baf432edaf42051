"""Reads the bucket PROCESS_STATES: what is now of some processes, once or as it changes.
A `StatesReader` has a thread of its own, "observe-states"; nobody else touches its table.
"""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import replace
from datetime import timedelta

from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from ..broker.lease import identity, is_dead
from ..broker.stream import KEYS, KV_STREAM, ask_stream, stored_subjects
from ..errors import NatsError
from ..rows import Place, ProcessRow, StackRow
from ..subjects import MAX_FILTERS, OBSERVE, ROOT, decode_token, encode_token, filter_subjects, process_wanted
from ..times import now_utc, parse_time
from .connection import Connection
from .feed import Feed, Mark
from .message import Message
from .silences import SILENCES_KEY, Silence, parse_silences
from .states import States

LEASE_END = f".{OBSERVE}.lease"
SILENCES = KEYS + SILENCES_KEY
#: how often it is looked whether an adapter of this machine still lives: a killed one says nothing
PULSE_S = 1.0
#: so many rows are asked for by their keys; more are chosen from all that a wider subject holds
LISTED_MAX = 2000


class Table:
    """Takes the bucket's messages in their order; only those of the wanted processes. For one thread."""

    def __init__(self, patterns: Sequence[str] = (), ahead: timedelta = timedelta()) -> None:
        self._patterns, self._ahead = tuple(patterns), ahead
        self._me = identity()
        self._states: States | None = States()
        self.clear()

    def clear(self) -> None:
        """Begin anew: the bucket was wiped."""
        self._rows: dict[Place, ProcessRow] = {}
        self._places: dict[str, Place] = {}  # by key; a process of several namespaces has several
        self._leases: dict[str, StackRow] = {}  # by key
        self._sizes = Counter[str]()  # of each stack's rows
        self._silences: tuple[Silence, ...] = ()
        self._states = None

    def take(self, message: Message) -> None:
        """Take what the bucket holds under a key by now."""
        key = message.subject.removeprefix(KEYS)
        if key == SILENCES_KEY:
            self._silences, self._states = tuple(parse_silences(message.data)), None
            return
        is_lease = key.endswith(LEASE_END)
        if not is_lease and not self._wants(key):
            return
        self._states = None
        if message.is_deletion:
            self._leases.pop(key, None)
            self._drop(key)
            return
        with suppress(ValueError):  # else it is neither row nor lease
            if is_lease:
                name = decode_token(key.removesuffix(LEASE_END))
                lease = StackRow.read(name, message.data, min(message.stored_at - self._ahead, now_utc()))
                self._leases[key] = replace(lease, dead=is_dead(lease.lease, self._me))
            else:
                self._put(key, ProcessRow.read(message.data))

    def states(self) -> States:
        """Return what is known by now; the same object as long as nothing was taken."""
        if self._states is None:
            stacks = {name: StackRow(name) for name in self._sizes}
            stacks |= {lease.name: lease for lease in self._leases.values()}
            self._states = States(dict(self._rows), stacks, self._silences)
        return self._states

    def feel_pulse(self) -> None:
        """See whether the adapters of this machine still live."""
        for key, lease in self._leases.items():
            if (dead := is_dead(lease.lease, self._me)) != lease.dead:
                self._leases[key], self._states = replace(lease, dead=dead), None

    def _wants(self, key: str) -> bool:
        parts = key.split(".")
        if len(parts) != 3 or OBSERVE in parts[:2]:
            return False
        _, namespace, name = parts
        return not self._patterns or key_matches(self._patterns, namespace, name)

    def _put(self, key: str, row: ProcessRow) -> None:
        place = row.place
        if self._places.get(key, place) != place:
            self._drop(key)
        if place not in self._rows:
            self._sizes[place.stack] += 1
        self._rows[place] = row
        self._places[key] = place

    def _drop(self, key: str) -> None:
        place = self._places.pop(key, None)
        if place is None or self._has_other_key(place):
            return
        if self._rows.pop(place, None) is not None:
            self._sizes[place.stack] -= 1
            self._sizes += Counter()  # without those that have none left

    def _has_other_key(self, place: Place) -> bool:
        row, owner, name = self._rows.get(place), encode_token(place.stack), encode_token(place.process)
        spaces = row.namespaces if row else ()
        return any(self._places.get(f"{owner}.{encode_token(space)}.{name}") == place for space in spaces)


class StatesReader:
    """The states of some processes, kept current from `open()` to `close()`; methods for any thread."""

    def __init__(
        self, connection: Connection, patterns: Sequence[str] = (), stack: str | None = None
    ) -> None:
        self.selects = (tuple(patterns), stack)
        self._connection = connection
        self._lock = threading.Lock()
        self._whole = threading.Event()
        self._taken, self._felt_at = 0, time.monotonic()
        self._thread = threading.Thread(target=self._follow, name="observe-states", daemon=True)

    def open(self) -> "StatesReader":
        """Begin to read; NatsError if that is not permitted."""
        patterns, stack = self.selects
        self._table = Table(patterns, self._connection.ask(server_ahead))
        self._feed = Feed(self._connection, row_subjects(patterns, stack), stream=KV_STREAM).open()
        self._thread.start()
        return self

    @property
    def is_whole(self) -> bool:
        """Whether all that there was has been read."""
        return self._whole.is_set()

    def wait_whole(self) -> None:
        """Wait until all that there was has been read; NatsError when nothing comes any more."""
        taken = -1
        while not self._whole.wait(self._connection.timeout_s):
            if taken == self._taken:
                raise NatsError(f"{self._connection.url} does not send its states", "is it overloaded?")
            taken = self._taken

    @property
    def states(self) -> States:
        """What is known now; the same object as long as nothing is heard."""
        with self._lock:
            if time.monotonic() >= self._felt_at + PULSE_S:
                self._felt_at = time.monotonic()
                self._table.feel_pulse()
            return self._table.states()

    def close(self) -> None:
        """End it; returns at once."""
        self._feed.end()

    def _follow(self) -> None:
        for item in self._feed.items():
            if isinstance(item, Message):
                with self._lock:
                    self._taken += 1
                    self._table.take(item)
            elif item is Mark.WIPED:
                with self._lock:
                    self._table.clear()
            else:
                self._whole.set()


def read_states(connection: Connection, patterns: Sequence[str] = (), stack: str | None = None) -> States:
    """Return the states of some processes, read once, in the calling thread. NatsError: they may not be read.

    Where a pattern is a glob, or names nothing that there is, the keys are looked through first.
    """
    table = Table(patterns, connection.ask(server_ahead))
    if not any(map(_is_glob, patterns)):
        _read_into(connection, row_subjects(patterns, stack), table)
        rows = table.states().rows.values()
        if all(any(row.matches(one) for row in rows) for one in patterns):
            return table.states()
    for subjects in connection.ask(lambda js: listed_subjects(js, patterns, stack)):
        _read_into(connection, subjects, table)
    return table.states()


def _read_into(connection: Connection, subjects: list[str], table: Table) -> None:
    with closing(Feed(connection, subjects, stream=KV_STREAM).open().stored()) as messages:
        for message in messages:
            table.take(message)


# --- which keys ---


def key_matches(patterns: Sequence[str], namespace: str, name: str) -> bool:
    """Whether a key's last two tokens may be those of a process that a pattern names."""
    if "==" in namespace or "==" in name:  # one that was cut: only the row tells
        return True
    process = decode_token(name)
    return process_wanted(patterns, [decode_token(namespace)], process)


def row_subjects(patterns: Sequence[str], stack: str | None) -> list[str]:
    """Return the subjects of the rows that patterns name, perhaps of more, of the leases and silences."""
    owner = _owner(stack)
    tails = [subject[len(ROOT) + 1 : -2] for subject in filter_subjects(patterns)]
    everything = f"{KEYS}{owner}.*.*"
    if "*.*" in tails or "*.lease" in tails or len(tails) > MAX_FILTERS - 2:
        return [everything, SILENCES]  # no two filters may hold the same
    return [*(f"{KEYS}{owner}.{tail}" for tail in tails), f"{KEYS}{owner}{LEASE_END}", SILENCES]


async def listed_subjects(
    js: JetStreamContext, patterns: Sequence[str], stack: str | None
) -> list[list[str]]:
    """Return the subjects of the rows that there are, in lists for one reading each.

    Where they are many it is one wider list, as of `row_subjects`; none where nothing is named.
    """
    found = list[str]()
    for subject in await stored_subjects(js, KV_STREAM, f"{KEYS}{_owner(stack)}.*.*"):
        parts = subject.removeprefix(KEYS).split(".")
        if OBSERVE not in parts[:2] and key_matches(patterns, *parts[1:]):
            found.append(subject)
    if len(found) > LISTED_MAX:
        return [row_subjects(patterns, stack)]
    leases = [f"{KEYS}{_owner(stack)}{LEASE_END}", SILENCES]
    return [leases, *(found[at : at + MAX_FILTERS] for at in range(0, len(found), MAX_FILTERS))]


async def server_ahead(js: JetStreamContext) -> timedelta:
    """Return how far the server's clock is ahead of ours, as its answer tells (since 2.10)."""
    try:
        told = (await ask_stream(js, "INFO", stream=KV_STREAM)).get("ts")
    except NotFoundError:
        return timedelta()
    return parse_time(told) - now_utc() if told else timedelta()


def _owner(stack: str | None) -> str:
    return "*" if stack is None else encode_token(stack)


def _is_glob(pattern: str) -> bool:
    return pattern.startswith("!") or any(letter in pattern for letter in "*?[")
