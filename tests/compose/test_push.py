"""The push stream against a stand-in: what it hands over, and how it keeps listening."""

import builtins
import queue
import socket
import threading
import time

import pytest

from observe_lib.compose import push as push_module
from observe_lib.compose.push import PushStream
from observe_lib.settings import ComposeSettings
from tests.push_stand_in import PushStandIn
from tests.stand_in import make_state

TERMINATING = make_state("web", status="Terminating", is_running=False)


class Heard:
    """Keeps what the stream hands over: (name, status) of each message, wakes, and since when it listens."""

    def __init__(self) -> None:
        self.messages: queue.Queue = queue.Queue()
        self.wakes: queue.Queue = queue.Queue()
        self.turns: list[bool] = []
        self.changed = threading.Condition()

    def hear(self, state, at) -> None:
        assert at.tzinfo
        self.messages.put((state["name"], state.get("status")))

    def wake(self) -> None:
        self.wakes.put(True)

    def on_listening(self, since) -> None:
        with self.changed:
            self.turns.append(since is not None)
            self.changed.notify_all()

    def wait_listening(self, listening: bool) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.turns and self.turns[-1] == listening, 10), self.turns

    def next_message(self):
        return self.messages.get(timeout=10)


@pytest.fixture
def heard():
    return Heard()


@pytest.fixture
def listener(heard):
    """Make a push stream of a stand-in; all are stopped at the end."""
    made = []

    def make(push: PushStandIn, **settings) -> PushStream:
        where = {"port": push.port, "socket": push.socket_path, **settings}
        made.append(PushStream(ComposeSettings(**where), heard.hear, heard.on_listening, heard.wake))
        return made[-1]

    yield make
    for stream in made:
        begin = time.monotonic()
        stream.stop()
        assert time.monotonic() - begin < 3
    for thread in [thread for thread in threading.enumerate() if thread.name == "observe-push"]:
        thread.join(5)
        assert not thread.is_alive()


def test_messages_are_handed_over_and_wake(heard, listener):
    with PushStandIn() as push:
        listener(push).listen(())
        heard.wait_listening(True)
        heard.wakes.get(timeout=10)  # it wakes once when it is there: what it missed, a poll sees
        push.send(TERMINATING)
        assert heard.next_message() == ("web", "Terminating")
        heard.wakes.get(timeout=10)


def test_of_a_snapshot_only_terminating_is_handed_over(heard, listener):
    """What it shows ended may have ended long ago, and was told then."""
    with PushStandIn() as push:
        push.snapshot = [make_state("old", status="Completed", is_running=False), TERMINATING]
        listener(push).listen(())
        assert heard.next_message() == ("web", "Terminating")
        assert heard.messages.empty()
        for _ in range(2):
            heard.wakes.get(timeout=10)


@pytest.mark.parametrize(
    "garbage",
    [b'{"state":{}}', b'{"state":"web"}', b"{}", b"[1]", b'"text"', b'{"state":{"name":7}}'],
    ids=repr,
)
def test_a_message_that_is_no_state_is_passed_over(heard, listener, garbage):
    with PushStandIn() as push:
        listener(push).listen(())
        heard.wait_listening(True)
        push.send_raw(garbage)
        push.send(TERMINATING)
        assert heard.next_message() == ("web", "Terminating")
        assert len(push.asked) == 1


@pytest.mark.parametrize("payload, opcode", [(b"no json", 1), (b"\x03\xe8", 8), (b"", 3)], ids=repr)
def test_what_breaks_a_connection_has_it_made_again(heard, listener, payload, opcode):
    with PushStandIn() as push:
        listener(push).listen(())
        heard.wait_listening(True)
        push.send_raw(payload, opcode=opcode)
        push.wait(lambda: len(push.asked) == 2)
        heard.wait_listening(True)
        push.send(TERMINATING)
        assert heard.next_message() == ("web", "Terminating")


def test_a_ping_is_answered_and_nothing_else_comes_of_it(heard, listener):
    with PushStandIn() as push:
        listener(push).listen(())
        heard.wait_listening(True)
        push.send_raw(b"hello", opcode=9)
        push.send(TERMINATING)
        assert heard.next_message() == ("web", "Terminating")


def test_a_connection_cut_is_made_again_at_once(heard, listener):
    with PushStandIn() as push:
        listener(push).listen(())
        for nth in range(1, 6):
            heard.wait_listening(True)
            push.wait_connections(1)
            begin = time.monotonic()
            while not heard.wakes.empty():
                heard.wakes.get()
            push.cut()
            heard.wakes.get(timeout=10)  # it may be that the API is gone: to be polled at once
            push.wait(lambda nth=nth: len(push.asked) > nth)
            assert time.monotonic() - begin < 3
        assert False in heard.turns


def test_it_waits_for_one_that_does_not_listen_yet(heard, listener):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        push = PushStandIn()
        push.port = probe.getsockname()[1]
    listener(push).listen(())
    with push:
        heard.wait_listening(True)
    heard.wait_listening(False)
    with push:
        heard.wait_listening(True)


