"""The poller on a scripted client and clock: when it asks, what it makes of answers and of none."""

import threading
from collections import deque
from datetime import datetime, timedelta, timezone

import pytest

from observe_lib.adapter import poller as poller_module
from observe_lib.adapter.poller import Poller
from observe_lib.compose.client import Reply
from observe_lib.compose.state import ProcessState
from observe_lib.detect import changes as changes_module
from observe_lib.errors import ComposeError
from observe_lib.events import Event, Key
from observe_lib.times import format_time
from tests.stand_in import make_state

T0 = datetime(2026, 1, 5, 12, 0, 0, tzinfo=timezone.utc)
REFUSED = ComposeError("process-compose at http://pc: connection refused", "is it running?", kind="refused")
TIMEOUT = ComposeError("process-compose at http://pc: no answer within 10s", kind="timeout")
SCALING = ComposeError("process-compose at http://pc answers 400", kind="status", status=400)
HTML = ComposeError("process-compose at http://pc: sent HTML", kind="garbage")


def moment(seconds: float) -> str:
    return (T0 + timedelta(seconds=seconds)).isoformat()


def running(name: str, pid: int = 7, began: float = -100.0, **fields) -> dict:
    fields = {"age": None, "process_start_time": moment(began), "process_ready_time": None, **fields}
    return make_state(name, pid=pid, **fields)


def ended(name: str, pid: int = 7, code: int = 0, **fields) -> dict:
    fields = {"status": "Completed", "is_running": False, "process_end_time": None, **fields}
    return running(name, pid, exit_code=code, **fields)


def state_of(raw: dict) -> ProcessState:
    return ProcessState.from_raw(raw)


