"""`top` itself in a pseudo-terminal, against a real nats-server: what it draws, and what it leaves behind."""

import asyncio
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from observe_lib.times import now_utc
from tests.fleet import fleet, publish, store, told
from tests.nats_server import RealNats

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 20.0
CONTROL = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|[()][0AB]|[=>78M])|[\x0e\x0f\r]")
#: what xterm is told at the end: the other screen, and the cursor is seen
LEAVE, SHOW = "\x1b[?1049l", "\x1b[?25h"


class Tty:
    """A program in a terminal of its own that it controls, as in a window of a desktop."""

    def __init__(self, command: list[str], columns: int, lines: int, **environ: str) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(columns, lines)
        self.before = termios.tcgetattr(self.slave)
        self.output = ""
        env = {
            name: text for name, text in os.environ.items() if name not in ("NO_COLOR", "LINES", "COLUMNS")
        }
        env |= {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "TZ": "UTC", **environ}
        self.process = subprocess.Popen(
            command, stdin=self.slave, stdout=self.slave, stderr=self.slave, cwd=ROOT, env=env,
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def read(self, timeout_s: float = 0.05) -> str:
        """Take what was written; a terminal must be read, or its program stands still."""
        while self.master >= 0 and select.select([self.master], [], [], timeout_s)[0]:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                break
            self.output += data.decode("utf-8", "replace")
        return self.output

    def drawn_in(self, seconds: float) -> str:
        """Return what is written in the next seconds."""
        self.read()
        self.output, end = "", time.monotonic() + seconds
        while time.monotonic() < end:
            self.read()
        return self.output

    def screen(self) -> str:
        """Have everything drawn again, and return it as text."""
        self.read()
        self.output = ""
        self.press("\x0c")
        until(lambda: "observe top" in self.read() or "process" in self.output, "a screen")
        return CONTROL.sub("", self.read(0.15))

    def shows(self, *texts: str) -> bool:
        screen = self.screen()
        return all(text in screen for text in texts)

    def ended(self) -> int:
        """Return its exit code, when it is over."""
        until(lambda: self.read() is not None and self.process.poll() is not None, "the end")
        return int(self.process.returncode)

    def restored(self) -> bool:
        """Whether the terminal is as it was, and was told so."""
        return termios.tcgetattr(self.slave) == self.before and LEAVE in self.output and SHOW in self.output

    def close_window(self) -> None:
        os.close(self.master)
        self.master = -1

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for one in (self.master, self.slave):
            if one >= 0:
                os.close(one)


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, f"no {what} within {WAIT_S:.0f} s"
        time.sleep(0.02)


@contextmanager
def top_on(
    server: RealNats, columns: int = 80, lines: int = 24, *words: str, **environ: str
) -> Iterator[Tty]:
    command = [sys.executable, *(words or ("observe.py", "top")), "--nats-url", server.url]
    tty = Tty(command, columns, lines, **environ)
    try:
        yield tty
    finally:
        tty.end()


@pytest.fixture
def shop(nats_server: RealNats) -> RealNats:
    """A server on which three processes are known."""
    asyncio.run(store(nats_server.url, fleet(3, now_utc())))
    return nats_server


def test_it_shows_what_happens_and_takes_keys(shop):
    with top_on(shop) as tty:
        until(lambda: tty.shows("3 processes", "shop/api", "shop/db", "shop/worker"), "first screen")
        crash = told("host-a", "shop/worker", "crashed", 9, now_utc(), "Completed", exit_code=42,
                     reason="exit", log_tail=["out of luck"])  # fmt: skip
        asyncio.run(publish(shop.url, crash))
        until(lambda: tty.shows("exit 42", "out of luck", "1 crashed"), "crash")
        tty.press("/worker\r")
        until(lambda: tty.shows("1-1 of 1", "filter worker"), "filtered list")
        tty.press("\r")
        until(
            lambda: tty.shows("shop/worker on host-a", "last crash", "| out of luck", "found Ready"),
            "details",
        )
        tty.press("\x1b")
        tty.resize(40, 10)
        until(lambda: tty.shows("1-1 of 1 by trouble") and "observe top" not in tty.output, "small screen")
        tty.resize(200, 50)
        until(lambda: tty.shows("LAST EVENT", "observe top"), "large screen")
        tty.press("q")
        assert tty.ended() == 0 and tty.restored()


def test_only_what_changed_is_drawn(shop):
    with top_on(shop) as tty:
        until(lambda: tty.shows("3 processes", "PROCESS") and "reading" not in tty.output, "first screen")
        tty.drawn_in(1)
        assert 0 < len(tty.drawn_in(3)) < 1000, "the clock and three ages, not the whole screen"
        tty.press("p")
        until(lambda: tty.shows("PAUSED"), "pause")
        tty.drawn_in(0.5)
        assert tty.drawn_in(1.5) == "", "a paused screen stands still"


def test_the_server_goes_and_comes_back(shop):
    with top_on(shop) as tty:
        until(lambda: tty.shows("3 processes", "shop/api"), "first screen")
        shop.kill()
        until(lambda: tty.shows("NATS is away since", "shop/api"), "notice")
        shop.start()
        until(lambda: "away" not in tty.screen(), "end of the notice")
        asyncio.run(publish(shop.url, told("host-a", "shop/new", "started", 1, now_utc())))
        until(lambda: tty.shows("shop/new"), "new process")
        tty.press("q")
        assert tty.ended() == 0 and tty.restored()


BROKEN = """\
import sys
from observe_lib import cli
from observe_lib.top import command as top
def render(*_): raise RuntimeError("broken on purpose")
top.render = render
sys.exit(cli.main(["top", *sys.argv[1:]]))
"""


@pytest.mark.parametrize(
    "end, code",
    [
        (lambda tty: tty.press("q"), 0),
        (lambda tty: tty.press("\x03"), 130),
        (lambda tty: tty.process.send_signal(signal.SIGINT), 130),
        (lambda tty: tty.process.send_signal(signal.SIGTERM), 0),
        (lambda tty: tty.process.send_signal(signal.SIGHUP), 0),
        (lambda tty: tty.press("\x1c"), 0),
    ],
    ids=["q", "ctrl-c", "sigint", "sigterm", "sighup", "ctrl-backslash"],
)
def test_the_terminal_is_given_back(shop, end, code):
    with top_on(shop) as tty:
        until(lambda: tty.shows("3 processes"), "first screen")
        end(tty)
        assert tty.ended() == code and tty.restored()
        assert "Traceback" not in tty.output


def test_the_terminal_is_given_back_before_a_traceback(shop):
    with top_on(shop, 80, 24, "-c", BROKEN) as tty:
        assert tty.ended() == 1 and tty.restored()
        assert tty.output.index(LEAVE) < tty.output.index("broken on purpose")


DEAF = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + BROKEN.replace(
    "top.render = render", ""
)


@pytest.mark.parametrize("words", [(), ("-c", DEAF)], ids=["as ever", "deaf to SIGHUP"])
def test_it_ends_with_its_window(shop, words):
    with top_on(shop, 80, 24, *words) as tty:
        until(lambda: tty.shows("3 processes"), "first screen")
        tty.close_window()
        assert tty.ended() == 0


def test_without_colour_there_is_none(shop):
    with top_on(shop, NO_COLOR="1") as tty:
        until(lambda: tty.shows("3 processes"), "first screen")
        assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", tty.output)


@pytest.mark.parametrize(
    "term, words", [("dumb", "cannot place its cursor"), ("no-such", "of type 'no-such'")]
)
def test_a_terminal_that_cannot(nats_server, term, words):
    with top_on(nats_server, TERM=term) as tty:
        assert tty.ended() == 1 and words in tty.output


def test_without_a_terminal_it_says_what_to_use(nats_server):
    command = [sys.executable, "observe.py", "top", "--nats-url", nats_server.url]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.splitlines()[0] == "observe: top needs a terminal" and "ps" in done.stderr


def test_no_server_is_two_lines_and_no_screen(tmp_path):
    with top_on(RealNats(tmp_path)) as tty:
        assert tty.ended() == 1 and "\x1b[?1049h" not in tty.output and tty.output.startswith("observe: ")
