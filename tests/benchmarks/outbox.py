"""The outbox on a real file, beside SQLite alone: one storm stored, and taken to its end; many waiting."""

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from observe_lib.adapter.outbox import Outbox, OutboxEvent, Record
from observe_lib.adapter.seal import Sealed
from observe_lib.times import now_utc
from tests.benchmarks.running import ROOT, Rows, row

BODY, PAYLOAD = b"b" * 900, b"p" * 900
WINDOW = 1000

#: opens the file, takes a window and tells seconds and MB of it
OPEN = """
import json, sys, time
from pathlib import Path
from observe_lib.adapter.outbox import Outbox
begun = time.perf_counter()
outbox = Outbox.open(Path(sys.argv[1]), "host-a", takeover=False, say=print)
opened = time.perf_counter() - begun
for _ in range(20):
    outbox.take(outbox.take([], 1000, 256_000), 0, 0)
pages = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(json.dumps([opened, int(pages[0].split()[1]) / 1024 if pages else 0]))
"""


def storm_of(count: int, turn: int) -> tuple[list[Record], list[Sealed]]:
    """Return one comparison in which so many processes changed, each with a record and two events."""
    names = [f"default.worker-{number}" for number in range(count)]
    return [Record(name, turn, BODY) for name in names], [
        Sealed(name, f"core.process.{name}.{what}", f"host-a.{name}.{turn}.1760631979002", PAYLOAD)
        for name in names
        for what in ("started", "status_changed")
    ]


def opened(directory: str) -> Outbox:
    """Open the outbox of host-a."""
    return Outbox.open(Path(directory), "host-a", takeover=False, say=print)


def ours(count: int, rounds: int) -> tuple[float, float, float]:
    """Return the seconds of a commit, of all takes after it, and of one of them; the best of some rounds."""
    found = []
    with tempfile.TemporaryDirectory() as directory:
        outbox = opened(directory)
        for turn in range(rounds):
            records, events = storm_of(count, turn)
            begun = time.perf_counter()
            outbox.commit(records, events, now_utc())
            committed = time.perf_counter()
            done: list[OutboxEvent] = []
            takes = 0
            while taken := outbox.take(done, WINDOW, 10**9):
                done, takes = taken, takes + 1
            took = time.perf_counter() - committed
            found.append((committed - begun, took, took / takes))
        outbox.close()
    return tuple(map(min, zip(*found, strict=True)))


def bare(count: int, rounds: int) -> tuple[float, float]:
    """Return the same of two plain tables without an index: all stored, then read and deleted in windows."""
    found = []
    with tempfile.TemporaryDirectory() as directory:
        connection = sqlite3.connect(os.path.join(directory, "bare"), isolation_level=None)
        connection.execute("pragma journal_mode = wal").fetchall()
        connection.execute("pragma synchronous = normal")
        connection.execute("create table known (process text primary key, seq, body)")
        connection.execute(
            "create table outbox (id integer primary key, process, subject, message_id, payload)"
        )
        for turn in range(rounds):
            records, events = storm_of(count, turn)
            begun = time.perf_counter()
            connection.execute("begin")
            connection.executemany("replace into known values (?, ?, ?)", records)
            connection.executemany("insert into outbox values (null, ?, ?, ?, ?)", events)
            connection.execute("commit")
            committed = time.perf_counter()
            while rows := connection.execute(f"select * from outbox order by id limit {WINDOW}").fetchall():
                connection.execute("delete from outbox where id <= ?", (rows[-1][0],))
            found.append((committed - begun, time.perf_counter() - committed))
        connection.close()
    return min(one for one, _ in found), min(one for _, one in found)


def opening(waiting: int) -> tuple[float, float, float, float]:
    """Return seconds and peak MB of opening a file with so many events, and of one with none."""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-c", OPEN, directory]
        empty_s, empty = json.loads(subprocess.check_output(command, cwd=ROOT))
        outbox = opened(directory)
        for turn in range(max(1, waiting // 10_000)):
            outbox.commit([], storm_of(min(5000, waiting // 2), turn)[1], None)
        outbox.close()
    seconds, full = json.loads(subprocess.check_output(command, cwd=ROOT))
    return seconds, full, empty_s, empty


def outbox(count: int, waiting: int, rounds: int = 5) -> Rows:
    """Return the rows of the outbox beside SQLite alone."""
    commit, takes, take = ours(count, rounds)
    bare_commit, bare_takes = bare(count, rounds)
    seconds, full, empty_s, empty = opening(waiting)
    bare_take = bare_takes / max(1.0, 2 * count / WINDOW)
    what = f"outbox, {count:,} records and {2 * count:,} events"
    return [
        row(f"{what}: commit, seconds", commit, bare_commit, "SQLite", "≤ 2", 3),
        row(f"{what}: all taken, seconds", takes, bare_takes, "SQLite, first to last", "≤ 4", 3),
        row(f"outbox, {WINDOW:,} deleted and the next taken: ms", take * 1000, bare_take * 1000, "SQLite"),
        row(f"outbox opened with {waiting:,} waiting: seconds", seconds, empty_s, "none waiting", "", 3),
        row(f"outbox, {waiting:,} waiting: memory MB", full, empty, "none waiting", "", 0),
    ]
