"""The event: its types and severities, its subject and token encoding, its JSON both ways.
Pure; runs in every thread. An `Event` is all that travels between the adapter and a screen.
"""

import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import datetime
from enum import Enum
from functools import lru_cache
from math import isfinite
from typing import Any, NamedTuple

from .subjects import OBSERVE, ROOT, encode_token, subject_of
from .times import LONGEST_S, UTC, parse_time, stamp_of

#: the version of the JSON schema that this code writes
SCHEMA = 1
#: the version of what the bucket holds of a process
ROW_SCHEMA = 2


class EventType(str, Enum):
    """What can happen to a process. On the wire, and in `Event.type`, it is the plain text."""

    STARTED = "started"
    RESTARTED = "restarted"
    STOPPED = "stopped"
    CRASHED = "crashed"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    STATUS_CHANGED = "status_changed"

    __str__ = str.__str__


class Severity(str, Enum):
    """How loud an event is, from quiet to loud."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"

    __str__ = str.__str__


SEVERITY_OF = {
    EventType.STATUS_CHANGED: Severity.DEBUG,
    EventType.UNHEALTHY: Severity.WARNING,
    EventType.CRASHED: Severity.ERROR,
}
#: what ends a begun run, and what begins one
ENDS = frozenset((EventType.STOPPED, EventType.CRASHED))
BEGINS = frozenset((EventType.STARTED, EventType.RESTARTED))


#: what the subjects of the observer's own events begin with
_OBSERVER = f"{ROOT}.{OBSERVE}."


class Key(NamedTuple):
    """Which process of a stack: its (first) namespace and its name, both plain text."""

    namespace: str
    process: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.process}"


@dataclass(frozen=True)
class Event:
    """One thing that happened to one process, exactly as it is stored.

    Times are RFC 3339 texts; what does not apply is None (or False, or count 1) and absent from the JSON.
    `extra` holds fields that a newer observe wrote. Subject and severity follow from the rest if not given.
    """

    type: str
    process: str
    namespace: str
    timestamp: str
    subject: str = ""
    severity: str = ""
    state: Mapping[str, Any] | None = None
    exit_code: int | None = None
    restarts: int | None = None
    health: str | None = None
    old_status: str | None = None
    new_status: str | None = None
    schema: int | None = SCHEMA
    stack: str | None = None
    seq: int | None = None
    observed_at: str | None = None
    reason: str | None = None
    run_seconds: float | None = None
    log_tail: list[str] | None = None
    count: int = 1
    inferred: bool = False
    initial: bool = False
    companion: bool = False
    starting: bool = False
    namespaces: list[str] | None = None
    renamed_to: str | None = None
    renamed_from: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "type", str(self.type))
        if not self.subject:
            object.__setattr__(self, "subject", subject_of(self.namespace, self.process, self.type))
        if not self.severity:
            severity = SEVERITY_OF.get(self.type, Severity.INFO)  # type: ignore[call-overload]
            object.__setattr__(self, "severity", str(severity))

    @classmethod
    def of(cls, key: Key, event_type: EventType, **given: Any) -> "Event":
        """Return a new event of a process, quicker than `Event()`: what is not given is the default."""
        kind = event_type.value
        event = cls.__new__(cls)
        event.__dict__.update(
            _DEFAULTS,
            type=kind,
            process=key.process,
            namespace=key.namespace,
            subject=subject_of(key.namespace, key.process, kind),
            severity=SEVERITY_OF.get(event_type, Severity.INFO).value,
            extra={},
        )
        event.__dict__.update(given)
        return event

    @property
    def key(self) -> Key:
        """Which process it is about."""
        return Key(self.namespace, self.process)

    @property
    def of_observer(self) -> bool:
        """Whether it is about the observer itself: the subject tells, a user's namespace cannot."""
        return self.subject.startswith(_OBSERVER)

    @property
    def seen_at(self) -> str:
        """When the adapter saw it (RFC 3339); when it happened, where that is not known."""
        return self.observed_at or self.timestamp

    def message_id(self) -> str:
        """Return the `Nats-Msg-Id`; asked for once, when stack and seq are given, then stored beside it."""
        return message_id_of(self.stack or "", self.subject, self.seq, self.seen_at)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object, in the order of the contract, without what does not apply."""
        return written_fields(vars(self))

    def to_json(self) -> bytes:
        """Return what is published: one JSON object in UTF-8."""
        return dump_json(self.to_dict())

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> "Event":
        """Build an event from a JSON object; ValueError where a field of the contract has a wrong type.

        What another program wrote although it does not apply (null, false, count 1) stays in `extra`.
        """
        known, extra = {**_UNSAID, **found}, dict[str, Any]()
        for name, value in found.items():
            if type(value) is _KINDS.get(name) and value is not False:
                continue
            if name not in _KINDS:
                extra[name] = known.pop(name)
            elif value is None or value is False:
                extra[name], known[name] = value, _UNSAID[name]
            elif name != "run_seconds" or type(value) is not int:
                raise ValueError(f"{name} is {value!r}"[:200])
        if found.get("count") == 1:
            extra["count"] = 1
        if not (known["type"] and known["process"] and known["timestamp"]) or known["namespace"] is None:
            raise ValueError("type, process, namespace or timestamp is missing")
        stamp_of(known["timestamp"])
        stamp_of(known["observed_at"] or known["timestamp"])
        for name in ("log_tail", "namespaces"):
            if (texts := known[name]) and set(map(type, texts)) != {str}:
                raise ValueError(f"{name} does not hold texts")
        if extra or known["run_seconds"]:
            _check_spans({"run_seconds": known["run_seconds"], **extra})
        event, known["extra"] = cls.__new__(cls), extra
        object.__setattr__(event, "__dict__", known)
        if not (known["subject"] and known["severity"]):
            event.__post_init__()
        return event

    @classmethod
    def from_json(cls, payload: bytes | str) -> "Event":
        """Read what was published, by this or any other version; ValueError if it is no event."""
        return cls.from_dict(read_json(payload))


_TEXT_FIELDS = (
    "type process namespace timestamp subject severity health old_status new_status stack observed_at reason"
    " renamed_to renamed_from"
)
_KINDS: dict[str, Any] = {
    **dict.fromkeys(_TEXT_FIELDS.split(), str),
    **dict.fromkeys(("exit_code", "restarts", "schema", "seq", "count"), int),
    **dict.fromkeys(("inferred", "initial", "companion", "starting"), bool),
    **dict.fromkeys(("log_tail", "namespaces"), list),
    "state": dict,
    "run_seconds": float,
}
#: every field in its order, as it is where nothing is given
_DEFAULTS: dict[str, Any] = {
    one.name: None if one.default is MISSING else one.default for one in fields(Event)
}
#: the same of an event that was read: what is not there was not said
_UNSAID = {**_DEFAULTS, "schema": None, "subject": "", "severity": ""}
#: integers of 64 bits
INT64 = range(-(2**63), 2**63)
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _check_spans(found: Mapping[str, Any]) -> None:
    for name, value in found.items():
        if name.endswith("_seconds") and isinstance(value, (int, float)) and not abs(value) <= LONGEST_S:
            raise ValueError(f"{name} is too large")


def written_fields(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON object of an event's fields, all in their order, without what does not apply."""
    given = {name: value for name, value in found.items() if value is not None and value is not False}
    extra = given.pop("extra", {})
    if given["count"] == 1:
        del given["count"]
    return {**given, **extra} if extra else given


