"""The adapter over its life: quiet polls, an outage of NATS, a start with what is known; and short verbs."""

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time

from tests.benchmarks.running import (
    OBSERVE,
    Rows,
    adapter,
    cpu_s,
    last_of,
    memory_mb,
    row,
    send_bare,
    stage,
    wait_stored,
)

BARE_POLL = """
import json, sys, time, requests
session = requests.Session()
session.get(sys.argv[1] + "/processes")
begun = time.process_time()
for _ in range(int(sys.argv[2])):
    json.loads(session.get(sys.argv[1] + "/processes").content)
    time.sleep(float(sys.argv[3]))
lines = open("/proc/self/status").read().splitlines()
memory = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
print(time.process_time() - begun, memory / 1024, flush=True)
"""


def quiet_poll(count: int, polls: int) -> Rows:
    """Nothing happens: what does a poll cost, and how much memory, beside GET and json.loads?"""
    gap_s = 0.1 if count < 1000 else 0.3
    with tempfile.TemporaryDirectory() as home, stage(count) as (server, port, tell):
        with adapter(port, server.url, home, "--poll-interval", f"{gap_s}s") as child:
            asyncio.run(wait_stored(server.url, count + 2))
            time.sleep(1.0)  # what is left of the start does not count
            polled, begun_cpu, begun = tell("polls"), cpu_s(child.pid), time.monotonic()
            while (asked := tell("polls") - polled) < polls and time.monotonic() - begun < 60:
                time.sleep(0.2)
            ours = (cpu_s(child.pid) - begun_cpu) / max(1, asked) * 1000
            memory = memory_mb(child.pid)
        command = [sys.executable, "-c", BARE_POLL, f"http://127.0.0.1:{port}"]
        bare_s, bare_memory = map(float, subprocess.check_output([*command, str(polls), str(gap_s)]).split())
    name = f"{count:,} quiet processes"
    return [
        row(f"{name}: CPU ms a poll", ours, bare_s / polls * 1000, "GET, json.loads", "≤ 2"),
        row(f"{name}: memory MB", memory, bare_memory, "GET, json.loads", "", 0),
    ]


def recovery(count: int, away_s: float) -> Rows:
    """NATS is away while `count` processes end: how long until two events of each are stored?"""
    with tempfile.TemporaryDirectory() as home, stage(count) as (server, port, tell):
        with adapter(port, server.url, home, "--poll-interval", "500ms"):
            asyncio.run(wait_stored(server.url, count + 2))
            server.kill()
            tell("end")
            time.sleep(away_s)
            server.start()
            begun = time.perf_counter()
            asyncio.run(wait_stored(server.url, 3 * count + 2))
            took_s = time.perf_counter() - begun
        same = asyncio.run(last_of(server.url, 2 * count))
        bare_s = asyncio.run(send_bare(server.url, same, 1))
    what = f"{away_s:g} s without NATS, {2 * count:,} events waiting: seconds until all are stored"
    return [row(what, took_s, bare_s, "nats-py, one after the other")]


def known_start(count: int) -> Rows:
    """Start with so many known processes, beside the first start, which announces them."""
    took_s, stored = [], 0
    with tempfile.TemporaryDirectory() as home, stage(count) as (server, port, _):
        for more in (count + 2, 2):  # its own stop comes between them
            stored += more
            begun = time.perf_counter()
            with adapter(port, server.url, home):
                asyncio.run(wait_stored(server.url, stored))
                took_s.append(time.perf_counter() - begun)
    first, again = took_s
    return [row(f"start with {count:,} known processes: seconds", again, first, "the first start")]


def run_s(command: list[str]) -> float:
    """Return how long a command takes to its end."""
    begun = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun


def help_of(rounds: int) -> Rows:
    """`--help` beside the interpreter alone."""
    bare = statistics.median(run_s([sys.executable, "-c", "pass"]) for _ in range(rounds))
    helped = statistics.median(run_s([*OBSERVE, "--help"]) for _ in range(rounds))
    return [row("--help: seconds", helped, bare, "python -c pass", "≤ 0.06 s over", 3)]
