"""Connecting, and PROCESS_EVENTS and PROCESS_STATES as a real nats-server has them."""

import asyncio
import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import nkeys
import pytest
from nats.js import JetStreamContext, api

from observe_lib.broker.loop import Bridge
from observe_lib.broker.session import BrokenError, Lifeline, close_broken, connect
from observe_lib.broker.stream import (
    BUCKET,
    STREAM,
    EnsuredStream,
    StreamOptions,
    ensure_bucket,
    ensure_stream,
    reader_config,
)
from observe_lib.errors import NatsError
from observe_lib.settings import NatsSettings
from tests.nats_server import RealNats, free_port


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    found = Bridge()
    found.start()
    yield found
    found.stop()


@pytest.fixture
def js(bridge: Bridge, nats_server: RealNats) -> Iterator[JetStreamContext]:
    nc = bridge.run(connect(NatsSettings(nats_server.url), name="test"), 10)
    yield nc.jetstream(timeout=2)
    bridge.run(nc.close(), 5)


def key_pair(kind: bytes) -> Any:
    return nkeys.from_seed(bytearray(nkeys.encode_seed(hashlib.sha256(kind).digest(), kind[0])))


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class TestConnect:
    def test_refused_is_said_at_once(self, bridge):
        url = f"nats://127.0.0.1:{free_port()},nats://localhost:{free_port()}"
        began = time.monotonic()
        with pytest.raises(NatsError, match=f"^{url}: connection refused$") as caught:
            bridge.run(connect(NatsSettings(url), name="test", timeout_s=60))
        assert time.monotonic() - began < 30
        assert "NATS_URL" in caught.value.hint

    def test_no_such_host(self, bridge):
        with pytest.raises(NatsError, match="no such host"):
            bridge.run(connect(NatsSettings("nats://nobody.invalid:4222"), name="test", timeout_s=5))

    def test_no_answer(self, bridge, nats_server):
        nats_server.pause()
        with pytest.raises(NatsError, match="no answer within 0.3s"):
            bridge.run(connect(NatsSettings(nats_server.url), name="test", timeout_s=0.3))

    def test_the_second_of_two(self, bridge, nats_server):
        urls = f"nats://127.0.0.1:{free_port()},{nats_server.url}"
        nc = bridge.run(connect(NatsSettings(urls), name="test"), 5)
        assert nc.is_connected
        bridge.run(nc.close(), 5)

    def test_no_tls_where_tls_was_asked_for(self, bridge, nats_server):
        url = nats_server.url.replace("nats:", "tls:")
        with pytest.raises(NatsError, match="speaks no TLS"):
            bridge.run(connect(NatsSettings(url), name="test"))

    @pytest.mark.parametrize("file", ["creds", "nkey", "ca"])
    @pytest.mark.parametrize("content", [None, "", "nonsense\n", "-----BEGIN NATS USER JWT-----\n", b"\xff"])
    def test_files_that_are_no_use(self, bridge, tmp_path, file, content):
        path = tmp_path / "file"
        if content is not None:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        settings = NatsSettings("nats://127.0.0.1:1", **{file: str(path)})
        with pytest.raises(NatsError) as caught:
            bridge.run(connect(settings, name="test"), 5)
        assert "refused" not in str(caught.value) and caught.value.hint

    def test_user_and_password(self, bridge, tmp_path):
        with RealNats(tmp_path, None, "--user", "u", "--pass", "secret") as server:
            for user, password in ((None, None), ("u", "wrong"), ("u", "")):
                settings = NatsSettings(server.url, user=user, password=password)
                with pytest.raises(NatsError, match="authorization violation") as caught:
                    bridge.run(connect(settings, name="test"))
                assert "NATS_CREDS" in caught.value.hint and "wrong" not in str(caught.value)
            right = NatsSettings(server.url, user="u", password="secret")
            bridge.run(bridge.run(connect(right, name="test")).close())

    def test_token_and_nkey(self, bridge, tmp_path):
        pair = key_pair(nkeys.PREFIX_BYTE_USER.to_bytes(1, "big"))
        (tmp_path / "seed").write_bytes(bytes(pair.seed) + b"\n")
        config = tmp_path / "nats.conf"
        config.write_text(f"authorization {{ users = [ {{ nkey: {pair.public_key.decode()} }} ] }}")
        cases: list[tuple[list[str], dict[str, str]]] = [
            (["--auth", "secret"], {"token": "secret"}),
            (["-c", str(config)], {"nkey": str(tmp_path / "seed")}),
        ]
        for arguments, given in cases:
            with RealNats(tmp_path / "store", None, *arguments) as server:
                with pytest.raises(NatsError, match="authorization violation"):
                    bridge.run(connect(NatsSettings(server.url), name="test"))
                nc = bridge.run(connect(NatsSettings(server.url, **given), name="test"))
                bridge.run(nc.close())

    def test_credentials_file(self, bridge, tmp_path):
        operator, account, user = (
            key_pair(kind.to_bytes(1, "big"))
            for kind in (nkeys.PREFIX_BYTE_OPERATOR, nkeys.PREFIX_BYTE_ACCOUNT, nkeys.PREFIX_BYTE_USER)
        )
        account_jwt = jwt(operator, account, "account", {"limits": {"conn": -1, "subs": -1, "data": -1}})
        limits = {"subs": -1, "data": -1, "payload": -1}
        user_jwt = jwt(account, user, "user", limits)
        config = tmp_path / "nats.conf"
        config.write_text(
            f"operator: {jwt(operator, operator, 'operator', {})}\nresolver: MEMORY\n"
            f"resolver_preload: {{ {account.public_key.decode()}: {account_jwt} }}\n"
        )
        creds = tmp_path / "user.creds"
        creds.write_text(
            f"-----BEGIN NATS USER JWT-----\n{user_jwt}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{bytes(user.seed).decode()}\n------END USER NKEY SEED------\n"
        )
        with RealNats(tmp_path / "store", None, "-c", str(config), jetstream=False) as server:
            nc = bridge.run(connect(NatsSettings(server.url, creds=str(creds)), name="test"))
            assert nc.is_connected
            server.restart()
            wait_until(lambda: nc.stats["reconnects"] == 1)
            bridge.run(nc.close())

    def test_forever_says_each_new_reason_once(self, bridge, tmp_path):
        server, said = RealNats(tmp_path), []
        settings = NatsSettings(server.url, user="u", password="p")
        line = Lifeline(settings, "test", 5, on_state=lambda error: said.append(str(error)))
        future = bridge.spawn(line.live())
        wait_until(lambda: said)
        time.sleep(0.5)  # a few more tries
        assert said == [f"{server.url}: connection refused"]
        server.arguments += ["--user", "u", "--pass", "q"]
        with server:
            wait_until(lambda: len(said) == 2)
            assert said[1] == f"{server.url}: authorization violation"
            server.kill()
            server.arguments[-1] = "p"
            server.start()
            assert future.result(5).is_connected
            bridge.run(line.close())

    def test_breaks_and_returns(self, bridge, nats_server):
        changes: list[bool] = []
        line = Lifeline(NatsSettings(nats_server.url), "test", 5, on_link=changes.append)
        first = bridge.run(line.live())
        for _ in range(3):
            nats_server.restart()
            wait_until(lambda: changes == [True, False, True])
            del changes[:2]
        last = line.client
        bridge.run(line.close())
        assert first.is_closed and last.is_closed and last is not first and changes == [True]

    def test_what_is_under_way_ends_with_the_connection(self, bridge, nats_server):
        line = Lifeline(NatsSettings(nats_server.url), "test", 5)
        under_way = threading.Event()

        async def wait_for_ever(nc: object) -> None:
            under_way.set()
            await asyncio.Event().wait()

        for heard in (True, False):
            under_way.clear()
            future = bridge.spawn(line.hold(wait_for_ever))
            assert under_way.wait(5)
            if not heard:  # as where the library is closed before it gets to say that it is broken
                line.client._disconnected_cb = line.client._closed_cb = None
            nats_server.restart()
            if not heard:
                wait_until(lambda: not line.is_up)
            bridge.run(line.live(), 5)
            with pytest.raises(BrokenError):
                future.result(5)
        bridge.run(line.close())

    def test_what_the_server_refuses_later(self, bridge, tmp_path, capfd):
        config = tmp_path / "nats.conf"
        config.write_text('authorization: {users: [{user: u, password: p, permissions: {publish: "x"}}]}')
        refused, heard = [], threading.Event()
        with RealNats(tmp_path / "store", None, "-c", str(config)) as server:
            settings = NatsSettings(server.url, user="u", password="p")
            note = lambda error: (refused.append(str(error)), heard.set())  # noqa: E731
            nc = bridge.run(connect(settings, name="test", on_error=note))
            bridge.run(nc.publish("y", b""))
            assert heard.wait(5)
            assert "ermissions" in refused[0] and not nc.is_closed
            bridge.run(nc.close())
        assert capfd.readouterr().err == ""

    def test_what_the_library_cancels_is_broken_off(self, bridge, nats_server):
        line = Lifeline(NatsSettings(nats_server.url), "test", 5)

        async def work(nc: object) -> None:
            raise asyncio.CancelledError  # as a future does that it cancels when it closes

        with pytest.raises(BrokenError):
            bridge.run(line.hold(work), 5)
        bridge.run(line.close())

    @pytest.mark.parametrize("error", [asyncio.CancelledError(), OSError(), AttributeError()], ids=repr)
    def test_closing_what_is_broken_raises_nothing(self, bridge, error):
        class Broken:
            async def close(self) -> None:
                raise error

        bridge.run(close_broken(Broken()), 5)

    def test_a_connection_that_the_library_mends_is_replaced_all_the_same(self, bridge, nats_server):
        line = Lifeline(NatsSettings(nats_server.url), "test", 5)
        first = bridge.run(line.live())

        bridge.call(line._note_break)  # it was told, and then nats-py had it mended before we looked
        assert bridge.run(line.live(), 5) is not first and first.is_closed
        bridge.run(line.close())


