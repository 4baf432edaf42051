"""A storm: all processes end at once, two events each: how long from the reply to the last one stored?

The adapter runs as anybody would run it, of this tree and of another one in turns.
"""

import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.running import (
    IN_FLIGHT,
    ROOT,
    Rows,
    adapter,
    cpu_s,
    last_of,
    row,
    send_bare,
    stage,
    wait_stored,
)


class Storm(NamedTuple):
    """Seconds from the reply to the last stored event; the adapter's CPU seconds; seconds of a bare loop."""

    took_s: float
    cpu_s: float
    bare_s: float


def storm(tree: Path, count: int, crash: bool, log_lines: int, bare: int = 0) -> Storm:
    """Run the adapter of `tree` through one storm; then send the same once more, `bare` in flight."""
    flags = ("--poll-interval", "500ms", "--log-lines", str(log_lines))
    with tempfile.TemporaryDirectory() as home, stage(count) as (server, port, tell):
        with adapter(port, server.url, home, *flags, tree=tree) as child:
            asyncio.run(wait_stored(server.url, count + 2))
            time.sleep(2.0)  # what is left of the start does not count
            before = cpu_s(child.pid)
            replied_at = tell("crash" if crash else "end")
            last = asyncio.run(wait_stored(server.url, 3 * count + 2))
            took = Storm(last - replied_at, cpu_s(child.pid) - before, 0.0)
        if bare:
            same = asyncio.run(last_of(server.url, 2 * count))
            took = took._replace(bare_s=asyncio.run(send_bare(server.url, same, bare)))
        return took


def named(count: int, crash: bool, log_lines: int) -> str:
    return f"{count:,} {'crash' if crash else 'end'} at once, {log_lines} log lines"


def alone(count: int, crash: bool, log_lines: int) -> Rows:
    """Return the row of one storm of this tree, beside nats-py that sends the same events."""
    one = storm(ROOT, count, crash, log_lines, IN_FLIGHT)
    what = f"{named(count, crash, log_lines)}: events a second"
    ours, bare = 2 * count / one.took_s, 2 * count / one.bare_s
    return [row(what, ours, bare, f"nats-py, {IN_FLIGHT} in flight", "", 0)]


def beside(other: Path, count: int, crash: bool, log_lines: int, rounds: int = 3) -> Rows:
    """Return the rows for both trees, in turns: events a second, and CPU per event."""
    ours, theirs = [], []
    for _ in range(rounds):
        theirs.append(storm(other, count, crash, log_lines))
        ours.append(storm(ROOT, count, crash, log_lines))
    rate, rate_before = (2 * count / statistics.median(one.took_s for one in side) for side in (ours, theirs))
    cpu, cpu_before = (
        statistics.median(one.cpu_s for one in side) / (2 * count) * 1e6 for side in (ours, theirs)
    )
    what = named(count, crash, log_lines)
    return [
        row(f"{what}: events a second", rate, rate_before, "the other checkout", "", 0),
        row(f"{what}: CPU µs an event", cpu, cpu_before, "the other checkout", "", 0),
    ]
