"""From changes to the stream: record first, then publish until acknowledged, in order per process.
Any thread may call its methods; what waits runs on the loop thread, nothing here blocks the poller.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from nats.js import JetStreamContext, api

from .bridge import Bridge, log
from .config import NatsSettings
from .errors import ObserveError
from .events import OBSERVE, SCHEMA, Event, Key, dump_json
from .ledger import Entry, Ledger
from .link import Link, SkippedError, TooLargeError, WrongLastError
from .runs import Known, from_record, to_record
from .stream import BUCKET, MAX_AGE_S, STREAM, StreamOptions, ensure_bucket, ensure_stream
from .tails import Tails
from .tenure import HEARTBEAT_S, LEASE_KEY, Tenure
from .times import format_duration, now_utc, parse_time, seconds_between
from .transitions import Change, settle

#: so many events may be offered and not acknowledged; then the poller keeps what it knows and compares again
LIMIT = 10_000
#: so many processes are in flight at once
IN_FLIGHT = 256


@dataclass(slots=True)
class _Batch:
    """What one comparison told of one process: sealed (ids and seq given) when its turn comes."""

    change: Change | None  # None: a record that was found unacknowledged, published again
    sealed: list[tuple[str, Event]] = field(default_factory=list)
    gone: bool = False
    logged: "asyncio.Task[Change] | None" = None
    again: bytes | None = None  # a record to write once more


@dataclass(slots=True)
class _Lane:
    """One process's way into the stream: one batch after the other."""

    key: str
    revision: int = 0
    seq: int = 0
    last: dict[str, str] = field(default_factory=dict)
    record: bytes | None = None
    queue: deque[_Batch] = field(default_factory=deque)
    busy: bool = False


