"""Rows as the adapter writes them, and an engine over a clock that the test turns."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from observe_lib.alert.engine import Engine
from observe_lib.alert.message import payload_of
from observe_lib.alert.trouble import Notice, Rules
from observe_lib.events import dump_json
from observe_lib.reader.silences import Silence
from observe_lib.reader.states import States
from observe_lib.rows import Place, ProcessRow, StackRow
from observe_lib.times import UTC, format_time

START = datetime(2025, 10, 16, 12, 0, 0, tzinfo=UTC)


def moment(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def stamp(seconds: float) -> str:
    return format_time(moment(seconds))


def heard(stack: str = "host-a") -> dict[str, StackRow]:
    """Return a stack whose adapter has just been heard of, whenever one asks."""
    return {stack: StackRow(stack, moment(1e8))}


def lost(about: str, since: float, stack: str = "host-a") -> dict[str, StackRow]:
    """Return a stack whose adapter, or whose process-compose, is not heard of."""
    if about == "adapter":
        return {stack: StackRow(stack, moment(since), dead=True)}
    lease = {"source": "unhealthy", "source_since": stamp(since), "source_error": "refused"}
    return {stack: StackRow(stack, moment(1e8), lease)}


class Process:
    """One process whose row is made as things happen to it, at seconds after START."""

    def __init__(self, name: str = "api", namespace: str = "shop", stack: str = "host-a") -> None:
        self.place = Place(stack, namespace, name)
        self.fields: dict[str, Any] = {"status": "Running", "alive": True, "events": {}}
        self.seq, self.crashed_at = 0, list[float]()
        self._told: ProcessRow | None = None

    def row(self) -> dict[str, Any]:
        stack, namespace, process = self.place
        found = {"stack": stack, "namespace": namespace, "process": process, **self.fields}
        return {name: value for name, value in found.items() if value is not None}

    def crash(
        self, at: float, *, code: int = 1, status: str = "Restarting", seen_at: float | None = None
    ) -> None:
        seen = stamp(at if seen_at is None else seen_at)
        self._count("crashed", at)
        told = {
            "type": "crashed",
            "timestamp": stamp(at),
            "observed_at": seen,
            "seq": self.seq,
            "exit_code": code,
        }
        self.crashed_at = [*self.crashed_at, at][-3:]
        if len(self.crashed_at) == 3 and at - self.crashed_at[0] <= 600:
            self.fields["flapping_until"] = stamp(self.crashed_at[0] + 600)
        self.fields |= {
            "last_crash": told,
            "alive": False,
            "status": status,
            "health": None,
            "starting": None,
        }
        self.fields |= {"ended_at": stamp(at), "reason": "exit", "exit_code": code, "ended_well": None}

    def begin(self, at: float, **more: Any) -> None:
        self._count("restarted", at)
        self.fields |= {
            "alive": True,
            "status": "Running",
            "since": stamp(at),
            "ended_at": None,
            "reason": None,
        }
        self.fields |= {"exit_code": None, "ended_well": None, **more}

    def stop(self, at: float, *, reason: str = "requested") -> None:
        self._count("stopped", at)
        self.fields |= {
            "alive": False,
            "status": "Completed",
            "health": None,
            "ended_at": stamp(at),
            "reason": reason,
        }
        self.fields |= {"ended_well": True if reason == "completed" else None}

    def ready(self, at: float) -> None:
        self._count("healthy", at)
        self.fields |= {"health": "Ready", "starting": None}

    def not_ready(self, at: float, *, starting: bool = False) -> None:
        self._count("unhealthy", at)
        self.fields |= {"health": "Not Ready", "starting": starting or None}

    def _count(self, kind: str, at: float) -> None:
        self.seq += 1
        told = self.fields["events"].get(kind, {"count": 0})
        events = {**self.fields["events"], kind: {"count": told["count"] + 1, "last": stamp(at)}}
        self.fields["events"] = events

    def told(self) -> ProcessRow:
        """Return the row as readers have it: the same object until it changes."""
        payload = dump_json({"row": self.row(), "seq": self.seq})
        if self._told is None or self._told.raw != payload:
            self._told = ProcessRow.read(payload)
        return self._told


class Alerting:
    """An engine that is asked every second, and whose messages are all taken at once."""

    def __init__(
        self,
        *processes: Process,
        state: dict[str, Any] | None = None,
        at: float = 0,
        stacks: dict[str, StackRow] | None = None,
        **rules: Any,
    ) -> None:
        self.processes, self.rules = list(processes), Rules(**rules)
        self.stacks = stacks or heard()
        self.silences: Sequence[Silence] = ()
        self.said: list[tuple[str, str]] = []
        self.sent: list[tuple[float, str, list[str]]] = []
        self.payloads: list[dict[str, Any]] = []
        self.takes = True
        self.up_at: datetime | None = None
        self.engine = Engine(self.rules, "alert", state, lambda *words: self.said.append(words))
        self.at = at
        self._look()

    def until(self, at: float) -> "Alerting":
        """Let time pass."""
        while self.at < at:
            self.at += 1
            self._look()
        return self

    def restarted(self, at: float | None = None, **rules: Any) -> "Alerting":
        """Return another one that goes on with the state as the bucket holds it."""
        state = json.loads(json.dumps(self.engine.to_dict()))
        other = Alerting(*self.processes, state=state, at=self.at if at is None else at, **rules)
        return other

    def _look(self) -> None:
        now, rows = moment(self.at), {one.place: one.told() for one in self.processes}
        self.engine.look(States(rows, self.stacks, silences=tuple(self.silences)), now, self.up_at)
        if self.engine.sending is None and (notice := self.engine.next_notice(now)) is not None:
            self.engine.begin(notice)
            self.note(notice)
        if self.takes and self.engine.sending is not None:
            self.engine.done(now)

    def note(self, notice: Notice) -> None:
        payload = payload_of(notice, self.engine.troubles, self.rules, receiver="alert")
        self.payloads.append(payload)
        self.sent.append(
            (self.at, notice.status, [one["annotations"]["summary"] for one in payload["alerts"]])
        )

    @property
    def told(self) -> list[tuple[str, str]]:
        """What was sent: status and the kind and name of each alert."""
        found = []
        for payload in self.payloads:
            names = [f"{one['labels']['alertname']} {one['labels']['process']}" for one in payload["alerts"]]
            found.append((payload["status"], ", ".join(sorted(names))))
        return found
