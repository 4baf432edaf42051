"""Sealing: an event gets its stack, its seq, its id and its JSON, once and for ever, within a limit of bytes.
Pure; any thread.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..events import Event, dump_json, dump_with_state, message_id_of, read_json, written_fields

#: as large as an event may be where no server has said what it takes
MAX_PAYLOAD = 1_000_000
#: what is left of a state where an event is too large otherwise: enough to tell what the process is
STATE_KEYS = ("name", "namespace", "status", "is_running", "is_ready", "pid", "restarts", "exit_code")


class Sealed(NamedTuple):
    """One event as it is stored and sent; `process` is `{namespace token}.{name token}`."""

    process: str
    subject: str
    message_id: str
    payload: bytes


def seal(event: Event, stack: str, seq: int, limit: int, state: bytes | None = None) -> Sealed:
    """Seal an event; where its JSON is over `limit` bytes, its log goes, then most of its state.

    `state`: the JSON of the event's state, where it is known already.
    """
    found = written_fields({**vars(event), "stack": stack, "seq": seq})  # both at their places
    payload = dump_with_state(found, state)
    if len(payload) > limit:
        smaller = list(_smaller(found))
        payload = next((one for one in smaller if len(one) <= limit), smaller[-1])
    namespace, process = event.subject.split(".")[2:4]
    message_id = message_id_of(stack, event.subject, seq, event.seen_at)
    return Sealed(f"{namespace}.{process}", event.subject, message_id, payload)


def shrink(payload: bytes, limit: int) -> bytes | None:
    """Return a sealed event's JSON cut to `limit` bytes, smaller than it was; None where that cannot be."""
    wanted = min(limit, len(payload) - 1)
    return next((one for one in _smaller(read_json(payload)) if len(one) <= wanted), None)


def _smaller(found: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield the JSON without its log, then with no more of its state than tells what it is."""
    found = {name: value for name, value in found.items() if name != "log_tail"}
    yield dump_json(found)
    if state := found.get("state"):
        found["state"] = {name: state[name] for name in STATE_KEYS if name in state}
        yield dump_json(found)
