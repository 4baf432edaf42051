"""What a server's answer to a publish means, and what is to be done about it. Pure."""

import json
from collections.abc import Mapping
from typing import NamedTuple

#: what is to be done about an event that was not stored
PASSING, NO_STREAM, TOO_LARGE, HELD = "passing", "missing", "too large", "held"

_PASSING_CODES = frozenset((408, 409, 429))
#: no room for the account now; the id is in process; a limit of the moment
_PASSING_ERRORS = frozenset((10002, 10071, 10158, 10164))
_MISSING_ERRORS = frozenset((10059,))
_TOO_LARGE_ERRORS = frozenset((10054, 10097))


class Refusal(NamedTuple):
    """Why an event was not stored: `kind` says what is to be done, `text` is the server's own."""

    kind: str
    text: str


def read_answer(payload: bytes, headers: Mapping[str, str] | None) -> Refusal | None:
    """Return why the server did not store what this answers; None: it is stored."""
    if not payload and headers and headers.get("Status") == "503":
        return Refusal(NO_STREAM, "no stream takes events")
    if b'"seq":' in payload and b'"error"' not in payload:
        return None
    try:
        error = json.loads(payload)["error"]
        code, number = int(error.get("code") or 0), int(error.get("err_code") or 0)
        text = f"{error.get('description') or 'refused'} ({number or code})"
    except (ValueError, LookupError, TypeError, AttributeError):
        return Refusal(PASSING, "an answer that makes no sense")
    if number in _MISSING_ERRORS:
        return Refusal(NO_STREAM, text)
    if number in _TOO_LARGE_ERRORS:
        return Refusal(TOO_LARGE, text)
    passing = code >= 500 or code in _PASSING_CODES or number in _PASSING_ERRORS
    return Refusal(PASSING if passing else HELD, text)
