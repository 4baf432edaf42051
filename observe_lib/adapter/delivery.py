"""The adapter's side of NATS: connects, holds the lease, has stream and bucket made, lets the publisher send.
Its coroutines run on the loop thread; what other threads call returns at once, but for `flush` and `stop`.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from functools import partial
from typing import Any

import nats.errors
from nats.aio.client import Client

from ..broker.bucket import Bucket
from ..broker.lease import Lease
from ..broker.loop import Bridge, ignore
from ..broker.session import Session
from ..broker.stream import BUCKET, StreamOptions, ensure
from ..errors import NatsError, ObserveError
from ..events import OBSERVE, encode_token
from ..log import Say, log
from ..settings import NatsSettings
from .comparison import Comparison
from .outbox import Outbox
from .publisher import Publisher

#: so long the last words to NATS may take
FAREWELL_S = 2.0


class Delivery:
    """From `start()` to `stop()`; `failure` is set, and `on_failure()` called, when it has to end for good.

    `about()` is what the lease tells of the adapter. `on_connect(url, version)` is called with each new
    connection, in the loop's thread.
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
    ) -> None:
        self._outbox, self._comparison, self._options, self._say = outbox, comparison, options, say
        self._about, self._on_failure, self._on_connect = about, on_failure, on_connect
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
            on_trouble=lambda error: log.info("lease: %r", error),
        )
        self._publisher = Publisher(
            outbox,
            self._loop,
            self._session,
            rows=comparison.rows,
            may_send=lambda: self._lease.is_fresh,
            ensure=self._ensure,
        )
        self._running: Any = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._compared = asyncio.Event()
        self._held = self._made_anew = False
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

    def first_compared(self, then: Callable[[], None]) -> None:
        """A first reply was compared; have it called when all that waits by now is stored."""
        self._loop.call(self._compared.set)
        self._loop.spawn(self._when_drained(then))

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
        await asyncio.gather(self._lease.hold(), self._send(), self._clear_rows())

    async def _send(self) -> None:
        await self._ensure()
        await self._lease.wait_fresh()
        await self._publisher.run()

    def _on_up(self) -> None:
        """Each new connection is a claim, and may be to a server that has nothing of ours."""
        self._lease.connected()
        version = ".".join(map(str, self._session.server_version))
        self._on_connect(self._session.url, version or "unknown")
        if self._publisher.is_running:
            self._start(self._go_on())

    async def _go_on(self) -> None:
        """Send again over a new connection; what is wrong there by now is only said."""
        try:
            await self._ensure()
        except (NatsError, nats.errors.Error) as error:
            self._say("nats", f"{error}; {getattr(error, 'hint', '')}")
        await self._lease.wait_fresh()
        await self._publisher.on_up()

    async def _ensure(self) -> None:
        """See that stream and bucket are there; what is wrong with them is said, and asked again."""
        stream, bucket = await self._session.until_done(lambda _: ensure(self._session.js, self._options))
        self._publisher.window_s = stream.duplicate_window_s
        self._made_anew = stream.done == "created"
        self._say("stream", f"{stream.text}; bucket {BUCKET} {bucket.done}")
        if bucket.done == "created" and self._held:  # it was wiped: written again, and nothing announced
            self._publisher.wake(self._comparison.processes())

    async def _claimed(self, found: Mapping[str, Any] | None) -> None:
        """Before a lease is taken: whether the file is the stack's memory, and the server knows the stack."""
        in_worker, first = self._publisher.in_worker, not self._held
        known = found is None or self._outbox.had_owner(str(found.get("owner")))
        if not known and not (self._outbox.made and first):
            waited = await in_worker(self._comparison.forget)
            self._publisher.forget()
            self._say(
                "outbox", f"another adapter held this stack meanwhile: begun anew, {waited} events dropped"
            )
        elif found is None and ((first and not self._outbox.made) or self._made_anew):
            await in_worker(self._comparison.restate)
        if first or found is None:
            self._publisher.wake(self._comparison.processes())
        self._held, self._made_anew = True, False

    async def _clear_rows(self) -> None:
        """Once a reply was compared, delete the rows of processes that are not known; refused, it is said."""
        await self._compared.wait()
        await self._lease.wait_fresh()
        try:
            keys = await self._session.until_done(lambda _: self._bucket.keys(f"{self._token}.>"), "rows")
            known, own = self._comparison.row_keys(), f"{self._token}.{OBSERVE}."
            gone = [key for key in keys if key not in known and not key.startswith(own)]
            for key in gone:
                await self._session.until_done(partial(self._delete_row, key), "rows")
        except (NatsError, nats.errors.Error) as error:
            self._say("bucket", f"rows of processes that are no more may stay in {BUCKET}: {error}")
            return
        if gone:
            self._say("bucket", f"{len(gone)} rows of processes that are no more deleted")

    async def _delete_row(self, key: str, _: Client) -> None:
        await self._bucket.delete(key)

    async def _when_drained(self, then: Callable[[], None]) -> None:
        await self._publisher.drained()
        then()

    async def _farewell(self) -> None:
        if self._running is not None:
            self._running.cancel()
        if self._held and self.failure is None and self._session.is_up:
            await self._lease.stop()
        await self._session.close()

    def _lease_fields(self) -> Mapping[str, Any]:
        return {**self._about(), "waiting": self._outbox.waiting(), "published": self.published}

    def _start(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
