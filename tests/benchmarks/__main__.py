"""How fast it is, as ratios within one run: `python -m tests.benchmarks [--quick]` prints a table.

Each figure stands beside a bare loop that does the least that could be called the same job, measured in the
same run on the same machine. Nothing here is a test: no figure fails anything.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nats
from nats.js.api import AckPolicy, ConsumerConfig, Header
from tabulate import tabulate

from tests.benchmarks.past import report, states_of
from tests.benchmarks.reading import reading
from tests.nats_server import RealNats

ROOT = Path(__file__).resolve().parents[2]
OBSERVE = [sys.executable, str(ROOT / "observe.py")]
TICKS = os.sysconf("SC_CLK_TCK")
IN_FLIGHT = 256


@contextmanager
def stand_in(count: int) -> Iterator[tuple[str, Callable[[str], int]]]:
    """A scripted process-compose in a process of its own: its port, and how to tell it something."""
    command = [sys.executable, "-m", "tests.benchmarks.compose", str(count)]
    child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin and child.stdout

    def tell(what: str) -> int:
        assert child.stdin and child.stdout
        child.stdin.write(what + "\n")
        child.stdin.flush()
        return int(child.stdout.readline())

    try:
        yield child.stdout.readline().strip(), tell
    finally:
        child.terminate()
        child.wait(10)


@contextmanager
def nats_server() -> Iterator[RealNats]:
    """A real nats-server with an empty store."""
    with tempfile.TemporaryDirectory() as store, RealNats(Path(store)) as server:
        yield server


@contextmanager
def adapter(port: str, url: str, *flags: str) -> Iterator[subprocess.Popen[bytes]]:
    """The real adapter, as anybody would run it, but for its push."""
    command = [
        *OBSERVE,
        "adapter",
        "-q",
        "-p",
        port,
        "--nats-url",
        url,
        "--stack",
        "bench",
        "--no-push",
        *flags,
    ]
    child = subprocess.Popen(command)
    try:
        yield child
    finally:
        child.terminate()
        child.wait(15)


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


async def stream_of(url: str, subject: str, count: int) -> list[Any]:
    """Wait until the stream holds `count` messages of the subject, and return them."""
    client = await nats.connect(url)
    js = client.jetstream()
    while True:
        try:
            info = await js.stream_info("PROCESS_EVENTS", subjects_filter=subject)
            if sum((info.state.subjects or {}).values()) >= count:
                break
        except nats.js.errors.NotFoundError:
            pass
        await asyncio.sleep(0.1)
    no_ack = ConsumerConfig(ack_policy=AckPolicy.NONE)
    subscription = await js.pull_subscribe(subject, stream="PROCESS_EVENTS", config=no_ack)
    found: list[Any] = []
    while len(found) < count:
        found += await subscription.fetch(min(1000, count - len(found)), timeout=5)
    await client.close()
    return found


async def bare_loop(url: str, messages: list[tuple[str, bytes, dict[str, str]]], at_once: int) -> float:
    """Send the messages as nats-py does it, so many in flight; return how many a second."""
    client = await nats.connect(url)
    js = client.jetstream()
    left = iter(messages)

    async def work() -> None:
        for subject, payload, headers in left:
            await js.publish(subject, payload, headers=headers)

    begun = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(at_once)))
    took = time.perf_counter() - begun
    await client.close()
    return len(messages) / took


def ends_of(url: str, count: int) -> list[Any]:
    """Wait until `count` processes have ended, and return the events of that: the ends, then the others."""
    ends = asyncio.run(stream_of(url, "core.process.default.*.stopped", count))
    return ends + asyncio.run(stream_of(url, "core.process.default.*.status_changed", count))


def as_new(messages: list[Any]) -> list[tuple[str, bytes, dict[str, str]]]:
    """Return stored messages as others to send, with ids of their own."""
    return [(m.subject, m.data, {Header.MSG_ID.value: f"bare-{i}"}) for i, m in enumerate(messages)]


@contextmanager
def stage(count: int) -> Iterator[tuple[RealNats, str, Callable[[str], int]]]:
    """An empty server, the port of a stand-in with so many processes, and how to tell it something."""
    with (
        tempfile.TemporaryDirectory() as store,
        RealNats(Path(store)) as server,
        stand_in(count) as (port, tell),
    ):
        yield server, port, tell


def storm(count: int) -> list[list[Any]]:
    """All processes end at once: how fast are their events and records stored?"""
    with stage(count) as (server, port, tell):
        with adapter(port, server.url, "--poll-interval", "500ms"):
            asyncio.run(stream_of(server.url, "core.process.default.*.started", count))
            tell("end")
            told = ends_of(server.url, count)
        stamps = sorted(message.metadata.timestamp.timestamp() for message in told)
        rate = len(stamps) * 1.5 / (stamps[-1] - stamps[0])
        same = as_new(told)
        records = [(f"$KV.PROCESS_STATES.bare.r{i}", m.data * 3, {}) for i, m in enumerate(told[:count])]
        one = asyncio.run(bare_loop(server.url, same + records, 1))
        again = [(s, p, {k: f"x{v}" for k, v in h.items()}) for s, p, h in same + records]
        many = asyncio.run(bare_loop(server.url, again, IN_FLIGHT))
    name = f"{count:,} processes end at once, messages stored per second"
    return [
        [name, f"{rate:,.0f}", f"{one:,.0f}", f"{rate / one:.2f}", "≥ 0.6", "one after the other"],
        ["", "", f"{many:,.0f}", f"{rate / many:.2f}", "", f"{IN_FLIGHT} in flight"],
    ]


def recovery(count: int, away_s: float) -> list[list[Any]]:
    """NATS is away while `count` processes end: how long until two events of each are stored?"""
    with stage(count) as (server, port, tell):
        with adapter(port, server.url, "--poll-interval", "500ms"):
            asyncio.run(stream_of(server.url, "core.process.default.*.started", count))
            server.kill()
            tell("end")
            time.sleep(away_s)
            server.start()
            begun = time.perf_counter()
            told = ends_of(server.url, count)
            took_s = time.perf_counter() - begun
        bare_s = len(told) / asyncio.run(bare_loop(server.url, as_new(told), 1))
    name = f"{away_s:g} s without NATS, {2 * count:,} events waiting, seconds until all are stored"
    row = [name, f"{took_s:.2f}", f"{bare_s:.2f}", f"{took_s / bare_s:.2f}", "", "one after the other"]
    return [row]


def known_start(count: int) -> list[list[Any]]:
    """Start with so many known processes, beside the first start, which announces them."""
    took_s = []
    with (
        tempfile.TemporaryDirectory() as store,
        RealNats(Path(store)) as server,
        stand_in(count) as (port, _),
    ):
        for starts in (1, 2):
            begun = time.perf_counter()
            with adapter(port, server.url):
                asyncio.run(stream_of(server.url, "core.process._observe.adapter.started", starts))
                asyncio.run(stream_of(server.url, "core.process.default.*.started", count))
                took_s.append(time.perf_counter() - begun)
    first, again = took_s
    name = f"start with {count:,} known processes, seconds"
    return [[name, f"{again:.2f}", f"{first:.2f}", f"{again / first:.2f}", "", "the first start"]]


BARE_POLL = """
import json, sys, time, requests
session = requests.Session()
for _ in range(int(sys.argv[2])):
    json.loads(session.get(sys.argv[1] + "/processes").content)
    time.sleep(float(sys.argv[3]))
