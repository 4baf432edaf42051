"""Connecting once to a real nats-server: who we are, which server, and what is said where there is none."""

import base64
import hashlib
import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import nkeys
import pytest
import requests.certs

from observe_lib.broker.connect import connect
from observe_lib.broker.loop import Bridge
from observe_lib.broker.session import Session
from observe_lib.errors import NatsError
from observe_lib.settings import NatsSettings
from tests.credentials import Authority
from tests.nats_server import RealNats, free_port

GREETING = (
    b"INFO "
    + json.dumps({"server_id": "x" * 200, "version": "2.15.1", "max_payload": 2**20}).encode()
    + b"\r\n"
)


class Overheard:
    """What listens in the place of a NATS: it greets without TLS, and keeps all that it is sent."""

    def __init__(self, greeting: bytes, port: int = 0, pause_s: float = 0.0) -> None:
        self._greeting, self._pause_s = greeting, pause_s
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        self.heard = b""
        self._threads: list[threading.Thread] = []

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            connection.settimeout(20)
            step = 1 if self._pause_s else max(1, len(self._greeting))
            for at in range(0, len(self._greeting), step):
                connection.sendall(self._greeting[at : at + step])
                time.sleep(self._pause_s)
            while more := connection.recv(4096):
                self.heard += more

    def _start(self, run: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def __enter__(self) -> "Overheard":
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)


def authority_file(directory: Path) -> str:
    """Return a file with certificates: those of the machine do."""
    path = directory / "ca.pem"
    shutil.copy(requests.certs.where(), path)
    return str(path)


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    found = Bridge()
    found.start()
    yield found
    found.stop()


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def key_pair(kind: bytes) -> Any:
    return nkeys.from_seed(bytearray(nkeys.encode_seed(hashlib.sha256(kind).digest(), kind[0])))


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

    @pytest.mark.parametrize("greeting", [GREETING, b"", GREETING[:-20]], ids=["no TLS", "nothing", "half"])
    @pytest.mark.parametrize("scheme", ["tls", "nats"])
    def test_nothing_is_sent_before_tls_is_offered(self, bridge, tmp_path, scheme, greeting):
        with Overheard(greeting) as server:
            ca = None if scheme == "tls" else authority_file(tmp_path)
            url = f"{scheme}://127.0.0.1:{server.port}"
            settings = NatsSettings(url, user="u", password="sesame", token="sesame", ca=ca)
            with pytest.raises(NatsError) as caught:
                bridge.run(connect(settings, name="test", timeout_s=0.6))
        assert not any(word in server.heard for word in (b"CONNECT", b"sesame", b"PING"))
        if greeting == GREETING:
            assert f"{url} speaks no TLS" in str(caught.value) and not server.heard
            assert ("NATS_CA" in str(caught.value)) == (scheme == "nats")

    def test_nothing_is_sent_to_a_server_without_tls_that_took_the_place_of_one_with_it(
        self, bridge, tmp_path
    ):
        if shutil.which("openssl") is None:
            pytest.skip("needs openssl to make certificates")
        ours = Authority(tmp_path / "ours")
        cert, key = ours.issue("server")
        port = free_port()
        settings = NatsSettings(f"tls://127.0.0.1:{port}", user="u", password="sesame", ca=ours.ca)
        words = ("--user", "u", "--pass", "sesame", "--tls", "--tlscert", cert, "--tlskey", key)
        with RealNats(tmp_path / "store", port, *words):
            said: list[str] = []
            session = Session(settings, "test", say=lambda topic, text: said.append(text))
            bridge.run(session.open(), 10)
        wait_until(lambda: any("lost" in text for text in said))
        with Overheard(GREETING, port) as server:
            wait_until(lambda: any("speaks no TLS" in text for text in said))
            bridge.run(session.close(), 10)
        assert not server.heard

    def test_tls_is_had_where_the_server_does_not_demand_it(self, bridge, tmp_path):
        if shutil.which("openssl") is None:
            pytest.skip("needs openssl to make certificates")
        ours = Authority(tmp_path / "ours")
        cert, key = ours.issue("server")
        config = tmp_path / "nats.conf"
        config.write_text(f"tls {{cert_file: {cert!r}, key_file: {key!r}}}\nallow_non_tls: true\n")
        with RealNats(tmp_path / "store", None, "-c", str(config)) as server:
            nc = bridge.run(connect(NatsSettings(server.url, ca=ours.ca), name="test"), 10)
            assert nc._transport._io_writer.get_extra_info("cipher")
            bridge.run(nc.close(), 5)

    @pytest.mark.parametrize("scheme", ["nats", "tls"])
    def test_a_greeting_that_trickles_in_has_a_deadline_in_all(self, bridge, scheme):
        with Overheard(GREETING, pause_s=0.05) as server:
            began = time.monotonic()
            with pytest.raises(NatsError):
                url = f"{scheme}://127.0.0.1:{server.port}"
                bridge.run(connect(NatsSettings(url), name="test", timeout_s=0.5))
        assert time.monotonic() - began < len(GREETING) * 0.05 / 2  # some 4 s, and 15 s would be all of it

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
