"""The server of `web` over real sockets, its states and events scripted: what it serves, and to whom not."""

import base64
import hashlib
import http.client
import itertools
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from observe_lib.errors import NatsError, UsageError
from observe_lib.events import Event
from observe_lib.reader.silences import Silence
from observe_lib.reader.states import States
from observe_lib.rows import DAY, Place, ProcessRow, StackRow
from observe_lib.settings import NatsSettings
from observe_lib.times import now_utc
from observe_lib.web import live as web_live
from observe_lib.web import server as web_server
from observe_lib.web.command import listen_address, read_web_token, site_of, web_options
from observe_lib.web.lines import WebLines
from observe_lib.web.live import STREAMS, WAITING_BYTES, LiveStates, PageListener, page_event
from observe_lib.web.page import page_html
from observe_lib.web.server import COOKIE, Guard, WebServer
from tests.fleet import states_of
from tests.reader.test_states import T0, at, of_observer, told

TOKEN = "a-token-that-nobody-guesses"
PATHS = ("/", "/healthz", "/metrics", "/api/states", "/api/events", "/api/stream", "/api/report", "/nowhere")


class Script:
    """In the place of a Consumer: what it says is what the test says."""

    def __init__(self) -> None:
        self.states, self.connected = States(), True
        self.asked: list[tuple[Any, ...]] = []
        self.stored: list[Event] = []
        self.histories: dict[Place, list[Event]] = {}

    def stored_states(self, process: Any = (), stack: Any = None) -> States:
        return self.states

    def happen(self, event: Event) -> None:
        """Write the row that the event makes."""
        rows, stacks, place = dict(self.states.rows), dict(self.states.stacks), Place.of(event)
        if not event.of_observer:
            self.histories.setdefault(place, []).append(event)
            found = states_of(*self.histories[place]).rows
            rows = {**rows, **found} if found else {one: row for one, row in rows.items() if one != place}
        stacks.setdefault(place.stack, StackRow(place.stack))
        self.states = States(rows, stacks)

    def lease(self, stack: str, age_s: float) -> None:
        late = states_of(leases={stack: {}}, beat_at=now_utc() - timedelta(seconds=age_s)).stacks
        self.states = States(self.states.rows, {**self.states.stacks, **late})

    def recent(self, number: int, process: Any = (), types: Any = (), **rest: Any) -> tuple[list[Event], int]:
        self.asked.append((number, process, types, rest))
        return self.stored[-number:], len(self.stored)


class Page:
    """A server on a free port, and what tests do to it."""

    def __init__(self, history: list[Event] | None = None, **guard: Any) -> None:
        self.script = Script()
        for event in history or []:
            self.script.happen(event)
        self.live = LiveStates(self.script, self.script, now_utc() - DAY).start(history or [])
        site = site_of(self.live, self.script, NatsSettings())  # type: ignore[arg-type]
        self.server = WebServer("127.0.0.1", 0, site, Guard(**guard)).start()
        self.port = self.server.port

    def happen(self, *events: Event) -> None:
        for event in events:
            self.script.happen(event)
            self.live.hear(event)

    def get(self, path: str, method: str = "GET", **headers: str) -> SimpleNamespace:
        """Ask, and return status, headers and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            names = {name.replace("_", "-"): text for name, text in headers.items()}
            connection.request(method, path, headers=names)
            reply = connection.getresponse()
            if "stream" in path and reply.status == 200:
                return SimpleNamespace(status=200, headers=reply.headers, body="")
            return SimpleNamespace(
                status=reply.status, headers=reply.headers, body=reply.read().decode(errors="replace")
            )
        finally:
            connection.close()

    def raw(self, request: bytes) -> bytes:
        """Send bytes, and return all that comes back until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as client, suppress(ConnectionError):
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: client.recv(65536), b""))
        return b""

    def close(self) -> None:
        self.live.stop()
        self.server.stop()


class Stream:
    """One listener: `next()` is what came as (event name, id, data)."""

    def __init__(self, page: Page, last_id: str = "", path: str = "/api/stream") -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=10)
        self.connection.request("GET", path, headers={"Last-Event-ID": last_id} if last_id else {})
        self.reply = self.connection.getresponse()
        assert self.reply.status == 200
        assert self.reply.headers["Content-Type"] == "text/event-stream"

    def next(self, name: str = "") -> SimpleNamespace:
        """Return the next message (of that name)."""
        fields: dict[str, str] = {}
        for line in iter(self.reply.readline, b""):
            if line != b"\n":
                field, _, text = line.decode().rstrip("\n").partition(": ")
                fields[field] = text
            elif "data" in fields and (not name or fields["event"] == name):
                break
            else:
                fields = {}
        assert fields, "the stream ended"
        return SimpleNamespace(name=fields["event"], id=fields.get("id", ""), data=json.loads(fields["data"]))

    def events(self) -> SimpleNamespace:
        """Return the next message that has events."""
        while not (found := self.next()).data.get("events"):
            pass
        return found

    def close(self) -> None:
        self.reply.close()
        self.connection.close()