class Script:
    """Client, clock and time in one: answers what is scripted (the last one again), time passes by ticks."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.replies: deque = deque([[]])
        self.date_ahead_s: float | None = None
        self.asked_at: list[float] = []
        self.cost_s = 0.0
        self.until = lambda: None

    def processes(self, timeout_s=None) -> Reply:
        self.asked_at.append(round(self.seconds, 3))
        self.seconds += self.cost_s
        self.until()
        reply = self.replies.popleft() if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, ComposeError):
            raise reply
        ahead = self.date_ahead_s
        date = None if ahead is None else self.clock().replace(microsecond=0) + timedelta(seconds=ahead)
        return Reply(reply, date)

    def reason(self, error: ComposeError) -> str:
        return str(error).removeprefix("process-compose at http://pc: ")

    def interrupt(self) -> None:
        pass

    def clock(self) -> datetime:
        return T0 + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


class Outbox:
    """Takes changes, or does not; `told` is (process, type, reason or what else tells it) of each event."""

    def __init__(self) -> None:
        self.recovered = threading.Event()
        self.recovered.set()
        self.known: dict = {}
        self.observed: dict[str, Event] = {}
        self.last_reply: str | None = None
        self.known_at: datetime | None = None
        self.accepts = self.whole = True
        self.events: list[Event] = []

    def offer(self, changes) -> bool:
        if self.accepts:
            self.events += [event for change in changes for event in change.events]
        return self.accepts

    def take(self) -> list[Event]:
        """Return the events since the last call, without companions."""
        events, self.events = self.events, []
        return [event for event in events if not event.companion]

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(event.process, event.type) for event in self.take()]


class Witness:
    def __init__(self) -> None:
        self.seen: list = []

    def answered(self, reply, blind_s) -> None:
        self.seen.append(("answered", blind_s))

    def silent(self, error, since) -> None:
        self.seen.append(("silent", error.kind, since))

    def compared(self, known, changes) -> None:
        self.seen.append(("compared", len(known)))


class Bench:
    """A poller and what it talks to."""

    def __init__(self, interval_s: float = 2.0) -> None:
        self.script, self.outbox, self.witness = Script(), Outbox(), Witness()
        self.poller = Poller(
            self.script,
            self.outbox,
            self.witness,
            interval_s=interval_s,
            born=T0,
            clock=self.script.clock,
        )

    def polls(self, *replies, every_s: float = 2.0) -> list[tuple[str, str]]:
        """Answer one poll with each of these; return what was told."""
        self.script.replies = deque(replies)
        for _ in range(len(replies)):
            self.script.seconds += every_s
            self.poller.poll()
        return self.outbox.told


@pytest.fixture
def bench():
    return Bench()


# --- when it asks: the loop itself, on a clock that only its waits move ---


class Waits:
    """An event that is set at scripted times; waiting for it moves the clock."""

    def __init__(self, script: Script, times=()) -> None:
        self.script, self.times, self.on = script, deque(times), False

    def set(self) -> None:
        self.on = True

    def clear(self) -> None:
        self.on = False

    def is_set(self) -> bool:
        while self.times and self.times[0] <= self.script.seconds + 1e-9:
            self.times.popleft()
            self.on = True
        return self.on

    def wait(self, timeout_s: float) -> bool:
        end = self.script.seconds + timeout_s
        if not self.is_set() and timeout_s > 0:
            self.script.seconds = min(end, self.times[0]) if self.times else end
        return self.is_set()


def asked_at(
    monkeypatch, count: int, *, rings=(), replies=([],), cost_s=0.0, interval_s=2.0, listening=False
) -> list[float]:
    """Run the loop for so many polls; return when each began."""
    bench = Bench(interval_s)
    bench.poller.listening_since = T0 if listening else None
    script, poller = bench.script, bench.poller
    monkeypatch.setattr(poller_module, "time", script)
    poller._stop, poller._bell = Waits(script), Waits(script, rings)
    script.replies, script.cost_s = deque(replies), cost_s
    script.until = lambda: poller._stop.set() if len(script.asked_at) == count else None
    poller._run()
    return script.asked_at


def every(gap_s: float, count: int) -> list[float]:
    return [round(nth * gap_s, 3) for nth in range(count)]


def gaps_of(times: list[float]) -> list[float]:
    return [round(times[nth + 1] - times[nth], 3) for nth in range(len(times) - 1)]


@pytest.mark.parametrize(
    "named, expected",
    [
        ({}, [0, 2, 4, 6, 8]),
        ({"interval_s": 0.2}, every(0.2, 5)),
        ({"cost_s": 0.5}, [0, 2, 4, 6, 8]),  # from start to start
        ({"cost_s": 3.0}, [0, 3, 6, 9, 12]),  # slower than the interval: at once again
        ({"rings": [0.7]}, [0, 0.7, 2.7, 4.7, 6.7]),
        ({"rings": [0.01]}, [0, 0.05, 2.05, 4.05, 6.05]),  # too soon: the gap
        ({"rings": [0.01, 0.02, 0.03, 0.06]}, [0, 0.05, 0.1, 2.1, 4.1]),  # several are one
        ({"rings": every(0.001, 400)}, every(0.05, 5)),  # a storm: 20 a second
        ({"rings": [0.1], "cost_s": 0.3}, [0, 0.3, 2.3, 4.3, 6.3]),  # while a request is under way
    ],
    ids=str,
)
def test_when_it_asks(monkeypatch, named, expected):
    assert asked_at(monkeypatch, 5, **named) == expected


def test_a_storm_of_rings_is_20_polls_a_second(monkeypatch):
    assert asked_at(monkeypatch, 200, rings=every(0.001, 20_000)) == every(0.05, 200)


def test_retries(monkeypatch):
    gaps = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 5.0, 5.0]
    times = asked_at(monkeypatch, 9, replies=[REFUSED])
    assert gaps_of(times) == gaps


def test_retries_begin_anew_after_an_answer(monkeypatch):
    times = asked_at(monkeypatch, 6, replies=[REFUSED, REFUSED, [], REFUSED, REFUSED, []])
    assert times == [0, 0.1, 0.3, 2.3, 2.4, 2.6]


def test_a_ring_ends_the_wait_for_a_retry(monkeypatch):
    """The push stream is there again before the next retry would be."""
    times = asked_at(monkeypatch, 8, replies=[REFUSED] * 7 + [[]], rings=[9.0])
    assert times == [0, 0.1, 0.3, 0.8, 1.8, 3.8, 8.8, 9.0]


def test_a_launch_in_progress_is_looked_at_again_20_times(monkeypatch):
    launching = running("web", pid=0, began=1.0, process_start_time=None)
    times = asked_at(monkeypatch, 30, replies=[[], [launching]])
    gaps = gaps_of(times)
    assert gaps == [2.0, *[0.05] * 19, *[2.0] * 9]


def test_a_name_that_is_gone_is_asked_for_again_after_250_ms(monkeypatch):
    times = asked_at(monkeypatch, 5, replies=[[ended("web")], []])
    assert times == [0, 2, 2.25, 4.25, 6.25]


def test_the_thread_ends_at_once_and_a_fault_does_not_end_it(caplog):
    bench = Bench(interval_s=0.05)
    reached = threading.Event()

    def fault():
        if len(bench.script.asked_at) == 1:
            raise RuntimeError("a fault of ours")
        reached.set()

    bench.script.until = fault
    bench.poller.start()
    assert reached.wait(10)
    bench.poller.stop()
    bench.poller.join(5)
    assert not bench.poller._thread.is_alive() and "a fault of ours" in caplog.text


# --- the first look ---


def test_first_look_announces(bench):
    bench.polls([running("old"), ended("once"), running("new", pid=8, began=1.0)])
    bench.script.seconds = 0
    bench = Bench()
    bench.script.replies = deque([[running("old"), ended("once"), running("new", pid=8, began=1.0)]])
    bench.script.seconds = 2
    bench.poller.poll()
    found = {event.process: event for event in bench.outbox.take()}
    assert found["old"].type == "started" and found["old"].initial
    assert found["once"].type == "status_changed" and found["once"].initial
    assert found["new"].type == "started" and not found["new"].initial
    assert found["process-compose"].type == "started" and found["process-compose"].of_observer
    assert bench.witness.seen == [("answered", None), ("compared", 3)]


@pytest.mark.parametrize("ahead_s, initial", [(0.0, False), (-0.9, False), (3600.0, True)])
def test_what_is_new_is_a_matter_of_its_clock(bench, ahead_s, initial):
    """By our clock it began after we did; where process-compose's clock is ahead, it did not."""
    bench.script.date_ahead_s = ahead_s
    bench.polls()
    bench.script.replies = deque([[running("web", began=1.0)]])
    bench.script.seconds = 2
    bench.poller.poll()
    assert [event.initial for event in bench.outbox.take() if event.process == "web"] == [initial]


