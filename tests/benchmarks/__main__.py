"""How fast it is, as ratios within one run: `python -m tests.benchmarks [--quick]` prints a table.

Each figure stands beside the least that could be called the same job (a bare loop over nats-py, requests or
SQLite), or beside another checkout (`--beside PATH`), measured in the same run on the same machine. Nothing
here is a test: no figure fails anything.
"""

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tabulate import tabulate

from tests.benchmarks import growth, storm
from tests.benchmarks.detection import detection_rows
from tests.benchmarks.lives import help_of, known_start, quiet_poll, recovery
from tests.benchmarks.outbox import outbox
from tests.benchmarks.past import states_of
from tests.benchmarks.reading import reading
from tests.benchmarks.running import ROOT, Rows

HEADERS = ["what", "observe", "beside", "ratio", "aim", "beside is"]
PAGE = ROOT / "docs/performance.md"
INTRODUCTION = """\
# How fast it is

`python -m tests.benchmarks --markdown` writes this page. Each figure stands beside the least that could be
called the same job, or beside another checkout, in the same run on the same machine: look at the ratio.
Where a figure is a time or memory, less is better. In a storm all processes end within one poll, with two
events each.

Run with Python {python} on a machine of {cores} cores that other work shared, in {minutes:.0f} minutes: the
figures themselves say little, and a ratio near 1 nothing.{beside}
"""


def parts(quick: bool, other: Path | None) -> Iterator[tuple[str, Rows]]:
    """Yield a heading and its rows, as they are measured."""
    count, turns = (200, 1) if quick else (5000, 2)
    storms: Rows = []
    for crash, lines in ((False, 0), (True, 20)):
        if other:
            storms += storm.beside(other, count, crash, lines, rounds=turns)
        storms += storm.alone(count, crash, lines)
    yield "A storm", storms
    past = 4000 if quick else 100_000
    yield (
        "Reading",
        reading(past, other, turns) + states_of(200 if quick else 10_000) + help_of(2 * turns + 1),
    )
    yield "Its parts", outbox(count, 2 * count if quick else 100_000, 2 * turns) + detection_rows(count)
    yield "An outage, a start", recovery(count // 2, 1 if quick else 5) + known_start(2 * count)
    quiet: Rows = []
    for number in (20, 200) if quick else (20, 2000, 20_000):
        quiet += quiet_poll(number, 10 if quick or number > 10_000 else 60)
    yield "With more processes", quiet + growth.processes([200, 1000] if quick else [200, 2000, 20_000])
    yield "With more events", growth.events([1000] if quick else [1000, 10_000, 100_000], 1)
    yield "With more stacks", growth.stacks([1, 10] if quick else [1, 10, 100], turns)


def write_page(found: dict[str, Rows], other: Path | None, took_s: float) -> None:
    """Write docs/performance.md."""
    beside = ""
    if other:
        described = ["git", "-C", str(other), "rev-parse", "--short", "HEAD"]
        commit = subprocess.run(described, capture_output=True, text=True, check=True).stdout.strip()
        beside = f" The other checkout is commit {commit}."
    facts = {"python": platform.python_version(), "cores": os.cpu_count()}
    page = INTRODUCTION.format(**facts, minutes=took_s / 60, beside=beside)
    for heading, rows in found.items():
        table = tabulate(rows, headers=HEADERS, tablefmt="pipe", disable_numparse=True)
        page += f"\n## {heading}\n\n{table}\n"
    PAGE.write_text(page)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller numbers, to see that it works")
    parser.add_argument("--beside", metavar="PATH", type=Path, help="another checkout, run in turns")
    parser.add_argument("--markdown", action="store_true", help="write docs/performance.md")
    flags = parser.parse_args()
    begun, found = time.monotonic(), dict[str, Rows]()
    for heading, rows in parts(flags.quick, flags.beside and flags.beside.resolve()):
        found[heading] = rows
        print(f"{heading}, {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    if flags.markdown:
        write_page(found, flags.beside, time.monotonic() - begun)
    print(tabulate(sum(found.values(), []), headers=[one.upper() for one in HEADERS], disable_numparse=True))


if __name__ == "__main__":
    main()
