"""The adapter and what it is handed: it runs without any of it, and uses what it gets."""

import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path

import pytest

from observe_lib.adapter.adapter import AdapterOptions, run_adapter
from observe_lib.adapter.parts import AdapterParts
from observe_lib.broker import lease
from observe_lib.settings import ComposeSettings, NatsSettings
from observe_lib.times import now_utc
from tests.integration.faults import read_back, wait_until
from tests.stand_in import StandIn, make_state

ROOT = Path(__file__).resolve().parents[2]
CRASHED = make_state("web", status="Completed", is_running=False, exit_code=3)


class Running:
    """An adapter in a thread over a stand-in, with these parts; `said` is what it tells people."""

    def __init__(self, compose: StandIn, url: str, parts: AdapterParts, **options: bool) -> None:
        self.url, self.said, self.code = url, list[tuple[str, str]](), None
        where = ComposeSettings(port=compose.port), NatsSettings(url, url_given=True)
        self._options = AdapterOptions(*where, "bare", poll_interval_s=0.1, **options)
        self._parts, self._stop = parts, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        say = lambda topic, text: self.said.append((topic, text))  # noqa: E731
        self.code = run_adapter(self._options, say, self._stop, self._parts)

    def told(self, process: str = "web") -> list[str]:
        return [one.event["type"] for one in read_back(self.url, "bare") if one.event["process"] == process]

    def events(self, event_type: str) -> list[dict]:
        return [one.event for one in read_back(self.url, "bare") if one.event["type"] == event_type]

    def waits_until_told(self, *types: str) -> None:
        wait_until(lambda: set(types) <= set(self.told()), f"{types} in {self.told()}")

    def stop(self) -> int | None:
        self._stop.set()
        return self.ended()

    def ended(self) -> int | None:
        """Wait for its end, and return its exit code."""
        self._thread.join(20)
        assert not self._thread.is_alive(), self.said
        return self.code

    def __enter__(self) -> "Running":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@pytest.fixture
def compose():
    with StandIn([make_state("web")]) as stand_in:
        yield stand_in


def test_without_any_of_them_it_publishes_what_happened(compose, nats_server):
    compose.logs["web"] = ["boom"]
    with Running(compose, nats_server.url, AdapterParts()) as adapter:
        adapter.waits_until_told("started")
        compose.set_states([CRASHED])
        adapter.waits_until_told("crashed")
        assert adapter.stop() == 0
        assert [kind for kind in adapter.told() if kind != "status_changed"] == ["started", "crashed"]
        assert adapter.told("adapter") == ["started", "stopped"]
        (crash,) = adapter.events("crashed")
        assert crash["exit_code"] == 3 and "log_tail" not in crash
    topics = {topic for topic, _ in adapter.said}
    assert {"ready", "stopped"} <= topics and not topics & {"push", "crash logs"}
    assert not [path for path in compose.requests if path.startswith("/process/logs/")]


def test_what_it_does_without_is_not_even_imported():
    without = ("compose.push", "compose.logs", "broker.embedded", "adapter.systemd", "commands")
    code = "import sys, observe_lib.adapter.adapter; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    loaded = done.stdout.split()
    assert "observe_lib.adapter.poller" in loaded, done.stderr
    assert not [name for name in loaded if name.removeprefix("observe_lib.") in without]


# --- what it does with them ---


class Push:
    """Push stream whose messages the test sends."""

    def __init__(self) -> None:
        self.names, self.stopped = list[list[str]](), False

    def open(self, hear, on_listening, ring) -> "Push":
        self.hear, self.ring = hear, ring
        on_listening(now_utc())
        return self

    def listen(self, names) -> None:
        self.names.append(list(names))

    def stop(self) -> None:
        self.stopped = True


class Logs:
    """Log of one line for each process."""

    def __init__(self) -> None:
        self.stopped = False

    def fetch(self, process, lines):
        fetched = Future()
        fetched.set_result([f"the end of {process}"])
        return fetched

    def stop(self) -> None:
        self.stopped = True


