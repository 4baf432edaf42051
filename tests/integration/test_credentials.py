"""Every way to say who one is, against a real nats-server: the right one works, a wrong one is an error."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.credentials import Authority, Operator, make_nkey
from tests.forms import SCRIPT
from tests.nats_server import RealNats
from tests.stand_in import StandIn, make_state

#: no word of these may be on any screen
RIGHT, WRONG = "sesame-right", "sesame-wrong"
#: a refusal has to come within this, starting Python included
AT_ONCE_S = 15.0


class Case(NamedTuple):
    """A server's configuration, and variables that are right for it, or wrong in one way or another."""

    config: str
    right: dict[str, str]
    wrong: dict[str, dict[str, str]]
    scheme: str = "nats"


def _file(directory: Path, name: str, text: str) -> str:
    path = directory / name
    path.write_text(text)
    return str(path)


def with_password(directory: Path) -> Case:
    right = {"NATS_USER": "u", "NATS_PASSWORD": RIGHT}
    wrong = {"password": {**right, "NATS_PASSWORD": WRONG}, "none": {}, "token": {"NATS_TOKEN": RIGHT}}
    return Case(f"authorization {{user: u, password: {RIGHT}}}", right, wrong)


def with_token(directory: Path) -> Case:
    return Case(
        f"authorization {{token: {RIGHT}}}",
        {"NATS_TOKEN": RIGHT},
        {"token": {"NATS_TOKEN": WRONG}, "none": {}},
    )


def with_nkey(directory: Path) -> Case:
    ours, other = make_nkey(), make_nkey()
    return Case(
        f"authorization {{users: [{{nkey: {ours.public}}}]}}",
        {"NATS_NKEY": _file(directory, "ours.nk", ours.seed)},
        {
            "key": {"NATS_NKEY": _file(directory, "other.nk", other.seed)},
            "file": {"NATS_NKEY": _file(directory, "no.nk", "nonsense")},
            "missing file": {"NATS_NKEY": str(directory / "nowhere.nk")},
        },
    )


def with_creds(directory: Path) -> Case:
    ours, other = Operator(), Operator()
    return Case(
        ours.config(),
        {"NATS_CREDS": _file(directory, "ours.creds", ours.creds())},
        {
            "operator": {"NATS_CREDS": _file(directory, "other.creds", other.creds())},
            "file": {"NATS_CREDS": _file(directory, "no.creds", "nonsense")},
            "half a file": {"NATS_CREDS": _file(directory, "half.creds", ours.creds()[:200])},
            "none": {},
        },
    )


def with_tls_first(directory: Path) -> Case:
    case = with_certificate(directory)
    return case._replace(config=case.config.replace("verify: true", "verify: true, handshake_first: true"))


def with_certificate(directory: Path) -> Case:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make certificates")
    ours, other = Authority(directory / "ours"), Authority(directory / "other")
    cert, key = ours.issue("server")
    client_cert, client_key = ours.issue("client")
    other_cert, other_key = other.issue("client")
    right = {"NATS_CA": ours.ca, "NATS_CERT": client_cert, "NATS_KEY": client_key}
    return Case(
        f"tls {{cert_file: {cert!r}, key_file: {key!r}, ca_file: {ours.ca!r}, verify: true}}",
        right,
        {
            "certificate": {**right, "NATS_CERT": other_cert, "NATS_KEY": other_key},
            "no certificate": {"NATS_CA": ours.ca},
            "authority": {**right, "NATS_CA": other.ca},
            "key of another": {**right, "NATS_KEY": other_key},
            "none": {},
        },
        "tls",
    )


def with_context(directory: Path) -> Case:
    def context(name: str, **fields: str) -> None:
        path = directory / "config/nats/context" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"description": "a test", **fields}))

    context("good", user="u", password=RIGHT)
    context("bad", user="u", password=WRONG)
    home = {"XDG_CONFIG_HOME": str(directory / "config")}
    return Case(
        f"authorization {{user: u, password: {RIGHT}}}",
        {**home, "NATS_CONTEXT": "good"},
        {
            "password": {**home, "NATS_CONTEXT": "bad"},
            "name": {**home, "NATS_CONTEXT": "nowhere"},
            "path": {**home, "NATS_CONTEXT": "../good"},
            "variable over it": {**home, "NATS_CONTEXT": "good", "NATS_PASSWORD": WRONG},
        },
    )


KINDS = {
    "password": with_password,
    "token": with_token,
    "nkey": with_nkey,
    "creds": with_creds,
    "certificate": with_certificate,
    "TLS first": with_tls_first,
    "context": with_context,
}


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    make: Callable[[Path], Case] = request.param
    return make(tmp_path)


@pytest.fixture
def server(case: Case, tmp_path: Path) -> Iterator[RealNats]:
    path = _file(tmp_path, "nats.conf", case.config + "\n")
    greets = "handshake_first" not in case.config
    with RealNats(tmp_path / "nats", None, "-c", path, greets=greets) as server:
        yield server


def run(case: Case, server: RealNats, variables: dict[str, str], *words: str) -> "subprocess.Popen[str]":
    strange = ("NATS", "PC_", "OBSERVE")
    environ = {name: text for name, text in os.environ.items() if not name.startswith(strange)}
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *words],
        env={**environ, "NATS_URL": f"{case.scheme}://127.0.0.1:{server.port}", **variables},
        cwd=SCRIPT.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_right_one_works(case, server, tmp_path):
    with StandIn([make_state("web")]) as stand_in:
        words = ("-p", str(stand_in.port), "--no-push", "--poll-interval", "100ms", "--stack", "s")
        adapter = run(case, server, case.right, "adapter", *words)
        try:
            watch = run(case, server, case.right, "watch", "--json", "web", "--count", "1")
            out, err = watch.communicate(timeout=60)
            assert (watch.returncode, json.loads(out)["process"]) == (0, "web"), err
        finally:
            adapter.terminate()
            said = adapter.communicate(timeout=60)[1]
        assert adapter.returncode == 0, said


def test_a_wrong_one_is_an_error_at_once(case, server, tmp_path):
    with StandIn([make_state("web")]) as stand_in:
        for name, variables in case.wrong.items():
            for words in (("watch",), ("adapter", "--no-push", "-p", str(stand_in.port))):
                begun = time.monotonic()
                verb = run(case, server, variables, *words)
                try:
                    verb.wait(AT_ONCE_S)
                except subprocess.TimeoutExpired:
                    verb.kill()
                err = verb.communicate()[1]
                told = f"{name}, {words[0]}: {err}"
                lines = [line for line in err.splitlines() if line[2:3] != ":"]  # not the adapter's own
                assert len(lines) == 2, told
                assert lines[0].startswith("observe: "), told
                assert verb.returncode in (1, 2), told
                assert not any(word in err for word in ("sesame", "Traceback")), told
                assert time.monotonic() - begun < AT_ONCE_S, told


def test_doctor_says_what_to_do(case, server, tmp_path):
    name, variables = next(iter(case.wrong.items()))
    doctor = run(case, server, variables, "doctor", "--json")
    out, _ = doctor.communicate(timeout=60)
    nats = [one for one in map(json.loads, out.splitlines()) if one["check"] == "nats"]
    assert doctor.returncode == 1, name
    assert nats[0]["result"] == "fail", name
    assert nats[0]["hint"], name