@contextmanager
def serving(*arguments: Any, **guard: Any) -> Iterator[Page]:
    page = Page(*arguments, **guard)
    try:
        yield page
    finally:
        page.close()


@pytest.fixture
def page() -> Iterator[Page]:
    with serving() as found:
        yield found


def wait_for(met: Callable[[], Any], timeout_s: float = 10.0) -> None:
    end = time.monotonic() + timeout_s
    while not met():
        assert time.monotonic() < end, "not met in time"
        time.sleep(0.01)


def types_of(message: SimpleNamespace) -> list[str]:
    return [event["type"] for event in message.data["events"]]


# --- the page ---


def test_the_page_permits_its_own_script_and_style_and_nothing_else(page):
    reply = page.get("/")
    policy = dict(part.split(" ", 1) for part in reply.headers["Content-Security-Policy"].split("; "))
    for tag in ("script", "style"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", reply.body, re.S)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert policy[f"{tag}-src"] == f"'sha256-{digest}'"
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert policy["require-trusted-types-for"] == "'script'"


def test_the_page_needs_nothing_from_elsewhere():
    page = page_html().decode()
    assert not set(re.findall(r"https?://[^\s\"')]+", page)) - {"http://www.w3.org/2000/svg"}
    assert not re.search(r"\b(innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval)\b| on\w+=", page)
    assert ' style="' not in page


def test_every_answer_has_the_safe_headers(page):
    for path in PATHS:
        headers = page.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff", path
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_only_get(page, method):
    reply = page.get("/", method)
    assert (reply.status, reply.headers["Allow"]) == (405, "GET, HEAD")


def test_head_is_get_without_a_body(page):
    for path in ("/", "/healthz", "/api/states", "/nowhere"):
        get, head = page.get(path), page.get(path, "HEAD")
        assert (head.status, head.body) == (get.status, "")
        assert head.headers["Content-Type"] == get.headers["Content-Type"]
    assert page.get("/api/stream", "HEAD").status == 200


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"GET /?" + b"a&" * 100 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    ],
    ids=["tls", "no path", "version", "long line", "many headers", "many fields", "dots", "body"],
)
def test_strange_requests_end_their_own_connection_only(page, request_):
    answer = page.raw(request_)
    assert b"Traceback" not in answer and b"root:" not in answer
    assert answer.count(b"HTTP/1.1") <= 1
    assert page.get("/healthz").status == 200


# --- who may ask ---


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:9999", 200),  # through a forwarded port
        ("localhost:8282", 200),
        ("LOCALHOST", 200),
        ("[::1]:8282", 200),
        ("10.1.2.3", 200),  # an address cannot be rebound
        ("observe.example", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost@evil.example", 403),
        ("evil.example@localhost", 403),
        ("", 403),
    ],
)
def test_the_host_header_must_be_ours(host, status):
    with serving(hosts=frozenset(("observe.example",))) as page:
        for path in ("/", "/api/states", "/api/stream"):
            assert page.get(path, Host=host).status == status


def test_a_request_without_a_host_is_refused(page):
    assert b" 403 " in page.raw(b"GET / HTTP/1.1\r\n\r\n")


def test_other_sites_may_link_here_and_no_more(page):
    for site in ("cross-site", "same-site"):
        assert page.get("/api/states", Sec_Fetch_Site=site, Sec_Fetch_Mode="cors").status == 403
        assert page.get("/api/stream", Sec_Fetch_Site=site, Sec_Fetch_Mode="no-cors").status == 403
        assert page.get("/", Sec_Fetch_Site=site, Sec_Fetch_Mode="navigate").status == 200
    assert page.get("/api/states", Sec_Fetch_Site="same-origin", Sec_Fetch_Mode="cors").status == 200


