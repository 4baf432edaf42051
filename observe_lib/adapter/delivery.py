"""The adapter's side of NATS: connects, holds the lease, has stream and bucket made, lets the publisher send.
Its coroutines run on the loop thread; what other threads call returns at once, but for `flush` and `stop`.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import nats.errors
from nats.js.errors import NoStreamResponseError, NotFoundError, ServerError, ServiceUnavailableError

from ..broker.bucket import Bucket
from ..broker.lease import Lease
from ..broker.loop import Bridge, ignore
from ..broker.session import Session
from ..broker.stream import BUCKET, StreamOptions, ensure_bucket, ensure_stream
from ..errors import NatsError, ObserveError
from ..log import Say, log
from ..settings import NatsSettings
from ..subjects import OBSERVE, encode_token
from ..times import now_utc
from .comparison import Comparison
from .outbox import Outbox
from .publisher import Publisher
from .row_publisher import HEADER_BYTES
from .seal import MAX_PAYLOAD

#: what comes of a write to a server whose disk was full
_NO_WRITE = (nats.errors.TimeoutError, asyncio.TimeoutError, ServerError, ServiceUnavailableError)
#: so long the last words to NATS may take
FAREWELL_S = 2.0


class Delivery:
    """From `start()` to `stop()`; `failure` is set, and `on_failure()` called, when it has to end for good.

    `about()` is what the lease tells of the adapter. `on_connect(url, version)` is called with each new
    connection, `on_no_writes()` when the server answers and stores nothing; both in the loop's thread.
    """

    def __init__(
        self,
        outbox: Outbox,
        comparison: Comparison,
        settings: NatsSettings,
        options: StreamOptions,
        stack: str,
        say: Say,
        *,
        about: Callable[[], Mapping[str, Any]],
        takeover: bool,
        on_failure: Callable[[], None],
        on_connect: Callable[[str, str], None] = ignore,
        on_no_writes: Callable[[], None] = ignore,
    ) -> None:
        self._outbox, self._comparison, self._options, self._say = outbox, comparison, options, say
        self._about, self._on_failure, self._on_connect = about, on_failure, on_connect
        self._on_no_writes = on_no_writes
        self._token = encode_token(stack)
        self._loop = Bridge()
        name = f"observe adapter {stack}"
        self._session = Session(
            settings,
            name,
            say=say,
            on_up=self._on_up,
            on_denied=lambda subject: self._publisher.deny(subject),
        )
        self._bucket = Bucket(self._session)
        self._lease = Lease(
            self._bucket,
            f"{self._token}.{OBSERVE}.lease",
            outbox.owner,
            self._lease_fields,
            name=stack,
            takeover=takeover,
            say=lambda text: say("stack", text),
            on_claim=self._claimed,
            on_trouble=self._lease_failed,
        )
        self._publisher = Publisher(
            outbox,
            self._loop,
            self._session,
            rows=comparison.records.rows,
            may_send=lambda: self._lease.is_fresh,
            until_may_send=self._until_may_send,
            missing=lambda: self._unsure.set(),
            stuck=on_no_writes,
        )
        self._running: Any = None
        self._compared, self._unsure, self._ensured = (asyncio.Event() for _ in range(3))
        self._first, self._opened, self._uncleared, self._wiped = True, False, True, False
        self._strangers = set[str]()  # whose leases were found, and dealt with
        self.failure: ObserveError | None = None

    # --- for any thread ---

    @property
    def published(self) -> int:
        """How many events are stored."""
        return self._publisher.published

    def start(self) -> None:
        """Begin to connect, and to send."""
        self._loop.start()
        self._running = self._loop.spawn(self._guarded())

    def wake(self, processes: Iterable[str] = ()) -> None:
        """Something was committed; the rows of these processes are due."""
        self._publisher.wake(processes)

    def renew_lease(self) -> None:
        """Tell at once what has changed with process-compose."""
        self._loop.call(self._lease.renew_now)

    def compared(self) -> None:
        """A reply was compared: what is not known now is no more."""
        self._loop.call(self._compared.set)

    def when_sent(self, then: Callable[[], None]) -> None:
        """Have it called when all is stored, or what is wrong with it was said."""
        settled = self._loop.spawn(self._publisher.drained(or_said=True))
        settled.add_done_callback(lambda found: None if found.cancelled() else then())

    def flush(self, timeout_s: float) -> int:
        """Wait until everything is acknowledged, `timeout_s` at most; return how many events are not."""
        try:
            self._loop.run(self._publisher.drained(), timeout_s)
        except (TimeoutError, ObserveError):
            log.debug("not all is sent")
        return self._outbox.waiting()

    def stop(self) -> None:
        """Give the lease back if NATS is there, and end the loop thread."""
        try:
            self._loop.run(self._farewell(), FAREWELL_S)
        except (TimeoutError, ObserveError):
            log.debug("no last lease")
        self._loop.stop()
        self._publisher.close()

    # --- on the loop thread ---

    async def _guarded(self) -> None:
        try:
            await self._main()
        except ObserveError as error:
            self.failure = error
            self._on_failure()
        except Exception:  # the loop thread's top: better loud than silently deaf
            log.exception("the publisher failed")
            self.failure = ObserveError("the publisher failed", "see the log above; please report it")
            self._on_failure()

    async def _main(self) -> None:
        await self._session.open()
        await asyncio.gather(self._lease.hold(), self._publisher.run(), self._see_to_it(), self._clear_rows())

    def _on_up(self) -> None:
        """Each new connection is a claim, and may be to a server that has nothing of ours."""
        self._ensured.clear()
        self._unsure.set()
        self._lease.connected()
        self._on_connect(self._session.url, self._session.server_version)

    async def _see_to_it(self) -> None:
        """Have stream and bucket there with each connection, and where they are missing.

        Later than at first, trouble is only said: it is tried again when something misses them.
        """
        while True:
            await self._unsure.wait()
            self._unsure.clear()
            try:
                await self._ensure()
            except (NatsError, nats.errors.Error) as error:
                if not self._opened:
                    raise
                self._session.troubles.note("events", f"{error}; {getattr(error, 'hint', '')}")
            if not self._unsure.is_set():
                self._publisher.wake(() if self._opened else self._comparison.records.processes())
                self._opened = True
                self._ensured.set()

    async def _until_may_send(self) -> None:
        await self._ensured.wait()
        await self._lease.wait_fresh()

    async def _ensure(self) -> None:
        """See that stream and bucket are there; what was done is said."""
        until_done, options = self._session.until_done, self._options
        stream = await until_done(lambda _: ensure_stream(self._session.js, options))
        bucket = await until_done(lambda _: ensure_bucket(self._session.js, options))
        self._publisher.window_s = stream.duplicate_window_s
        self._comparison.records.max_payload = min(MAX_PAYLOAD, self._session.max_payload - HEADER_BYTES)
        self._wiped |= self._opened and stream.created and bucket.created
        if not (self._opened and stream.done == bucket.done == "found"):
            self._say("stream", f"{stream.text}; bucket {BUCKET} {bucket.done}")
        if bucket.created and self._opened:  # written again, and nothing announced
            self._publisher.wake(self._comparison.records.processes())
            self._lease.renew_now()

    def _lease_failed(self, error: Exception) -> None:
        """It passes, but for a bucket that is gone, and a server that stores nothing any more."""
        log.info("lease: %r", error)
        if isinstance(error, _NO_WRITE) and self._session.is_up and not self._lease.is_fresh:
            self._on_no_writes()
        gone = isinstance(error, (NotFoundError, nats.errors.NoRespondersError, NoStreamResponseError))
        if gone and self._session.is_up and self._opened:
            self._unsure.set()

    async def _claimed(self, found: Mapping[str, Any] | None) -> None:
        """Before a lease is taken: whether the file is the stack's memory, and the server knows the stack."""
        await self._ensured.wait()
        first, self._first = self._first, False
        wiped, self._wiped = self._wiped, False
        if found is None:
            if wiped or (first and self._outbox.had_sent):  # else what it announced waits still
                await self._publisher.on_file(self._comparison.restate)
            self._publisher.wake(self._comparison.records.processes())
            return
        owner = str(found.get("owner"))
        if owner in self._strangers or await self._publisher.on_file(self._outbox.had_owner, owner):
            return
        self._strangers.add(owner)
        if not (first and self._outbox.made):
            waited = await self._publisher.on_file(self._comparison.forget, None if first else now_utc())
            self._publisher.forget()
            self._uncleared = True
            dropped = f"{waited} events that waited are dropped"
            self._say("outbox", f"another adapter held this stack meanwhile: begun anew, {dropped}")

    async def _clear_rows(self) -> None:
        """Once a reply was compared, delete the rows of processes that are not known; refused, it is said."""
        while True:
            await self._compared.wait()
            self._compared.clear()
            await self._lease.wait_fresh()
            if self._uncleared and self._comparison.is_compared:  # else it has just begun anew
                self._uncleared = False
                await self._clear_rows_now()

    async def _clear_rows_now(self) -> None:
        try:
            keys = await self._session.until_done(lambda _: self._bucket.keys(f"{self._token}.>"), "rows")
        except (NatsError, nats.errors.Error) as error:
            self._say("bucket", f"rows of processes that are no more may stay in {BUCKET}: {error}")
            return
        known, own = self._comparison.records.row_keys(), f"{self._token}.{OBSERVE}."
        gone = [key for key in keys if key not in known and not key.startswith(own)]
        if gone:
            self._publisher.wake(key.removeprefix(f"{self._token}.") for key in gone)
            self._say("bucket", f"rows of processes that are no more: {len(gone)} deleted")

    async def _farewell(self) -> None:
        if self._running is not None:
            self._running.cancel()
        if not self._first and self.failure is None and self._session.is_up:
            await self._lease.stop()
        await self._session.close()

    def _lease_fields(self) -> Mapping[str, Any]:
        told = {"waiting": self._outbox.waiting(), "published": self.published}
        return {**self._about(), **told, "domains": sorted(self._publisher.domains)}
