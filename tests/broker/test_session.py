"""Being connected to a real nats-server: what is said, what ends, what comes back, whatever becomes of it."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import nats.errors
import pytest
from nats.js.errors import APIError, NotFoundError

from observe_lib.broker import connect as connect_module
from observe_lib.broker import session as session_module
from observe_lib.broker.connect import connect, drop
from observe_lib.broker.loop import Bridge
from observe_lib.broker.session import BrokenError, DeniedError, Session, Troubles
from observe_lib.broker.stream import StreamOptions, ensure
from observe_lib.errors import NatsError, NatsRefusedError
from observe_lib.settings import NatsSettings
from tests.nats_server import RealNats, free_port

USER = ["--user", "u", "--pass"]


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    found = Bridge()
    found.start()
    yield found
    found.stop()


def wait_until(condition: Callable[[], object], within_s: float = 10) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Program:
    """One session, what it said, and which hooks it called."""

    def __init__(self, bridge: Bridge, url: str, **settings: str) -> None:
        self.bridge, self.said, self.heard = bridge, list[str](), list[str]()
        self.session = bridge.run(self._make(NatsSettings(url, **settings)))

    async def _make(self, settings: NatsSettings) -> Session:
        return Session(
            settings,
            "test",
            say=lambda topic, text: self.said.append(text),
            on_up=lambda: self.heard.append("up"),
            on_denied=self.heard.append,
        )

    def open(self, **options: bool) -> "Program":
        self.run(self.session.open(**options))
        return self

    def run(self, work: Any, timeout_s: float = 10) -> Any:
        return self.bridge.run(work, timeout_s)

    def ask(self, attempt: Any, about: str = "") -> Any:
        """Begin it."""
        return self.bridge.spawn(self.session.ask(attempt, about))


@pytest.fixture
def program(bridge: Bridge) -> Iterator[Callable[..., Program]]:
    made: list[Program] = []

    def make(*arguments: Any, **named: Any) -> Program:
        made.append(Program(bridge, *arguments, **named))
        return made[-1]

    yield make
    for one in made:
        bridge.run(one.session.close(), 10)


async def for_ever(_: object) -> None:
    await asyncio.Event().wait()


class TestOpen:
    def test_each_new_reason_is_said_once_until_it_is_there(self, program, tmp_path):
        server = RealNats(tmp_path)
        one = program(server.url, user="u", password="p")
        opening = one.bridge.spawn(one.session.open())
        wait_until(lambda: one.said)
        time.sleep(0.6)  # some more tries
        assert one.said == [f"{server.url}: connection refused, trying again"] and not one.session.is_up
        with server:
            opening.result(10)
            assert one.session.is_up and one.heard == ["up"]

    def test_who_may_not_wait_is_told_at_once(self, program):
        url = f"nats://127.0.0.1:{free_port()}"
        with pytest.raises(NatsError, match="connection refused"):
            program(url).open(wait=False)

    @pytest.mark.parametrize("wait", [True, False])
    def test_what_does_not_pass_is_never_waited_for(self, program, tmp_path, wait):
        refused = pytest.raises(NatsRefusedError, match="authorization violation")
        with RealNats(tmp_path, None, *USER, "p") as server, refused:
            program(server.url, user="u", password="q").open(wait=wait)

    def test_what_it_knows_of_the_server(self, program, nats_server):
        one = program(nats_server.url)
        assert (one.session.client, one.session.server_version) == (None, "")
        assert (one.session.url, one.session.max_payload) == (nats_server.url, 2**20)
        one.open()
        assert one.session.server_version.startswith("2.")
        assert one.session.url == nats_server.url and one.session.client.is_connected

    def test_closing_ends_what_is_under_way(self, bridge, nats_server):
        one = Program(bridge, nats_server.url).open()
        asking = one.ask(for_ever)
        wait_until(lambda: one.session._under_way)
        one.run(one.session.close())
        wait_until(asking.done)
        assert not one.session.is_up and one.said == []


class TestKeep:
    def test_killed_and_started_again_and_again(self, program, nats_server):
        one = program(nats_server.url).open()
        clients = [one.session.client]
        for _ in range(3):
            nats_server.restart()
            wait_until(lambda: len(one.heard) == len(clients) + 1 and one.session.is_up)
            clients.append(one.session.client)
        assert one.heard == ["up"] * 4
        assert all(client.is_closed for client in clients[:-1]) and clients[-1].is_connected
        lost = f"{nats_server.url}: connection lost, trying again; nothing is lost meanwhile"
        assert one.said == [lost, f"{nats_server.url}: connected again"] * 3

    def test_what_is_under_way_ends_with_the_connection(self, program, nats_server):
        one = program(nats_server.url).open()
        asking = [one.ask(for_ever) for _ in range(3)]
        wait_until(lambda: len(one.session._under_way) == 3)
        nats_server.restart()
        for future in asking:
            with pytest.raises(BrokenError):
                future.result(10)

    def test_it_is_noticed_where_the_library_tells_nobody(self, program, nats_server):
        one = program(nats_server.url).open()

        one.run(drop(one.session._client))
        wait_until(lambda: one.heard == ["up", "up"])

    def test_frozen_for_longer_than_its_patience(self, program, nats_server, monkeypatch):
        monkeypatch.setitem(connect_module._LIVELY, "ping_interval", 0.2)
        one = program(nats_server.url).open()
        asking = one.ask(for_ever)
        nats_server.pause()
        with pytest.raises(BrokenError):
            asking.result(20)
        time.sleep(0.5)
        nats_server.resume()
        wait_until(lambda: one.session.is_up)
        assert one.heard == ["up", "up"] and len(one.said) == 2

    def test_nothing_is_sent_that_was_published_while_it_was_away(self, program, nats_server):
        """The library would send it with the next connection, when nobody knows of it any more."""
        one, heard = program(nats_server.url).open(), list[bytes]()

        async def hear(message: Any) -> None:
            heard.append(message.data)

        async def play() -> None:
            listener = await connect(NatsSettings(nats_server.url), "listener")
            await listener.subscribe("late", cb=hear)
            await listener.flush()
            client = one.session.client
            client._transport._io_writer.transport.abort()
            await client.publish("late", b"before anybody noticed")
            while client.is_connected:
                await asyncio.sleep(0)
            with pytest.raises(nats.errors.Error):
                await client.publish("late", b"while it was away")
            renewed = await one.session.until_up()
            await renewed.publish("late", b"now")
            await renewed.flush()
            await listener.flush()
            await listener.close()

        one.run(play())
        assert heard == [b"now"]

    def test_a_wrong_password_and_then_the_right_one(self, program, tmp_path):
        server = RealNats(tmp_path, None, *USER, "p")
        with server:
            one = program(server.url, user="u", password="p").open()
            server.kill()
            server.arguments[3] = "other"
            server.start()
            wait_until(lambda: len(one.said) == 2)
            time.sleep(0.6)
            server.kill()
            server.arguments[3] = "p"
            server.start()
            wait_until(lambda: one.session.is_up)
            assert [text.partition(": ")[2].partition(",")[0] for text in one.said] == [
                "connection lost",
                "authorization violation; set NATS_CREDS=/path/to/user.creds",
                "connected again",
            ]

    @pytest.mark.parametrize("met", [False, True], ids=["from the start", "later"])
    def test_a_server_that_is_full(self, program, tmp_path, met):
        """One trouble, one line, for as long as it lasts; and whoever does not wait hears the remedy."""
        config = tmp_path / "nats.conf"
        config.write_text("max_connections: 1")
        with RealNats(tmp_path / "nats", None, "-c", str(config)) as server:
            settings, one = NatsSettings(server.url), program(server.url)

            async def take_the_only_place() -> Any:
                while True:
                    if one.session.is_up:
                        one.session.client._transport._io_writer.transport.abort()
                    with suppress(NatsError):
                        return await connect(settings, "other")

            if met:
                one.open()
            other = one.run(take_the_only_place())
            opening = None if met else one.bridge.spawn(one.session.open())
            wait_until(lambda: any("full" in text for text in one.said))
            time.sleep(1)
            for _ in range(5):
                with pytest.raises(NatsError, match="full, maximum connections exceeded") as caught:
                    one.run(connect(settings, "reader"))
                assert "raise max_connections" in caught.value.hint
            full = f"{server.url}: full, maximum connections exceeded, trying again; {caught.value.hint}"
            lost = [at for at, text in enumerate(one.said) if "connection lost" in text]
            assert one.said[lost[-1] + 1 if lost else 0 :] == [full]
            one.run(other.close())
            wait_until(lambda: one.session.is_up)
            if opening:
                opening.result(10)


class TestAsk:
    def test_an_answer(self, program, nats_server):
        one = program(nats_server.url).open()
        answer = one.ask(lambda client: client.request("$JS.API.INFO")).result(5)
        assert json.loads(answer.data)["type"].endswith("account_info_response")

    def test_what_the_library_cancels_is_broken_off(self, program, nats_server):
        async def cancelled(_: object) -> None:
            raise asyncio.CancelledError  # as a future does that it cancels when it closes

        one = program(nats_server.url).open()
        with pytest.raises(BrokenError):
            one.ask(cancelled).result(5)

    def test_what_may_not_be_published(self, program, tmp_path):
        config = tmp_path / "nats.conf"
        config.write_text('authorization: {users: [{user: u, password: p, permissions: {publish: "x"}}]}')
        with RealNats(tmp_path / "nats", None, "-c", str(config)) as server:
            one = program(server.url, user="u", password="p").open()
            subject = "core.process.default.Web.crashed"
            with pytest.raises(DeniedError, match=f"may not publish to {subject}") as caught:
                one.ask(lambda client: client.request(subject), subject).result(5)
            assert caught.value.hint == "grant publish on core.process.>"
            assert one.heard == ["up", subject.lower()]
            assert "ermissions" in one.session.denied and one.session.is_up


class TestUntilDone:
    @pytest.fixture(autouse=True)
    def soon(self, monkeypatch):
        monkeypatch.setattr(session_module, "CALM_S", 0.3)

    def attempts(self, *ends: Exception | str) -> Any:
        left = list(ends)

        async def attempt(_: object) -> str:
            end = left.pop(0)
            if isinstance(end, Exception):
                raise end
            return end

        return attempt

    def test_passing_troubles_are_said_once_and_their_end_once(self, program, nats_server):
        one = program(nats_server.url).open()
        full = APIError(code=503, err_code=10077, description="maximum bytes exceeded")
        tried = self.attempts(nats.errors.TimeoutError(), full, nats.errors.TimeoutError(), full, "done")
        assert one.run(one.session.until_done(tried)) == "done"
        wait_until(lambda: len(one.said) == 3)
        assert "no answer" in one.said[0] and "maximum bytes exceeded" in one.said[1]
        assert one.said[2] == "answers again"

    @pytest.mark.parametrize("error", [ValueError("half"), KeyError("seq"), TypeError("null")], ids=repr)
    def test_answers_that_make_no_sense_are_asked_again(self, program, nats_server, error):
        one = program(nats_server.url).open()
        assert one.run(one.session.until_done(self.attempts(error, "done"))) == "done"
        assert "makes no sense" in one.said[0]

    @pytest.mark.parametrize(
        "error", [NotFoundError(code=404), APIError(code=400, err_code=10071), NatsRefusedError("no", "do")]
    )
    def test_what_does_not_pass_is_raised(self, program, nats_server, error):
        one = program(nats_server.url).open()
        with pytest.raises(type(error)):
            one.run(one.session.until_done(self.attempts(error)))
        assert not one.said

    def test_a_connection_that_breaks_is_no_trouble_of_its_own(self, program, nats_server):
        one, tried = program(nats_server.url).open(), []

        async def attempt(_: object) -> int:
            tried.append(1)
            return len(tried) if len(tried) > 1 else await asyncio.Event().wait()

        asking = one.bridge.spawn(one.session.until_done(attempt))
        wait_until(lambda: tried)
        nats_server.restart()
        assert asking.result(10) == 2 and len(one.said) == 2

    def test_a_trouble_that_comes_and_goes_is_one(self, bridge):
        """As with a leader frozen: some are answered, some are not, many times a second."""
        said: list[str] = []

        async def flutter() -> None:
            troubles = Troubles(lambda _, text: said.append(text))
            for _ in range(50):
                troubles.note("events", "no answer")
                troubles.end("events")
                await asyncio.sleep(0.02)
            assert said == ["no answer"]
            await asyncio.sleep(0.5)

        bridge.run(flutter(), 10)
        assert said == ["no answer", "takes events again"]


class TestLeaf:
    """A leaf node without JetStream: whoever asks is never told to use another server."""

    @pytest.fixture
    def leaf(self, tmp_path: Path) -> Iterator[tuple[RealNats, RealNats]]:
        """The leaf, and its hub, which is not there yet."""
        port, configs = free_port(), (tmp_path / "leaf.conf", tmp_path / "hub.conf")
        remotes = f"leafnodes {{remotes: [{{url: 'nats://127.0.0.1:{port}'}}], reconnect: 1}}"
        configs[0].write_text(f'{remotes}, default_js_domain: {{"$G": hub}}')
        store = f"jetstream {{store_dir: '{tmp_path / 'store'}', domain: hub}}"
        configs[1].write_text(f"{store}, leafnodes {{listen: '127.0.0.1:{port}'}}")
        hub = RealNats(tmp_path / "hub", None, "-c", str(configs[1]), jetstream=False)
        with RealNats(tmp_path / "leaf", None, "-c", str(configs[0]), jetstream=False) as found:
            yield found, hub
        hub.kill()

    def test_that_never_met_its_hub(self, program, leaf):
        one = program(leaf[0].url).open()
        with pytest.raises(NatsRefusedError, match="has no JetStream") as caught:
            one.run(ensure(one.session.js, StreamOptions()))
        assert "hub" in caught.value.hint and "--nats-url" not in caught.value.hint

    def test_whose_hub_is_away(self, program, leaf):
        leaf, hub = leaf
        one = program(leaf.url).open()

        async def ensured(client: Any) -> Any:
            return await ensure(client.jetstream(timeout=2), StreamOptions())

        def is_there() -> bool:
            with suppress(NatsError, nats.errors.Error):
                return bool(one.ask(ensured).result(10))
            return False

        hub.start()
        wait_until(is_there, 20)
        one.run(one.session.until_done(ensured))
        hub.kill()
        asking = one.bridge.spawn(one.session.until_done(ensured))
        wait_until(lambda: one.said)
        time.sleep(1)
        assert len(one.said) == 1 and "hub" in one.said[0] and "--nats-url" not in one.said[0]
        hub.start()
        assert not asking.result(30)[0].created