def test_without_its_token_nothing_is_told():
    with serving(token=TOKEN) as page:
        for path in PATHS:
            reply = page.get(path)
            assert (reply.status, reply.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert page.get(path, Authorization=f"Bearer {TOKEN}").status != 401
        for given in ("Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer \xe4"):
            assert page.get("/", Authorization=given).status == 401
        assert page.get("/?token=wrong").status == 401
        assert page.get(f"/api/states?token={TOKEN}").status == 401


def test_a_token_in_the_address_becomes_a_cookie_that_does_not_hold_it():
    with serving(token=TOKEN) as page:
        reply = page.get(f"/?token={TOKEN}", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")
        cookie, *attributes = reply.headers["Set-Cookie"].split("; ")
        assert reply.status == 200 and TOKEN not in str(reply.headers) + reply.body
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(attributes)
        assert 'content="0;url=/"' in reply.body
        assert page.get("/api/states", Cookie=f"other=1; {cookie}").status == 200
        assert page.get("/api/states", Cookie=f"{COOKIE}={TOKEN}").status == 401
    with serving(token=TOKEN) as page:  # the cookie outlives a restart
        assert page.get("/", Cookie=cookie).status == 200
    with serving(token=TOKEN + "2") as page:
        assert page.get("/", Cookie=cookie).status == 401


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8282", ("127.0.0.1", 8282)),
        ("localhost:80", ("127.0.0.1", 80)),
        ("8080", ("127.0.0.1", 8080)),
        ("[::1]:8282", ("::1", 8282)),
        ("0.0.0.0:1", ("0.0.0.0", 1)),
        ("::1:8282", None),
        (":8282", None),
        ("127.0.0.1:", None),
        ("127.0.0.1:99999", None),
        ("127.0.0.1:80a", None),
        ("no such host:80", None),
        ("", None),
    ],
)
def test_listen(text, expected):
    if expected is None:
        with pytest.raises(UsageError, match="--listen"):
            listen_address(text)
    else:
        assert listen_address(text) in (expected, ("::1", expected[1]))


def flags(listen: str, path: Any = None) -> dict[str, object]:
    return {"listen": listen, "web_token_file": path, "allow_host": None}


def test_other_machines_need_a_token(tmp_path):
    (tmp_path / "token").write_text(TOKEN + "\n")
    for listen in ("0.0.0.0:0", "[::]:0"):
        with pytest.raises(UsageError, match="a token is needed"):
            web_options(flags(listen))
        assert web_options(flags(listen, tmp_path / "token")).token == TOKEN
    assert web_options(flags("127.0.0.1:0")).token is None
    assert web_options(flags("127.0.0.1:0", tmp_path / "token")).token == TOKEN
    assert TOKEN not in repr(web_options(flags("127.0.0.1:0", tmp_path / "token")))


@pytest.mark.parametrize("text", ["", "\n", "short", "two words that are long", "ümlaut-ümlaut-ümlaut"])
def test_what_is_no_token(tmp_path, text):
    (tmp_path / "token").write_text(text)
    with pytest.raises(UsageError, match="16 characters"):
        read_web_token(str(tmp_path / "token"))
    with pytest.raises(UsageError, match="cannot be read"):
        read_web_token(str(tmp_path / "nowhere"))


# --- what is told ---


def test_health_follows_nats(page):
    assert (page.get("/healthz").status, page.get("/healthz").body) == (200, "ok\n")
    page.script.connected = False
    assert page.get("/healthz").status == 503
    assert page.get("/api/states").status == 200  # what is known is still told
    assert page.get("/api/events").status == 503  # what would have to be asked is not


def test_states_as_json(page):
    page.happen(told("started", 1), told("crashed", 2, status="Completed", exit_code=3))
    page.script.lease("host-b", 300)
    found = json.loads(page.get("/api/states").body)
    (row,) = found["processes"]
    assert (row["stack"], row["process"], row["status"], row["exit_code"]) == (
        "host-a",
        "web",
        "Completed",
        3,
    )
    assert found["figures"]["processes"] == 1
    silences = {stack["name"]: stack.get("silence") for stack in found["stacks"]}
    assert silences["host-a"] is None
    assert silences["host-b"]["about"] == "adapter"


def test_metrics(page):
    page.happen(told("started", 1), told("crashed", 2, exit_code=3, count=2))
    wait_for(lambda: 'process="web"} 2\n' in page.get("/metrics").body)
    assert page.get("/metrics").headers["Content-Type"].startswith("application/openmetrics-text")


