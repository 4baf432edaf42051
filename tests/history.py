"""Random histories of one process, shown as process-compose 1.122 shows it, to be polled at any moment.

`History` takes the place of a `Replay`: it has replies, push messages and logs, and besides what really was.
"""

import bisect
from dataclasses import dataclass, field
from random import Random
from typing import Any

from observe_lib.events import Key
from observe_lib.process_compose import ProcessState
from tests.replay import at

#: what a process shows before it ever ran
FRESH = {"status": "Pending", "pid": 0, "exit_code": 0, "is_ready": "-", "start": "", "end": "", "ready": ""}
T0 = 1_800_000_000.0


@dataclass
class Run:
    """One run as it was: what tells its end, and whether the policy's restart count shows it."""

    pid: int
    began: float
    ended: float = 0.0
    type: str = ""
    reason: str = ""


@dataclass
class History:
    """A scripted process-compose with one process: `show` is its setState, `runs` is the truth."""

    rng: Random
    policy: str
    probe: bool
    tidy: bool  # nobody starts, stops or reloads anything faster than a poll can see
    now: float = T0
    restarts: int = 0
    name: str = "worker"
    state: dict[str, Any] = field(default_factory=lambda: dict(FRESH))
    began: float = 0.0
    times: list[float] = field(default_factory=list)
    shown: list[tuple[dict[str, Any], float] | None] = field(default_factory=list)
    push: list[dict[str, Any]] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    failures: int = 0
    log_lines: dict[str, list[str]] = field(default_factory=dict)
    gone_at: float = float("inf")
    rises: list[float] = field(default_factory=list)  # when the count rose
    hands: list[float] = field(default_factory=list)  # when somebody started, stopped or reloaded it

    def show(self, push: bool = True, **changes: Any) -> None:
        self.state = {**self.state, **changes}
        self.times.append(self.now)
        self.shown.append((dict(self.state, restarts=self.restarts, name=self.name), self.began))
        if push:
            lag = self.rng.choice((0.0, 0.001, 0.01))
            message = self.raw(len(self.shown) - 1, self.now)
            message["is_running"] = self.maybe(0.5)  # in a message it is what the last GET saw
            self.push.append({"t": self.now + lag, "state": message})

    def wait(self, low: float, high: float) -> None:
        self.now += self.rng.uniform(low, high)

    def maybe(self, chance: float) -> bool:
        return self.rng.random() < chance

    # --- what happens ---

    def live(self, seconds: float) -> None:
        self.show()
        self.wait(0, 2)
        while self.now < T0 + seconds:
            self.incarnation()
            self.wait(*((4, 8) if self.tidy else (0.2, 5)))
            self.hands.append(self.now)
            if self.maybe(0.2):
                self.restarts = 0  # a file watch or a reload
            self.state, self.began = dict(FRESH), 0.0

    def incarnation(self) -> None:
        """One process object: from its first launch to its final end, restarted by the policy in between."""
        while self.launch():
            by_policy = self.run()
            if not by_policy:
                return
            self.show(status="Restarting", is_ready="-")
            self.wait(0, 0.1)
            self.restarts += 1
            self.rises.append(self.now)
            self.show(push=False)
            self.wait(1, 2)
            if self.maybe(0.1):  # stopped while waiting
                self.show(status="Completed", end=stamp(self.now))
                return

    def launch(self) -> bool:
        self.show(status="Running", is_ready="-")  # the pid is still 0, or the last run's
        self.wait(0, 0.01) if self.maybe(0.7) else self.wait(0, 0.3)
        if self.maybe(0.07):
            self.show(status="Error", end=stamp(self.now))
            self.failures += 1
            return False
        pid = self.rng.randrange(10**6, 10**9)
        self.began = self.now
        self.runs.append(Run(pid, self.now))
        self.show(push=False, pid=pid, start=self.state["start"] or stamp(self.now))
        return True

    def run(self) -> bool:
        """One run until its end; tell whether the policy starts another."""
        run = self.runs[-1]
        cause = self.rng.choice(("exit", "exit", "exit", "kill", "stop", "stop", "restart", "probe"))
        if self.probe and self.maybe(0.8):
            self.wait(0, 1)
            self.show(is_ready="Ready", ready=self.state["ready"] or stamp(self.now))
        self.wait(0.05, 1) if self.maybe(0.4) else self.wait(1, 6)
        asked = cause in ("stop", "restart")
        code = {"exit": self.rng.choice((0, 1, 3, 42, 143)), "kill": -1}.get(cause, self.rng.choice((0, -1)))
        if cause == "probe" and self.probe:
            self.show(is_ready="Not Ready")
            self.wait(0.5, 1.5)
        elif cause == "probe":
            cause = "exit"
        if asked:
            self.hands.append(self.now)
        if asked or cause == "probe":
            self.show(status="Terminating", is_ready="-")
            self.wait(0, 0.01) if self.maybe(0.5) else self.wait(0.1, 1.5)
        run.ended = self.now
        good = code in (0, 42)
        run.type, run.reason = CLASSES.get(cause) or {0: GOOD, 42: GOOD, 143: TERM}.get(code, BAD)
        if not asked and (self.policy == "always" or (self.policy == "on_failure" and not good)):
            self.state["exit_code"] = code
            return True
        self.log_lines = {"worker": ["Error: readiness check fail"]} if cause == "probe" else {}
        self.show(status="Completed", end=stamp(self.now), exit_code=code, is_ready="-")
        return False

    # --- what a poller sees of it ---

    def raw(self, index: int, moment: float) -> dict[str, Any]:
        shown = self.shown[index]
        assert shown is not None
        state, began = shown
        running = state["status"] in ("Running", "Launching", "Launched")
        raw = {
            "name": state["name"],
            "namespace": "default",
            "status": state["status"],
            "age": int((moment - began) * 1e9) if began else 2**63 - 1,
            "is_running": running,
            "is_ready": state["is_ready"],
            "restarts": state["restarts"],
            "exit_code": state["exit_code"],
            "success_exit_codes": [42],
            "pid": state["pid"],
            "process_start_time": state["start"],
            "process_ready_time": state["ready"],
            "process_end_time": state["end"],
        }
        return {name: value for name, value in raw.items() if value != ""}

    def reply(self, moment: float) -> dict[Key, ProcessState] | None:
        if moment >= self.gone_at:
            return None
        state = ProcessState.from_raw(self.raw(max(0, bisect.bisect_right(self.times, moment) - 1), moment))
        return {Key(state.namespace, state.name): state}


GOOD, TERM, BAD = ("stopped", "completed"), ("stopped", "terminated"), ("crashed", "exit")
CLASSES = {
    "kill": ("crashed", "killed"),
    "stop": ("stopped", "requested"),
    "restart": ("stopped", "requested"),
    "probe": ("crashed", "probe"),
}


def stamp(seconds: float) -> str:
    return at(seconds).isoformat().replace("+00:00", "Z")
