"""`ProcessState`: one process of one reply or message, read and checked. Pure; runs in any thread.
Every number and time is bounded here, so that nothing behind it can overflow.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from math import isfinite
from operator import itemgetter
from typing import Any, NamedTuple

from ..events import INT64, Key
from ..log import log
from ..times import parse_time

#: fields that change without anything having happened
VOLATILE = frozenset(("age", "system_time", "mem", "cpu", "last_activity_time"))

_CENTURY_NS = 100 * 365 * 86400 * 10**9
_ABSENT: dict[str, Any] = {
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

    `namespaces` is () unless several were sent. `start`: the time as it was sent, "" where there is none;
    the moments are None there. `age_ns` is 0 where it says nothing. `heard`: push said it, no reply.
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
    started_at: datetime | None
    ended_at: datetime | None
    ready_at: datetime | None
    due_at: datetime | None  # a schedule's next tick
    heard: bool = False

    @classmethod
    def from_raw(cls, raw: Mapping[str, Any], heard: bool = False) -> "ProcessState":
        """Read one object of a reply's `data`; ValueError if a field is missing or not sane."""
        for name, value in raw.items():
            if not _is_sane(value):
                raise ValueError(f"{name} is {value!r}"[:200])
        sent = raw.get("namespace")  # since 1.122 it may be a list: the first one counts
        namespaces = tuple(
            _typed("namespace", one, str) for one in (sent if isinstance(sent, list) else [sent or ""])
        )
        namespace = next(filter(None, namespaces), "default")
        codes = _typed("success_exit_codes", raw.get("success_exit_codes") or [], list)
        age_ns = int(_typed("age", raw.get("age") or 0, (int, float)))
        if not raw.get("name"):
            raise ValueError("a process has no name")
        started_at = _moment(raw, "process_start_time")
        given = {name: _typed(name, raw.get(name, absent), type(absent)) for name, absent in _ABSENT.items()}
        if given["restarts"] < 0 or given["pid"] < 0:
            raise ValueError(f"restarts is {given['restarts']}, pid is {given['pid']}")
        return cls(
            raw=raw if sent == namespace else {**raw, "namespace": namespace},
            name=_typed("name", raw["name"], str),
            namespace=namespace,
            namespaces=namespaces if len(namespaces) > 1 else (),
            status=_typed("status", raw.get("status"), str),
            success_exit_codes=tuple(_typed("success_exit_codes", code, int) for code in codes),
            age_ns=age_ns if 0 < age_ns < _CENTURY_NS else 0,
            start=raw["process_start_time"] if started_at else "",
            started_at=started_at,
            ended_at=_moment(raw, "process_end_time"),
            ready_at=_moment(raw, "process_ready_time"),
            due_at=_moment(raw, "next_run_time"),
            heard=heard,
            **given,
        )

    def with_fields(self, heard: bool = False, **fields: Any) -> "ProcessState":
        """Return it with other fields, as process-compose names them; None: without that one."""
        raw = {name: value for name, value in {**self.raw, **fields}.items() if value is not None}
        return replace(ProcessState.from_raw(raw, heard), namespaces=self.namespaces)

    @property
    def never_ready(self) -> bool:
        """Whether readiness cannot come: it has only a liveness probe, for which it is ready as it starts."""
        at_once = self.ready_at is not None and self.ready_at == self.started_at
        return self.has_ready_probe and self.is_ready == "-" and at_once


class StateReader:
    """Reads one reply after the other; a process that did not change is the very object that it was before.

    One that nobody can read stays as it was, and that is said once.
    """

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}
        self._states: Mapping[Key, ProcessState] = {}

    def read(self, raws: Sequence[Mapping[str, Any]]) -> Mapping[Key, ProcessState]:
        """Return the states by key: the very mapping of the last call where nothing changed at all."""
        before: dict[Any, _Seen] = self._seen
        changed = {}
        for raw in raws:
            seen = before.get(name) if type(name := raw.get("name")) is str else None
            if seen is not None:
                size, pick, mark, _, _ = seen
                try:
                    if len(raw) == size and pick(raw) == mark:
                        continue
                except KeyError:
                    pass
            changed[str(name)] = _see(raw, seen or before.get(str(name)))
        if changed or len(raws) != len(before):
            names = [str(raw.get("name")) for raw in raws]
            self._seen = {name: changed.get(name) or before[name] for name in names}
            self._states = {seen.key: seen.state for seen in self._seen.values() if seen.key and seen.state}
        return self._states


class _Seen(NamedTuple):
    """What was last read of a process, and what shows that it did not change: all fields but `VOLATILE`."""

    size: int  # how many fields it had; 0: nobody can read it
    pick: Callable[[Mapping[str, Any]], Any]
    mark: Any
    key: Key | None
    state: ProcessState | None


def _see(raw: Mapping[str, Any], before: _Seen | None) -> _Seen:
    try:
        state = ProcessState.from_raw(raw)
    except ValueError as error:
        if before is None or before.size:
            log.warning("a process in the reply cannot be read: %s", error)
        return _Seen(0, len, 0, *(before[3:] if before else (None, None)))
    pick = itemgetter(*(name for name in raw if name not in VOLATILE))
    return _Seen(len(raw), pick, pick(raw), Key(state.namespace, state.name), state)


def _is_sane(value: Any) -> bool:
    """Whether every number in it is one of 64 bits, and finite."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is int:
        return value in INT64
    if kind is float:
        return isfinite(value)
    return all(map(_is_sane, value.values() if kind is dict else value))


def _typed(name: str, value: Any, kinds: Any) -> Any:
    if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
        raise ValueError(f"{name} is {value!r}"[:200])
    return value


def _moment(raw: Mapping[str, Any], name: str) -> datetime | None:
    """Return the time; None where there is none, for Go's zero time, and for what is no time."""
    text: str = _typed(name, raw.get(name) or "", str)
    if not text:
        return None
    try:
        return parse_time(text)
    except ValueError:
        return None
