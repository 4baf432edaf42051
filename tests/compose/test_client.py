"""The REST client against the stand-in, and what becomes of one process's JSON."""

import json
import socket
import threading
import time
from datetime import datetime, timezone
from typing import Any

import pytest

from observe_lib.compose.client import ComposeClient, other_answers
from observe_lib.errors import ComposeError
from tests.stand_in import StandIn, make_state

TOKEN = "a-token-of-twenty-or-more"


def failure(client: ComposeClient, timeout_s: float | None = None) -> ComposeError:
    with pytest.raises(ComposeError) as caught:
        client.processes(timeout_s)
    return caught.value


@pytest.fixture
def stand_in():
    with StandIn([make_state("web"), make_state("db", pid=12)]) as found:
        yield found


@pytest.fixture
def client(stand_in):
    found = ComposeClient(port=stand_in.port, timeout_s=5)
    yield found
    found.close()


def test_states_come_as_they_were_sent_over_one_connection(client, stand_in):
    replies = [client.processes() for _ in range(5)]
    assert [state["name"] for state in replies[0].states] == ["web", "db"]
    assert replies[0].states[0] == make_state("web")
    assert stand_in.connections == 1 and stand_in.requests["/processes"] == 5


def test_a_number_of_thousands_of_digits_spoils_its_process_and_no_other(client, stand_in):
    stand_in._body = b'{"data":[{"name":"web","pid":1' + b"0" * 5000 + b'},{"name":"db","pid":7}]}'
    web, db = client.processes().states
    assert db == {"name": "db", "pid": 7} and web["pid"] == float("inf")


def test_the_senders_clock_is_told(client, stand_in):
    stand_in.date = "Mon, 23 Nov 2026 15:54:17 GMT"
    assert client.processes().date == datetime(2026, 11, 23, 15, 54, 17, tzinfo=timezone.utc)
    stand_in.date = "noon"
    assert client.processes().date is None


def test_ten_thousand_processes(client, stand_in):
    stand_in.set_states([make_state(f"process-{number}") for number in range(10_000)])
    assert len(client.processes().states) == 10_000


@pytest.mark.parametrize(
    ("mode", "kind", "says"),
    [
        ("html", "garbage", "text/html that are no JSON"),
        ("half_json", "garbage", "application/json that are no JSON"),
        ("no_data", "garbage", "without a list of processes"),
        ("huge", "too_large", "more than 64 MiB"),
        ("not_http", "garbage", "not HTTP"),
        ("truncated", "refused", "closed the connection"),
        ("cut", "refused", "closed the connection"),
    ],
)
def test_a_bad_reply_is_told_and_the_next_one_is_fine(client, stand_in, mode, kind, says):
    stand_in.answer([make_state("web")], mode)
    client.processes()
    error = failure(client)
    assert error.kind == kind and says in str(error) and error.hint
    assert str(error).startswith(f"process-compose at {client.url}: ") and "\n" not in str(error)
    assert len(client.processes().states) == 2


@pytest.mark.parametrize("mode", ["hang", "drip", "drip_headers"])
def test_no_reply_takes_longer_than_the_timeout(client, stand_in, mode):
    stand_in.mode = mode
    begin = time.monotonic()
    error = failure(client, 0.3)
    assert error.kind == "timeout" and client.reason(error) == "no answer within 0.3s"
    assert 0.25 < time.monotonic() - begin < 2
    stand_in.mode = ""
    assert len(client.processes().states) == 2


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_another_status_is_told_with_the_servers_words(client, stand_in, status):
    stand_in.status = status
    error = failure(client)
    assert (error.kind, error.status) == ("status", status)
    assert str(error) == f"process-compose at {client.url} answers {status}, 'scripted'"


def test_a_redirect_is_not_followed(client, stand_in):
    stand_in.status = 302
    assert failure(client).status == 302


@pytest.mark.parametrize("given", [None, "another-token-of-twenty"])
def test_a_token_is_wanted(stand_in, given):
    stand_in.token = TOKEN
    client = ComposeClient(port=stand_in.port, token=given)
    error = failure(client)
    assert (error.kind, error.status) == ("status", 401)
    verb = "refuses this" if given else "wants a"
    assert str(error) == f"process-compose at http://127.0.0.1:{stand_in.port} {verb} token (401)"
    assert error.hint == "set PC_API_TOKEN_PATH=/path/to/token, or --token-file"
    assert given is None or given not in str(error) + error.hint


def test_the_token_is_sent(stand_in):
    stand_in.token = TOKEN
    assert ComposeClient(port=stand_in.port, token=TOKEN).processes().states


