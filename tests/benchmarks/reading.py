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
from tests.nats_server import RealNats

ROOT = Path(__file__).resolve().parents[2]
TURNS = 3

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
WATCH_ALL = ("watch", "--since", "25h", "--no-follow", "--json")


@contextmanager
def day(count: int) -> Iterator[str]:
    """A server that holds a day with so many events; its address."""
    with tempfile.TemporaryDirectory() as directory, RealNats(Path(directory)) as server:
        asyncio.run(store(server.url, day_of(count, now_utc())))
        yield server.url


def bare(code: str, url: str) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(code), url]


def verb(root: Path, words: Sequence[str], url: str) -> list[str]:
    return [sys.executable, str(root / "observe.py"), *words, "--nats-url", url]


def run(command: Sequence[str]) -> tuple[float, float]:
    """Run it to its end; return how many seconds it took, and the most memory in MB."""
    begun = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, code, used = os.wait4(child.pid, 0)
    assert code == 0, command
    return time.perf_counter() - begun, used.ru_maxrss / 1024


def first_line(command: Sequence[str]) -> tuple[float, float]:
    """Run it until it printed something, and end it; return as `run`."""
    begun = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert child.stdout and os.read(child.stdout.fileno(), 1)
    took = time.perf_counter() - begun
    child.kill()
    child.stdout.close()
    _, _, used = os.wait4(child.pid, 0)
    return took, used.ru_maxrss / 1024


def best(commands: dict[str, list[str]], measure: Any = run) -> dict[str, tuple[float, float]]:
    """Run these in turns; return the least time and the most memory of each."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(TURNS):
        for name, command in commands.items():
            found[name].append(measure(command))
    return {name: (min(took)[0], max(used for _, used in took)) for name, took in found.items()}


def row(name: str, ours: float, other: float, aim: str, beside: str) -> list[Any]:
    return [name, f"{ours:.2f}", f"{other:.2f}", f"{ours / other:.2f}", aim, beside]


def reading(count: int, other: Path | None = None) -> list[list[Any]]:
    """`watch` and `report` over a day with so many events, and the first row of a replay."""
    roots = {"this": ROOT, **({"other": other} if other else {})}
    with day(count) as url:
        everything = {f"watch {name}": verb(root, WATCH_ALL, url) for name, root in roots.items()}
        reports = {
            f"report {name}": verb(root, ("report", "--since", "25h"), url) for name, root in roots.items()
        }
        found = best({**everything, **reports, "bare": bare(BARE_READ, url)})
        replay = {f"first {name}": verb(root, ("watch",), url) for name, root in roots.items()}
        soon = best({**replay, "connect": bare(BARE_CONNECT, url)}, first_line)
    name = f"of a day with {count:,} events"
    rows = [
        row(f"watch --json {name}, seconds", found["watch this"][0], found["bare"][0], "≤ 1", "fetch(1000)"),
        row("first row of watch, seconds", soon["first this"][0], soon["connect"][0], "≤ 1.25", "connect"),
    ]
    for what, aim in (("watch", "≤ 0.45"), ("report", "≤ 0.67")):
        if other:
            ours, theirs = found[f"{what} this"], found[f"{what} other"]
            rows.append(row(f"{what} {name}, seconds", ours[0], theirs[0], aim, "the other checkout"))
            rows.append(row(f"{what} {name}, memory MB", ours[1], theirs[1], "1", "the other checkout"))
    return rows


if __name__ == "__main__":
    from tabulate import tabulate

    print(tabulate(reading(int(sys.argv[1]), *map(Path, sys.argv[2:]))))
