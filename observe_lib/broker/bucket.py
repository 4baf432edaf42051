"""The bucket PROCESS_STATES as keys and values: read from its stream's leader, written by compare-and-set.
Coroutines for the loop thread only; asks once, and leaves it to others to try again or to say something.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NotFoundError

from ..errors import NatsError
from .loop import T
from .session import BrokenError, Session
from .stream import DELETE_MARK, KEYS, KV_OPERATION, KV_STREAM, read_stored

#: how long an answer may take: on a slow link it waits behind what was sent before
ANSWERED_WITHIN_S = 5.0
#: what passes, or is mended elsewhere; an answer that makes no sense is the server's affair, not our end
PASSING_ERRORS = (
    nats.errors.Error,
    BrokenError,
    asyncio.TimeoutError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
)

_EXPECTED = api.Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value
_WRONG_LAST_CODES = frozenset((10071, 10164))


class WrongLastError(NatsError):
    """The record was not at the revision that was expected: somebody else wrote it, or it is gone."""


class Bucket:
    """Keys and values over a session; without a connection nothing is waited for.

    Beside what the methods name they raise what is in PASSING_ERRORS, and no answer in time is one of those;
    DeniedError where permissions refuse the subject.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    async def get(self, key: str) -> tuple[int, bytes]:
        """Return the key's revision and value, b"" where it was deleted; (0, b"") where it never was.

        A deleted key's revision is what the next `put` has to expect.
        """
        subject = f"$JS.API.STREAM.MSG.GET.{KV_STREAM}"
        try:
            found = await self._ask(lambda js: js.get_last_msg(KV_STREAM, KEYS + key), subject)
        except NotFoundError:
            return 0, b""
        return found.seq or 0, b"" if KV_OPERATION in (found.headers or {}) else found.data or b""

    async def put(self, key: str, payload: bytes, expected_revision: int | None = None) -> int:
        """Write the value, if the key is at that revision (0: it never was); return its new one.

        WrongLastError: it is not, and nothing was written.
        """
        return await self._write(key, payload, {}, expected_revision)

    async def delete(self, key: str, expected_revision: int | None = None) -> int:
        """Mark the key as deleted, and return the mark's revision. Errors as `put`."""
        return await self._write(key, b"", DELETE_MARK, expected_revision)

    async def keys(self, pattern: str = ">") -> list[str]:
        """Return the keys that are not deleted, by a pattern as subjects have it; none without a bucket."""
        try:
            found = await self._ask(lambda js: read_stored(js, KV_STREAM, KEYS + pattern, headers_only=True))
        except NotFoundError:
            return []
        latest: dict[str, Msg] = {message.subject: message for message in found}
        left = (subject for subject, message in latest.items() if KV_OPERATION not in (message.headers or {}))
        return [subject.removeprefix(KEYS) for subject in left]

    async def _write(
        self, key: str, payload: bytes, headers: dict[str, str], expected_revision: int | None
    ) -> int:
        if expected_revision is not None:
            headers = {**headers, _EXPECTED: str(expected_revision)}
        subject = KEYS + key

        def write(js: JetStreamContext) -> Coroutine[Any, Any, api.PubAck]:
            return js.publish(subject, payload, timeout=ANSWERED_WITHIN_S, headers=headers or None)

        try:
            return (await self._ask(write, subject)).seq
        except APIError as error:
            if error.err_code in _WRONG_LAST_CODES:
                raise WrongLastError(str(error.description)) from error
            raise

    async def _ask(self, request: Callable[[JetStreamContext], Coroutine[Any, Any, T]], about: str = "") -> T:
        if not self._session.is_up:
            raise BrokenError

        def ask(client: Client) -> Coroutine[Any, Any, T]:
            return request(client.jetstream(timeout=ANSWERED_WITHIN_S))

        return await self._session.ask(ask, about)
