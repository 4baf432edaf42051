"""Random histories of one process, shown as process-compose 1.122 shows it, to be polled at any moment.

A `History` takes the place of a `Replay`: it has replies, messages and logs, and besides what really was.
"""

import bisect
from dataclasses import dataclass, field
from random import Random
from typing import Any

from observe_lib.compose.state import ProcessState
from observe_lib.events import Key
from tests.replay import at

T0 = 1_800_000_000.0
#: a process object that has not been launched yet: every start by hand and every file watch makes one
FRESH = {
    "status": "Pending",
    "pid": 0,
    "exit_code": 0,
    "is_ready": "-",
    "process_start_time": "",
    "process_ready_time": "",
    "process_end_time": "",
}
GOOD_CODES = (0, 42)
#: how a run ends: by itself with one of these codes, or for one of these causes
CODES = (0, 1, 3, 42, 143)
CAUSES = ("exit", "exit", "exit", "killed", "requested", "requested", "probe")
CLASS_OF_CODE = {0: "completed", 42: "completed", 143: "terminated"}
STOPPED = ("completed", "terminated", "requested")


@dataclass
class Run:
    """One run as it really was."""

    pid: int
    began: float
    ended: float = 0.0
    reason: str = ""

    @property
    def type(self) -> str:
        return "stopped" if self.reason in STOPPED else "crashed"