@pytest.mark.parametrize("ahead_s, seen_at", [(0.0, 12.0), (1.5, 12.0), (3600.0, 3612.0), (-3600.0, -3588.0)])
def test_times_are_on_process_composes_clock(bench, ahead_s, seen_at):
    bench.script.date_ahead_s = ahead_s
    bench.polls([running("web")], every_s=10.0)
    bench.polls([running("web", status="Odd")])
    bench.script.replies = deque([[running("web", status="Odder")]])
    bench.poller.poll()
    (event,) = bench.outbox.take()
    assert event.timestamp == format_time(T0 + timedelta(seconds=seen_at))
    assert event.observed_at == format_time(T0 + timedelta(seconds=12))


def test_until_the_records_are_read_it_polls_and_does_not_compare(bench):
    bench.outbox.recovered.clear()
    assert bench.polls([running("web")], [running("web")], REFUSED, REFUSED, [running("web")]) == []
    assert [what for what, *_ in bench.witness.seen] == ["answered", "silent", "answered"]
    bench.outbox.recovered.set()
    assert bench.polls([running("web")]) == [("web", "started"), ("process-compose", "started")]


def test_what_is_kept_until_then_is_bounded_and_that_is_said_once(bench, monkeypatch, caplog):
    monkeypatch.setattr(poller_module, "KEPT_STATES", 2)
    bench.outbox.recovered.clear()
    bench.poller.hear(ended("web", pid=1, code=3), bench.script.clock())  # nobody knows it yet
    bench.polls(*([running("web", pid=pid)] for pid in range(1, 9)))
    said = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(said) == 1 and "only the latest reply" in said[0]
    assert [state.pid for kept in bench.poller._kept for state in kept[0].values()][-1] == 8
    assert len(bench.poller._kept) <= 4


def test_what_the_records_hold_is_compared_with(bench):
    first = Bench()
    first.polls([running("web"), running("gone", pid=9)])
    bench.outbox.known = dict(first.poller._known)
    told = bench.polls([running("web", pid=8, began=1.0), running("other", pid=10, began=-50)])
    assert told[:3] == [("web", "stopped"), ("web", "restarted"), ("other", "started")]  # no first look


# --- outages ---


def test_source_events(bench):
    assert bench.polls([running("web")]) == [("web", "started"), ("process-compose", "started")]
    assert bench.polls([running("web")], REFUSED) == []
    assert bench.polls(REFUSED) == [("process-compose", "unhealthy")]
    assert bench.polls(REFUSED, TIMEOUT, HTML) == []  # once per outage
    assert bench.polls([running("web")]) == [("process-compose", "healthy")]
    assert bench.polls([ended("web")]) == [("web", "stopped")]
    assert bench.polls(REFUSED, REFUSED) == [("process-compose", "stopped")]
    assert bench.polls(REFUSED) == []
    assert bench.polls([ended("web")]) == [("process-compose", "started")]


