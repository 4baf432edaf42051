"""What the benchmarks share: an adapter, a scripted process-compose, and what nats-py alone does."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nats
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, Header

from tests.nats_server import RealNats

ROOT = Path(__file__).resolve().parents[2]
OBSERVE = [sys.executable, str(ROOT / "observe.py")]
TICKS = os.sysconf("SC_CLK_TCK")
IN_FLIGHT = 256

Rows = list[list[str]]


def row(what: str, ours: float, bare: float, beside: str, aim: str = "", digits: int = 2) -> list[str]:
    """Return a line of the table: what, ours, what it stands beside, their ratio, the aim, what that is."""
    ratio = f"{ours / bare:.2f}" if bare else ""  # less than a tick of the clock
    return [what, f"{ours:,.{digits}f}", f"{bare:,.{digits}f}", ratio, aim, beside]


@contextmanager
def stand_in(count: int) -> Iterator[tuple[str, Callable[[str], float]]]:
    """A scripted process-compose in a process of its own: its port, and how to tell it something."""
    command = [sys.executable, "-m", "tests.benchmarks.compose", str(count)]
    child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin and child.stdout

    def tell(what: str) -> float:
        assert child.stdin and child.stdout
        child.stdin.write(what + "\n")
        child.stdin.flush()
        return float(child.stdout.readline())

    try:
        yield child.stdout.readline().strip(), tell
    finally:
        child.terminate()
        child.wait(10)


@contextmanager
def stage(count: int) -> Iterator[tuple[RealNats, str, Callable[[str], float]]]:
    """An empty server, the port of a stand-in with so many processes, and how to tell it something."""
    with (
        tempfile.TemporaryDirectory() as store,
        RealNats(Path(store)) as server,
        stand_in(count) as (port, tell),
    ):
        yield server, port, tell


@contextmanager
def adapter(
    port: str, url: str, state: str, *flags: str, tree: Path = ROOT
) -> Iterator["subprocess.Popen[bytes]"]:
    """The adapter of a tree, but for its push; its files are in `state`."""
    command = [sys.executable, str(tree / "observe.py"), "adapter", "-q", "-p", port, "--nats-url", url]
    command += ["--stack", "bench", "--no-push", *flags]
    child = subprocess.Popen(command, cwd=tree, env={**os.environ, "XDG_STATE_HOME": state})
    try:
        yield child
    finally:
        child.terminate()
        child.wait(30)


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mb(pid: int) -> float:
    """Return how much memory a process has."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


async def wait_stored(url: str, wanted: int) -> float:
    """Wait until the stream holds so many messages; return when the last one was stored."""
    client = await nats.connect(url)
    js = client.jetstream()
    try:
        while True:
            try:
                state = (await js.stream_info("PROCESS_EVENTS")).state
            except (nats.js.errors.NotFoundError, nats.errors.Error):
                state = None
            if state is not None and state.messages >= wanted:
                last = await js.get_msg("PROCESS_EVENTS", state.last_seq)
                return last.time.timestamp() if last.time else time.time()
            await asyncio.sleep(0.05)
    finally:
        await client.close()


async def last_of(url: str, count: int) -> list[tuple[str, bytes]]:
    """Return subject and payload of the last so many messages of the stream."""
    client = await nats.connect(url)
    js = client.jetstream()
    last = (await js.stream_info("PROCESS_EVENTS")).state.last_seq
    config = ConsumerConfig(
        ack_policy=AckPolicy.NONE,
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=last - count + 1,
    )
    reader = await js.pull_subscribe("core.process.>", stream="PROCESS_EVENTS", config=config)
    found: list[Any] = []
    while len(found) < count:
        found += await reader.fetch(min(1000, count - len(found)), timeout=5)
    await client.close()
    return [(message.subject, message.data) for message in found]


async def send_bare(url: str, messages: list[tuple[str, bytes]], at_once: int) -> float:
    """Send messages as nats-py does it, so many in flight; return how many seconds that took."""
    client = await nats.connect(url)
    js = client.jetstream()
    left = enumerate(messages)

    async def work() -> None:
        for number, (subject, payload) in left:
            await js.publish(subject, payload, headers={Header.MSG_ID.value: f"{at_once}-{number}"})

    begun = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(at_once)))
    took = time.perf_counter() - begun
    await client.close()
    return took