@dataclass
class History:
    """A process-compose with one process. `runs`, `failures` and `turns` are the truth.

    Tidy: nobody starts or reloads it so soon after an end that no poll sees it ended. Quirks: shown for a
    moment are the old count while Restarting, a policy's launch that fails, a stop while Restarting.
    """

    rng: Random
    tidy: bool = False
    quirks: bool = False
    now: float = T0
    restarts: int = 0
    name: str = "worker"
    state: dict[str, Any] = field(default_factory=lambda: dict(FRESH))
    began: float = 0.0
    times: list[float] = field(default_factory=list)
    shown: list[tuple[dict[str, Any], float]] = field(default_factory=list)
    push: list[dict[str, Any]] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    failures: int = 0
    turns: list[str] = field(default_factory=list)
    logged: list[tuple[float, str]] = field(default_factory=list)
    gone_at: float = float("inf")
    gone: str = ""
    stale_s = 0.0

    def __post_init__(self) -> None:
        self.policy = self.rng.choice(("no", "on_failure", "always"))
        self.probe = self.maybe(0.5)
        self.daemon = not self.probe and self.maybe(0.3)

    def live(self, seconds: float, last: str = "") -> "History":
        """Let it live; at `last` it is left alone, or the project goes "down", or it is scaled "away"."""
        self.show()
        self.wait(0, 2)
        while self.now < T0 + seconds:
            self.incarnation()
            self.wait(*((4, 8) if self.tidy else (0.2, 5)))
            if self.maybe(0.2) and not (self.tidy and self.restarts < 3):  # nor may it be there again unseen
                self.restarts = 0  # a file watch or a reload
            self.state, self.began = dict(FRESH), 0.0
        if last and self.launch(fails=False):
            self.wait(3, 5)
            self.gone_at, self.gone = self.now, last
            self.terminate()
            self.end(self.rng.choice((0, -1)), "requested")
        self.now += 5
        return self

    # --- what happens to it ---

    def incarnation(self) -> None:
        """One process object: from its first launch to its final end, restarted by the policy in between."""
        fails = self.maybe(0.07)
        while self.launch(fails):
            fails = self.quirks and self.maybe(0.07)
            if not self.run():
                return
            if self.quirks and self.maybe(0.1):  # stopped while waiting
                self.show(status="Completed", process_end_time=stamp(self.now))
                return

    def launch(self, fails: bool) -> bool:
        status = "Launching" if self.daemon else "Running"
        self.show(status=status, is_ready="-")  # the pid is still 0, or the last run's
        self.wait(0, 0.01 if self.maybe(0.7) else 0.3)
        if fails:
            self.show(status="Error", process_end_time=stamp(self.now))
            self.failures += 1
            return False
        pid = self.rng.randrange(10**6, 10**9)
        self.began = self.now
        self.runs.append(Run(pid, self.now))
        start = self.state["process_start_time"] or stamp(self.now)
        self.show(push=False, pid=pid, process_start_time=start)
        return True

    def run(self) -> bool:
        """One run until its end; tell whether the policy starts another."""
        if self.probe and self.maybe(0.8):
            self.wait(0, 1)
            self.turn("Ready", process_ready_time=self.state["process_ready_time"] or stamp(self.now))
        self.wait(0.05, 1) if self.maybe(0.4) else self.wait(1, 6)
        if self.maybe(0.1):  # scaled, while a poll shows the same pid before and after
            self.wait(4, 5)
            self.name = "worker-0" if self.name == "worker" else "worker"
            self.show(push=False)
            self.wait(4, 5)
        cause = self.rng.choice(CAUSES)
        if self.daemon:
            cause = "requested" if cause == "requested" else "dead"
            self.show(status="Launched")
            self.wait(0.2, 3)
        if cause == "dead":  # found by its liveness probe, and its launcher's code is 0
            self.logged.append((self.now, "Error: liveness check fail"))
        elif cause == "probe" and self.probe:
            self.turn("Not Ready")
            self.wait(0.5, 1.5)
            self.logged.append((self.now, "Error: readiness check fail"))
        elif cause == "probe":
            cause = "exit"
        if cause in ("probe", "requested"):
            self.terminate()
        code = {"exit": self.rng.choice(CODES), "killed": -1, "dead": 0}.get(cause, self.rng.choice((0, -1)))
        reason = {"exit": CLASS_OF_CODE.get(code, "exit"), "dead": "probe"}.get(cause, cause)
        failed = code not in GOOD_CODES
        if cause != "requested" and (self.policy == "always" or (self.policy == "on_failure" and failed)):
            self.restart(code, reason)
            return True
        self.end(code, reason)
        return False

    def turn(self, health: str, **more: str) -> None:
        self.turns.append("healthy" if health == "Ready" else "unhealthy")
        self.show(is_ready=health, **more)

    def terminate(self) -> None:
        self.show(status="Terminating", is_ready="-")
        self.wait(0, 0.01) if self.maybe(0.5) else self.wait(0.1, 1.5)

    def end(self, code: int, reason: str) -> None:
        self.runs[-1].ended, self.runs[-1].reason = self.now, reason
        end = stamp(self.now)
        self.show(status="Completed", process_end_time=end, exit_code=code, is_ready="-")
        self.logged.append((self.now + 0.5, ""))

    def restart(self, code: int, reason: str) -> None:
        self.runs[-1].ended, self.runs[-1].reason = self.now, reason
        self.show(status="Restarting", is_ready="-", exit_code=code)
        if self.quirks:
            self.wait(0, 0.1)
        self.restarts += 1
        self.show(push=False)
        self.wait(1, 2)

    # --- what there is to see of it ---

    def show(self, push: bool = True, **changes: Any) -> None:
        """Its setState: the next replies show it, and a message says it."""
        self.state = {**self.state, **changes}
        self.times.append(self.now)
        self.shown.append((dict(self.state, restarts=self.restarts, name=self.name), self.began))
        if push:
            message = self.raw(len(self.shown) - 1, self.now)
            final = self.state["status"] in ("Completed", "Error")
            message["is_running"] = not final and self.maybe(0.5)  # what the last GET saw
            arrived = self.now + self.rng.choice((0.0, 0.001, 0.01))
            self.push.append({"t": max([arrived, *(one["t"] for one in self.push[-1:])]), "state": message})

    def raw(self, index: int, moment: float) -> dict[str, Any]:
        state, began = self.shown[index]
        return {
            **{name: value for name, value in state.items() if value != ""},
            "namespace": "default",
            "age": int((moment - began) * 1e9) if began else 2**63 - 1,
            "is_running": state["status"] in ("Running", "Launching", "Launched"),
            "success_exit_codes": [42],
        }

    def reply(self, moment: float) -> dict[Key, ProcessState] | None:
        if moment >= self.gone_at:
            return None if self.gone == "down" else {}
        index = max(0, bisect.bisect_right(self.times, moment) - 1)
        state = ProcessState.from_raw(self.raw(index, moment))
        return {Key(state.namespace, state.name): state}

    def log_of(self, name: str, moment: float) -> list[str]:
        lines = [line for t, line in self.logged if t <= moment]
        return lines[-1:]

    def wait(self, low: float, high: float) -> None:
        self.now += self.rng.uniform(low, high)

    def maybe(self, chance: float) -> bool:
        return self.rng.random() < chance


def stamp(seconds: float) -> str:
    return at(seconds).isoformat(timespec="microseconds").replace("+00:00", "Z")