class Publisher:
    """Takes changes with `offer`, and sees that each event is in the stream once.

    `about()` gives the fields of the heartbeat that others know; `say(topic, text)` tells people.
    `recovered` is set when the records have been read: `known` is then what they hold, `observed` the last
    event of each process of the observer, `last_alive` when the last heartbeat was. `failure` is set, and
    `on_failure` called, when it has to end because another adapter took the stack over.
    """

    def __init__(
        self,
        stack: str,
        settings: NatsSettings,
        options: StreamOptions,
        say: Callable[[str, str], None],
        about: Callable[[], Mapping[str, Any]],
        *,
        owner: str,
        takeover: bool,
        on_failure: Callable[[], None],
        tails: Tails,
        limit: int = LIMIT,
    ) -> None:
        self._stack, self._options, self._say, self._about = stack, options, say, about
        self._takeover, self._on_failure, self._tails, self._limit = takeover, on_failure, tails, limit
        self._bridge = Bridge()
        self._link = Link(settings, f"observe adapter {stack}", say, self._ensure)
        self._ledger = Ledger(self._link, stack)
        self._tenure = Tenure(self._ledger, stack, owner, self._beat_fields)
        self._lanes: dict[str, _Lane] = {}
        self._ready: asyncio.Queue[_Lane] = asyncio.Queue()
        self._window_s = MAX_AGE_S
        self._idle = threading.Condition()
        self._pending = 0
        self.published = 0
        self.skipped = 0
        self.known: dict[Key, Known] = {}
        self.observed: dict[str, Event] = {}
        self.last_alive: str | None = None
        self.recovered = threading.Event()
        self.failure: ObserveError | None = None

    def start(self) -> None:
        """Begin to connect, to read the records, and to publish again what they say is not acknowledged."""
        self._bridge.start()
        self._bridge.spawn(self._guarded(self._main()))

    @property
    def pending(self) -> int:
        """How many events are offered and not yet acknowledged."""
        return self._pending

    def _beat_fields(self) -> Mapping[str, Any]:
        return {**self._about(), "queued": self._pending, "published": self.published}

    def offer(self, changes: Sequence[Change]) -> bool:
        """Take all these changes, or none where too much is waiting already; never blocks."""
        telling = [change for change in changes if change.events]
        with self._idle:
            if self._pending >= self._limit:
                return False
            self._pending += sum(len(change.events) for change in telling)
        if telling:
            self._bridge.call(self._accept, telling)
        return True

    def flush(self, timeout_s: float) -> int:
        """Wait until everything is acknowledged, `timeout_s` at most; return how many events are not."""
        with self._idle:
            self._idle.wait_for(lambda: self._pending == 0, timeout_s)
            return self._pending

    def stop(self, timeout_s: float = 2.0) -> None:
        """Write the last heartbeat if NATS is there, and end the loop thread."""
        try:
            self._bridge.run(self._farewell(), timeout_s)
        except (TimeoutError, ObserveError):
            log.debug("no last heartbeat")
        self._bridge.stop()
        self._tails.stop()

    async def _guarded(self, work: Any) -> None:
        try:
            await work
        except ObserveError as error:
            self.failure = error
            self._on_failure()
        except Exception:  # the loop thread's top: better loud than silently deaf
            log.exception("the publisher failed")
            self.failure = ObserveError("the publisher failed", "see the log above; please report it")
            self._on_failure()

    async def _main(self) -> None:
        await self._link.open()
        await self._tenure.claim(self._takeover, self._say)
        self._recover(await self._ledger.read_all())
        await self._tenure.beat()
        self.recovered.set()
        workers = [self._work() for _ in range(IN_FLIGHT)]
        await asyncio.gather(self._heartbeat(), *workers)

    async def _ensure(self, js: JetStreamContext) -> None:
        stream = await ensure_stream(js, self._options)
        bucket_made = await ensure_bucket(js, self._options)
        self._window_s = stream.duplicate_window_s
        age = format_duration(stream.max_age_s) if stream.max_age_s else "no limit"
        done = "created" if stream.created else "changed" if stream.changed else "found"
        made = "created" if bucket_made else "found"
        self._say("stream", f"{STREAM} {done} ({stream.storage}, {age}); bucket {BUCKET} {made}")

    def _recover(self, entries: dict[str, Entry]) -> None:
        """Take over what the bucket holds, and queue what may not have reached the stream."""
        entries.pop(LEASE_KEY, None)
        acknowledged = self._tenure.before.get("acknowledged") or 0
        self.last_alive = self._tenure.before.get("at")
        for key, entry in entries.items():
            lane = self._lanes[key] = _Lane(key, entry.revision)
            try:
                if entry.found is not None:
                    self._take_over(lane, entry.found, entry.revision > acknowledged)
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                self._say("bucket", f"the record {key} cannot be read and is begun anew: {error}")

    def _take_over(self, lane: _Lane, record: Mapping[str, Any], owed: bool) -> None:
        sealed = [(one["id"], Event.from_dict(one["event"])) for one in record["events"]]
        gone = bool(record.get("gone"))
        if lane.key.startswith(f"{OBSERVE}."):
            self.observed[sealed[-1][1].process] = sealed[-1][1]
        elif not gone:
            known = from_record(record)
            self.known[Key(known.state.namespace, known.state.name)] = known
        lane.seq, lane.last, lane.record = (
            int(record["seq"]),
            dict(record.get("last") or {}),
            dump_json(record),
        )
        if owed or gone:
            sealed = sealed if owed else []
            self._ledger.owe(lane.key, lane.revision)
            with self._idle:
                self._pending += len(sealed)
            self._queue(lane, _Batch(None, sealed, gone))

    def _accept(self, changes: Sequence[Change]) -> None:
        for change in changes:
            key = ".".join(change.events[0].subject.split(".")[2:4])
            lane = self._lanes.setdefault(key, _Lane(key))
            gone = change.known is None and not key.startswith(f"{OBSERVE}.")
            logged = asyncio.create_task(self._tails.settled(change)) if self._tails.wants(change) else None
            self._queue(lane, _Batch(change, gone=gone, logged=logged))

    def _queue(self, lane: _Lane, batch: _Batch) -> None:
        lane.queue.append(batch)
        self._wake(lane)

    def _wake(self, lane: _Lane, _: object = None) -> None:
        """Have a worker take the lane, as soon as the log that its first batch waits for is there."""
        if lane.busy or not lane.queue:
            return
        logged = lane.queue[0].logged
        if logged is not None and not logged.done():
            logged.add_done_callback(partial(self._wake, lane))
            return
        lane.busy = True
        self._ready.put_nowait(lane)

    async def _work(self) -> None:
        while True:
            lane = await self._ready.get()
            await self._deliver(lane, lane.queue[0])
            lane.queue.popleft()
            lane.busy = False
            self._wake(lane)

    async def _deliver(self, lane: _Lane, batch: _Batch) -> None:
        """Bring one batch into the bucket, then into the stream."""
        if batch.again is not None:
            await self._write(lane, batch.again)
        if batch.change is not None:
            change = batch.logged.result() if batch.logged else settle(batch.change, [])
            batch.sealed = self._seal(lane, change)
            await self._remember(lane, change, batch)
        for message_id, event in batch.sealed:
            await self._publish(message_id, event, again=batch.change is None)
            self._done()
        if batch.gone and len(lane.queue) == 1:
            lane.seq, lane.record = 0, None
            await self._write(lane, None)
        self._ledger.settled(lane.key)

    def _seal(self, lane: _Lane, change: Change) -> list[tuple[str, Event]]:
        """Give each event its stack, its seq and the id that it keeps for ever."""
        sealed = []
        for event in change.events:
            lane.seq += 1
            lane.last[event.type] = event.timestamp
            event = replace(event, stack=self._stack, seq=lane.seq)
            sealed.append((event.message_id(), event))
        return sealed

    async def _remember(self, lane: _Lane, change: Change, batch: _Batch) -> None:
        """Write the process's record, with the events of this batch as they will be published."""
        memory = to_record(change.known) if change.known else {}
        record = {"schema": SCHEMA, **memory, "gone": batch.gone, "seq": lane.seq, "last": lane.last}
        for shrink in _SHRINK:
            events = [
                {"id": message_id, "event": shrink(event).to_dict()} for message_id, event in batch.sealed
            ]
            with suppress(TooLargeError, SkippedError):
                await self._write(lane, dump_json({**record, "events": events}))
                return
        self._say("nats", f"the record of {lane.key} is not taken, its events are sent without it")

    async def _write(self, lane: _Lane, record: bytes | None) -> None:
        """Write (None: delete) over the revision we know; where it is not ours, go on from what is there."""
        while True:
            try:
                if record is None:
                    lane.revision = await self._ledger.delete(lane.key, lane.revision)
                else:
                    lane.revision = await self._ledger.write(lane.key, record, lane.revision)
                    lane.record = record
                return
            except WrongLastError:
                await self._tenure.check()
                lane.revision, _ = await self._ledger.revision_of(lane.key)

    async def _publish(self, message_id: str, event: Event, again: bool) -> None:
        """Publish until it is acknowledged; look for it first where the server may have forgotten."""
        begun = parse_time(event.seen_at) if again else now_utc()

        async def is_stored() -> bool:
            old = seconds_between(begun, now_utc()) > self._window_s / 2
            return old and await self._ledger.has_event(event, message_id)

        if again and await is_stored():
            return
        headers = {api.Header.MSG_ID.value: message_id}
        for step in _SHRINK:
            try:
                await self._link.send(event.subject, step(event).to_json(), headers, is_stored)
                self.published += 1
                return
            except TooLargeError:
                continue
            except SkippedError as error:
                self._say("nats", f"{event.subject} was refused and is skipped: {error}")
                break
        self.skipped += 1

    def _done(self) -> None:
        with self._idle:
            self._pending -= 1
            if self._pending == 0:
                self._idle.notify_all()

    async def _heartbeat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            if not await self._tenure.beat():
                self._write_anew()

    def _write_anew(self) -> None:
        """Somebody changed the bucket under us (wiped, restored): every record is written again."""
        self._say("bucket", f"{BUCKET} was changed by somebody else (wiped or restored?), written anew")
        for lane in self._lanes.values():
            if lane.record is not None and not lane.queue:
                self._queue(lane, _Batch(None, again=lane.record))

    async def _farewell(self) -> None:
        if self.recovered.is_set() and self.failure is None:
            await self._tenure.beat(stopped=True)
        await self._link.close()


def _without_log(event: Event) -> Event:
    return replace(event, log_tail=None)


def _bare(event: Event) -> Event:
    """The event with no more of its state than tells what it is."""
    keep = ("name", "namespace", "status", "is_running", "is_ready", "pid", "restarts", "exit_code")
    state = {name: event.state[name] for name in keep if name in event.state} if event.state else None
    return replace(event, log_tail=None, state=state)


_SHRINK: tuple[Callable[[Event], Event], ...] = (lambda event: event, _without_log, _bare)