def message_id_of(stack: str, subject: str, seq: int | None, seen_at: str) -> str:
    """Return the `Nats-Msg-Id` of an event of that subject: `{stack}.{namespace}.{name}.{seq}.{ms}`."""
    namespace, process = subject.split(".")[2:4]
    return f"{encode_token(stack)}.{namespace}.{process}.{seq}.{_millis_of(seen_at)}"


def message_time(message_id: str) -> datetime:
    """Return when the event with this id was observed."""
    return datetime.fromtimestamp(int(message_id.rpartition(".")[2]) / 1000, UTC)


@lru_cache(maxsize=64)  # the events of one comparison were all seen at once
def _millis_of(text: str) -> int:
    return int(parse_time(text).timestamp() * 1000 + 0.5)


def _finite_float(text: str) -> float:
    if not isfinite(number := float(text)):
        raise ValueError(f"no number that JSON could print: {text[:20]}")
    return number


def _whole_number(text: str) -> int:
    if len(text) > 18 and (len(text) > 20 or int(text) not in INT64):
        raise ValueError(f"no integer of 64 bits: {text[:20]}")
    return int(text)


_JSON_SPACE = " \t\r\n"
_DECODER = json.JSONDecoder(parse_int=_whole_number, parse_float=_finite_float, parse_constant=_finite_float)


def read_json(payload: bytes | str) -> dict[str, Any]:
    """Read the JSON object that somebody published; ValueError if it is none.

    Or if it holds a number that is out of bounds: integers have 64 bits, others are finite.
    """
    try:
        text = payload if isinstance(payload, str) else payload.decode()
        text = text.removeprefix("\ufeff").strip(_JSON_SPACE)
        found, end = _DECODER.raw_decode(text)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if end != len(text) or not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return found


def dump_with_state(found: Mapping[str, Any], state: bytes | None) -> bytes:
    """Return the JSON of an object whose `state` was written before: the events of one change share it.

    No text in JSON can hold what stands for it: a quote within one has a backslash before it.
    """
    if state is None:
        return dump_json(found)
    return dump_json({**found, "state": 0}).replace(b'"state":0', b'"state":' + state, 1)


def dump_json(found: Any) -> bytes:
    """Return compact JSON in UTF-8; the one way in which anything is written to NATS."""
    return _ENCODER.encode(found).encode("utf-8", "replace")
