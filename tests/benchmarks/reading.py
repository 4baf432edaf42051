"""Reading events: `watch` over a day beside a bare loop over nats-py, and how soon its first row is there.

`other` is the root of another checkout, run in turns in the same run; each figure is the best of its turns.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from observe_lib.times import now_utc
from tests.benchmarks.past import day_of, store
from tests.benchmarks.running import ROOT, Rows, row
from tests.nats_server import RealNats

#: what nobody who reads with nats-py can do without: all payloads, a line each
BARE_READ = """
    import asyncio, sys
    import nats
    from nats.js.api import AckPolicy, ConsumerConfig

    async def main():
        client = await nats.connect(sys.argv[1])
        js = client.jetstream()
        left = (await js.stream_info("PROCESS_EVENTS")).state.messages
        config = ConsumerConfig(ack_policy=AckPolicy.NONE)
        reader = await js.pull_subscribe("core.process.>", stream="PROCESS_EVENTS", config=config)
        out = sys.stdout.buffer
        while left > 0:
            for message in await reader.fetch(min(1000, left), timeout=5):
                out.write(message.data + b"\\n")
                left -= 1
        await client.close()

    asyncio.run(main())
"""
BARE_CONNECT = """
    import asyncio, sys
    import nats

    async def main():
        client = await nats.connect(sys.argv[1])
        print("connected", flush=True)
        await client.close()

    asyncio.run(main())
"""
#: runs a command from a small process: a child's peak begins with that of its parent
MEASURE = """
import os, sys, time
begun = time.perf_counter()
null = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)]
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=null)
_, code, used = os.wait4(pid, 0)
print(code, time.perf_counter() - begun, used.ru_maxrss / 1024)
"""
#: modules are compiled once, as those of an installed program are, whatever the environment says
COMPILED = Path(tempfile.gettempdir()) / "observe-benchmarks-compiled"
PYTHON = [sys.executable, "-E", "-X", f"pycache_prefix={COMPILED}"]
WATCH_ALL = ("watch", "--since", "25h", "--no-follow", "--json")


@contextmanager
def day(count: int) -> Iterator[str]:
    """A server that holds a day with so many events; its address."""
    with tempfile.TemporaryDirectory() as directory, RealNats(Path(directory)) as server:
        asyncio.run(store(server.url, day_of(count, now_utc())))
        yield server.url


def bare(code: str, url: str) -> list[str]:
    return [*PYTHON, "-c", textwrap.dedent(code), url]


def verb(root: Path, words: Sequence[str], url: str) -> list[str]:
    return [*PYTHON, str(root / "observe.py"), *words, "--nats-url", url]


def run(command: Sequence[str]) -> tuple[float, float]:
    """Run it to its end; return how many seconds it took, and the most memory in MB."""
    told = subprocess.check_output([sys.executable, "-S", "-E", "-c", MEASURE, *command]).split()
    assert told[0] == b"0", command
    return float(told[1]), float(told[2])


def first_line(command: Sequence[str]) -> tuple[float, float]:
    """Run it until it printed something, and end it; return how many seconds that took."""
    begun = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert child.stdout and os.read(child.stdout.fileno(), 1)
    took = time.perf_counter() - begun
    child.kill()
    child.stdout.close()
    child.wait()
    return took, 0.0


def best(
    commands: dict[str, list[str]], measure: Any = run, turns: int = 3
) -> dict[str, tuple[float, float]]:
    """Run these in turns; return the least time and the most memory of each."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(turns):
        for name, command in commands.items():
            found[name].append(measure(command))
    return {name: (min(took)[0], max(used for _, used in took)) for name, took in found.items()}


def reading(count: int, other: Path | None = None, turns: int = 3) -> Rows:
    """`watch` and `report` over a day with so many events, and the first row of a replay."""
    roots = {"this": ROOT, **({"other": other} if other else {})}
    with day(count) as url:
        everything = {f"watch {name}": verb(root, WATCH_ALL, url) for name, root in roots.items()}
        reports = {
            f"report {name}": verb(root, ("report", "--since", "25h"), url) for name, root in roots.items()
        }
        found = best({**everything, **reports, "bare": bare(BARE_READ, url)}, turns=turns)
        replay = {f"first {name}": verb(root, ("watch",), url) for name, root in roots.items()}
        soon = best({**replay, "connect": bare(BARE_CONNECT, url)}, first_line, 3 * turns)
    name = f"of a day with {count:,} events"
    rows = [
        row(f"watch --json {name}: seconds", found["watch this"][0], found["bare"][0], "fetch(1000)", "≤ 1"),
        row("first row of watch: seconds", soon["first this"][0], soon["connect"][0], "connect", "≤ 1.25"),
    ]
    for what, aim in (("watch", "≤ 0.45"), ("report", "≤ 0.67")):
        if other:
            ours, theirs = found[f"{what} this"], found[f"{what} other"]
            rows.append(row(f"{what} {name}: seconds", ours[0], theirs[0], "the other checkout", aim))
            rows.append(row(f"{what} {name}: memory MB", ours[1], theirs[1], "the other checkout", "1", 0))
    return rows
