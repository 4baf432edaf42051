"""`report` as its users run it: on a real nats-server, and at the end with a real process-compose."""

import asyncio
import json
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import nats
import pytest

from observe_lib.broker.stream import StreamOptions, ensure_bucket, ensure_stream
from observe_lib.events import Event
from observe_lib.subjects import OBSERVE, observer_subject
from observe_lib.times import earlier, format_time, now_utc
from tests.nats_server import RealNats
from tests.real_compose import MISSING, RealCompose
from tests.running import RunningAdapter, run_observe

PATIENCE_S = 30.0


async def put(url: str, events: Iterable[Event | bytes], max_age_s: float, drop: int) -> None:
    client = await nats.connect(url)
    js = client.jetstream()
    await ensure_stream(js, StreamOptions(max_age_s=max_age_s))
    await ensure_bucket(js, StreamOptions())
    for event in events:
        if isinstance(event, Event):
            await js.publish(event.subject, event.to_json())
        else:
            await js.publish("core.process.default.odd.started", event)
    if drop:
        await js.purge_stream("PROCESS_EVENTS", seq=drop + 1)
    await client.close()


def store(
    server: RealNats, *events: Event | bytes, max_age_s: float = 7 * 86400.0, drop: int = 0
) -> datetime:
    asyncio.run(put(server.url, events, max_age_s, drop))
    return now_utc()


def told(
    now: datetime, process: str, event_type: str, ago_s: float, seq: int, stack: str = "host-a", **fields: Any
) -> Event:
    moment = format_time(earlier(now, ago_s))
    base = {"namespace": "default", "timestamp": moment, "observed_at": moment}
    return Event(type=event_type, process=process, seq=seq, stack=stack, **{**base, **fields})


def goodbye(now: datetime, ago_s: float, stack: str = "host-a") -> Event:
    """The adapter stopped: else a stack that the bucket does not know would count as forgotten."""
    moment = format_time(earlier(now, ago_s))
    return Event(
        type="stopped", process="adapter", namespace=OBSERVE, subject=observer_subject("adapter", "stopped"),
        timestamp=moment, observed_at=moment, stack=stack, seq=9,
    )  # fmt: skip


def two_stacks(now: datetime) -> list[Event]:
    """Both have default/web; it was up for 1800 s of an hour on host-a, for all of it on host-b."""
    return [
        told(now, "web", "started", 7000, 1),
        told(now, "web", "started", 7000, 1, stack="host-b"),
        told(now, "web", "crashed", 3000, 2, exit_code=1, reason="exit", run_seconds=4000.0),
        told(now, "web", "restarted", 1800, 3, restarts=1),
        told(now, "api", "started", 900, 1, stack="host-b", namespace="shop"),
        goodbye(now, 600),
        goodbye(now, 600, "host-b"),
    ]


def report_json_of(server: RealNats, *words: str) -> dict[str, Any]:
    done = run_observe(server.url, "report", "--json", *words)
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


def test_two_stacks_with_the_same_name_and_a_range_within_runs(nats_server: RealNats) -> None:
    now = now_utc()
    store(nats_server, *two_stacks(now), b"no event")
    # an hour that ended ten minutes ago, begun in the middle of both runs
    span = ("--since", format_time(earlier(now, 4200)), "--until", format_time(earlier(now, 600)))
    found = report_json_of(nats_server, *span)
    shown = {(one["stack"], one["process"]): one for one in found["processes"]}
    assert shown.keys() == {("host-a", "web"), ("host-b", "web"), ("host-b", "api")}
    web = shown["host-a", "web"]
    # up 1200 s until the crash, down 1200 s, up for the last 1200 s
    assert (web["up_seconds"], web["down_seconds"], web["runs"], web["crashes"]) == (2400, 1200, 2, 1)
    assert (web["mttr_seconds"], web["mtbf_seconds"], web["uptime_percent"]) == (1200, 2400, 66.6667)
    assert shown["host-b", "web"]["uptime_percent"] == 100
    assert shown["host-b", "api"]["up_seconds"] == 300
    assert (found["malformed"], found["blind"]) == (1, [])


def test_names_stacks_and_what_there_is_none_of(nats_server: RealNats) -> None:
    now = now_utc()
    store(nats_server, *two_stacks(now))
    names = lambda *words: [  # noqa: E731
        f"{one['stack']} {one['process']}" for one in report_json_of(nats_server, *words)["processes"]
    ]
    assert names("shop/*") == ["host-b api"]
    assert names("--process", "default/web", "--stack", "host-a") == ["host-a web"]
    assert names("api", "web") == ["host-a web", "host-b web", "host-b api"]
    nothing = run_observe(nats_server.url, "report", "nope")
    assert (nothing.code, nothing.out) == (1, "")
    assert nothing.err.splitlines()[0] == "observe: no process matches 'nope'"
    backwards = run_observe(nats_server.url, "report", "--since", "10m", "--until", "20m")
    assert (backwards.code, len(backwards.err.splitlines())) == (2, 2)


