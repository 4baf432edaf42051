"""The order of saving and sending, and what happens when the state cannot be written or is another's."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from observe_lib.alert.alerter import Alerter
from observe_lib.alert.condition import StackCondition
from observe_lib.alert.receiver import Receiver
from observe_lib.alert.row_feed import News
from observe_lib.alert.trouble import Rules
from observe_lib.errors import NatsError
from tests.alert.rows import Process, moment


class Store:
    """Rows, and a state that is kept here; `log` is what happened, in order."""

    def __init__(self, *processes: Process) -> None:
        self.processes, self.log = processes, list[str]()
        self.said = list[tuple[str, ...]]()
        self.state: dict[str, Any] | None = None
        self.is_ours = self.is_current = True
        self.fails, self.is_anothers = False, False

    @property
    def rows(self) -> "Store":
        return self

    def take(self, now: Any, *, whole: bool = False) -> News:
        changes = {one.place: one.condition() for one in self.processes}
        return News(changes, {"host-a": StackCondition("host-a")}, ())

    def load(self) -> Mapping[str, Any] | None:
        self.log.append("load")
        return self.state

    def save(self, state: Mapping[str, Any]) -> bool:
        if self.fails:
            raise NatsError("may not publish", "grant that")
        if self.is_anothers:
            self.is_anothers = False
            return False
        self.state = json.loads(json.dumps(state))
        engines = self.state["receivers"].values()
        self.log += [f"saved {'under way' if one['sending'] else 'done'}" for one in engines]
        return True


class Sends:
    """A receiver whose message is taken when the test says so."""

    shown = "there"

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def deliver(self, payload: Mapping[str, Any], line: str) -> bool:
        self.log.append(f"{self.name} got {line}")
        return True

    def send(self, payload: Mapping[str, Any], line: str) -> None:
        raise AssertionError("only delivered")


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
                if receiver._under_way is not None:
                    receiver._under_way.exception(5)

    yield until
    for receiver in receivers:
        receiver.stop()


def make(store: Store, *names: str) -> tuple[Alerter, list[Receiver]]:
    receivers = []
    for name in names or ("webhook",):
        sends = Sends(name, store.log)
        receivers.append(Receiver(sends, sends.deliver))
    pairs = [(receiver, Rules()) for receiver in receivers]
    return Alerter(store, pairs, "alert", lambda *words: store.said.append(words)), receivers


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
    other, receivers = make(told)
    for seconds in (10, 16, 17):  # it tells of the crash
        other.tick(moment(seconds))
    receivers[0].stop()
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


def test_a_state_that_makes_no_sense_is_begun_anew(store, api, turn):
    store.state = {"receivers": {"webhook": {"troubles": 3}}}
    turn(10)
    api.crash(10, status="Completed")
    turn(30)
    assert [one for one in store.log if "got" in one] == ["webhook got shop/api crashed, exit 1"]


def test_each_receiver_has_a_state_of_its_own(store, api):
    alerter, receivers = make(store, "webhook", "exec")
    alerter.tick(moment(0))
    api.crash(10, status="Completed")
    for seconds in (10, 16, 17):
        alerter.tick(moment(seconds))
    for receiver in receivers:
        receiver.stop()
    alerter.end(moment(20))
    assert {one for one in store.log if "got" in one} == {
        "webhook got shop/api crashed, exit 1",
        "exec got shop/api crashed, exit 1",
    }
    assert set(store.state["receivers"]) == {"webhook", "exec"}
