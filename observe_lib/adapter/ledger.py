"""The adapter's memory in the bucket PROCESS_STATES: read once, written fenced by revision, deleted at last.
Coroutines for the loop thread only; knows how far everything is acknowledged.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nats.js import api
from nats.js.errors import NotFoundError

from ..broker.bucket import WrongLastError
from ..broker.link import Link
from ..broker.stream import BUCKET, PAGE, STREAM, read_stored
from ..events import OBSERVE, Event, dump_json, encode_token
from ..times import earlier, parse_time

_PREFIX = f"$KV.{BUCKET}."
_OPERATION = "KV-Operation"
_LAST = api.Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value
#: the subject that this is of, since nats-server 2.11: another one than the message's own
_LAST_OF = "Nats-Expected-Last-Subject-Sequence-Subject"
#: the key of the lease
LEASE_KEY = f"{OBSERVE}.lease"
#: the server's clock, which stamps the stream's messages, may be this much behind ours
CLOCKS_APART_S = 60.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One record as it is in the bucket; `found` is None where it was deleted or is no JSON object."""

    revision: int
    found: dict[str, Any] | None

    @classmethod
    def parse(cls, revision: int, payload: bytes) -> "Entry":
        """Read a record's bytes."""
        try:
            found = json.loads(payload)
        except (ValueError, RecursionError):
            found = None
        return cls(revision, found if isinstance(found, dict) else None)


class Ledger:
    """All records of one stack, by their key below the stack: `{namespace}.{name}`.

    `on_anew()` is called when the bucket was found wiped, deleted or restored: all has to be written again.
    """

    def __init__(self, link: Link, stack: str, on_anew: Callable[[], None]) -> None:
        self._link, self._on_anew = link, on_anew
        self._stack = encode_token(stack)
        self._newest = 0
        self._floors: dict[str, int] = {}

    @property
    def acknowledged(self) -> int:
        """The highest revision up to which every record has all its events acknowledged."""
        return min(self._floors.values(), default=self._newest)

    async def read_all(self) -> dict[str, Entry]:
        """Read every record of the stack in one pass."""
        found: dict[str, Entry] = {}
        for message in await self._read(f"KV_{BUCKET}", f"{_PREFIX}{self._stack}.>"):
            key = message.subject[len(_PREFIX) + len(self._stack) + 1 :]
            revision = message.metadata.sequence.stream
            deleted = bool(message.headers and message.headers.get(_OPERATION))
            found[key] = Entry.parse(revision, b"" if deleted else message.data)
            self._newest = max(self._newest, revision)
        return found

    async def write(self, key: str, payload: bytes, last: int, lease: int = 0) -> int:
        """Write the record over revision `last`, return its new one; `settled` is due from then on.

        A new one (`last` is 0) has nothing to be fenced by: with `lease`, the server refuses it unless that
        is still the lease's revision. An attempt that only seemed to fail is recognised.
        WrongLastError: the record, or the lease, is somebody else's.
        """
        self._floors.setdefault(key, self._newest)
        fence = {_LAST: str(lease), _LAST_OF: self._subject(LEASE_KEY)} if lease and not last else {}
        revision = await self._put(key, payload, last, fence if self._link.server >= (2, 11) else {})
        self._floors[key] = revision - 1
        return revision

    async def fence(self, entries: dict[str, Entry]) -> dict[str, Entry] | None:
        """Write every record again as it is, so that whoever read it before cannot write over it.

        Those that are deleted, too: their names may come back. None if one of them was changed meanwhile:
        then all are to be read again.
        """
        fenced, keys = dict(entries), list(entries)
        for at in range(0, len(keys), PAGE):
            part = keys[at : at + PAGE]
            writes = (self._write_again(key, entries[key]) for key in part)
            done = await asyncio.gather(*writes, return_exceptions=True)
            for key, revision in zip(part, done, strict=True):
                if isinstance(revision, WrongLastError):
                    return None
                if isinstance(revision, BaseException):
                    raise revision
                fenced[key] = Entry(revision, entries[key].found)
        return fenced

    async def _write_again(self, key: str, entry: Entry) -> int:
        if entry.found is None:
            return await self.delete(key, entry.revision)
        return await self._put(key, dump_json(entry.found), entry.revision, {})

    async def delete(self, key: str, last: int) -> int:
        """Delete the record and return the revision of what marks that."""
        return await self._put(key, b"", last, {_OPERATION: "DEL"})

    def owe(self, key: str, revision: int) -> None:
        """Count a record that was read as one whose events are still to be acknowledged."""
        self._floors[key] = revision - 1

    def settled(self, key: str) -> None:
        """Every event of the key's record is acknowledged."""
        self._floors.pop(key, None)

    async def revision_of(self, key: str) -> tuple[int, bytes]:
        """Return the key's present revision and payload, from the leader; (0, b"") if there is none."""

        async def get() -> tuple[int, bytes]:
            try:
                raw = await self._link.js.get_last_msg(f"KV_{BUCKET}", self._subject(key))
            except NotFoundError:
                return 0, b""
            return raw.seq or 0, raw.data or b""

        answer: tuple[int, bytes] = await self._link.until_done(get)
        return answer

    async def has_event(self, event: Event, message_id: str) -> bool:
        """Look for an event in the stream that the server's duplicate window no longer covers."""
        since = earlier(parse_time(event.seen_at), CLOCKS_APART_S)
        messages = await self._read(STREAM, event.subject, since=since)
        return any(m.headers and m.headers.get(api.Header.MSG_ID.value) == message_id for m in messages)

    async def _put(self, key: str, payload: bytes, last: int, headers: dict[str, str]) -> int:
        before = self._newest
        try:
            ack = await self._link.send(self._subject(key), payload, {_LAST: str(last), **headers})
        except WrongLastError:
            revision, stored = await self.revision_of(key)
            if revision < last <= self._newest:
                self._begin_anew(revision)
            if revision <= last or stored != payload:
                raise
        else:
            assert ack is not None  # only asked for with is_stored
            revision = ack.seq
            if revision <= before <= self._newest:  # they only rise, while the bucket is the one it was
                self._begin_anew(revision)
        self._newest = max(self._newest, revision)
        return revision

    def _begin_anew(self, revision: int) -> None:
        """This is another bucket than before: nothing in it counts as acknowledged."""
        self._newest = revision
        self._floors = dict.fromkeys(self._floors, 0)
        self._on_anew()

    def _subject(self, key: str) -> str:
        return f"{_PREFIX}{self._stack}.{key}"

    async def _read(self, stream: str, subject: str, since: datetime | None = None) -> list[Any]:
        """Return the last message of each subject, or all since a time."""

        async def read() -> list[Any]:
            return await read_stored(self._link.js, stream, subject, since)

        messages: list[Any] = await self._link.until_done(read)
        return messages
