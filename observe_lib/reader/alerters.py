"""What alerters keep in the bucket: their state, and who of one name works. `doctor` reads it, too.
Pure, but for the one coroutine that reads all of them.
"""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from ..broker.stream import KEYS, KV_STREAM, read_stored
from ..events import dump_json
from ..subjects import OBSERVE
from ..times import UTC

#: the keys of alerters begin so, and go on with the name; that of the lease ends so
ALERT_KEYS = f"{OBSERVE}.alert."
ALERT_LEASE = ".lease"
#: a state longer than this is compressed: a message of NATS holds 1 MB
COMPRESS_BYTES = 256 * 1024


@dataclass
class AlerterRecord:
    """One alerter: its state, its lease, and when that was renewed."""

    name: str
    state: Mapping[str, Any] = field(default_factory=dict)
    lease: Mapping[str, Any] = field(default_factory=dict)
    renewed_at: datetime | None = None

    def count(self, what: str) -> int:
        """Return how many of its receivers' `troubles`, or of their messages `failed`."""
        receivers = self.state.get("receivers")
        all_of = receivers.values() if isinstance(receivers, dict) else ()
        found = [one.get(what) for one in all_of if isinstance(one, dict)]
        counts = [len(one) if isinstance(one, list) else one if type(one) is int else 0 for one in found]
        return max(counts, default=0)


def pack_state(state: Mapping[str, Any]) -> bytes:
    """Return the state as the bucket keeps it."""
    payload = dump_json(state)
    return payload if len(payload) < COMPRESS_BYTES else zlib.compress(payload, 6)


def unpack_state(payload: bytes) -> dict[str, Any] | None:
    """Return the state, None where there is none or it makes no sense."""
    try:
        text = payload if payload[:1] in (b"", b"{") else zlib.decompress(payload)
        found = json.loads(text) if text else None
    except (ValueError, RecursionError, zlib.error):
        return None
    return found if isinstance(found, dict) else None


async def read_alerters(js: JetStreamContext) -> list[AlerterRecord]:
    """Return all alerters that the bucket knows, by name."""
    head = f"{KEYS}{ALERT_KEYS}"
    try:
        messages = await read_stored(js, KV_STREAM, f"{head}>")
    except NotFoundError:
        return []
    found: dict[str, AlerterRecord] = {}
    for message in messages:
        key = message.subject.removeprefix(head)
        record = found.setdefault(name := key.removesuffix(ALERT_LEASE), AlerterRecord(name))
        told = unpack_state(message.data) or {}
        if key.endswith(ALERT_LEASE):
            record.lease, record.renewed_at = told, message.metadata.timestamp.astimezone(UTC)
        else:
            record.state = told
    return [found[name] for name in sorted(found)]
