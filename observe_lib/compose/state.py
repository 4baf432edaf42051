"""`ProcessState`: one process as process-compose shows it, and what tells two looks at it apart.
Pure; used by any thread, never asks anybody.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ..times import parse_time

#: fields that change without anything having happened
VOLATILE = ("age", "system_time", "mem", "cpu", "last_activity_time")

_MASK = dict.fromkeys(VOLATILE)
_CENTURY_NS = 100 * 365 * 86400 * 10**9
_ABSENT = {
    "is_running": False,
    "is_ready": "-",
    "has_ready_probe": False,
    "pid": 0,
    "restarts": 0,
    "exit_code": 0,
}


@dataclass(frozen=True, slots=True)
class ProcessState:
    """One process as process-compose shows it: `raw` holds every field it sent, unknown ones too.

    `namespaces` is () unless several were sent. Times are RFC 3339 texts, "" where there is none; `age_ns`
    is 0 where it says nothing.
    """

    raw: Mapping[str, Any] = field(repr=False)
    name: str
    namespace: str
    namespaces: tuple[str, ...]
    status: str
    is_running: bool
    is_ready: str
    has_ready_probe: bool
    pid: int
    restarts: int
    exit_code: int
    success_exit_codes: tuple[int, ...]
    age_ns: int
    start: str
    end: str
    ready: str

    @classmethod
    def from_raw(cls, raw: Mapping[str, Any]) -> "ProcessState":
        """Read one object of a reply's `data`; ValueError if name or status is missing, or a type wrong."""
        sent = raw.get("namespace")  # since 1.122 it may be a list: the first one counts
        namespaces = tuple(
            _typed("namespace", one, str) for one in (sent if isinstance(sent, list) else [sent or ""])
        )
        namespace = next(filter(None, namespaces), "default")
        codes = _typed("success_exit_codes", raw.get("success_exit_codes") or [], list)
        age_ns = int(_typed("age", raw.get("age") or 0, (int, float)))
        if not raw.get("name"):
            raise ValueError("a process has no name")
        return cls(
            raw=raw if sent == namespace else {**raw, "namespace": namespace},
            name=_typed("name", raw["name"], str),
            namespace=namespace,
            namespaces=namespaces if len(namespaces) > 1 else (),
            status=_typed("status", raw.get("status"), str),
            success_exit_codes=tuple(_typed("success_exit_codes", code, int) for code in codes),
            age_ns=age_ns if 0 < age_ns < _CENTURY_NS else 0,
            start=_moment(raw, "process_start_time"),
            end=_moment(raw, "process_end_time"),
            ready=_moment(raw, "process_ready_time"),
            **{name: _typed(name, raw.get(name, absent), type(absent)) for name, absent in _ABSENT.items()},
        )


def fingerprint(raw: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what differs between two looks at a process if anything happened to it: all but `VOLATILE`."""
    return tuple({**raw, **_MASK}.values())


def _typed(name: str, value: Any, kinds: Any) -> Any:
    if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
        raise ValueError(f"{name} is {value!r}"[:200])
    return value


def _moment(raw: Mapping[str, Any], name: str) -> str:
    """Return the time's text as it came; "" for none, for Go's zero time, and for what is no time."""
    text: str = _typed(name, raw.get(name) or "", str)
    with suppress(ValueError):
        return text if parse_time(text).year > 1 else ""
    return ""