def test_a_crash_is_counted_once_however_it_is_heard_of():
    """The states may have counted it already, from their look back."""
    crash = told("crashed", 2, seconds=(now_utc() - T0).total_seconds(), exit_code=3)
    with serving([crash]) as page:
        assert (
            'crashes_total{stack="host-a",namespace="default",process="web"} 1\n' in page.get("/metrics").body
        )


def test_events_are_asked_for_as_the_query_says(page):
    page.script.stored = [told("started", 1), told("crashed", 2, exit_code=3)]
    query = "since=1h&type=crashed&type=stopped&process=shop/api&process=web&stack=host-a&limit=1"
    found = json.loads(page.get(f"/api/events?{query}").body)["events"]
    assert found == [page.script.stored[-1].to_dict()]
    number, process, types, rest = page.script.asked[-1]
    assert (number, process, types) == (1, ["shop/api", "web"], ["crashed", "stopped"])
    assert (rest["since"], rest["stack"], rest["until"]) == ("1h", "host-a", None)


@pytest.mark.parametrize(
    "path",
    ["/api/events?type=nonsense", "/api/events?limit=0", "/api/events?limit=x", "/api/events?sicne=1h"]
    + ["/api/report?since=tomorrowish", "/api/report?x=1", "/api/process?stack=a"],
)
def test_what_makes_no_sense_is_400_and_says_why(page, path):
    reply = page.get(path)
    assert reply.status == 400
    assert set(json.loads(reply.body)) == {"error", "hint"}


def test_an_error_of_nats_is_503_and_any_other_500(page, monkeypatch):
    def fail(error: Exception) -> None:
        def recent(*_: Any, **__: Any) -> None:
            raise error

        monkeypatch.setattr(page.script, "recent", recent)

    fail(NatsError("no answer", "wait"))
    assert page.get("/api/events").status == 503
    fail(RuntimeError("secret"))
    reply = page.get("/api/events")
    assert reply.status == 500 and "secret" not in reply.body


def test_one_process_is_found_by_its_whole_name(page):
    """Names are no patterns here."""
    for name in ("*", "web", "<script>alert(1)</script>"):
        page.script.stored = [told("crashed", 1, process=name, exit_code=1, log_tail=["</script>"])]
        page.happen(*page.script.stored)
        found = json.loads(page.get("/api/process?stack=host-a&namespace=default&process=" + name).body)
        assert found["process"] == name
        assert found["last_crash"]["log_tail"] == ["</script>"]
    assert page.get("/api/process?stack=host-a&namespace=default&process=w*").status == 404


def test_a_process_named_script_is_text_in_json(page):
    page.happen(told("started", 1, process="<script>alert(1)</script>"))
    for path in ("/api/states", "/metrics"):
        reply = page.get(path)
        assert "<script>" in reply.body
        assert not reply.headers["Content-Type"].startswith("text/html")
    assert "alert(1)" not in page.get("/").body


# --- the stream ---


def test_first_everything_then_what_changes(page):
    page.happen(told("started", 1))
    wait_for(lambda: page.live._shown.rows)
    stream = Stream(page)
    hello = stream.next()
    assert (hello.name, hello.data["resumed"], types_of(hello)) == ("hello", False, ["started"])
    assert [row["process"] for row in hello.data["rows"]] == ["web"]
    page.happen(told("crashed", 2, status="Completed", exit_code=3))
    update = stream.events()
    assert (update.name, types_of(update)) == ("update", ["crashed"])
    assert update.data["events"][0]["words"] == "exit 3"
    assert update.data["rows"][0]["condition"] == "crashed"
    assert update.id == update.data["events"][-1]["id"] != hello.id


def test_a_stream_is_resumed_after_the_last_event_that_was_had(page):
    page.happen(*(told("crashed", seq, exit_code=seq) for seq in (1, 2, 3)))
    wait_for(lambda: page.live._ring)
    ids = [event["id"] for event in Stream(page).next().data["events"]]
    resumed = Stream(page, ids[0]).next().data
    assert (resumed["resumed"], [event["id"] for event in resumed["events"]]) == (True, ids[1:])
    by_query = Stream(page, path=f"/api/stream?last={ids[1]}").next().data
    assert [event["id"] for event in by_query["events"]] == ids[2:]
    unknown = Stream(page, "of-another-time").next().data
    assert (unknown["resumed"], len(unknown["events"])) == (False, 3)


def test_it_is_resumed_after_a_restart_of_the_server_too():
    history = [told("crashed", seq, exit_code=seq) for seq in (1, 2)]
    with serving(history) as page:
        last_id = Stream(page).next().id
    with serving([*history, told("started", 3)]) as page:
        hello = Stream(page, last_id).next()
        assert (hello.data["resumed"], types_of(hello)) == (True, ["started"])


