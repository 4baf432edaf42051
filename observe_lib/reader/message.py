"""One message of a stream as a feed hands it over, and what its reply subject tells of its place.
Pure.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from ..times import UTC

#: where what was handled is acknowledged
ACK = "$JS.ACK."

_MARKS_OF_DELETION = ("KV-Operation", "Nats-Marker-Reason")


class Message(NamedTuple):
    """What one reads: payload, where to acknowledge, place in the stream, the how manieth delivery."""

    data: bytes
    reply: str
    seq: int
    attempt: int = 1
    subject: str = ""
    headers: Mapping[str, str] | None = None

    @property
    def is_deletion(self) -> bool:
        """Whether it says that a key of the bucket was deleted."""
        headers = self.headers
        return headers is not None and any(mark in headers for mark in _MARKS_OF_DELETION)

    @property
    def stored_at(self) -> datetime:
        """When the server took it, on the server's clock."""
        return datetime.fromtimestamp(int(_reply_parts(self.reply)[3]) / 1e9, UTC)


def _reply_parts(reply: str) -> list[str]:
    """Return, of `$JS.ACK.[domain.account.]stream.consumer.attempt.seq.number.time.pending`, the numbers."""
    parts = reply.split(".")
    return parts[4:] if len(parts) == 9 else parts[6:]


def parse_reply(reply: str) -> tuple[int, int, int, int]:
    """Return the how manieth delivery it is, the places in stream and consumer, and how many come after it.

    nats-py's `metadata` tells that too, but takes as long as all the rest of reading a message.
    """
    parts = _reply_parts(reply)
    return int(parts[0]), int(parts[1]), int(parts[2]), int(parts[4])