print(time.process_time(), flush=True)
"""


def quiet_poll(count: int, polls: int) -> list[list[Any]]:
    """Nothing happens: what does a poll cost, beside GET and json.loads?"""
    gap_s = 0.1 if count < 1000 else 0.3
    with stage(count) as (server, port, tell):
        with adapter(port, server.url, "--poll-interval", f"{gap_s}s") as child:
            asyncio.run(stream_of(server.url, "core.process.default.*.started", count))
            time.sleep(1.0)  # what is left of the start does not count
            polled, begun_cpu, begun = tell("polls"), cpu_s(child.pid), time.monotonic()
            while (asked := tell("polls") - polled) < polls and time.monotonic() - begun < 60:
                time.sleep(0.2)
            ours = (cpu_s(child.pid) - begun_cpu) / max(1, asked) * 1000
            memory = memory_mb(child.pid)
        command = [sys.executable, "-c", BARE_POLL, f"http://127.0.0.1:{port}"]
        few = [float(subprocess.check_output([*command, str(n), str(gap_s)])) for n in (1, polls + 1)]
        bare = (few[1] - few[0]) / polls * 1000
    return [
        [
            f"{count:,} quiet processes, CPU ms per poll",
            f"{ours:.2f}",
            f"{bare:.2f}",
            f"{ours / bare:.2f}",
            "≤ 2",
            "",
        ],
        [f"{count:,} quiet processes, memory MB", f"{memory:.0f}", "", "", "≤ 45" if count == 20 else "", ""],
    ]


def first_row(rounds: int) -> list[list[Any]]:
    """`watch`: from its start to its first row; `--help` beside `python -c pass`."""
    with nats_server() as server, stand_in(20) as (port, _):
        with adapter(port, server.url):
            asyncio.run(stream_of(server.url, "core.process.default.*.started", 20))
        rows = [time_to_first_line([*OBSERVE, "watch", "--nats-url", server.url]) for _ in range(rounds)]
    bare = statistics.median(run_s([sys.executable, "-c", "pass"]) for _ in range(rounds))
    helped = statistics.median(run_s([*OBSERVE, "--help"]) for _ in range(rounds))
    row = statistics.median(rows)
    return [
        [
            "watch, seconds to its first row",
            f"{row:.3f}",
            f"{bare:.3f}",
            f"{row / bare:.1f}",
            "≤ 0.25 s",
            "python -c pass",
        ],
        [
            "--help, seconds",
            f"{helped:.3f}",
            f"{bare:.3f}",
            f"{helped / bare:.1f}",
            "≤ 0.06 s over",
            "python -c pass",
        ],
    ]


def time_to_first_line(command: list[str]) -> float:
    begun = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert child.stdout
    child.stdout.readline()
    took = time.perf_counter() - begun
    child.terminate()
    child.wait(10)
    return took


def run_s(command: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller numbers, to see that it works")
    quick = parser.parse_args().quick
    rows = first_row(3 if quick else 9)
    for count in (20, 200) if quick else (20, 2000, 10000):
        rows += quiet_poll(count, 10 if quick else 40 if count > 1000 else 200)
    rows += storm(200 if quick else 5000)
    rows += recovery(100 if quick else 2500, 1 if quick else 10)
    rows += known_start(200 if quick else 10_000)
    rows += states_of(200 if quick else 10_000)
    rows += report(4000 if quick else 100_000)
    rows += reading(4000 if quick else 100_000)
    print(
        tabulate(rows, headers=["WHAT", "OBSERVE", "BARE", "RATIO", "AIM", "BARE IS"], disable_numparse=True)
    )


if __name__ == "__main__":
    main()