def test_gone_and_back_on_the_same_port(client, stand_in):
    client.processes()
    stand_in.refuse()
    error = failure(client)
    assert error.kind == "refused" and client.reason(error) == "connection refused"
    stand_in.reopen()
    assert client.processes().states


def test_a_name_that_does_not_resolve():
    error = failure(ComposeClient("no-such-host.invalid", 1, timeout_s=5))
    assert error.kind in ("refused", "timeout") and "no-such-host.invalid" in str(error)


@pytest.mark.parametrize("address", ["a..b", "x" * 300])
def test_a_host_that_can_be_none(address):
    assert failure(ComposeClient(address, 1, timeout_s=5)).kind == "refused"


def test_a_unix_socket(tmp_path):
    path = str(tmp_path / "pc.sock")
    with StandIn([make_state("web")], socket_path=path, token=TOKEN) as stand_in:
        client = ComposeClient(socket_path=path, token=TOKEN)
        assert client.url == f"unix:{path}"
        assert [client.processes().states[0]["name"] for _ in range(3)] == ["web"] * 3
        assert stand_in.connections == 1
    error = failure(client)
    assert error.kind == "refused" and client.reason(error) == "no such file or directory"


def test_an_ipv6_address():
    assert ComposeClient("::1", 8080).url == "http://[::1]:8080"


def test_neither_proxy_nor_netrc_of_the_environment_is_used(client, monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert client.processes().states


def test_no_processes(client, stand_in):
    stand_in.set_states([])
    assert client.processes().states == []
    stand_in._body = b'{"data":null}'
    assert client.processes().states == []


def test_json_nested_too_deep(client, stand_in):
    stand_in._body = b"[" * 1_000_000
    assert failure(client).kind == "garbage"


def test_the_projects_name(client, stand_in):
    assert client.project_name() == "host/stand-in"
    stand_in.refuse()
    with pytest.raises(ComposeError):
        client.project_name()


def test_an_old_version_has_no_project_name(client, stand_in):
    stand_in.project = None
    assert client.project_name() == ""


@pytest.mark.parametrize("name", ["web", "a.b c/d", "star.*>", "ünï ☃", "50%25?x=1#y"])
def test_the_end_of_a_log(client, stand_in, name):
    stand_in.logs[name] = [f"line {number}" for number in range(100)]
    assert client.logs(name, 3) == ["line 97", "line 98", "line 99"]
    assert len(client.logs(name, 200)) == 100


def test_the_log_of_an_unknown_process(client):
    with pytest.raises(ComposeError) as caught:
        client.logs("nobody", 3)
    assert caught.value.status == 400


def test_a_request_in_flight_can_be_ended(client, stand_in):
    stand_in.mode = "hang"
    timer = threading.Timer(0.2, client.interrupt)
    timer.start()
    begin = time.monotonic()
    assert failure(client).kind == "refused"
    assert time.monotonic() - begin < 2
    stand_in.mode = ""
    assert client.processes().states
    timer.join()


def test_closed_is_closed(client):
    client.processes()
    client.close()
    client.close()
    assert client._socket.fileno() == -1
    assert failure(client).kind == "refused"


def test_one_request_at_a_time(client, stand_in):
    stand_in.delay_s = 0.5
    thread = threading.Thread(target=client.processes)
    thread.start()
    assert wait_until(lambda: stand_in.connections == 1)
    assert failure(client, 0.1).kind == "timeout"
    thread.join()
    assert stand_in.connections == 1


def test_who_else_answers(stand_in):
    assert other_answers("127.0.0.1", stand_in.port) == 2
    stand_in.mode = "html"
    assert other_answers("127.0.0.1", stand_in.port) is None
    stand_in.refuse()
    assert other_answers("127.0.0.1", stand_in.port) is None


def wait_until(condition: Any, timeout_s: float = 5.0) -> bool:
    end = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return bool(condition())


def test_the_stand_in_sends_what_the_real_one_sends(stand_in):
    with socket.create_connection(("127.0.0.1", stand_in.port)) as raw:
        raw.sendall(b"GET /processes HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        head, _, body = b"".join(iter(lambda: raw.recv(65536), b"")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK") and len(json.loads(body)["data"]) == 2


def test_a_connection_that_breaks_while_it_is_made_is_an_error_like_any_other(monkeypatch):
    """connect() may say EPIPE, where the other side closes and resets at once: urllib3 would trip over it."""

    def broken(*args: object, **named: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(socket, "create_connection", broken)
    with pytest.raises(ComposeError) as caught:
        ComposeClient(port=1).processes()
    assert caught.value.kind == "refused"
