"""From changes to the stream: record first, then publish until acknowledged, in order per process.
Any thread may call its methods; what waits runs on the loop thread, nothing here blocks the poller.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from itertools import count
from typing import Any

from nats.js import JetStreamContext, api

from ..broker.link import DENIED_AFTER_S, DeniedError, Link, SkippedError, TooLargeError, WrongLastError
from ..broker.loop import Bridge, ignore
from ..broker.stream import BUCKET, MAX_AGE_S, StreamOptions, ensure_bucket, ensure_stream
from ..detect.changes import Change
from ..detect.known import Known, from_record, to_record
from ..errors import ObserveError
from ..events import OBSERVE, SCHEMA, Event, Key, dump_json
from ..log import Say, log
from ..settings import NatsSettings
from ..times import now_utc, parse_time, seconds_between
from .lanes import SMALLER, Batch, ProcessLane, lane_key
from .ledger import LEASE_KEY, Entry, Ledger
from .log_tail import lay_log, lines_wanted
from .parts import LogSource
from .tenure import HEARTBEAT_S, Tenure

#: so many events may be offered and not acknowledged; then the poller keeps what it knows and compares again
LIMIT = 10_000
#: so many processes are in flight at once
IN_FLIGHT = 256
#: so often a new record is fenced by the lease; the bucket's leader may be older than the server we talk to
FENCED_TRIES = 5


class Publisher:
    """Takes changes with `offer`, and sees that each event is in the stream once.

    `logs` lays `log_lines` to each crash, None: no log is asked for.
    `about()` gives the fields of the heartbeat that others know; `say(topic, text)` tells people;
    `on_connect(url, version)` is called with each new connection to NATS.
    `recovered` is set, and `on_recovered()` called, when the records have been read: `known` is what they
    hold, `observed` the last event of each process of the observer, `last_alive` when the last heartbeat was,
    and `whole` whether every process that was ever announced has a record. `failure` is set, and `on_failure`
    called, when it has to end: another adapter took the stack over, or NATS refuses us from the start.
    """

    def __init__(
        self,
        stack: str,
        settings: NatsSettings,
        options: StreamOptions,
        say: Say,
        about: Callable[[], Mapping[str, Any]],
        *,
        owner: str,
        takeover: bool,
        on_failure: Callable[[], None],
        logs: LogSource | None = None,
        log_lines: int = 0,
        limit: int = LIMIT,
        on_connect: Callable[[str, str], None] = ignore,
        on_recovered: Callable[[], None] = ignore,
    ) -> None:
        self._stack, self._options, self._say, self._about = stack, options, say, about
        self._on_recovered = on_recovered
        self._takeover, self._on_failure, self._limit = takeover, on_failure, limit
        self._logs, self._log_lines = logs, log_lines
        self._bridge = Bridge()
        self._link = Link(settings, f"observe adapter {stack}", say, self._ensure, on_connect)
        self._ledger = Ledger(self._link, stack, self._begin_anew)
        self._tenure = Tenure(self._ledger, stack, owner, self._beat_fields)
        self._lanes: dict[str, ProcessLane] = {}
        self._ready: asyncio.Queue[ProcessLane] = asyncio.Queue()
        self._window_s = MAX_AGE_S
        self._hurry = asyncio.Event()
        self._link.on_return = self._hurry.set  # what became of the bucket meanwhile?
        self._anew = False
        self._unwritten: set[str] = set()
        self._awaited: set[str] = set()
        self._on_recorded: Callable[[], object] = ignore
        self._idle = threading.Condition()
        self._pending = 0
        self.published = 0
        self.skipped = 0
        self.known: dict[Key, Known] = {}
        self.observed: dict[str, Event] = {}
        self.last_alive: str | None = None
        self.last_reply: str | None = None
        self.known_at: datetime | None = None  # another adapter told all that was before
        self.whole = False
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

    @property
    def remembered(self) -> int:
        """How many of these are in the bucket: the next start sends them, whatever becomes of us."""
        batches = [batch for lane in list(self._lanes.values()) for batch in list(lane.queue)]
        return sum(batch.left for batch in batches if batch.recorded)

    def _beat_fields(self) -> Mapping[str, Any]:
        whole = self.whole and not self._unwritten
        return {**self._about(), "queued": self._pending, "published": self.published, "whole": whole}

    def offer(self, changes: Sequence[Change]) -> bool:
        """Take all these changes, or none where too much is waiting already; never blocks.

        The observer's own events, few as they are, are always taken.
        """
        telling = [change for change in changes if change.events]
        own = bool(telling) and all(change.events[0].of_observer for change in telling)
        with self._idle:
            if self._pending >= self._limit and not own:
                return False
            self._pending += sum(len(change.events) for change in telling)
        if telling:
            self._bridge.call(self._accept, telling)
        return True

    def when_recorded(self, call: Callable[[], object]) -> None:
        """Have it called, in the loop's thread, once all that was offered until now is in the bucket.

        What may not be written there, or cannot be, is not waited for: that is said.
        """
        self._bridge.call(self._await_records, call)

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
        self._recover(await self._read_memory())
        if self._tenure.shared:
            self.known_at = now_utc()
        self.recovered.set()
        self._on_recovered()
        workers = [self._work() for _ in range(IN_FLIGHT)]
        await asyncio.gather(self._heartbeat(), *workers)

    async def _ensure(self, js: JetStreamContext) -> None:
        stream = await ensure_stream(js, self._options)
        bucket_made = await ensure_bucket(js, self._options)
        self._window_s = stream.duplicate_window_s
        self._say("stream", f"{stream.text}; bucket {BUCKET} {'created' if bucket_made else 'found'}")

    async def _read_memory(self) -> dict[str, Entry]:
        """Read all records; where somebody else may still write them, see that he cannot any more."""
        while True:
            entries = await self._ledger.read_all()
            entries.pop(LEASE_KEY, None)
            if not self._tenure.contested:
                return entries
            fenced = await self._ledger.fence(entries)
            if fenced is not None:
                return fenced

    def _recover(self, entries: dict[str, Entry]) -> None:
        """Take over what the bucket holds, and queue what may not have reached the stream."""
        self.whole = bool(self._tenure.before.get("whole"))
        acknowledged = self._tenure.before.get("acknowledged") or 0
        self.last_alive = self._tenure.before.get("at")
        self.last_reply = self._tenure.before.get("last_reply")
        for key, entry in entries.items():
            lane = self._lanes[key] = ProcessLane(key, entry.revision)
            try:
                if entry.found is not None:
                    self._take_over(lane, entry.found, entry.revision > acknowledged)
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                self._say("bucket", f"the record {key} cannot be read and is begun anew: {error}")

    def _take_over(self, lane: ProcessLane, record: Mapping[str, Any], owed: bool) -> None:
        sealed = [(one["id"], Event.from_dict(one["event"])) for one in record["events"]]
        gone = bool(record.get("gone"))
        if lane.key.startswith(f"{OBSERVE}.") and sealed:
            self.observed[sealed[-1][1].process] = sealed[-1][1]
        elif not gone and not lane.key.startswith(f"{OBSERVE}."):
            known = from_record(record)
            self.known[Key(known.state.namespace, known.state.name)] = known
        lane.seq, lane.last = int(record["seq"]), dict(record.get("last") or {})
        lane.record = dump_json(record)
        if owed or gone:
            sealed = sealed if owed else []
            self._ledger.owe(lane.key, lane.revision)
            with self._idle:
                self._pending += len(sealed)
            self._queue(lane, Batch(None, sealed, gone, recorded=True, tried=True))

    def _accept(self, changes: Sequence[Change]) -> None:
        if not self.whole and not all(change.events[0].of_observer for change in changes):
            self.whole = True  # as soon as these are written
            self._unwritten.update(lane_key(change) for change in changes)
        for change in changes:
            key = lane_key(change)
            lane = self._lanes.setdefault(key, ProcessLane(key))
            gone = change.known is None and not key.startswith(f"{OBSERVE}.")
            logged = None
            if self._logs is not None and (lines := lines_wanted(change, self._log_lines)):
                logged = asyncio.wrap_future(self._logs.fetch(change.key.process, lines))
            self._queue(lane, Batch(change, gone=gone, logged=logged))

    def _queue(self, lane: ProcessLane, batch: Batch) -> None:
        lane.queue.append(batch)
        self._wake(lane)

    def _wake(self, lane: ProcessLane, _: object = None) -> None:
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
            batch = lane.queue[0]
            try:
                await self._deliver(lane, batch)
            except DeniedError:  # the lane waits, others go on
                batch.tried = True
                self._await_no_more(lane.key)
                asyncio.get_running_loop().call_later(DENIED_AFTER_S, self._ready.put_nowait, lane)
                continue
            except ObserveError:
                raise
            except Exception:  # one process's trouble must not end the watching of all
                log.exception("events of %s are skipped", lane.key)
                self._await_no_more(lane.key)
                self.skipped += batch.left
                self._done(batch.left)
            lane.queue.popleft()
            lane.busy = False
            self._wake(lane)

    async def _deliver(self, lane: ProcessLane, batch: Batch) -> None:
        """Bring one batch into the bucket, then into the stream; go on where an earlier try got to."""
        if not batch.recorded:
            if batch.change is not None:
                tail = batch.logged.result() if batch.logged else []
                change = lay_log(batch.change, tail, self._log_lines)
                batch.sealed = batch.sealed or lane.seal(change, self._stack)
                await self._remember(lane, change, batch)
            elif lane.record is not None:
                await self._write(lane, lane.record)
            batch.recorded = True
        while batch.sealed:
            await self._publish(*batch.sealed[0], batch.tried)
            batch.sealed.pop(0)
            self._done()
        if lane.removed:
            lane.seq, lane.record = 0, None
            await self._write(lane, None)
        self._ledger.settled(lane.key)

    async def _remember(self, lane: ProcessLane, change: Change, batch: Batch) -> None:
        """Write the process's record, with the events of this batch as they will be published."""
        memory = to_record(change.known) if change.known else {}
        record = {"schema": SCHEMA, **memory, "gone": batch.gone, "seq": lane.seq, "last": lane.last}
        for shrink in SMALLER:
            events = [{"id": name, "event": shrink(event).to_dict()} for name, event in batch.sealed]
            with suppress(TooLargeError, SkippedError):
                await self._write(lane, dump_json({**record, "events": events}))
                return
        self._say("nats", f"the record of {lane.key} is too large for the bucket: its events go without it")
        self._written(lane.key)

    async def _write(self, lane: ProcessLane, record: bytes | None) -> None:
        """Write (None: delete) over the revision we know; where it is not ours, go on from what is there."""
        for tried in count():
            await self._tenure.confirm()
            lease = self._tenure.revision if tried < FENCED_TRIES else 0
            try:
                if record is None:
                    lane.revision = await self._ledger.delete(lane.key, lane.revision)
                else:
                    lane.revision = await self._ledger.write(lane.key, record, lane.revision, lease)
                    lane.record = record
                self._written(lane.key)
                return
            except WrongLastError:
                await self._tenure.check()
                lane.revision, _ = await self._ledger.revision_of(lane.key)

    def _await_records(self, call: Callable[[], object]) -> None:
        lanes = [lane for lane in self._lanes.values() if lane.queue and not lane.queue[-1].recorded]
        self._awaited, self._on_recorded = {lane.key for lane in lanes}, call
        self._await_no_more("")

    def _await_no_more(self, key: str) -> None:
        self._awaited.discard(key)
        if not self._awaited:
            call, self._on_recorded = self._on_recorded, ignore
            call()

    def _written(self, key: str) -> None:
        self._await_no_more(key)
        if key in self._unwritten:
            self._unwritten.remove(key)
            if not self._unwritten:  # whoever comes after us shall know
                self._hurry.set()

    async def _publish(self, message_id: str, event: Event, again: bool) -> None:
        """Publish until it is acknowledged; look for it first where the server may have forgotten."""
        begun = parse_time(event.seen_at) if again else now_utc()

        async def is_stored() -> bool:
            old = seconds_between(begun, now_utc()) > self._window_s / 2
            return old and await self._ledger.has_event(event, message_id)

        if again and await is_stored():
            return
        headers = {api.Header.MSG_ID.value: message_id}
        for step in SMALLER:
            try:
                await self._link.send(event.subject, step(event).to_json(), headers, is_stored)
                self.published += 1
                return
            except TooLargeError:
                continue
            except SkippedError as error:
                self._say("nats", f"{event.subject} was refused and is skipped: {error}")
                break
        else:
            self._say("nats", f"{event.subject} is larger than the server takes, and is skipped")
        self.skipped += 1

    def _done(self, number: int = 1) -> None:
        with self._idle:
            self._pending -= number
            if self._pending == 0:
                self._idle.notify_all()

    async def _heartbeat(self) -> None:
        while True:
            await self._tenure.beat()
            if self._anew:
                self._write_anew()
                continue  # say at once that the memory is not whole
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), HEARTBEAT_S)
            self._hurry.clear()

    def _begin_anew(self) -> None:
        self._anew = True
        self._hurry.set()

    def _write_anew(self) -> None:
        """Somebody changed the bucket under us (wiped, restored): every record is written again."""
        self._anew = False
        self._say("bucket", f"{BUCKET} was changed by somebody else (wiped or restored?), written anew")
        for lane in self._lanes.values():
            lane.revision = 0
            if lane.record is not None:
                self._unwritten.add(lane.key)
                self._queue(lane, Batch())

    async def _farewell(self) -> None:
        if self.recovered.is_set() and self.failure is None:
            await self._tenure.beat(stopped=True)
        await self._link.close()
