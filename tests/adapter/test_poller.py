"""The poller on a scripted client and clock: when it asks, what it makes of answers and of none."""

import threading
from collections import deque
from datetime import timedelta

import pytest

from observe_lib.adapter import poller as poller_module
from observe_lib.adapter.poller import Poller
from observe_lib.compose.client import Reply
from observe_lib.compose.state import ProcessState
from observe_lib.errors import ComposeError
from observe_lib.events import Key
from observe_lib.times import format_time
from tests.adapter.bench import T0, Bench, Clock, ended, running, stopping

REFUSED = ComposeError("process-compose at http://pc: connection refused", "is it running?", kind="refused")
TIMEOUT = ComposeError("process-compose at http://pc: no answer within 10s", kind="timeout")
SCALING = ComposeError("process-compose at http://pc answers 400", kind="status", status=400)
HTML = ComposeError("process-compose at http://pc: sent HTML", kind="garbage")


class Script(Clock):
    """Client, clock and time in one: answers what is scripted (the last one again), time passes by ticks."""

    def __init__(self) -> None:
        super().__init__()
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
        date = None if ahead is None else self().replace(microsecond=0) + timedelta(seconds=ahead)
        return Reply(reply, date)

    def reason(self, error: ComposeError) -> str:
        return str(error).removeprefix("process-compose at http://pc: ")

    def interrupt(self) -> None:
        pass

    def monotonic(self) -> float:
        return self.seconds


class Listener:
    def __init__(self) -> None:
        self.seen: list = []
        self.told_of_source = 0

    def answered(self, reply, blind_s) -> None:
        self.seen.append(("answered", blind_s))

    def silent(self, error, since) -> None:
        self.seen.append(("silent", error.kind, since))

    def compared(self, changes) -> None:
        self.seen.append(("compared", len(changes)))

    def source_told(self) -> None:
        self.told_of_source += 1


class Polled(Bench):
    """A poller, and the comparison and outbox that it feeds."""

    def __init__(self, directory=None, script: Script | None = None, poll_s: float = 2.0, **options) -> None:
        self.script = script or Script()
        super().__init__(directory, clock=self.script, **options)
        self.listener = Listener()
        self.poller = Poller(
            self.script, self.comparison, self.listener, interval_s=poll_s, clock=self.script
        )

    def polls(self, *replies, every_s: float = 2.0) -> list[tuple[str, str]]:
        """Answer one poll with each of these; return what was told."""
        self.script.replies = deque(replies)
        for _ in range(len(replies)):
            self.script.seconds += every_s
            self.poller.poll()
        return [(event.process, event.type) for event in self.take()]

    def polled(self, reply, every_s: float = 2.0) -> list:
        """Answer one poll; return the events."""
        self.script.replies = deque([reply])
        self.script.seconds += every_s
        self.poller.poll()
        return self.take()


@pytest.fixture
def bench():
    bench = Polled()
    yield bench
    bench.outbox.close()


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
    bench = Polled(poll_s=interval_s)
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
    bench = Polled(poll_s=0.05)
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


# --- clocks ---


@pytest.mark.parametrize("ahead_s, initial", [(0.0, False), (-0.9, False), (3600.0, True)])
def test_what_is_new_is_a_matter_of_its_clock(bench, ahead_s, initial):
    """By our clock it began after we did; where process-compose's clock is ahead, it did not."""
    bench.script.date_ahead_s = ahead_s
    events = bench.polled([running("web", began=1.0)])
    assert [event.initial for event in events if event.process == "web"] == [initial]


@pytest.mark.parametrize("ahead_s, seen_at", [(0.0, 12.0), (1.5, 12.0), (3600.0, 3612.0), (-3600.0, -3588.0)])
def test_times_are_on_process_composes_clock(bench, ahead_s, seen_at):
    bench.script.date_ahead_s = ahead_s
    bench.polls([running("web")], every_s=10.0)
    (event,) = bench.polled([running("web", status="Odd")])
    assert event.timestamp == format_time(T0 + timedelta(seconds=seen_at))
    assert event.observed_at == format_time(T0 + timedelta(seconds=12))


def test_of_the_last_replies_the_quickest_tells_the_skew(bench):
    """One that took long tells little of the clock, one that took a second nothing at all."""
    bench.script.date_ahead_s, bench.script.cost_s = 100.0, 0.0
    bench.polls([running("web")], every_s=10.0)
    bench.script.date_ahead_s, bench.script.cost_s = 50.0, 0.5
    (event,) = bench.polled([running("web", status="Odd")])
    assert event.timestamp == format_time(bench.clock() + timedelta(seconds=100))


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
    assert bench.listener.told_of_source == 5  # for the lease, each time


def test_an_outage_says_why_since_when_and_how_long(bench):
    bench.polls([running("web")], every_s=10.0)
    bench.script.replies = deque([REFUSED, REFUSED, [running("web")]])
    for _ in range(3):
        bench.script.seconds += 10
        bench.poller.poll()
    unhealthy, healthy = bench.take()
    assert unhealthy.extra == {
        "error": "connection refused",
        "since": format_time(T0 + timedelta(seconds=10)),
    }
    assert healthy.extra == {"blind_seconds": 30.0}
    assert (unhealthy.state, unhealthy.subject) == (None, "core.process._observe.process-compose.unhealthy")
    assert bench.listener.seen[-2:] == [("answered", 30.0), ("compared", 0)]


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


def test_an_outage_of_another_kind_is_said_again_and_told_once(bench):
    bench.polls([running("web")])
    assert bench.polls(REFUSED, REFUSED, REFUSED, HTML, REFUSED) == [("process-compose", "unhealthy")]
    assert [what[1] for what in bench.listener.seen if what[0] == "silent"] == ["refused", "garbage"]


