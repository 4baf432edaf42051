"""The end of a log: cut, cleaned, laid to a crash, and never in anybody's way."""

import asyncio
import threading
import time

import pytest

from observe_lib.adapter.observer import observer_change
from observe_lib.compose import logs as tails_module
from observe_lib.compose.logs import Tails, cut_log
from observe_lib.detect.changes import Change
from observe_lib.errors import ComposeError
from observe_lib.events import Event, Key
from observe_lib.times import now_utc

MOMENT = "2026-01-05T12:00:00.000Z"
PROBE = "Error: readiness check fail - exit status 1"


def change_of(*types: str, name: str = "web", needs_log: bool = False, **fields) -> Change:
    events = tuple(Event(kind, name, "default", MOMENT, observed_at=MOMENT, **fields) for kind in types)
    return Change(Key("default", name), events, None, needs_log)


def settle_all(tails: Tails, *changes: Change) -> list[Change]:
    async def run() -> list[Change]:
        return list(await asyncio.gather(*(tails.settled(change) for change in changes)))

    try:
        return asyncio.run(run())
    finally:
        tails.stop()


def answering(lines):
    return [lambda name, count: lines[-count:]]


@pytest.mark.parametrize(
    "change, lines, wanted",
    [
        (change_of("crashed"), 20, True),
        (change_of("crashed"), 0, False),
        (change_of("unhealthy"), 1, True),
        (change_of("stopped", "started"), 20, False),
        (change_of("stopped", needs_log=True), 20, True),
        (change_of("stopped", needs_log=True), 0, True),  # to tell a stop from a probe's kill
        (observer_change("process-compose", "unhealthy", now_utc()), 20, False),
    ],
    ids=lambda found: (
        "+".join(event.type for event in found.events) if isinstance(found, Change) else repr(found)
    ),
)
def test_which_changes_wait_for_a_log(change, lines, wanted):
    tails = Tails(answering([]), lines)
    assert tails.wants(change) == wanted
    tails.stop()


def test_the_last_lines_are_laid_to_a_crash_and_to_unhealthy_and_to_nothing_else():
    change = change_of("stopped", "crashed", "restarted", "unhealthy", "status_changed")
    (settled,) = settle_all(Tails(answering(["one", "two", "three"]), 2), change)
    assert [event.log_tail for event in settled.events] == [
        None,
        ["two", "three"],
        None,
        ["two", "three"],
        None,
    ]


def test_none_are_laid_where_none_are_wanted_or_there():
    (settled,) = settle_all(
        Tails(answering([PROBE]), 0), change_of("stopped", needs_log=True, reason="requested")
    )
    assert [(event.type, event.reason, event.log_tail) for event in settled.events] == [
        ("crashed", "probe", None)
    ]
    (settled,) = settle_all(Tails(answering([]), 20), change_of("crashed"))
    assert settled.events[0].log_tail is None


@pytest.mark.parametrize(
    "lines, laid",
    [
        (["in use", "\n", "mine", "more"], ["mine", "more"]),
        (["one", "\n", "two", "\n", "three"], ["three"]),
        (["in use", "\n"], None),  # it said nothing: the words are another run's
        (["", ""], None),
        (["mine", "", "more", ""], ["mine", "", "more", ""]),
    ],
)
def test_a_crash_has_its_own_runs_last_words(lines, laid):
    (settled,) = settle_all(Tails(answering(lines), 20), change_of("crashed"))
    assert settled.events[0].log_tail == laid


@pytest.mark.parametrize("tail, told", [([PROBE], "crashed"), (["bye"], "stopped"), ([], "stopped")], ids=str)
def test_the_log_decides_between_a_probes_kill_and_a_stop(tail, told):
    change = change_of("stopped", "restarted", needs_log=True, reason="requested")
    (settled,) = settle_all(Tails(answering(tail), 20), change)
    assert settled.events[0].type == told and not settled.needs_log


def test_enough_lines_are_asked_for_to_find_the_probes_line():
    asked = []

    def ask(name, count):
        asked.append((name, count))
        return []

    change = change_of("stopped", needs_log=True, reason="requested")
    settle_all(Tails([ask], 1), change)
    settle_all(Tails([ask], 40), change)
    assert asked == [("web", 5), ("web", 40)]


@pytest.mark.parametrize(
    "error",
    [ComposeError("connection refused", kind="refused"), AttributeError("a library's fault")],
    ids=repr,
)
def test_no_log_no_tail_but_the_event_all_the_same(error):
    def fail(name, count):
        raise error

    change = change_of("crashed")
    assert settle_all(Tails([fail], 20), change) == [change]


def test_a_slow_log_delays_its_own_event_within_a_bound_and_no_other(monkeypatch):
    """Four hang, which are all that ask at once; neither they nor those behind them wait longer than 1 s."""
    monkeypatch.setattr(tails_module, "LOG_WITHIN_S", 0.3)
    release = threading.Event()
    done = {}

    def ask(name, count):
        if name.startswith("slow"):
            release.wait(30)
        return [name]

    async def run() -> None:
        async def one(name: str) -> None:
            settled = await tails.settled(change_of("crashed", name=name))
            done[name] = time.monotonic() - begin, settled.events[0].log_tail

        tails, begin = Tails([ask] * 4, 20), time.monotonic()
        names = ["quick", *(f"slow{number}" for number in range(8)), "late"]
        await asyncio.gather(*map(one, names))
        tails.stop()

    try:
        asyncio.run(run())
    finally:
        release.set()
    assert done["quick"][1] == ["quick"] and done["quick"][0] < 0.3
    assert all(done[name][1] is None for name in done if name.startswith("slow"))
    assert max(seconds for seconds, _ in done.values()) < 3


def test_one_that_asks_is_never_asked_twice_at_a_time():
    busy = [threading.Lock(), threading.Lock()]

    def asking(lock):
        def ask(name, count):
            assert lock.acquire(blocking=False)
            time.sleep(0.005)
            lock.release()
            return [name]

        return ask

    changes = [change_of("crashed", name=f"p{number}") for number in range(20)]
    settled = settle_all(Tails([asking(lock) for lock in busy], 20), *changes)
    assert [change.events[0].log_tail for change in settled] == [[f"p{number}"] for number in range(20)]


# --- cutting and cleaning ---


@pytest.mark.parametrize(
    "lines, limit, kept",
    [
        (["a", "b"], 100, ["a", "b"]),
        ([], 100, []),
        (["aaa", "bbb", "ccc"], 7, ["bbb", "ccc"]),  # line breaks count
        (["aaa", "bbb", "ccc"], 6, ["ccc"]),
        (["a" * 20], 8, ["a" * 8]),  # one alone is cut to its end
        (["x", "a" * 20], 8, ["a" * 8]),
        (["a" * 20, "x"], 8, ["x"]),
        (["ü" * 10], 7, ["ü" * 3]),  # never within a letter
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
    (settled,) = settle_all(Tails(answering(lines), 1000), change_of("crashed"))
    tail = settled.events[0].log_tail
    assert tail == lines[-81:] and sum(len(line) + 1 for line in tail) <= 8192
    (settled,) = settle_all(Tails(answering(["y" * 10**6]), 20), change_of("crashed"))
    assert settled.events[0].log_tail == ["y" * 8192]


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
    (settled,) = settle_all(Tails(answering([line]), 20), change_of("crashed"))
    assert settled.events[0].log_tail == [plain]