def test_an_outage_says_why_since_when_and_how_long(bench):
    bench.polls([running("web")], every_s=10.0)
    bench.script.replies = deque([REFUSED, REFUSED, [running("web")]])
    for _ in range(3):
        bench.script.seconds += 10
        bench.poller.poll()
    unhealthy, healthy = bench.outbox.take()
    assert unhealthy.extra == {
        "error": "connection refused",
        "since": format_time(T0 + timedelta(seconds=10)),
    }
    assert healthy.extra == {"blind_seconds": 30.0}
    assert (unhealthy.state, unhealthy.subject) == (None, "core.process._observe.process-compose.unhealthy")
    assert bench.witness.seen[-2:] == [("answered", 30.0), ("compared", 1)]


@pytest.mark.parametrize(
    "failures",
    [
        [REFUSED, REFUSED],
        [TIMEOUT],
        [HTML, HTML, HTML],
        [SCALING] * 5,
        [SCALING, REFUSED],
        [REFUSED, TIMEOUT],
    ],
    ids=lambda found: "+".join(error.kind for error in found),
)
def test_what_is_an_outage(bench, failures):
    bench.polls([running("web")])
    assert bench.polls(*failures[:-1]) == [] if failures[1:] else True
    assert bench.polls(failures[-1]) == [("process-compose", "unhealthy")]


@pytest.mark.parametrize("failures", [[REFUSED], [SCALING] * 4, [HTML] * 2, [SCALING, HTML]], ids=str)
def test_what_is_none(bench, failures):
    bench.polls([running("web")])
    assert bench.polls(*failures, [running("web")]) == []


def test_nothing_is_told_of_an_outage_before_the_first_answer(bench):
    assert bench.polls(REFUSED, REFUSED, REFUSED) == []
    assert bench.witness.seen == [("silent", "refused", None)]
    assert bench.polls([]) == [("process-compose", "started")]


def test_after_an_outage_it_is_compared_as_ever(bench):
    bench.polls([running("web")])
    bench.polls(REFUSED, REFUSED)
    told = bench.polls([running("web", pid=8, began=3.0)])
    assert told[:2] == [("web", "stopped"), ("web", "restarted")] and ("process-compose", "healthy") in told


def test_a_source_remembered_as_unhealthy_is_healthy_with_the_first_answer(bench):
    first = Bench()
    first.polls([running("web")], REFUSED, REFUSED)
    bench.outbox.known = dict(first.poller._known)
    first.polls([running("web")])
    bench.outbox.observed = {
        "process-compose": Event(
            "unhealthy", "process-compose", "_observe", moment(1), observed_at=moment(1), extra={}
        )
    }
    assert bench.polls([running("web")]) == [("process-compose", "healthy")]


def test_a_reply_older_than_what_the_adapter_before_us_told_is_not_compared(bench):
    """It took the stack from a living one, which had told the third run when we last saw the first."""
    other = Bench()
    for pid in (7, 8, 9):
        other.polls([running("web", pid=pid, began=float(pid))])
    bench.outbox.recovered.clear()
    assert bench.polls([running("web", pid=7, began=7.0)], [running("web", pid=8, began=8.0)]) == []
    bench.outbox.known = dict(other.poller._known)
    bench.outbox.known_at = bench.script.clock() + timedelta(seconds=1)
    bench.outbox.recovered.set()
    told = bench.polls([running("web", pid=9, began=9.0)])
    assert [kind for name, kind in told if name == "web"] == []


def test_when_it_is_stopped_a_request_broken_off_is_no_outage(bench):
    bench.polls([running("web")])
    bench.poller.stop()
    assert bench.polls(TIMEOUT, REFUSED, REFUSED) == []


# --- push ---


def terminating(name: str, pid: int = 7) -> dict:
    return running(name, pid, status="Terminating", is_running=False)