def test_silence_is_not_trusted(heard, listener, monkeypatch):
    monkeypatch.setattr(push_module, "SILENCE_S", 0.2)
    with PushStandIn() as push:
        listener(push).listen(())
        push.wait(lambda: push.pings >= 3)  # answered, so the connection is kept
        assert len(push.asked) == 1 and heard.turns == [True]
        push.answers = False
        push.wait(lambda: len(push.asked) == 2)
        assert False in heard.turns


def test_a_token_over_tcp(heard, listener):
    with PushStandIn(token="secret") as push:
        listener(push, token="secret").listen(())
        heard.wait_listening(True)


def test_a_wrong_token_is_tried_again_and_not_shouted_about(heard, listener, monkeypatch, caplog):
    monkeypatch.setattr(push_module, "REFUSED_AFTER_S", 0.05)
    with PushStandIn(token="secret") as push:
        listener(push, token="wrong").listen(())
        time.sleep(0.3)
        assert not push.asked and heard.turns == []
        push.token = "wrong"
        heard.wait_listening(True)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_a_unix_socket_with_a_token(heard, listener, tmp_path):
    with PushStandIn(socket_path=str(tmp_path / "pc.sock"), token="secret") as push:
        listener(push, token="secret").listen(())
        heard.wait_listening(True)
        push.send(TERMINATING)
        assert heard.next_message() == ("web", "Terminating")


def test_a_unix_socket_that_is_not_there_yet(heard, listener, tmp_path):
    push = PushStandIn(socket_path=str(tmp_path / "pc.sock"))
    listener(push).listen(())
    with push:
        heard.wait_listening(True)


def test_a_version_without_a_push_stream_is_named_once_and_left_alone(heard, listener, monkeypatch, caplog):
    monkeypatch.setattr(push_module, "NO_STREAM_AFTER_S", 0.1)
    with PushStandIn() as push:
        push.status = 404
        listener(push).listen(())
        time.sleep(0.5)
        push.status = 101
        heard.wait_listening(True)
    assert [record.levelname for record in caplog.records].count("WARNING") == 1
    assert "1.110" in caplog.text


def test_no_proxy_from_the_environment(heard, listener, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with PushStandIn() as push:
        listener(push).listen(())
        heard.wait_listening(True)


# --- more than one connection can take ---


def names(count: int, prefix: str = "p") -> list[str]:
    return [f"{prefix}{number:04d}" for number in range(count)]


def test_up_to_200_share_one_connection_whatever_their_names(heard, listener):
    with PushStandIn() as push:
        stream = listener(push)
        for known in ((), names(3), names(200), names(199, "q")):
            stream.listen(known)
            heard.wait_listening(True)
        push.wait(lambda: push.asked == [()])


def test_more_are_asked_for_by_name_over_several(heard, listener):
    with PushStandIn() as push:
        stream = listener(push)
        stream.listen(names(3))
        push.wait_connections(1)
        stream.listen(names(501))
        push.wait(lambda: len(push.asked) == 4)
        push.wait_connections(3)  # the one for all is given up, once the three are there
        assert sorted(name for asked in push.asked[1:] for name in asked) == names(501)
        assert max(len(asked) for asked in push.asked) == 200
        heard.wait_listening(True)
        for name in ("p0000", "p0500"):
            push.send(make_state(name, status="Terminating"))
            assert heard.next_message() == (name, "Terminating")


def test_other_names_have_them_made_anew_without_a_gap(heard, listener):
    with PushStandIn() as push:
        stream = listener(push)
        stream.listen(names(300))
        push.wait_connections(2)
        stream.listen(reversed(names(300)))
        assert len(push.asked) == 2  # the same names
        push.status = 503  # the new ones do not get through for a while: the old ones listen on
        stream.listen(names(301))
        push.send(make_state("p0000", status="Terminating"))
        assert heard.next_message() == ("p0000", "Terminating")
        push.status = 101
        push.wait(lambda: len(push.asked) == 4)
        push.wait_connections(2)
        push.send(make_state("p0300", status="Terminating"))
        assert heard.next_message() == ("p0300", "Terminating")


def test_back_to_few_is_back_to_one(heard, listener):
    with PushStandIn() as push:
        stream = listener(push)
        stream.listen(names(300))
        push.wait_connections(2)
        stream.listen(names(10))
        push.wait_connections(1)
        assert push.asked[-1] == ()


def test_odd_names_are_asked_for_as_they_are(heard, listener):
    odd = ["a.b c/d", "star.*>", "ünï ☃", "50%25?x=1#y&name=z", "x" * 300]
    with PushStandIn() as push:
        listener(push).listen([*names(300), *odd, "with,comma", " blank"])
        push.wait_connections(2)
        asked = {name for part in push.asked for name in part}
        assert asked == {*names(300), *odd}  # the last two cannot be asked for: polling sees them


def test_after_stop_nothing_is_listened_to(heard, listener):
    with PushStandIn() as push:
        stream = listener(push)
        stream.stop()
        stream.listen(names(300))
        stream.listen(names(301))
        assert push.asked == []


def test_without_websocket_client(heard, monkeypatch):
    found = builtins.__import__

    def missing(name, *args, **named):
        if name == "websocket":
            raise ImportError(name)
        return found(name, *args, **named)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError):
        PushStream(ComposeSettings(), heard.hear, heard.on_listening, heard.wake)
