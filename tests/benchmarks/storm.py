"""A storm: 5,000 processes end at once, two events each: how long from the reply to the last one stored?

The adapter runs as anybody would run it, of this tree and of another one in turns.
"""

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
from typing import NamedTuple

import nats

from tests.nats_server import RealNats

ROOT = Path(__file__).resolve().parents[2]
TICKS = os.sysconf("SC_CLK_TCK")


class Storm(NamedTuple):
    """Seconds from the reply to the last stored event; the adapter's CPU seconds over that time."""

    took_s: float
    cpu_s: float


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


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


async def wait_stored(url: str, wanted: int) -> float:
    """Wait until the stream holds so many messages; return when the last one was stored."""
    client = await nats.connect(url)
    js = client.jetstream()
    try:
        while True:
            try:
                state = (await js.stream_info("PROCESS_EVENTS")).state
            except nats.js.errors.NotFoundError:
                state = None
            if state is not None and state.messages >= wanted:
                last = await js.get_msg("PROCESS_EVENTS", state.last_seq)
                return last.time.timestamp() if last.time else time.time()
            await asyncio.sleep(0.05)
    finally:
        await client.close()


def storm(tree: Path, count: int, crash: bool, log_lines: int) -> Storm:
    """Run the adapter of `tree` through one storm."""
    with (
        tempfile.TemporaryDirectory() as home,
        RealNats(Path(home, "nats")) as server,
        stand_in(count) as (port, tell),
    ):
        command = [sys.executable, str(tree / "observe.py"), "adapter", "-q", "-p", port, "--no-push"]
        command += ["--nats-url", server.url, "--stack", "bench", "--poll-interval", "500ms"]
        command += ["--log-lines", str(log_lines)]
        child = subprocess.Popen(command, cwd=tree, env={**os.environ, "XDG_STATE_HOME": home})
        try:
            asyncio.run(wait_stored(server.url, count + 2))
            time.sleep(2.0)  # what is left of the start does not count
            before = cpu_s(child.pid)
            replied_at = tell("crash" if crash else "end")
            last = asyncio.run(wait_stored(server.url, 3 * count + 2))
            return Storm(last - replied_at, cpu_s(child.pid) - before)
        finally:
            child.terminate()
            child.wait(30)


def beside(other: Path, count: int, crash: bool, log_lines: int, rounds: int = 3) -> list[list[str]]:
    """Return the rows for both trees, in turns: events a second, and CPU per event."""
    ours, theirs = [], []
    for _ in range(rounds):
        theirs.append(storm(other, count, crash, log_lines))
        ours.append(storm(ROOT, count, crash, log_lines))
    rate, rate_before = (2 * count / statistics.median(one.took_s for one in side) for side in (ours, theirs))
    cpu, cpu_before = (
        statistics.median(one.cpu_s for one in side) / (2 * count) * 1e6 for side in (ours, theirs)
    )
    what = f"{count:,} {'crash' if crash else 'end'} at once, {log_lines} log lines"
    return [
        [f"{what}: events a second", f"{rate:,.0f}", f"{rate_before:,.0f}", f"{rate / rate_before:.2f}"],
        [f"{what}: CPU us an event", f"{cpu:.0f}", f"{cpu_before:.0f}", f"{cpu / cpu_before:.2f}"],
    ]


if __name__ == "__main__":
    for crash, lines in ((False, 0), (True, 20)):
        for row in beside(Path(sys.argv[1]), 5000, crash, lines, int(sys.argv[2])):
            print(row, flush=True)
