"""The alerter's side of NATS: its lease, its state in the bucket, the rows, and the logs of crashes.
The main thread calls, the loop thread does; what fails there is tried again by whoever calls.
"""

import asyncio
import uuid
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from ..broker.bucket import PASSING_ERRORS, Bucket, WrongLastError
from ..broker.lease import Lease, identity
from ..broker.stream import STREAM
from ..errors import NatsError, ObserveError, StackHeldError
from ..events import Event, EventType, dump_json, read_json
from ..log import Say, log
from ..reader.alerters import ALERT_KEYS, ALERT_LEASE
from ..reader.connection import Connection, Pace
from ..reader.states import States
from ..reader.states_reader import StatesReader
from ..settings import VERSION, NatsSettings
from ..subjects import subject_of
from ..times import format_time, now_utc
from .trouble import OpenTrouble

#: a call into the loop takes no longer
CALL_S = 10.0
#: asking for one crash's log takes no longer
LOG_S = 2.0
#: who does not work looks again after this
STAND_BY_S = 0.2
#: a state longer than this is compressed: a message of NATS holds 1 MB
COMPRESS_BYTES = 256 * 1024
#: and no state, whoever wrote it, is longer than this
UNPACKED_BYTES = 64 * 1024 * 1024


class Store:
    """From `open()` to `close()`. `is_ours`: this one works, no other of the same name."""

    def __init__(
        self, settings: NatsSettings, name: str, say: Say, patterns: Sequence[str], stack: str | None
    ) -> None:
        self.url, self._say, self._owner = settings.url, say, uuid.uuid4().hex
        self._selects = (patterns, stack)
        self._connection = Connection(
            settings, f"observe alert {name}", CALL_S, Pace(), say=say, on_up=self._on_up
        )
        self._bridge, self._session = self._connection.bridge, self._connection.session
        self._bucket = Bucket(self._session)
        self._key = f"{ALERT_KEYS}{name}"
        self._about: Mapping[str, Any] = {**identity(), "version": VERSION, "open": 0, "failed": 0}
        self._lease = Lease(
            self._bucket,
            f"{self._key}{ALERT_LEASE}",
            self._owner,
            lambda: self._about,
            name=name,
            kind="alerter",
            hint="give this one another --name",
            say=self._say_once,
            on_trouble=lambda error: log.info("alerter's lease: %r", error),
        )
        self.up_at: datetime | None = None  #: since when it is connected
        self._reader: StatesReader | None = None
        self._revision = 0
        self._said = set[str]()
        self.failure: ObserveError | None = None

    @property
    def is_ours(self) -> bool:
        """Whether messages may be sent."""
        return self._lease.is_fresh and self._session.is_up

    @property
    def is_current(self) -> bool:
        """Whether all rows were read. Begins to read them, once connected; NatsError."""
        if self._reader is None:
            self._reader = StatesReader(self._connection, *self._selects).open()
        return self._reader.is_whole

    @property
    def states(self) -> States:
        """What is now: rows, leases and silences."""
        return self._reader.states if self._reader is not None else States()

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
        """Return the state as it is in the bucket, None where there is none.

        NatsError: not to be had now. ValueError: it makes no sense.
        """
        self._revision, payload = self._call(self._bucket.get(self._key))
        found = unpack_state(payload)
        if payload and found is None:
            raise ValueError("it cannot be read")
        return found

    def save(self, state: Mapping[str, Any], about: Mapping[str, Any]) -> bool:
        """Write the state; False: another one wrote, ours is worth nothing. NatsError: it cannot be now.

        `about` is what the lease tells of it from now on.
        """
        self._about = {**self._about, **about}
        payload = pack_state({**state, "owner": self._owner})
        for _ in range(2):
            try:
                self._revision = self._call(self._bucket.put(self._key, payload, self._revision))
                return True
            except WrongLastError:
                self._revision, there = self._call(self._bucket.get(self._key))
                found = unpack_state(there)
                if found is not None and found.get("owner") != self._owner:
                    return False
                # else an unanswered write of our own, or the bucket is a new one
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

    def _call(self, work: Any) -> Any:
        """Return what it returns; what passes is a NatsError."""
        try:
            return self._bridge.run(work, CALL_S)
        except NatsError:  # denied, or not at that revision
            raise
        except (*PASSING_ERRORS, ObserveError) as error:
            raise NatsError(f"the bucket does not answer: {error!r}", "it is tried again") from error

    def _say_once(self, text: str) -> None:
        """Say what a waiting alerter would say again and again."""
        if text not in self._said:
            self._said.add(text)
            self._say("alert", text)

    # --- the loop's thread ---

    async def _run(self) -> None:
        """Hold the lease, or wait until whoever has it is no more."""
        try:
            await self._session.open()
            while True:
                try:
                    await self._lease.hold()
                except StackHeldError as error:
                    who = str(error).partition(", alive")[0].removesuffix(", watching ?")
                    self._say_once(f"{who}; this one takes over when that one ends")
                await asyncio.sleep(STAND_BY_S)
        except ObserveError as error:
            self.failure = error
        except Exception:  # the loop thread's top: better loud than silently deaf
            log.exception("the alerter failed")
            self.failure = ObserveError("the alerter failed", "see the log above; please report it")

    def _on_up(self) -> None:
        self.up_at = now_utc()
        self._lease.connected()

    async def _farewell(self) -> None:
        self._running.cancel()
        if self._session.is_up:
            await self._lease.stop()
        await self._session.close()


def pack_state(state: Mapping[str, Any]) -> bytes:
    """Return the state as the bucket keeps it."""
    payload = dump_json(state)
    return payload if len(payload) < COMPRESS_BYTES else zlib.compress(payload, 6)


def unpack_state(payload: bytes) -> dict[str, Any] | None:
    """Return the state, None where there is none or it makes no sense."""
    try:
        is_plain = payload.startswith(b"{")
        return read_json(payload if is_plain else zlib.decompressobj().decompress(payload, UNPACKED_BYTES))
    except (ValueError, zlib.error):
        return None
