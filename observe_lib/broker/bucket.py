"""The bucket PROCESS_STATES as keys and values: read from its stream's leader, written by compare-and-set.
Coroutines for the loop thread only; asks once, and leaves it to others to try again or to say something.
"""

import asyncio
import re
from collections.abc import Callable, Coroutine
from typing import Any

import nats.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NotFoundError

from ..errors import NatsError
from .loop import T
from .stream import BUCKET, read_stored

#: how long an answer may take: on a slow link it waits behind what was sent before
ANSWERED_WITHIN_S = 5.0
#: what passes, or is mended elsewhere; an answer that makes no sense is the server's affair, not our end
PASSING = (
    nats.errors.Error,
    asyncio.TimeoutError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
)

_KV_STREAM_NAME = f"KV_{BUCKET}"
_KV_SUBJECT = f"$KV.{BUCKET}."
_DELETED = "KV-Operation"
_EXPECTED = api.Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value
_WRONG_LAST_CODES = frozenset((10071, 10164))
_VIOLATION = re.compile(r'permissions violation for publish to "([^"]+)"', re.IGNORECASE)


class WrongLastError(NatsError):
    """The record was not at the revision that was expected: somebody else wrote it, or it is gone."""


class DeniedError(NatsError):
    """Permissions refuse this subject; the hint says what to grant."""


class Bucket:
    """Keys and values; `js` returns JetStream over the present connection.

    Whoever owns the connection passes what the server complains of to `refuse`. Beside what the methods
    name, they raise what is in PASSING, and no answer in time is one of those.
    """

    def __init__(self, js: Callable[[], JetStreamContext], answer_s: float = ANSWERED_WITHIN_S) -> None:
        self._js, self._answer_s = js, answer_s
        self._asked: dict[asyncio.Future[Any], str] = {}

    async def get(self, key: str) -> tuple[int, bytes]:
        """Return the key's revision and value, b"" where it was deleted; (0, b"") where it never was.

        A deleted key's revision is what the next `put` has to expect. DeniedError.
        """
        js = self._js()
        asks = f"{js._prefix}.STREAM.MSG.GET.{_KV_STREAM_NAME}"
        try:
            found = await self._ask(asks, js.get_last_msg(_KV_STREAM_NAME, _KV_SUBJECT + key))
        except NotFoundError:
            return 0, b""
        return found.seq or 0, b"" if _DELETED in (found.headers or {}) else found.data or b""

    async def put(self, key: str, payload: bytes, expected_revision: int | None = None) -> int:
        """Write the value, if the key is at that revision (0: it never was); return its new one.

        WrongLastError: it is not, and nothing was written. DeniedError.
        """
        return await self._write(key, payload, {}, expected_revision)

    async def delete(self, key: str, expected_revision: int | None = None) -> int:
        """Mark the key as deleted, and return the mark's revision. Errors as `put`."""
        return await self._write(key, b"", {_DELETED: "DEL"}, expected_revision)

    async def keys(self, pattern: str = ">") -> list[str]:
        """Return the keys that are not deleted, by a pattern as subjects have it; none without a bucket."""
        try:
            found = await read_stored(self._js(), _KV_STREAM_NAME, _KV_SUBJECT + pattern, headers_only=True)
        except NotFoundError:
            return []
        latest: dict[str, Msg] = {message.subject: message for message in found}
        left = (subject for subject, message in latest.items() if _DELETED not in (message.headers or {}))
        return [subject.removeprefix(_KV_SUBJECT) for subject in left]

    def refuse(self, error: Exception) -> None:
        """Hear what the server complains of; what asks for a subject that it refuses ends with DeniedError.

        The server names the subject in lower case, and no request: all of that subject end.
        """
        match = _VIOLATION.search(str(error))
        for asked, subject in list(self._asked.items()) if match else ():
            if match and subject.lower() == match[1].lower():
                asked.cancel()

    async def _write(
        self, key: str, payload: bytes, headers: dict[str, str], expected_revision: int | None
    ) -> int:
        if expected_revision is not None:
            headers = {**headers, _EXPECTED: str(expected_revision)}
        subject = _KV_SUBJECT + key
        write = self._js().publish(subject, payload, timeout=self._answer_s, headers=headers or None)
        try:
            return (await self._ask(subject, write)).seq
        except APIError as error:
            if error.err_code in _WRONG_LAST_CODES:
                raise WrongLastError(str(error.description)) from error
            raise

    async def _ask(self, subject: str, request: Coroutine[Any, Any, T]) -> T:
        """Return the answer; DeniedError where `refuse` heard that there will be none."""
        asked = asyncio.ensure_future(request)
        self._asked[asked] = subject
        try:
            await asyncio.wait((asked,), timeout=self._answer_s + 1.0)
        finally:
            del self._asked[asked]
            late = asked.cancel()
        if late:
            raise nats.errors.TimeoutError
        if asked.cancelled():
            grant = f"{_KV_SUBJECT}>" if subject.startswith(_KV_SUBJECT) else "$JS.API.>"
            raise DeniedError(f"may not publish to {subject}", f"grant publish on {grant}")
        return asked.result()
