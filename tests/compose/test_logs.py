"""The log fetcher: the last run's last lines, cut, cleaned, and never in anybody's way."""

import threading
import time

import pytest

from observe_lib.compose import logs as logs_module
from observe_lib.compose.logs import LogFetcher, cut_log
from observe_lib.errors import ComposeError


class Asked:
    """One that is asked for logs: `ask(name, lines, timeout_s)` answers."""

    def __init__(self, ask):
        self.logs, self.closed = ask, False

    def close(self):
        self.closed = True


def fetch_all(asks, *names: str, lines: int = 20) -> list[list[str]]:
    fetcher = LogFetcher([Asked(ask) for ask in asks])
    try:
        return [fetched.result(30) for fetched in [fetcher.fetch(name, lines) for name in names]]
    finally:
        fetcher.stop()


def answering(lines):
    return [lambda name, count, timeout_s: lines[-count:]]


@pytest.mark.parametrize(
    "lines, kept",
    [
        (["in use", "\n", "mine", "more"], ["mine", "more"]),
        (["one", "\n", "two", "\n", "three"], ["three"]),
        (["in use", "\n"], []),  # it said nothing: the words are another run's
        (["", ""], ["", ""]),
        (["mine", "", "more", ""], ["mine", "", "more", ""]),
    ],
)
def test_a_run_has_its_own_last_words(lines, kept):
    assert fetch_all(answering(lines), "web") == [kept]


def test_so_many_lines_are_asked_for():
    asked = []

    def ask(name, count, timeout_s):
        asked.append((name, count))
        return []

    fetch_all([ask], "web", "a b", lines=5)
    assert asked == [("web", 5), ("a b", 5)]


@pytest.mark.parametrize(
    "error",
    [ComposeError("connection refused", kind="refused"), AttributeError("a library's fault")],
    ids=repr,
)
def test_no_log_no_tail_and_never_an_error(error):
    def fail(name, count, timeout_s):
        raise error

    assert fetch_all([fail], "web") == [[]]


def test_a_slow_log_delays_its_own_event_within_a_bound_and_no_other(monkeypatch):
    """Four hang, which are all that ask at once; neither they nor those behind them wait longer than 1 s."""
    monkeypatch.setattr(logs_module, "LOG_WITHIN_S", 0.3)
    release, bounds, done = threading.Event(), [], {}

    def ask(name, count, timeout_s):
        if name.startswith("slow"):
            bounds.append(timeout_s)
            release.wait(timeout_s)
            raise ComposeError("no answer", kind="timeout")
        return [name]

    def note(name, begin):
        return lambda fetched: done.update({name: (time.monotonic() - begin, fetched.result())})

    fetcher, begin = LogFetcher([Asked(ask) for _ in range(4)]), time.monotonic()
    names = ["quick", *(f"slow{number}" for number in range(8)), "late"]
    fetched = [fetcher.fetch(name, 20) for name in names]
    for name, one in zip(names, fetched, strict=True):
        one.add_done_callback(note(name, begin))
    for one in fetched:
        one.result(30)
    fetcher.stop()
    assert done["quick"][1] == ["quick"] and done["quick"][0] < 0.3
    assert all(done[name][1] == [] for name in done if name.startswith("slow"))
    assert max(seconds for seconds, _ in done.values()) < 3
    assert len(bounds) >= 4 and all(0 < timeout_s <= 0.3 for timeout_s in bounds)


def test_one_that_asks_is_never_asked_twice_at_a_time():
    busy = [threading.Lock(), threading.Lock()]

    def asking(lock):
        def ask(name, count, timeout_s):
            assert lock.acquire(blocking=False)
            time.sleep(0.005)
            lock.release()
            return [name]

        return ask

    names = [f"p{number}" for number in range(20)]
    assert fetch_all([asking(lock) for lock in busy], *names) == [[name] for name in names]


def test_who_was_asked_is_closed_at_the_end():
    clients = [Asked(lambda *_: []) for _ in range(3)]
    LogFetcher(clients).stop()
    assert all(client.closed for client in clients)


# --- cutting and cleaning ---


#: a line of 1,400 letters, cut in its middle
HALVES = "a" * 500 + " [… 400 letters …] " + "b" * 500


@pytest.mark.parametrize(
    "lines, limit, kept",
    [
        (["a", "b"], 100, ["a", "b"]),
        ([], 100, []),
        (["aaa", "bbb", "ccc"], 7, ["bbb", "ccc"]),  # line breaks count
        (["aaa", "bbb", "ccc"], 6, ["ccc"]),
        (["a" * 20, "x"], 8, ["x"]),
        (["a" * 1000], 2000, ["a" * 1000]),
        (["before", "a" * 700 + "b" * 700, "after"], 2000, ["before", HALVES, "after"]),
        (
            ["ü" * 600 + "ä" * 601],
            4000,
            ["ü" * 500 + " [… 201 letters …] " + "ä" * 500],
        ),
        (["a\r\n", "b\n", "c\r"], 100, ["a", "b", "c"]),
        (["\ud800 lone"], 100, ["? lone"]),
        (["", ""], 100, ["", ""]),
    ],
    ids=repr,
)
def test_cut(lines, limit, kept):
    assert cut_log(lines, limit) == kept


def test_8_kib_at_most():
    lines = [f"{number:04d} {'x' * 95}" for number in range(1000)]
    (tail,) = fetch_all(answering(lines), "web", lines=1000)
    assert tail == lines[-81:] and sum(len(line) + 1 for line in tail) <= 8192


def test_a_long_line_hides_none_before_it():
    lines = ["Traceback", "y" * 10**6]
    ((first, long),) = fetch_all(answering(lines), "web")
    assert first == "Traceback" and "999,000 letters" in long and long.startswith("y" * 500)


def test_of_a_log_that_is_too_large_fewer_lines_are_asked_for():
    asked = []

    def answer(name, lines, timeout_s):
        asked.append(lines)
        if lines > 1:
            raise ComposeError("sent more than 4 MiB at once", kind="too_large")
        return ["the last"]

    assert fetch_all([answer], "web") == [["the last"]]
    assert asked == [20, 5, 1]


@pytest.mark.parametrize(
    "line, plain",
    [
        ("\x1b[31mred\x1b[0m and \x1b[1;38;5;200mmore\x1b[m", "red and more"),
        ("\x1b[2J\x1b[H\x1b[?25lcleared\x1b[K", "cleared"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bMup \x1b(Bset", "up set"),
        ("\x1bP1;2qsixel\x1b\\after", "after"),
        ("\x1b7saved\x1b8", "saved"),
        ("cut off \x1b[3", "cut off "),
        ("bare \x1b", "bare "),
        ("\x9b31mc1\x9b0m", "c1"),
        ("50% [ok] tab\there", "50% [ok] tab\there"),
    ],
    ids=repr,
)
def test_ansi_is_removed(line, plain):
    assert fetch_all(answering([line]), "web") == [[plain]]
