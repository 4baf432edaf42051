"""A storm: many scripted processes that begin, end and restart by chance, and what really happened."""

import threading
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import count
from random import Random
from typing import Any

from tests.stand_in import StandIn, make_state


@dataclass
class Process:
    """One scripted process: what /processes shows of it, and how often it really began and ended."""

    name: str
    kind: str  # policy: restarted, and its count shows it; hand: by somebody, no count; pool: comes and goes
    state: dict[str, Any] = field(default_factory=dict)
    begins: int = 0
    ends: int = 0
    shown_at: int = 0  # the number of polls when it last changed
    changed: float = 0.0
    there: bool = False
    phase: str = "down"


class Storm:
    """Many processes that begin, end and restart by chance, served by a stand-in.

    What only a poll in time can see (a run by hand, a name that goes) waits until two polls have seen the
    last change; what the restart count shows (policy) never waits for anybody.
    """

    def __init__(self, policy: int = 12, hand: int = 6, pool: int = 2, *, seed: int = 1) -> None:
        self.rng = Random(seed)
        self.seed = seed
        self._pids = count(1000)
        kinds = {"policy": policy, "hand": hand, "pool": pool}
        self.processes = [
            Process(f"{kind}-{i}", kind) for kind, number in kinds.items() for i in range(number)
        ]
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.stand_in = StandIn()
        for process in self.processes:
            if process.kind != "pool":
                self._begin(process)
        self._serve()

    def blow(self, tick_s: float = 0.02, at_once: int = 3) -> "Storm":
        """Begin to change things, in a thread of its own, until `calm()`."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, args=(tick_s, at_once), daemon=True)
        self._thread.start()
        return self

    def calm(self) -> None:
        """Change nothing any more; what is being launched or restarted gets there first."""
        self._stop.set()
        if self._thread:
            self._thread.join()
        with self._lock:
            for process in self.processes:
                while process.phase not in ("up", "down"):
                    self._advance(process)
            self._serve()

    def change(self, name: str) -> None:
        """Have one process take its next step, and any launch or restart in it come to its end."""
        with self._lock:
            process = next(process for process in self.processes if process.name == name)
            self._advance(process)
            while process.phase not in ("up", "down"):
                self._advance(process)
            self._serve()

    def __enter__(self) -> "Storm":
        self.stand_in.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join()
        self.stand_in.stop()

    def _run(self, tick_s: float, at_once: int) -> None:
        while not self._stop.wait(tick_s):
            with self._lock:
                for process in self.rng.sample(self.processes, min(at_once, len(self.processes))):
                    if process.kind == "policy" or self._was_seen(process):
                        self._advance(process)
                self._serve()

    def _was_seen(self, process: Process) -> bool:
        gap_s = 0.7 if process.kind == "pool" else 0.1
        polls = self.stand_in.requests["/processes"]
        return polls >= process.shown_at + 4 and time.monotonic() > process.changed + gap_s

    def _serve(self) -> None:
        states = [process.state for process in self.processes if process.there]
        self.rng.shuffle(states)
        self.stand_in.set_states(states)

    def _advance(self, process: Process) -> None:
        process.shown_at, process.changed = self.stand_in.requests["/processes"], time.monotonic()
        if process.phase == "launching":
            self._launched(process)
        elif process.phase == "restarting":
            self._show(process, "launching", status="Running", is_running=True)
        elif process.phase == "down":
            self._begin(process)
        elif process.kind == "policy" and self.rng.random() < 0.85:
            self._turn_or_end(process, "restarting", "Restarting", 3, restarts=process.state["restarts"] + 1)
        elif process.kind == "pool":
            process.ends += 1
            process.there, process.phase = False, "down"
        elif process.kind == "hand":
            self._turn_or_end(process, "down", "Completed", self.rng.choice((0, 3)))

    def _turn_or_end(self, process: Process, phase: str, status: str, code: int, **changes: Any) -> None:
        """Either its health turns, or its run ends."""
        if process.state["is_ready"] != "-" and self.rng.random() < 0.3:
            turned = {"Ready": "Not Ready", "Not Ready": "Ready"}[process.state["is_ready"]]
            self._show(process, "up", is_ready=turned)
            return
        process.ends += 1
        shown = {"is_running": False, "is_ready": "-", "exit_code": code, "status": status, **changes}
        self._show(process, phase, **shown, process_end_time=_now())

    def _begin(self, process: Process) -> None:
        process.there = True
        if process.kind == "policy" and process.state:
            self._show(process, "launching", status="Running", is_running=True)
        else:
            start = _now()
            process.state = make_state(process.name, process_start_time=start, process_ready_time=None, age=0)
            self._launched(process)

    def _launched(self, process: Process) -> None:
        process.begins += 1
        probed = process.name.endswith(("1", "4")) and process.kind != "pool"
        health = {"is_ready": "Ready" if probed else "-", "has_ready_probe": probed}
        self._show(process, "up", pid=next(self._pids), status="Running", is_running=True, **health)

    def _show(self, process: Process, phase: str, **changes: Any) -> None:
        process.phase = phase
        process.state = {**process.state, **changes}


def _now() -> str:
    return datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")