def test_messages_are_all_there_is_of_an_api_that_is_gone(bench):
    bench.poller.listening_since = bench.script.clock()
    bench.polls([running("web"), running("db", pid=8), running("sick", pid=9)])
    at = bench.script.clock()
    bench.poller.hear(ended("web", code=3, process_end_time=moment(2.5)), at)
    bench.poller.hear(terminating("db", 8), at)
    events = bench.outbox.take()
    told = {event.process: (event.type, event.reason, event.exit_code) for event in events}
    assert told == {"web": ("crashed", "exit", 3), "db": ("status_changed", None, None)}
    assert bench.polls(REFUSED, REFUSED) == [("process-compose", "unhealthy")]  # sick is still alive
    bench.poller.hear(ended("db", pid=8), bench.script.clock())  # late
    bench.poller.hear(terminating("sick", 9), at)
    bench.poller.hear(ended("sick", pid=9, code=-1), bench.script.clock())
    assert [kind for kind in bench.polls(REFUSED) if kind[1] == "stopped"] == [
        ("db", "stopped"),
        ("sick", "stopped"),
    ]


def test_a_project_that_ends_is_a_source_stopped(bench):
    bench.poller.listening_since = bench.script.clock()
    bench.polls([running("web"), running("db", pid=8)])
    for raw in (ended("web", code=7), terminating("db", 8)):
        bench.poller.hear(raw, bench.script.clock())
    told = bench.polls(REFUSED, REFUSED)
    assert ("web", "crashed") in told and ("process-compose", "stopped") in told


def test_what_was_being_stopped_ends_with_process_compose(bench):
    """It may go before its last message does; while push is connected, that may still come."""
    bench.poller.listening_since = bench.script.clock()
    bench.polls([running("web"), ended("db", pid=8)])
    bench.poller.hear(terminating("web"), bench.script.clock())
    assert bench.polls(REFUSED, REFUSED) == [("web", "status_changed"), ("process-compose", "stopped")]
    bench.poller.listening_since = None
    bench.script.replies = deque([REFUSED])
    bench.poller.poll()
    (event,) = bench.outbox.take()
    assert (event.process, event.type, event.reason) == ("web", "stopped", "requested")
    assert (event.inferred, event.exit_code, event.new_status) == (True, None, None)
    assert bench.polls(REFUSED, REFUSED) == []
    assert bench.polls([running("web", pid=9, began=9.0)])[0] == ("web", "started")


@pytest.mark.parametrize("failure", [TIMEOUT, REFUSED])
def test_what_was_being_stopped_does_not_end_with_anything_less(bench, failure):
    other = [running("alive", pid=8)] if failure is REFUSED else []
    bench.polls([terminating("web"), *other])
    told = bench.polls(failure, failure, failure)
    assert told == [("process-compose", "unhealthy" if other else "stopped")]


def test_a_reply_asked_for_before_a_message_says_nothing_of_that_process(bench):
    bench.poller.listening_since = bench.script.clock()
    bench.polls([running("web"), running("db", pid=8)])
    hears = iter([lambda: bench.poller.hear(terminating("web"), bench.script.clock())])
    bench.script.cost_s = 0.1
    bench.script.until = lambda: next(hears, lambda: None)()  # while the request is under way
    told = bench.polls([running("web"), running("db", 8, status="Odd")])
    assert told == [("web", "status_changed"), ("db", "status_changed")]
    assert bench.poller._known[Key("default", "web")].terminating
    assert bench.polls([ended("web", code=-1)]) == [("web", "stopped")]


def test_a_reply_that_shows_an_end_first_is_asked_for_again(monkeypatch):
    over = [ended("web", code=-1, process_end_time=moment(1.9))]
    times = asked_at(monkeypatch, 9, replies=[[running("web")], over], listening=True)
    assert gaps_of(times) == [2.0, *[0.05] * 5, 2.0, 2.0]


def test_without_push_a_quick_stop_is_uncertain_and_told_at_once(bench):
    bench.polls([running("web")])
    bench.script.replies = deque([[ended("web", code=-1)]])
    bench.poller.poll()
    (event,) = bench.outbox.take()
    assert (event.type, event.reason, event.inferred) == ("crashed", "killed", True)


@pytest.mark.parametrize(
    "raw",
    [running("web", pid="x"), running("web", restarts=10**20), {"name": "web"}, running("other")],
    ids=str,
)
def test_a_message_that_nobody_can_read_or_of_nobody_known_says_nothing(bench, raw):
    bench.polls([running("web")])
    bench.poller.hear(raw, bench.script.clock())
    assert bench.outbox.told == []


