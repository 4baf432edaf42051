"""The order of saving and sending, and what happens when the state cannot be written or is another's."""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from observe_lib.alert.alerter import Alerter
from observe_lib.alert.receiver import Receiver
from observe_lib.alert.store import pack_state, unpack_state
from observe_lib.alert.trouble import Rules
from observe_lib.alert.webhook import NotToldError
from observe_lib.errors import NatsError
from observe_lib.reader.states import States
from tests.alert.rows import Process, heard, moment


class Store:
    """Rows, and a state that is kept here; `log` is what happened, in order."""

    url, up_at = "nats://here", None

    def __init__(self, *processes: Process) -> None:
        self.processes, self.log = processes, list[str]()
        self.said = list[tuple[str, ...]]()
        self.state: dict[str, Any] | None = None
        self.about: Mapping[str, int] = {}
        self.is_ours = self.is_current = True
        self.fails, self.is_anothers = False, False

    @property
    def states(self) -> States:
        return States({one.place: one.told() for one in self.processes}, heard())

    def load(self) -> Mapping[str, Any] | None:
        self.log.append("load")
        return self.state

    def save(self, state: Mapping[str, Any], about: Mapping[str, int]) -> bool:
        if self.fails:
            raise NatsError("may not publish", "grant that")
        if self.is_anothers:
            self.is_anothers = False
            return False
        self.state, self.about = json.loads(json.dumps(state)), about
        engines = self.state["receivers"].values()
        self.log += [f"saved {'under way' if one['sending'] else 'done'}" for one in engines]
        return True

    def crash_log(self, trouble: Any) -> Sequence[str]:
        return ()


class Sends:
    """A receiver that takes every message."""

    shown, acts_on_one = "there", False

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def send(self, payload: Mapping[str, Any], line: str) -> bool:
        self.log.append(f"{self.name} got {line}")
        return True


@pytest.fixture
def api() -> Process:
    return Process()


@pytest.fixture
def store(api) -> Store:
    return Store(api)


Turn = Callable[[float], None]


@pytest.fixture
def turn(store):
    """Give a function that lets the alerter look each second until then."""
    alerter, receivers = make(store)
    at = [0.0]

    def until(seconds: float) -> None:
        while at[0] < seconds:
            at[0] += 1
            alerter.tick(moment(at[0]))
            for receiver in receivers:
                if receiver._try is not None:
                    receiver._try.exception(5)

    yield until
    for receiver in receivers:
        receiver.stop()


def make(store: Store, *names: str) -> tuple[Alerter, list[Receiver]]:
    say = lambda *words: store.said.append(words)  # noqa: E731
    receivers = [Receiver(Sends(name, store.log), Rules(), say) for name in names or ("webhook",)]
    return Alerter(store, receivers, "alert", say), receivers


def test_the_state_is_written_before_a_message_goes_out_and_confirmed_after(store, api, turn):
    turn(10)
    store.log.clear()
    api.crash(10, status="Completed")
    turn(60)
    without_others = [one for one in store.log if one != "saved done"]
    assert without_others[:2] == ["saved under way", "webhook got shop/api crashed, exit 1"]
    assert store.log[store.log.index(without_others[1]) + 1] == "saved done"
    assert len([one for one in store.log if "got" in one]) == 1


def test_what_cannot_be_written_is_not_sent_and_later_is_sent_once(store, api, turn):
    turn(10)
    store.fails = True
    api.crash(10, status="Completed")
    turn(60)
    assert not [one for one in store.log if "got" in one]
    assert store.said[1:] == [("nats", "may not publish; grant that; nobody is told meanwhile")], "once"
    store.fails = False
    turn(90)
    assert [one for one in store.log if "got" in one] == ["webhook got shop/api crashed, exit 1"]


def test_where_another_one_wrote_its_state_counts(store, api, turn):
    turn(10)
    api.crash(10, status="Completed")
    told = Store(api)
    told.state = store.state
    other, _ = make(told)
    for seconds in (10, 16, 17):  # it tells of the crash
        other.tick(moment(seconds))
    other.end(moment(17))
    store.state, store.is_anothers = told.state, True
    turn(100)
    assert [one for one in told.log if "got" in one] == ["webhook got shop/api crashed, exit 1"]
    assert store.log.count("load") == 2 and not [one for one in store.log if "got" in one]


def test_without_the_lease_or_the_rows_nothing_is_decided(store, api, turn):
    turn(10)
    api.crash(10, status="Completed")
    store.is_ours = False
    turn(60)
    store.is_ours, store.is_current = True, False
    turn(120)
    assert not [one for one in store.log if "got" in one]


@pytest.mark.parametrize(
    "state",
    [
        {"receivers": [1]},
        {"receivers": {"webhook": {"troubles": 3}}},
        {"receivers": {"webhook": {"troubles": [{"place": ["a", "b", "c"], "kind": "sad"}]}}},
        {"receivers": {"webhook": {"sending": {"status": "firing"}}}},
        {"receivers": {"webhook": {"crashes": [[["a", "b", "c"], "soon"]]}}},
    ],
    ids=str,
)
def test_a_state_that_makes_no_sense_is_begun_anew(store, api, turn, state):
    store.state = state
    turn(10)
    api.crash(10, status="Completed")
    turn(30)
    assert [one for one in store.log if "got" in one] == ["webhook got shop/api crashed, exit 1"]


def test_each_receiver_has_a_state_of_its_own(store, api):
    alerter, _ = make(store, "webhook", "exec")
    alerter.tick(moment(0))
    api.crash(10, status="Completed")
    for seconds in (10, 16, 17):
        alerter.tick(moment(seconds))
    alerter.end(moment(20))
    assert {one for one in store.log if "got" in one} == {
        "webhook got shop/api crashed, exit 1",
        "exec got shop/api crashed, exit 1",
    }
    assert set(store.state["receivers"]) == {"webhook", "exec"}
    assert store.about == {"open": 1, "failed": 0}


def test_a_large_state_is_compressed_and_reads_back():
    small, large = {"a": 1}, {"troubles": ["x" * 100] * 20_000}
    assert unpack_state(pack_state(small)) == small
    assert unpack_state(pack_state(large)) == large and len(pack_state(large)) < 100_000
    for nonsense in (b"", b"x", b"[1]", b"\x78\x9c\x00", b"{"):
        assert unpack_state(nonsense) is None


def test_one_message_is_under_way_at_a_time_and_none_without_the_lease(store):
    api, web = Process(), Process("web")
    store.processes = (api, web)
    alerter, (receiver,) = make(store)
    taken, tries, clock = threading.Event(), list[str](), [0.0]

    def send(payload: Mapping[str, Any], line: str) -> bool:
        tries.append(line)
        taken.wait(10)
        raise NotToldError("busy")

    receiver.sends.send, receiver._clock = send, lambda: clock[0]
    alerter.tick(moment(0))
    api.crash(10, status="Completed")
    for seconds in range(10, 20):
        alerter.tick(moment(seconds))
    web.crash(20, status="Completed")
    for seconds in range(20, 40):
        alerter.tick(moment(seconds))
    assert tries == ["shop/api crashed, exit 1"]
    taken.set()
    receiver._try.exception(5)
    alerter.tick(moment(40))
    store.is_ours, clock[0] = False, 100
    alerter.tick(moment(41))
    assert len(tries) == 1 and store.state["receivers"]["webhook"]["sending"]
    store.is_ours = True
    alerter.tick(moment(42))
    alerter.end(moment(43))
    assert tries == ["shop/api crashed, exit 1"] * 2
