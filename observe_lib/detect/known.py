"""What is known of one process, and the record it is kept as. Pure: no clock, no event, no wire."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ..compose.state import ProcessState
from ..events import Key
from ..times import format_time, parse_time

#: a launch in progress (pid 0, or still the last run's pid) is looked at again this soon, at most so often
LAUNCH_POLL_S = 0.05
LAUNCH_POLLS = 20
#: a name that is gone, and was not alive, is looked for again after this long: a scale may have hidden it
GONE_AFTER_S = 0.25

READY, NOT_READY, NO_HEALTH = "Ready", "Not Ready", "-"
LAUNCHING = frozenset(("Running", "Launching"))


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a process: its pid, and under one pid its `process_start_time` as it was sent."""

    pid: int
    start: str
    began: datetime | None = None  # None: could only be guessed
    restarts_at_begin: int = 0

    def shows_in(self, state: ProcessState) -> bool:
        """Whether the state carries this run's pid and start."""
        return self.pid == state.pid and self.start == state.start


@dataclass(frozen=True, slots=True)
class Known:
    """The last state of a process, its last run, and what that run has gone through."""

    state: ProcessState
    restarts: int = 0  # as a Restarting state counts them
    run: Run | None = None
    ended: bool = False  # the run's end has been told
    terminating: bool = False
    health: str = NO_HEALTH
    health_since: datetime | None = None
    was_ready: bool = False  # this run, once
    requested_at: datetime | None = None  # when a run last ended on request
    by_probe: bool = False  # the last end that was told was its probe's doing
    launch_polls: int = 0
    # a reply shows its end, and push has not said so yet: since when, and the last good reply before that
    unheard: tuple[datetime, datetime | None] | None = None
    missing: tuple[datetime, datetime] | None = None  # its name is gone: since when, when it was shown last

    @property
    def has_run(self) -> bool:
        """Whether the last state shows the run: its pid is not 0, nor is the next one being launched."""
        if self.run is None or not self.run.shows_in(self.state):
            return False
        return not (self.ended and self.state.status in LAUNCHING)

    @property
    def alive(self) -> bool:
        """Whether the run was last seen alive."""
        return self.has_run and not self.ended and lives(self.state)

    @property
    def status(self) -> str:
        """The status to show: a name that left while its run was alive is being stopped."""
        return "Terminating" if self.missing and self.alive else self.state.status

    @property
    def settled(self) -> bool:
        """Whether the same state once more would tell nothing."""
        return not (self.launch_polls or self.unheard or self.missing)

    @property
    def look_again_s(self) -> float | None:
        """In how many seconds to look again because this is not settled; None: whenever the next poll is."""
        if self.missing:
            return None if self.alive else GONE_AFTER_S
        return LAUNCH_POLL_S if self.unheard or 0 < self.launch_polls < LAUNCH_POLLS else None


def lives(state: ProcessState) -> bool:
    """Whether a state with a run is that of a living one: in Terminating too, where is_running is false."""
    return state.is_running or state.status == "Terminating"


def leave_out(
    known: Mapping[Key, Known], after: Mapping[Key, ProcessState], keys: Collection[Key]
) -> tuple[Mapping[Key, Known], Mapping[Key, ProcessState]]:
    """Return both without these processes, and without new names that show their runs."""
    keys = [key for key in keys if key in known]
    if not keys:
        return known, after
    runs = {(run.pid, run.start) for key in keys if (run := known[key].run)}
    rest = {
        key: state
        for key, state in after.items()
        if key not in keys and (key in known or (state.pid, state.start) not in runs)
    }
    return {key: found for key, found in known.items() if key not in keys}, rest


def to_record(known: Known) -> dict[str, Any]:
    """Return what is kept of a Known, as JSON."""
    run = known.run
    record: dict[str, Any] = {
        "state": known.state.raw,
        "namespaces": list(known.state.namespaces),
        "terminating": known.terminating,
        "health": known.health,
    }
    if run is not None:
        shown = {"pid": run.pid, "start": run.start}
        record["run"] = {
            **shown,
            "began": _stored_text(run.began),
            "restarts_at_begin": run.restarts_at_begin,
        }
        if known.ended:
            record["last_ended"] = shown
    return {
        **record,
        "restarts": known.restarts,
        "health_since": _stored_text(known.health_since),
        "was_ready": known.was_ready,
        "ended_on_request_at": _stored_text(known.requested_at),
        **({"ended_by_probe": True} if known.by_probe else {}),
        "missing_since": _stored_text(known.missing[0] if known.missing else None),
    }


def from_record(record: Mapping[str, Any]) -> Known:
    """Return the Known of a record; ValueError, KeyError or TypeError if it is none."""
    found = record.get("run")
    run = None
    if found:
        run = Run(
            int(found["pid"]),
            str(found["start"]),
            _stored_moment(found.get("began")),
            int(found["restarts_at_begin"]),
        )
    state = ProcessState.from_raw(dict(record["state"]))
    state = replace(state, namespaces=tuple(map(str, record.get("namespaces") or ())))
    since = _stored_moment(record.get("missing_since"))
    return Known(
        state,
        restarts=int(record.get("restarts", state.restarts)),
        run=run,
        ended=bool(record.get("last_ended")),
        terminating=bool(record.get("terminating")),
        health=str(record.get("health") or NO_HEALTH),
        health_since=_stored_moment(record.get("health_since")),
        was_ready=bool(record.get("was_ready")),
        requested_at=_stored_moment(record.get("ended_on_request_at")),
        by_probe=bool(record.get("ended_by_probe")),
        missing=(since, since) if since else None,
    )


def _stored_text(moment: datetime | None) -> str | None:
    return format_time(moment) if moment else None


def _stored_moment(text: str | None) -> datetime | None:
    return parse_time(text) if text else None