def test_the_table_and_the_timeline(nats_server: RealNats) -> None:
    now = now_utc()
    store(nats_server, *two_stacks(now))
    table = run_observe(nats_server.url, "report", "--since", "2h")
    lines = table.out.splitlines()
    assert lines[1].split()[:3] == ["STACK", "PROCESS", "UPTIME"]
    assert [line.split()[0] for line in lines[2:6]] == ["host-a", "host-b", "host-b", "all"]
    assert sum(line.startswith("blind: host-") for line in lines) == 2
    drawn = run_observe(nats_server.url, "report", "--since", "2h", "--timeline").out.splitlines()
    strip = drawn[2].removeprefix("host-a default/web").strip()
    assert strip.startswith("█") and "░" in strip and strip.endswith("·")
    assert "█ up" in drawn[5]
    assert all(len(line) <= 100 for line in drawn)


def test_a_stream_that_does_not_go_back_so_far_is_said(nats_server: RealNats) -> None:
    now = now_utc()
    store(nats_server, *two_stacks(now), max_age_s=5400, drop=2)
    found = report_json_of(nats_server, "--since", "2h", "--stack", "host-a")
    kept = now - timedelta(seconds=5400)
    assert abs((datetime.fromisoformat(found["kept_since"].replace("Z", "+00:00")) - kept).seconds) < 60
    web = found["processes"][0]
    # from the crash one sees that it was up before, as long as the stream goes back: 5400 - 3000
    assert web["up_seconds"] == pytest.approx(2400 + 1200, abs=60) and web["down_seconds"] == 1200
    said = run_observe(nats_server.url, "report", "--since", "2h").out.splitlines()[1]
    assert said.startswith("nothing back to ") and said.endswith("was dropped from the stream")


def test_without_a_stream_nothing_is_known(nats_server: RealNats) -> None:
    done = run_observe(nats_server.url, "report")
    assert (done.code, done.out) == (0, "") and done.err.startswith("nothing is known on nats://")
    done = run_observe(nats_server.url, "report", "--json")
    found = json.loads(done.out)
    assert done.code == 0 and (found["events"], found["blind"], found["processes"]) == (0, [], [])
    assert done.err.startswith("nothing is known on nats://")


# --- with a real process-compose ---


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_a_real_process_compose_an_adapter_killed_and_back(nats_server: RealNats, tmp_path: Path) -> None:
    loop = {"restart": "on_failure", "backoff_seconds": 1, "max_restarts": 2}
    project = {
        "processes": {
            "web": {"command": "exec sleep 1000"},
            "loop": {"command": "sleep 0.5; exit 7", "availability": loop, "disabled": True},
            "once": {"command": "sleep 0.3", "disabled": True},
            "off": {"command": "sleep 1000", "disabled": True},
        }
    }
    adapter = RunningAdapter(
        nats_server.url, (compose := RealCompose(project, tmp_path)).port, "host-a", tmp_path
    )

    def until(condition: Any) -> dict[str, dict[str, Any]]:
        end = time.monotonic() + PATIENCE_S
        while True:
            done = run_observe(nats_server.url, "report", "--json", "--since", "10m")
            found = json.loads(done.out)
            shown = {one["process"]: one for one in found["processes"]}
            if condition(shown):
                return {**shown, "": found}
            assert time.monotonic() < end, found
            time.sleep(0.2)

    try:
        adapter.start()
        compose.start()
        until(lambda shown: "web" in shown)
        for name in ("once", "loop"):  # not before: what began before the adapter did is only announced
            compose.call("POST", f"/process/start/{name}")
        # the first run and two restarts, all of them crash; then the policy gives up
        shown = until(
            lambda shown: shown.get("loop", {}).get("crashes") == 3 and "failed_since" in shown["loop"]
        )
        assert (shown["loop"]["restarts"], shown["loop"]["asked_restarts"], shown["loop"]["runs"]) == (
            2,
            0,
            3,
        )
        assert shown["loop"]["flapping"] == "now" and shown["loop"]["last_failure"]["exit_code"] == 7
        assert (shown["once"]["runs"], shown["once"]["crashes"]) == (1, 0)
        assert "uptime_percent" not in shown["off"]
        compose.call("POST", "/process/restart/web")
        shown = until(lambda shown: shown["web"]["asked_restarts"] == 1)
        assert (shown["web"]["runs"], shown["web"]["restarts"], shown["web"]["crashes"]) == (2, 0, 0)
        adapter.kill()
        compose.call("POST", "/process/restart/web")
        compose.wait_state("web", is_running=True)
        adapter.start()
        shown = until(lambda shown: shown["web"]["runs"] == 3)
        assert any("adapter killed" in gap["reason"] for gap in shown[""]["blind"]), shown[""]["blind"]
    finally:
        adapter.stop()
        compose.stop()