def test_no_event_can_break_a_line_of_the_stream(page):
    evil = replace(told("crashed", 1), subject="core.process.a\nid: x\n\n.b.c", process="a\r\nb\u2028", seq=5)
    page.live.hear(evil)
    found = Stream(page).events() if not page.live._ring else Stream(page).next()
    assert [event["process"] for event in found.data["events"]] == ["a\r\nb\u2028"]
    assert re.fullmatch(r"[0-9a-f]{32}", page_event(evil)["id"])


def test_a_point_is_sent_although_its_row_was_sent_before_the_event_was_heard(page):
    page.happen(told("started", 1))
    stream, crash = Stream(page), told("crashed", 2, status="Completed", exit_code=3)
    row, points = {"condition": ""}, list[Any]()

    def read_until(met: Callable[[], bool]) -> None:
        nonlocal row, points
        while not met():  # a point comes with the hello, or after it
            for row in stream.next().data.get("rows", []):
                points = [*([] if row["whole"] else points), *(shade for _, shade in row["points"])]

    read_until(lambda: points == [0])
    page.script.happen(crash)
    read_until(lambda: row["condition"] == "crashed")
    assert points == [0]
    page.live.hear(crash)
    read_until(lambda: len(points) > 1)
    assert points == [0, 3]


def test_companions_are_not_sent(page):
    stream = Stream(page)
    stream.next()
    page.happen(told("status_changed", 1, companion=True), told("crashed", 2))
    assert types_of(stream.events()) == ["crashed"]


def test_processes_that_go(page):
    page.happen(told("started", 1))
    stream = Stream(page)
    while not stream.next().data.get("rows"):
        pass
    page.happen(told("stopped", 2, status="Removed", new_status="Removed", reason="removed"))
    while "gone" not in (data := stream.next("update").data):
        pass
    assert data["gone"] == [["host-a", "default", "web"]]
    assert json.loads(page.get("/api/states").body)["processes"] == []


def test_a_lost_server_and_a_silent_stack_are_told(page):
    stream = Stream(page)
    assert stream.next().data["head"]["nats"] is True
    page.script.connected = False
    assert stream.next().data["head"]["nats"] is False
    page.script.states = States()
    page.script.lease("host-b", 300)
    (stack,) = stream.next().data["head"]["stacks"]
    assert stack["silence"]["kind"] == "silent"


def test_what_nobody_is_told_of_is_shown_while_it_holds(page):
    held = Silence("shop/*", now_utc() + DAY, "deploy", "ops@host-a")
    stream = Stream(page)
    assert stream.next().data["head"]["silences"] == []
    page.script.states = States(silences=(Silence("old", now_utc() - DAY), held))
    assert stream.next().data["head"]["silences"] == [held.to_dict()]


