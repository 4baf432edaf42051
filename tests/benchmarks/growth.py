"""How cost grows: storms over the processes, replays over the events, `ps` over the stacks."""

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path

import nats

from observe_lib.broker.stream import StreamOptions, ensure_bucket, ensure_stream
from observe_lib.times import now_utc
from tests.benchmarks.past import day_of
from tests.benchmarks.reading import BARE_CONNECT, BARE_READ, WATCH_ALL, bare, best, day, verb
from tests.benchmarks.running import ROOT, Rows, row
from tests.benchmarks.storm import storm
from tests.fleet import bucket_of
from tests.nats_server import RealNats


def processes(counts: list[int]) -> Rows:
    """What an event costs in a storm of so many processes, beside the smallest storm."""
    found = {count: storm(ROOT, count, False, 0).cpu_s / (2 * count) * 1e6 for count in counts}
    first = found[counts[0]]
    name = f"the same with {counts[0]:,}"
    return [row(f"{n:,} end at once: CPU µs an event", cost, first, name, "", 0) for n, cost in found.items()]


def rows_of(took: dict[str, tuple[float, float]], of_what: str, beside_is: str) -> Rows:
    """Return seconds and memory of each command but "bare", beside that one's."""
    found: Rows = []
    bare_s, bare_mb = took["bare"]
    for what, (seconds, memory_mb) in took.items():
        if what != "bare":
            found.append(row(f"{what}, {of_what}: seconds", seconds, bare_s, beside_is))
            found.append(row(f"{what}, {of_what}: memory MB", memory_mb, bare_mb, beside_is, "", 0))
    return found


def events(counts: list[int], turns: int) -> Rows:
    """`watch` and `report` over a day with so many events, beside nats-py that reads them all."""
    found: Rows = []
    for count in counts:
        with day(count) as url:
            commands = {"watch": verb(ROOT, WATCH_ALL, url), "bare": bare(BARE_READ, url)}
            commands["report"] = verb(ROOT, ("report", "--since", "25h"), url)
            took = best(commands, turns=turns)
        found += rows_of(took, f"{count:,} events", "fetch(1000)")
    return found


async def store_rows(url: str, stacks: int, each: int) -> None:
    """Put the rows of so many stacks into the bucket."""
    client = await nats.connect(url)
    js = client.jetstream()
    await ensure_stream(js, StreamOptions())
    await ensure_bucket(js, StreamOptions())
    for stack in range(stacks):
        for number, event in enumerate(day_of(each, now_utc())):
            one = replace(event, stack=f"host-{stack}", process=f"p{number}", seq=1)
            for subject, payload in bucket_of(one).items():
                await js.publish(subject, payload)
    await client.close()


def stacks(counts: list[int], turns: int, each: int = 20) -> Rows:
    """`ps`, `report` over so many stacks of twenty processes, beside a connection that is made and closed."""
    found: Rows = []
    for count in counts:
        with tempfile.TemporaryDirectory() as directory, RealNats(Path(directory)) as server:
            asyncio.run(store_rows(server.url, count, each))
            commands = {
                "ps": verb(ROOT, ("ps", "--json"), server.url),
                "report": verb(ROOT, ("report", "--since", "1h"), server.url),
                "bare": bare(BARE_CONNECT, server.url),
            }
            took = best(commands, turns=turns)
        found += rows_of(took, f"{count} stack{'s' * (count > 1)} of {each}", "connect")
    return found
