"""The REST client against the real process-compose."""

import time
from datetime import datetime, timezone

import pytest

from observe_lib.compose.client import ComposeClient, other_answers
from observe_lib.compose.state import ProcessState, StateReader
from observe_lib.errors import ComposeError
from tests.real_compose import MISSING, RealCompose

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

TOKEN = "a-token-of-twenty-or-more"
ODD_NAMES = ("a.b c/d", "star.*>", "ünï ☃", "50%25?x=1#y", "long-" + "x" * 300)
PROJECT = {
    "processes": {
        "steady": {"command": "echo up; exec sleep 1000", "namespace": ["shop", "eu"]},
        "codes": {"command": "exit 3", "success_exit_codes": [3, 4]},
        "once": {"command": "seq 1 30; exit 1"},
        "off": {"command": "true", "disabled": True},
        **{name: {"command": f"echo I am odd {number}"} for number, name in enumerate(ODD_NAMES)},
    }
}


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    with RealCompose(PROJECT, tmp_path_factory.mktemp("compose")) as found:
        for name in ("once", "codes", *ODD_NAMES):
            found.wait_state(name, status="Completed")
        found.wait_state("steady", status="Running", is_running=True)
        yield found


@pytest.fixture
def client(real):
    found = ComposeClient(port=real.port)
    yield found
    found.close()


def states_of(client: ComposeClient) -> dict[str, ProcessState]:
    return {raw["name"]: ProcessState.from_raw(raw) for raw in client.processes().states}


def test_every_process_is_read(client):
    states = states_of(client)
    assert states.keys() == PROJECT["processes"].keys()
    steady = states["steady"]
    assert (steady.namespace, steady.namespaces, steady.raw["namespace"]) == ("shop", ("shop", "eu"), "shop")
    assert steady.is_running and steady.pid > 0 and steady.age_ns > 0 and steady.start and not steady.ended_at
    once = states["once"]
    assert (once.status, once.exit_code, once.is_running) == ("Completed", 1, False) and once.ended_at
    assert states["codes"].success_exit_codes == (3, 4)
    assert (states["off"].status, states["off"].start) == ("Disabled", "")


def test_its_clock_is_told(client):
    date = client.processes().date
    assert date and abs((datetime.now(timezone.utc) - date).total_seconds()) < 10


def test_looking_twice_at_what_rests_shows_the_same(client):
    reader = StateReader()
    first = reader.read(client.processes().states)
    assert reader.read(client.processes().states) is first


def test_the_projects_name(client, real):
    assert client.project_name().endswith("/" + real.directory.name)


def test_the_end_of_a_log(client):
    assert client.logs("once", 3) == ["28", "29", "30"]
    assert len(client.logs("once", 500)) == 30
    assert [client.logs(name, 5) for name in ODD_NAMES] == [
        [f"I am odd {at}"] for at in range(len(ODD_NAMES))
    ]


def test_the_log_of_an_unknown_process(client):
    with pytest.raises(ComposeError) as caught:
        client.logs("nobody", 3)
    assert caught.value.status == 400 and "nobody" in str(caught.value)


def test_who_else_answers(real):
    assert other_answers("127.0.0.1", real.port) == len(PROJECT["processes"])


def test_a_unix_socket(tmp_path):
    path = str(tmp_path / "pc.sock")
    with RealCompose({"processes": {"one": {"command": "sleep 1000"}}}, tmp_path, socket_path=path):
        client = ComposeClient(socket_path=path)
        assert list(states_of(client)) == ["one"] and client.logs("one", 5) == []
    with pytest.raises(ComposeError, match="unix:.*: (no such file|connection refused)"):
        client.processes()


def test_a_token(tmp_path):
    with RealCompose({"processes": {"one": {"command": "sleep 1000"}}}, tmp_path, token=TOKEN) as real:
        for given in (None, TOKEN[::-1]):
            with pytest.raises(ComposeError, match=r"token \(401\)"):
                ComposeClient(port=real.port, token=given).processes()
        assert ComposeClient(port=real.port, token=TOKEN).processes().states


def test_halted_killed_and_back(tmp_path):
    project = {"processes": {"one": {"command": "sleep 1000"}}}
    with RealCompose(project, tmp_path) as real:
        client = ComposeClient(port=real.port)
        assert client.processes().states
        real.halt()
        begin = time.monotonic()
        with pytest.raises(ComposeError) as caught:
            client.processes(timeout_s=0.5)
        assert caught.value.kind == "timeout" and time.monotonic() - begin < 2
        real.kill()
        with pytest.raises(ComposeError) as caught:
            client.processes()
        assert caught.value.kind == "refused"
        real.start()
        assert client.processes().states
    assert real._left() == []
