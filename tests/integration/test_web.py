"""The server of `web` on a real NATS: what is stored, what comes, and when NATS goes and comes."""

import http.client
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from observe_lib import Event, ObserveError
from observe_lib.events import observer_subject
from observe_lib.settings import NatsSettings
from observe_lib.times import earlier, format_time, now_utc
from observe_lib.web.command import WebOptions, serve_web
from observe_lib.web.server import WebServer
from tests.integration.test_consumer import Writer
from tests.integration.test_states import Bucket
from tests.nats_server import RealNats, free_port


def told(kind: str, seq: int, ago_s: float, process: str = "web", **fields: Any) -> Event:
    at = format_time(earlier(now_utc(), ago_s))
    state = {"name": process, "namespace": "shop", "status": "Running", "pid": 7, "is_ready": "-"}
    stamps = {"stack": "host-a", "seq": seq, "observed_at": at}
    return Event(kind, process, "shop", at, state=state, **stamps, **fields)


def serving(url: str) -> Any:
    return serve_web(WebOptions("127.0.0.1", 0), NatsSettings(url, True))


def get(server: WebServer, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=15)
    try:
        connection.request("GET", path)
        reply = connection.getresponse()
        return reply.status, reply.read().decode()
    finally:
        connection.close()


def wait_for(met: Callable[[], Any], timeout_s: float = 30.0) -> None:
    end = time.monotonic() + timeout_s
    while not met():
        assert time.monotonic() < end, "not met in time"
        time.sleep(0.05)


def names(server: WebServer) -> list[str]:
    return [row["process"] for row in json.loads(get(server, "/api/states")[1])["processes"]]


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[RealNats]:
    with RealNats(tmp_path / "nats") as found:
        yield found


@pytest.fixture
def writer(nats: RealNats) -> Iterator[Writer]:
    found = Writer(nats.url)
    yield found
    found.close()


def test_what_is_stored_is_told(nats, writer):
    writer.ensure()
    watching = replace(
        told("started", 1, 3600, "adapter"),
        namespace="_observe",
        subject=observer_subject("adapter", "started"),
    )
    writer.put(watching, told("started", 1, 1800), told("crashed", 2, 900, exit_code=3, reason="exit"))
    with serving(nats.url) as server:
        status, text = get(server, "/api/events?type=crashed&process=shop/web&since=1h")
        assert (status, [event["exit_code"] for event in json.loads(text)["events"]]) == (200, [3])
        assert json.loads(get(server, "/api/events?since=10m")[1])["events"] == []
        status, text = get(server, "/api/report?since=2h")
        assert status == 200
        (row,) = json.loads(text)["processes"]
        assert (row["process"], row["crashes"]) == ("web", 1)
        assert 850 < row["up_seconds"] < 950
        assert get(server, "/healthz") == (200, "ok\n")


def test_before_there_is_anything(nats, writer):
    with serving(nats.url) as server:
        assert names(server) == []
        assert get(server, "/metrics")[1].endswith("# EOF\n")
        assert get(server, "/api/report")[0] == 503
        assert json.loads(get(server, "/api/events")[1]) == {"events": []}
        bucket = Bucket(nats.url)
        bucket.row(told("started", 1, 0))
        wait_for(lambda: names(server) == ["web"])
        bucket.drop("host-a.shop.web")
        wait_for(lambda: names(server) == [] and 'process="web"' not in get(server, "/metrics")[1])
        bucket.close()


def test_nats_goes_and_comes(nats, writer):
    bucket = Bucket(nats.url)
    bucket.row(told("started", 1, 10))
    with serving(nats.url) as server:
        nats.kill()
        wait_for(lambda: get(server, "/healthz")[0] == 503)
        assert get(server, "/api/events")[0] == 503
        assert get(server, "/")[0] == 200
        nats.start()
        wait_for(lambda: get(server, "/healthz")[0] == 200)
        bucket.row(told("started", 1, 0, "db"))
        wait_for(lambda: 'process="db"' in get(server, "/metrics")[1])
    bucket.close()


def test_what_keeps_it_from_starting(nats):
    with pytest.raises(ObserveError, match="refused"), serving(f"nats://127.0.0.1:{free_port()}"):
        pass
    with serving(nats.url) as server:
        taken = serve_web(WebOptions("127.0.0.1", server.port), NatsSettings(nats.url, True))
        with pytest.raises(ObserveError, match="already in use"), taken:
            pass