class Server:
    """NATS server of its own that is there already; `calls` is what it was told."""

    def __init__(self) -> None:
        self.settled, self.calls = threading.Event(), list[str]()

    def start(self) -> None:
        self.calls.append("start")
        self.settled.set()

    def answered(self, names) -> None:
        self.calls.append(f"answered {' '.join(names)}")

    def connected(self, url, version) -> None:
        self.calls.append(f"connected {url}")

    def takes_no_writes(self) -> None:
        self.calls.append("takes no writes")

    def stop(self) -> None:
        self.calls.append("stop")


def test_its_server_hears_that_it_stores_nothing(compose, nats_server, monkeypatch):
    monkeypatch.setattr(lease, "RENEW_S", 0.1)
    monkeypatch.setattr(lease, "VALID_S", 0.3)
    server = Server()
    with Running(compose, nats_server.url, AdapterParts(server=server)) as adapter:
        adapter.waits_until_told("started")
        assert "takes no writes" not in server.calls
        nats_server.pause()  # it is connected, and answers nothing
        wait_until(lambda: "takes no writes" in server.calls, "that it takes no writes")
        nats_server.resume()
        assert adapter.stop() == 0


def test_it_ends_with_its_project_where_it_is_asked_to(compose, nats_server):
    with Running(compose, nats_server.url, AdapterParts(), end_with_project=True) as adapter:
        adapter.waits_until_told("started")
        compose.set_states([CRASHED])
        adapter.waits_until_told("crashed")
        compose.stop()
        assert adapter.ended() == 0
        assert adapter.told("process-compose")[-1] == "stopped" and adapter.told("adapter")[-1] == "stopped"
    assert any("the project has ended" in text for _, text in adapter.said)


def test_it_goes_on_without_its_project_otherwise(compose, nats_server):
    with Running(compose, nats_server.url, AdapterParts()) as adapter:
        adapter.waits_until_told("started")
        compose.set_states([CRASHED])
        adapter.waits_until_told("crashed")
        compose.stop()
        wait_until(lambda: adapter.told("process-compose")[-1:] == ["stopped"], "its end")
        assert adapter.stop() == 0
    assert not any("the project has ended" in text for _, text in adapter.said)


def test_what_it_is_handed_is_used_and_ended(compose, nats_server):
    push, logs, server, notified, works = Push(), Logs(), Server(), [], []

    def stay(stop, turns):
        wait_until(turns, "the threads turn")
        works.append(turns())
        stop.wait()

    parts = AdapterParts(push.open, logs, server, notified.append, stay)
    with Running(compose, nats_server.url, parts) as adapter:
        adapter.waits_until_told("started")
        stopping = make_state("web", status="Terminating", is_running=False)
        push.hear({"name": "web", "pid": "nonsense"}, now_utc())
        push.hear(stopping, now_utc()), push.ring()
        compose.set_states([CRASHED, make_state("api", pid=9)])
        wait_until(lambda: adapter.told("api"), "api")
        compose.set_states([make_state("api", pid=9, status="Completed", is_running=False, exit_code=1)])
        wait_until(lambda: "crashed" in adapter.told("api"), "its crash")
        assert adapter.stop() == 0
        (stopped,) = [event for event in adapter.events("stopped") if event["process"] == "web"]
        assert stopped["reason"] == "requested"  # only the push told of Terminating
        (crash,) = adapter.events("crashed")
        assert crash["process"] == "api" and crash["log_tail"] == ["the end of api"]
    assert push.names[0] == [] and ["web", "api"] in [sorted(names, reverse=True) for names in push.names]
    assert push.stopped and logs.stopped
    assert server.calls[0] == "start" and server.calls[-1] == "stop"
    assert {"answered web", f"connected {nats_server.url}"} <= set(server.calls)
    assert notified == ["READY=1", "STOPPING=1"] and works == [True]


def test_a_push_that_cannot_be_opened_is_done_without(compose, nats_server):
    with Running(compose, nats_server.url, AdapterParts(push=lambda *_: None)) as adapter:
        adapter.waits_until_told("started")
        assert adapter.stop() == 0
    assert not [text for _, text in adapter.said if "and push" in text]