def test_nothing_is_told_of_an_outage_before_the_first_answer(bench):
    assert bench.polls(REFUSED, REFUSED, REFUSED) == []
    assert bench.listener.seen == [("silent", "refused", None)]
    assert bench.polls([]) == [("process-compose", "started")]


def test_after_an_outage_it_is_compared_as_ever(bench):
    bench.polls([running("web")])
    bench.polls(REFUSED, REFUSED)
    told = bench.polls([running("web", pid=8, began=3.0)])
    assert told[:2] == [("web", "stopped"), ("web", "restarted")] and ("process-compose", "healthy") in told


@pytest.mark.parametrize("last, told", [("outage", "healthy"), ("ended", "started"), ("well", None)])
def test_what_was_told_last_is_remembered_over_a_restart(tmp_path, last, told):
    """An outage whose end the adapter did not live to see ends with the next start's first answer."""
    first = Polled(tmp_path)
    if last == "ended":
        first.polls([ended("web")], REFUSED, REFUSED)
        raw = ended("web")
    else:
        raw = running("web")
        first.polls([raw], *([REFUSED, REFUSED] if last == "outage" else []))
    first.outbox.close()
    second = Polled(tmp_path, first.script)
    assert second.polls([raw]) == ([("process-compose", told)] if told else [])
    second.outbox.close()


def test_an_outage_at_the_next_start_is_told_since_the_last_good_reply(tmp_path):
    first = Polled(tmp_path)
    first.polls([running("web")], [ended("web"), running("db", 8)], [ended("web"), running("db", 8)])
    first.outbox.close()
    second = Polled(tmp_path, first.script)
    second.script.replies = deque([REFUSED])
    second.poller.poll()
    second.poller.poll()
    (event,) = second.take()
    assert event.type == "unhealthy" and event.extra["since"] >= format_time(T0 + timedelta(seconds=2))
    second.outbox.close()


def test_when_it_is_stopped_a_request_broken_off_is_no_outage(bench):
    bench.polls([running("web")])
    bench.poller.stop()
    assert bench.polls(TIMEOUT, REFUSED, REFUSED) == []


def test_a_source_event_that_is_not_taken_is_told_with_the_next_poll(bench):
    bench.refuses = True
    assert bench.polls([running("web")], [running("web")]) == []
    bench.refuses = False
    assert bench.polls([running("web")]) == [("web", "started"), ("process-compose", "started")]


# --- with push ---


def test_what_push_said_before_the_api_went(bench):
    bench.comparison.listening_since = bench.clock()
    bench.polls([running("web"), running("db", pid=8), running("sick", pid=9)])
    bench.hear(ended("web", code=3, process_end_time=None))
    bench.hear(stopping("db", pid=8))
    bench.script.replies = deque([REFUSED])
    bench.poller.poll()
    bench.poller.poll()
    events = bench.take()
    told = {event.process: (event.type, event.reason, event.exit_code) for event in events}
    assert told["web"] == ("crashed", "exit", 3)
    assert told["db"] == ("status_changed", None, None)
    assert told["process-compose"] == ("unhealthy", None, None)  # sick is still alive
    assert "sick" not in told
    bench.hear(ended("db", pid=8))  # words that come late
    bench.hear(stopping("sick", pid=9))
    bench.hear(ended("sick", pid=9, code=-1))
    assert dict((one.process, one.type) for one in bench.take()) == {"db": "stopped", "sick": "stopped"}


def test_a_project_that_ends_is_a_source_stopped(bench):
    bench.comparison.listening_since = bench.clock()
    bench.polls([running("web"), running("db", pid=8)])
    bench.hear(ended("web", code=7))
    bench.hear(stopping("db", pid=8))
    told = bench.polls(REFUSED, REFUSED)
    assert ("web", "crashed") in told and ("process-compose", "stopped") in told


def test_what_was_being_stopped_ends_with_process_compose(bench):
    """It may go before its last message does; while push is connected, that may still come."""
    bench.comparison.listening_since = bench.clock()
    bench.polls([running("web"), ended("db", pid=8)])
    bench.hear(stopping("web"))
    assert bench.polls(REFUSED, REFUSED) == [("web", "status_changed"), ("process-compose", "stopped")]
    bench.comparison.listening_since = None
    (event,) = bench.polled(REFUSED)
    assert (event.process, event.type, event.reason) == ("web", "stopped", "requested")
    assert (event.inferred, event.exit_code, event.new_status) == (True, None, None)
    assert bench.polls(REFUSED, REFUSED) == []
    assert bench.polls([running("web", pid=9, began=9.0)])[0] == ("web", "started")


@pytest.mark.parametrize("failure", [TIMEOUT, SCALING])
def test_what_was_being_stopped_does_not_end_with_anything_less(bench, failure):
    bench.polls([stopping("web")])
    assert bench.polls(*[failure] * 5) == [("process-compose", "stopped")]


def test_a_not_ready_that_no_reply_showed(bench):
    bench.comparison.listening_since = bench.clock()
    bench.polls([running("web", is_ready="Ready")])
    bench.hear(running("web", is_ready="Not Ready"), after_s=0.5)
    at = bench.clock()
    events = [*bench.take(), *bench.polled([running("web", is_ready="Ready")])]
    assert [(one.type, one.timestamp) for one in events[:1]] == [("unhealthy", format_time(at))]
    assert [one.type for one in events[1:]] == ["healthy"]
    assert bench.polls([running("web", is_ready="Ready")]) == []


# --- replies that are odd, and what does not cost ---


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
    assert Key("a", "web") in bench.comparison.records.known
