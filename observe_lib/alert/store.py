"""The alerter's side of NATS: its lease, its state in the bucket, the rows, and the logs of crashes.
The main thread calls, the loop thread does; what fails there is tried again by whoever calls.
"""

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from ..broker.bucket import PASSING_ERRORS, Bucket, WrongLastError
from ..broker.lease import Lease, identity
from ..broker.stream import STREAM
from ..errors import NatsError, ObserveError, StackHeldError
from ..events import Event, EventType
from ..log import Say, log
from ..reader.alerters import ALERT_KEYS, ALERT_LEASE, pack_state, unpack_state
from ..reader.connection import Connection, Pace
from ..settings import VERSION, NatsSettings
from ..subjects import subject_of
from ..times import format_time, now_utc
from .row_feed import RowFeed
from .trouble import OpenTrouble

#: a call into the loop takes no longer
CALL_S = 10.0
#: asking for one crash's log takes no longer
LOG_S = 2.0
#: who does not work looks again after this
STAND_BY_S = 0.2


class Store:
    """From `open()` to `close()`. `is_ours`: this one works, no other of the same name."""

    def __init__(self, settings: NatsSettings, name: str, say: Say) -> None:
        self._name, self._say, self._owner = name, say, uuid.uuid4().hex
        connection = Connection(settings, f"observe alert {name}", CALL_S, Pace(), say=say, on_up=self._on_up)
        self._bridge, self._session = connection.bridge, connection.session
        self._bucket = Bucket(self._session)
        self._key = f"{ALERT_KEYS}{name}"
        self._identity = {**identity(), "version": VERSION}
        self._lease = Lease(
            self._bucket,
            f"{self._key}{ALERT_LEASE}",
            self._owner,
            lambda: self._identity,
            name=name,
            kind="alerter",
            hint="give this one another --name",
            say=self._say_once,
            on_trouble=lambda error: log.info("alerter's lease: %r", error),
        )
        self._up_at: datetime | None = None
        self._was_up = False
        self.rows = RowFeed(connection, lambda: self._up_at)
        self._revision: int | None = None
        self._said = set[str]()
        self.failure: ObserveError | None = None

    @property
    def is_ours(self) -> bool:
        """Whether messages may be sent."""
        return self._lease.is_fresh and self._session.is_up

    def may_send(self) -> bool:
        """Whether no other alerter can have begun to work; for any thread."""
        return self._lease.is_fresh

    def open(self) -> None:
        """Begin to connect, for as long as it takes."""
        self._bridge.start()
        self._running = self._bridge.spawn(self._run())

    def close(self) -> None:
        """Give the lease back, and end; within a bound."""
        with suppress(TimeoutError, ObserveError):
            self._bridge.run(self._farewell(), CALL_S)
        self._bridge.stop()

    def load(self) -> Mapping[str, Any] | None:
        """Return the state as it is in the bucket, None where there is none. NatsError: not to be had now."""
        revision, payload = self._call(self._bucket.get(self._key))
        found = unpack_state(payload)
        if payload and found is None:
            self._say("alert", "its state in the bucket makes no sense, begun anew")
        self._revision = revision
        return found

    def save(self, state: Mapping[str, Any]) -> bool:
        """Write the state; False: another one wrote, ours is worth nothing. NatsError: it cannot be now."""
        payload = pack_state({**state, "owner": self._owner})
        for _ in range(2):
            try:
                self._revision = self._call(self._bucket.put(self._key, payload, self._revision or 0))
                return True
            except WrongLastError:
                revision, there = self._call(self._bucket.get(self._key))
                found = unpack_state(there)
                if found is not None and found.get("owner") != self._owner:
                    return False
                self._revision = revision  # an unanswered write of our own, or the bucket is a new one
        return False

    def crash_log(self, trouble: OpenTrouble) -> Sequence[str]:
        """Return the end of a crash's log, as the stream has it; () for none."""
        subject = subject_of(trouble.place.namespace, trouble.place.process, EventType.CRASHED)
        try:
            found = self._call(
                self._session.ask(
                    lambda client: client.jetstream(timeout=LOG_S).get_last_msg(STREAM, subject)
                )
            )
            event = Event.from_json(found.data or b"")
        except (NatsError, ValueError):
            return ()
        is_of_this = event.stack == trouble.place.stack and event.timestamp >= format_time(trouble.began)
        return event.log_tail or () if is_of_this else ()

    # --- the loop's thread ---

    def _call(self, work: Any) -> Any:
        """Return what it returns; what passes is a NatsError."""
        try:
            return self._bridge.run(work, CALL_S)
        except NatsError:  # denied, or not at that revision
            raise
        except (*PASSING_ERRORS, ObserveError) as error:
            raise NatsError(f"the bucket does not answer: {error!r}", "it is tried again") from error

    async def _run(self) -> None:
        try:
            await self._session.open()
            await self._hold()
        except ObserveError as error:
            self.failure = error
        except Exception:  # the loop thread's top: better loud than silently deaf
            log.exception("the alerter failed")
            self.failure = ObserveError("the alerter failed", "see the log above; please report it")

    async def _hold(self) -> None:
        """Hold the lease, or wait until whoever has it is no more."""
        while True:
            try:
                await self._lease.hold()
            except StackHeldError as error:
                who = str(error).partition(", alive")[0].removesuffix(", watching ?")
                self._say_once(f"{who}; this one takes over when that one ends")
            await asyncio.sleep(STAND_BY_S)

    def _say_once(self, text: str) -> None:
        """Say what a waiting alerter would say again and again."""
        if text not in self._said:
            self._said.add(text)
            self._say("alert", text)

    def _on_up(self) -> None:
        self._up_at = now_utc() if self._was_up else None
        self._was_up = True
        self._lease.connected()

    async def _farewell(self) -> None:
        self._running.cancel()
        if self._session.is_up:
            await self._lease.stop()
        await self._session.close()
