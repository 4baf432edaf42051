"""The verb demo, whole: what it shows, that its figures are true, and that nothing is left of it."""

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from observe_lib.demo.demo import Tally, tally_of
from observe_lib.events import Event
from tests.real_compose import BINARY, MISSING

ROOT = Path(__file__).resolve().parents[2]
SUMMARY = re.compile(
    r"demo: (\d+)s, (\d+) runs begun, (\d+) ended \((\d+) crashed\), (\d+) events stored, 0 lost; "
)
ON = [
    "stand-in",
    pytest.param("process-compose", marks=pytest.mark.skipif(bool(MISSING), reason=MISSING)),
]


class Demo:
    """A demo with a home and a directory for temporary files of its own, marked, and where it runs."""

    def __init__(self, directory: Path, on: str) -> None:
        self.mark = f"OBSERVE_TEST_DEMO={uuid.uuid4().hex}"
        self.temp, self.home = directory / "temp", directory / "home"
        self.temp.mkdir()
        self.home.mkdir()
        name, _, value = self.mark.partition("=")
        self._environ = {
            "HOME": str(self.home),
            "TMPDIR": str(self.temp),
            "PATH": "/usr/bin:/bin",
            name: value,
        }
        if on == "process-compose":
            self._environ["PROCESS_COMPOSE"] = str(BINARY)
        self.process: subprocess.Popen[str] | None = None

    def start(self, *flags: str) -> "subprocess.Popen[str]":
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "observe.py"), "demo", *flags],
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return self.process

    @staticmethod
    def key(row: str) -> "tuple[str, str] | None":
        """Return the process and the type of event that a row shows."""
        words = row.split()
        return (words[1], words[2]) if len(words) > 2 and words[1].startswith("demo/") else None

    def read_rows(self, wanted: "dict[tuple[str, str], int]") -> str:
        """Read rows until so many of each of these were shown; return them."""
        assert self.process and self.process.stdout
        shown, left = "", Counter(wanted)
        for line in self.process.stdout:
            shown += line
            left.subtract(filter(None, [self.key(line)]))
            if not +left:
                return shown
        raise AssertionError(f"not shown: {dict(+left)}")

    def left(self) -> list[str]:
        """Return the processes and files that are still there."""
        found = [str(path) for path in [*self.temp.iterdir(), *self.home.rglob("*")]]
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if self.mark.encode() in path.read_bytes():
                    found.append(path.with_name("cmdline").read_text().replace("\0", " "))
        return found

    def end(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if self.mark.encode() in path.read_bytes():
                    os.kill(int(path.parent.name), signal.SIGKILL)


@pytest.fixture(params=ON)
def demo(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Demo]:
    found = Demo(tmp_path, request.param)
    yield found
    found.end()


def test_it_shows_it_all_and_its_figures_are_true(demo):
    process = demo.start()
    shown = demo.read_rows(
        {
            **{(f"demo/{name}", "started"): 1 for name in ("web", "api", "crashloop", "migrate")},
            ("demo/worker", "started"): 2,
            ("demo/worker", "stopped"): 1,
            ("demo/migrate", "stopped"): 1,
            ("demo/api", "healthy"): 1,
            ("demo/api", "unhealthy"): 1,
            ("demo/crashloop", "crashed"): 2,
            ("demo/crashloop", "restarted"): 2,
        }
    )
    process.send_signal(signal.SIGTERM)
    rows, said = process.communicate(timeout=60)
    rows = shown + rows
    match = SUMMARY.search(rows)
    assert match and process.returncode == 0, rows + said
    seconds, begun, ended, crashed, stored = map(int, match.groups())
    seen = Counter(key for line in rows.splitlines() if (key := Demo.key(line)))
    runs = sum(count for (_, kind), count in seen.items() if kind in ("started", "restarted"))
    assert (begun, ended, crashed) == (runs, runs, seen["demo/crashloop", "crashed"])
    assert runs >= 8 and seconds >= 10 and stored > 25
    assert seen.keys() >= {("demo/web", "stopped"), ("demo/api", "stopped")}
    assert rows.endswith("nothing left behind\n")
    assert "5 real processes on" in said and re.search(
        r"in a second terminal: \S+ \S*observe.py watch --nats-url nats://", said
    )
    assert "out of luck" in rows and "found running" not in rows
    assert demo.left() == []


def test_it_ends_by_itself_after_so_many_seconds(demo):
    rows, said = demo.start("--seconds", "2").communicate(timeout=60)
    match = SUMMARY.search(rows)
    assert match and int(match[1]) >= 2 and demo.process.returncode == 0, rows + said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda one: one.name)
def test_a_signal_leaves_nothing(demo, number):
    process = demo.start()
    demo.read_rows({("demo/web", "started"): 1})
    process.send_signal(number)
    rows, said = process.communicate(timeout=60)
    assert process.returncode == 0 and SUMMARY.search(rows), rows + said
    assert demo.left() == []


def test_a_closed_terminal_leaves_nothing(demo):
    process = demo.start()
    demo.read_rows({("demo/web", "started"): 1})
    process.stdout.close()  # and so, what it prints in the end fails
    process.stderr.close()
    process.send_signal(signal.SIGHUP)
    process.wait(60)
    assert demo.left() == []


def test_a_second_ctrl_c_leaves_nothing(demo):
    process = demo.start()
    demo.read_rows({("demo/web", "started"): 1})
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode in (0, 130)  # it may have been that quick
    assert demo.left() == []


def test_its_reader_may_leave(demo):
    process = demo.start()
    demo.read_rows({("demo/web", "started"): 1})
    process.stdout.close()
    process.wait(60)
    assert demo.left() == []


def event(seq: int, event_type: str, process: str = "web", **fields: object) -> Event:
    return Event(event_type, process, "demo", "2026-01-01T00:00:00.000Z", seq=seq, **fields)


@pytest.mark.parametrize(
    ("stored", "journal", "expected"),
    [
        ([], [], Tally(0, 0, 0, 0, 0)),
        ([event(1, "started"), event(2, "stopped")], ["web 7 begins", "web 7 ends 0"], Tally(1, 1, 0, 2, 0)),
        ([event(1, "started"), event(2, "crashed")], ["web 7 begins", "web 7 ends 1"], Tally(1, 1, 1, 2, 0)),
        ([event(1, "started"), event(2, "stopped")], ["web 7 begins", "web 7 ends 1"], Tally(1, 1, 0, 2, 1)),
        ([event(1, "started")], ["web 7 begins"], Tally(1, 0, 0, 1, 1)),
        ([], ["web 7 begins", "web 7 ends 1"], Tally(0, 0, 0, 0, 3)),
        (
            [event(1, "started"), event(2, "crashed", count=2), event(3, "restarted")],
            ["web 7 begins", "web 7 ends 1", "web 8 begins", "web 8 ends 1"],
            Tally(2, 2, 2, 3, 0),
        ),
        ([event(1, "started"), event(3, "stopped")], ["web 7 begins"], Tally(1, 1, 0, 2, 1)),
        ([event(1, "started", "api"), event(2, "stopped", "api")], ["web 7 begins"], Tally(1, 1, 0, 2, 2)),
    ],
)
def test_what_is_stored_is_held_against_what_happened(stored, journal, expected):
    assert tally_of(stored, journal) == expected