def test_a_listener_that_takes_nothing_is_ended():
    listener = PageListener(b"first")
    chunk = bytes(WAITING_BYTES // 4)
    for _ in range(4):
        listener.offer(chunk)
    assert listener.take(0) == b"first" + 4 * chunk
    assert listener.take(0) == b""
    for _ in range(5):
        listener.offer(chunk)
    assert listener.take(0) is None


def test_a_slow_client_is_felt_by_nobody(page, monkeypatch):
    """It reads nothing at all; another one has every event at once, and it is dropped in the end."""
    slow, quick = Stream(page), Stream(page)
    quick.next()
    wait_for(lambda: len(page.live._listeners) == 2)
    monkeypatch.setattr(web_live, "WAITING_BYTES", 100_000)
    for seq in range(1, 31):
        page.happen(told("crashed", seq, process=f"{seq}" + "x" * 200_000, exit_code=1))
        assert len(quick.events().data["events"]) == 1
    assert len(page.live._listeners) == 1
    slow.close()


def test_so_many_streams_and_no_more(page):
    streams = [Stream(page) for _ in range(STREAMS)]
    refused = page.get("/api/stream")
    assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
    assert page.get("/healthz").status == 200
    streams.pop().close()
    seqs = itertools.count(1)

    def freed() -> bool:
        page.happen(told("started", next(seqs)))  # whoever went away is noticed when something is sent
        return len(page.live._listeners) < STREAMS

    wait_for(freed)
    Stream(page).close()
    for stream in streams:
        stream.close()


def test_so_many_connections_and_no_more(monkeypatch):
    monkeypatch.setattr(web_server, "CONNECTIONS", 3)
    with serving() as page:
        idle = [socket.create_connection(("127.0.0.1", page.port), 5) for _ in range(3)]
        wait_for(lambda: len(page.server.silent) == 3)
        assert page.get("/healthz").status == 200  # in the place of who has been silent for longest
        assert idle[0].recv(1) == b""
        for one in idle:
            one.close()
        wait_for(lambda: page.server._places._value == 3)
        assert page.get("/healthz").status == 200


def test_streams_keep_their_places(monkeypatch):
    monkeypatch.setattr(web_server, "CONNECTIONS", 2)
    with serving() as page:
        streams = [Stream(page) for _ in range(2)]
        wait_for(lambda: not (page.server._places._value or page.server.silent))
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
            page.get("/healthz")
        for stream in streams:
            stream.close()


@pytest.mark.parametrize("first", [b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"])
def test_a_head_that_trickles_in_has_a_deadline_in_all(monkeypatch, first):
    """However often a byte comes, of the first request and of one that follows another."""
    monkeypatch.setattr(web_server, "HEAD_S", 0.3)
    with serving() as page, socket.create_connection(("127.0.0.1", page.port), 5) as slow:
        slow.sendall(first)
        if first:
            assert b"200" in slow.recv(4096)
        sent, end = 0, time.monotonic() + 10
        with suppress(OSError):  # it is closed while we send
            while time.monotonic() < end:
                slow.sendall(b"GET / HTTP/1.1\r\nX: "[sent : sent + 1] or b"x")
                sent += 1
                time.sleep(0.01)
        assert time.monotonic() < end and sent > 1


def test_without_a_token_no_place_is_kept():
    with serving(token="a-long-enough-token") as page:
        answer = page.get("/api/states")
        assert (answer.status, answer.headers["Connection"]) == (401, "close")
        wait_for(lambda: page.server._places._value == web_server.CONNECTIONS)


def test_streams_end_with_the_server():
    with serving() as page:
        stream = Stream(page)
        stream.next()
    assert stream.reply.readline() == b""


# --- timelines ---

WEB = Place("host-a", "default", "web")
QUIET = ProcessRow(WEB, alive=True, status="Running", last_at=at(1))


def points(*events: Event) -> list[tuple[float, int]]:
    lines = WebLines(at(0).timestamp())
    for event in events:
        lines.note(event)
    return [(round(moment - T0.timestamp(), 3), shade) for moment, shade in lines.points(QUIET)]


def test_a_timeline_is_what_the_report_counts():
    """0 up, 1 unhealthy, 2 down, 3 down since a crash."""
    events = [
        told("started", 10),
        told("unhealthy", 20, health="Not Ready"),
        told("healthy", 30, health="Ready"),
        told("crashed", 40, exit_code=1),
        told("restarted", 50),
        told("stopped", 60, reason="requested"),
        told("stopped", 61, seconds=70, reason="removed"),
    ]
    assert points(*events) == [(10, 0), (20, 1), (30, 0), (40, 3), (50, 0), (60, 2), (70, -1)]
    assert points(events[0], events[3], events[3]) == [(10, 0), (40, 3)]


def test_only_what_is_new_is_sent():
    lines = WebLines(T0.timestamp())
    lines.note(told("started", 1))
    assert [place for place in lines.with_fresh()] == [WEB]
    points, whole = lines.take_fresh(QUIET)
    assert whole and len(points) == 1 and not lines.with_fresh()
    lines.note(told("crashed", 2, exit_code=1))
    assert lines.take_fresh(QUIET) == ([(at(2).timestamp(), 3)], False)
    assert lines.take_fresh(QUIET) == ([], False)


def test_a_process_that_no_event_told_of_is_what_its_row_says():
    lines = WebLines(at(100).timestamp())
    assert lines.points(QUIET) == [(at(100).timestamp(), 0)]
    down = QUIET._replace(alive=False, crashed_at=at(150), last_at=at(150))
    assert lines.points(down) == [(at(150).timestamp(), 3)]


def test_blind_times():
    lines = WebLines(T0.timestamp())
    lines.note(of_observer("process-compose", "started", 1))
    lines.note(of_observer("process-compose", "unhealthy", 20))
    lines.note(of_observer("process-compose", "healthy", 40, blind_seconds=20.0))
    found = lines.gaps({}, at(100).timestamp())["host-a"]
    assert [(start - T0.timestamp(), end - T0.timestamp()) for start, end in found] == [(0, 1), (20, 40)]