def test_a_not_ready_that_no_reply_showed(bench):
    bench.poller.listening_since = bench.script.clock()
    bench.polls([running("web", is_ready="Ready")])
    at = bench.script.clock() + timedelta(seconds=0.5)
    bench.poller.hear(running("web", is_ready="Not Ready"), at)
    bench.script.replies = deque([[running("web", is_ready="Ready")]])
    bench.script.seconds += 2
    bench.poller.poll()
    unhealthy, healthy = bench.outbox.take()
    assert (unhealthy.type, unhealthy.timestamp) == ("unhealthy", format_time(at))
    assert healthy.type == "healthy"
    assert bench.polls([running("web", is_ready="Ready")]) == []


# --- offers refused, replies that are odd, and what does not cost ---


def test_what_is_not_taken_is_compared_again(bench, caplog):
    bench.polls([running("web")])
    bench.outbox.accepts = False
    assert (
        bench.polls([ended("web", code=2)], [running("web", pid=8, restarts=1)], [ended("web", 8, 5)]) == []
    )
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1
    bench.outbox.accepts = True
    bench.script.replies = deque([[running("web", pid=9, restarts=2, exit_code=5)]])
    bench.poller.poll()
    ends, begins = bench.outbox.take()
    assert (ends.type, ends.count, begins.type, begins.count) == ("crashed", 2, "restarted", 2)


def test_a_process_that_cannot_be_compared_is_said_once_and_harms_no_other(bench, caplog, monkeypatch):
    bench.polls([running("web"), running("odd", 8)])
    real = changes_module.measure

    def measure(before, state):
        if state.name == "odd":
            raise OverflowError("too much")
        return real(before, state)

    monkeypatch.setattr(changes_module, "measure", measure)
    told = bench.polls(
        [ended("web"), ended("odd", 8)], [running("web", pid=9, began=9.0), ended("odd", 8, code=1)]
    )
    assert told == [("web", "stopped"), ("web", "started")]
    assert [record.message for record in caplog.records] == [
        "default/odd cannot be compared and stays as it was"
    ]


def test_a_first_look_that_is_not_taken_is_a_first_look_again(bench):
    bench.outbox.accepts = False
    assert bench.polls([running("web")]) == []
    bench.outbox.accepts = True
    bench.script.replies = deque([[running("web")]])
    bench.poller.poll()
    assert [event.initial for event in bench.outbox.take()] == [True, False]


@pytest.mark.parametrize(
    "fields",
    [
        {"pid": "7"},
        {"status": None},
        {"restarts": 1.5},
        {"namespace": 3},
        {"age": "5s"},
        {"success_exit_codes": [""]},
    ],
    ids=str,
)
def test_one_process_that_cannot_be_read_harms_no_other(bench, caplog, fields):
    assert dict(bench.polls([running("web"), {**running("odd", 8), **fields}])) == {
        "web": "started",
        "process-compose": "started",
    }
    assert bench.polls([ended("web"), {**running("odd", 8), **fields}]) == [("web", "stopped")]
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1
    assert bench.polls([ended("web"), running("odd", 8)]) == [("odd", "started")]
    assert bench.polls([ended("web"), {**running("odd", 8), **fields}]) == []  # it stays as it was


@pytest.mark.parametrize("name", [None, "", 7, ["web"], {}], ids=repr)
def test_a_process_without_a_usable_name_harms_no_other(bench, name):
    reply = [{**running("x", 9), "name": name}, running("web")]
    assert ("web", "started") in bench.polls(reply)
    assert bench.polls([{**running("x", 9), "name": name}, ended("web")]) == [("web", "stopped")]


def test_unchanged_states_cost_nothing(bench, monkeypatch):
    made = []
    real = ProcessState.from_raw.__func__
    monkeypatch.setattr(
        ProcessState, "from_raw", classmethod(lambda cls, raw: made.append(raw) or real(cls, raw))
    )
    crowd = [running(f"p{number}", pid=number + 1, age=10**10) for number in range(50)]
    bench.polls(crowd)
    assert len(made) == 50
    made.clear()
    later = [{**raw, "age": 10**9, "mem": 5, "cpu": 1.5, "system_time": "9s"} for raw in reversed(crowd)]
    assert bench.polls(crowd, later) == [] and made == []
    assert bench.polls([*crowd[1:], ended("p0", 1, code=1)]) == [("p0", "crashed")]
    assert len(made) == 1


def test_two_namespaces_are_two_keys(bench):
    bench.polls([running("web", namespace="a")])
    assert Key("a", "web") in bench.poller._known