def jwt(issuer: Any, subject: Any, kind: str, nats: dict[str, Any]) -> str:
    """Return a token as nsc makes it."""

    def part(found: dict[str, Any] | bytes) -> str:
        raw = found if isinstance(found, bytes) else json.dumps(found).encode()
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    claims = {
        "jti": "x",
        "iat": 1700000000,
        "iss": issuer.public_key.decode(),
        "sub": subject.public_key.decode(),
        "name": kind,
        "nats": {**nats, "type": kind, "version": 2},
    }
    body = f"{part({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{part(claims)}"
    return f"{body}.{part(issuer.sign(body.encode()))}"


class TestEnsure:
    def test_missing_is_made(self, bridge, js):
        made = bridge.run(ensure_stream(js, StreamOptions()))
        assert made == EnsuredStream(True, False, 86400, 3600, "file")
        config = bridge.run(js.stream_info(STREAM)).config
        assert (config.subjects, config.retention) == (["core.process.>"], "limits")
        assert bridge.run(ensure_stream(js, StreamOptions())).created is False
        assert bridge.run(ensure_bucket(js, StreamOptions())) is True
        assert bridge.run(ensure_bucket(js, StreamOptions())) is False
        bucket = bridge.run(js.stream_info(f"KV_{BUCKET}")).config
        assert (bucket.max_msgs_per_subject, bucket.max_age, bucket.storage) == (1, 0, "file")

    @pytest.mark.parametrize(
        ("options", "age_s", "window_s"),
        [
            (StreamOptions(max_age_s=60), 60, 60),
            (StreamOptions(max_age_s=7 * 86400), 7 * 86400, 3600),
            (StreamOptions(max_age_s=600, duplicate_window_s=30), 600, 30),
        ],
    )
    def test_limits(self, bridge, js, options, age_s, window_s):
        made = bridge.run(ensure_stream(js, options))
        assert (made.max_age_s, made.duplicate_window_s) == (age_s, window_s)

    def test_somebody_elses_is_used_as_it_is(self, bridge, js):
        theirs = api.StreamConfig(
            name=STREAM,
            subjects=["core.>", "more"],
            max_age=999,
            max_msgs=5,
            storage=api.StorageType.MEMORY,
            metadata={"owner": "they"},
        )
        bridge.run(js.add_stream(theirs))
        before = bridge.run(js.stream_info(STREAM)).config
        found = bridge.run(ensure_stream(js, StreamOptions()))
        assert found == EnsuredStream(False, False, 999, 120, "memory")
        assert bridge.run(js.stream_info(STREAM)).config == before

        found = bridge.run(ensure_stream(js, StreamOptions(max_age_s=60)))
        assert found == EnsuredStream(False, True, 60, 60, "memory")
        after = bridge.run(js.stream_info(STREAM)).config
        assert after == before.evolve(max_age=60, duplicate_window=60)
        assert bridge.run(ensure_stream(js, StreamOptions(max_age_s=60))).changed is False

    @pytest.mark.parametrize("subjects", [["other"], ["core.process.*"], ["core.process.default.>"]])
    def test_one_that_takes_other_subjects(self, bridge, js, subjects):
        bridge.run(js.add_stream(name=STREAM, subjects=subjects))
        with pytest.raises(NatsError, match="does not take core.process.>"):
            bridge.run(ensure_stream(js, StreamOptions()))

    def test_what_the_server_refuses(self, bridge, js):
        bridge.run(js.add_stream(name="OTHER", subjects=["core.process.default.>"]))
        with pytest.raises(NatsError, match="subjects overlap"):
            bridge.run(ensure_stream(js, StreamOptions()))
        bridge.run(js.delete_stream("OTHER"))
        bridge.run(ensure_stream(js, StreamOptions()))
        for options in (StreamOptions(duplicate_window_s=10**6), StreamOptions(replicas=3)):
            with pytest.raises(NatsError, match=f"refuses the stream {STREAM}: ") as caught:
                bridge.run(ensure_stream(js, options))
            assert caught.value.hint

    def test_two_at_once(self, bridge, js):
        futures = [bridge.spawn(ensure_stream(js, StreamOptions(max_age_s=60 + n))) for n in range(5)]
        assert sum(future.result(5).created for future in futures) >= 1
        futures = [bridge.spawn(ensure_bucket(js, StreamOptions())) for _ in range(5)]
        assert sum(future.result(5) for future in futures) >= 1

    def test_no_jetstream(self, bridge, tmp_path):
        with RealNats(tmp_path, jetstream=False) as server:
            nc = bridge.run(connect(NatsSettings(server.url), name="test"))
            for ensure in (ensure_stream, ensure_bucket):
                with pytest.raises(NatsError, match=f"{server.url} has no JetStream") as caught:
                    bridge.run(ensure(nc.jetstream(), StreamOptions()))
                assert "-js" in caught.value.hint
            bridge.run(nc.close())


class TestReaderConfig:
    def test_by_default_the_last_per_subject(self):
        config = reader_config("x", ["a"])
        assert (config.deliver_policy, config.filter_subject, config.filter_subjects) == (
            "last_per_subject",
            "a",
            None,
        )
        assert (config.ack_policy, config.durable_name, config.mem_storage) == ("none", None, True)

    def test_from_a_place_with_several_filters(self):
        config = reader_config("x", ["a", "b"], start_seq=7)
        assert (config.deliver_policy, config.opt_start_seq) == ("by_start_sequence", 7)
        assert (config.filter_subject, config.filter_subjects) == (None, ["a", "b"])

    def test_too_many_filters_become_one(self):
        assert reader_config("x", [str(n) for n in range(101)]).filter_subject == "core.process.>"

    def test_durable(self):
        config = reader_config("pager", ["a"], ack_wait_s=10)
        assert (config.durable_name, config.ack_policy, config.ack_wait) == ("pager", "explicit", 10)
        assert config.inactive_threshold is None and not config.mem_storage
