"""What the page's script computes without a document: its first part, run by node."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import observe_lib

NODE = shutil.which("node")
SCRIPT = (Path(observe_lib.__file__).parent / "web" / "page.js").read_text(encoding="utf-8")
FIRST_PART, MARK, _ = SCRIPT.partition("// === from here on")
HERE = Path(__file__).parent
#: half past five ahead of UTC all year, so that a day here is no day there
ZONE = "Asia/Kolkata"
#: 2026-03-02 10:00:00 there
PRESENT = 1772425800000
MINUTE, HOUR, DAY = 60, 3600, 86400

pytestmark = pytest.mark.skipif(NODE is None, reason="there is no node on PATH")

Call = Callable[..., Any]


def run_node(source: str) -> "subprocess.Popen[str]":
    command = [str(NODE), str(HERE / "page_functions.mjs")]
    pipe, environment = subprocess.PIPE, {**os.environ, "TZ": ZONE}
    node = subprocess.Popen(
        command, stdin=pipe, stdout=pipe, text=True, encoding="utf-8", env=environment, bufsize=1
    )
    assert node.stdin
    node.stdin.write(json.dumps(source) + "\n")
    return node


def calls_of(node: "subprocess.Popen[str]") -> Call:
    def call(function: str, *arguments: Any) -> Any:
        assert node.stdin and node.stdout
        node.stdin.write(json.dumps([function, *arguments]) + "\n")
        found = json.loads(node.stdout.readline())
        assert "error" not in found, found
        return found.get("result")

    return call


@pytest.fixture(scope="module")
def call() -> Iterator[Call]:
    """Call a function of the script's first part; the second is not there to lean on."""
    assert MARK
    with run_node(FIRST_PART) as node:
        yield calls_of(node)


def test_the_whole_script_begins_nothing_where_there_is_no_document():
    with run_node(SCRIPT) as node:
        assert calls_of(node)("() => [items.size, typeof start]") == [0, "function"]


# --- texts and times ---


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-5, "0s"),
        (0, "0s"),
        (59.999, "59s"),
        (MINUTE, "1m"),
        (MINUTE + 1, "1m1s"),
        (HOUR - 1, "59m59s"),
        (HOUR, "1h"),
        (HOUR + MINUTE - 1, "1h"),
        (HOUR + MINUTE, "1h1m"),
        (DAY - 1, "23h59m"),
        (DAY, "1d"),
        (DAY + HOUR - 1, "1d"),
        (400 * DAY + 23 * HOUR, "400d23h"),
    ],
)
def test_age(call, seconds, expected):
    assert call("age", seconds * 1000) == expected


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-03-02T04:30:00Z", "10:00:00"),
        ("2026-03-01T18:30:00Z", "00:00:00"),  # midnight there
        ("2026-03-01T18:29:59.9Z", "2026-03-01 23:59:59"),
        ("2026-03-02T18:29:59Z", "23:59:59"),
        ("2026-03-02T18:30:00Z", "2026-03-03 00:00:00"),
        ("2025-12-31T20:00:00+01:00", "2026-01-01 00:30:00"),
        (PRESENT, "10:00:00"),
        ("yesterday", "yesterday"),
        ("\x07", "\\u0007"),
    ],
)
def test_clock(call, moment, expected):
    assert call("clock", moment, PRESENT) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("api-1 ü 漢 😀", "api-1 ü 漢 😀"),
        (None, ""),
        (0, "0"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07", "\\u001b]0;title\\u0007"),
        ("a\rb\x00c\x7fd\x9be", "a\\u000db\\u0000c\\u007fd\\u009be"),
        ("abc\u202edcba", "abc\\u202edcba"),
        ("\u2066x\u2069\u200e\u061c\ufeff", "\\u2066x\\u2069\\u200e\\u061c\\ufeff"),
        ("\u2028", "\\u2028"),
        ("a\u200b\u200c\u200d\u00adb", "a\\u200b\\u200c\\u200d\\u00adb"),
        ("\u2060\u2061\u2062\u2063\u2064", "\\u2060\\u2061\\u2062\\u2063\\u2064"),
        ("\U000e0001\U000e0041\U000e0100", "\\U000e0001\\U000e0041\\U000e0100"),
        ("a\u00a0b\u3000c", "a\\u00a0b\\u3000c"),
        ("<img src=x>", "<img src=x>"),
    ],
)
def test_clean_spells_out_what_could_hide(call, value, expected):
    assert call("clean", value) == expected


def test_missing_values_are_empty_texts(call):
    assert call("() => [text(undefined), clean(undefined)]") == ["", ""]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("exit 3 after 4.0s", "exit 3 after 4.0s"),
        ("since \u20632026-03-02T04:30:00Z\u2063, pid 7", "since 10:00:00, pid 7"),
        (
            "between \u20632026-03-01T04:30:00Z\u2063 and \u20632026-03-02T04:30:01Z\u2063",
            "between 2026-03-01 10:00:00 and 10:00:01",
        ),
        ("\u2063no moment\u2063\x07", "no moment\\u0007"),
    ],
)
def test_moments_in_words_are_read_in_this_zone(call, said, expected):
    assert call("words", {"words": said}, PRESENT) == expected


def test_keys_and_names(call):
    place = {"stack": "host/a", "namespace": "shop", "process": "a b\x07", "row": "is more"}
    assert call("keyOf", place) == "host%2Fa/shop/a%20b%07"
    assert call("nameOf", place) == "shop/a b\\u0007"


# --- what the address holds ---

USUAL = {"q": "", "show": "", "type": "", "range": "1", "sort": "1", "view": "processes", "open": ""}


@pytest.mark.parametrize(
    ("search", "unusual"),
    [
        ("", {}),
        ("?q=shop%2F*+api&show=crashed", {"q": "shop/* api", "show": "crashed"}),
        ("?type=restarted&range=24&view=events", {"type": "restarted", "range": "24", "view": "events"}),
        ("?sort=-4&open=lab%2Fshop%2Fweb", {"sort": "-4", "open": "lab/shop/web"}),
        ("?sort=0", {"sort": "0"}),
        ("?sort=-0", {"sort": "-0"}),
    ],
)
def test_the_address_holds_the_view_and_gives_it_back(call, search, unusual):
    view = call("viewOf", search)
    assert view == USUAL | unusual
    assert call("viewOf", call("searchOf", view)) == view
    assert call("searchOf", view).count("=") == len(unusual)


@pytest.mark.parametrize(
    "search",
    [
        "?show=gone&type=x&range=2&sort=9&view=both",
        "?range=1&sort=1&view=processes",
        "?sort=1.0",
        "?sort=--1",
        "?no=such",
    ],
)
def test_what_the_address_cannot_hold_is_the_usual(call, search):
    assert call("viewOf", search) == USUAL
    assert call("searchOf", call("viewOf", search)) == ""


# --- what a row says ---


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"condition": "up", "status": "Running"}, "Running"),
        ({"condition": "crashed", "status": "Completed", "exit_code": 3}, "Completed 3"),
        ({"condition": "crashed", "status": "Completed", "exit_code": 0}, "Completed 0"),
        ({"condition": "crashed", "status": "Completed"}, "Completed"),
        ({"condition": "crashed", "status": "Error"}, "Error"),
        ({"condition": "flapping", "status": "Restarting", "exit_code": 1}, "flapping"),
        ({"condition": "idle", "status": "Scheduled", "exit_code": 0}, "Scheduled 0"),
        ({"condition": "up", "status": "Run\x07"}, "Run\\u0007"),
    ],
)
def test_status(call, row, expected):
    assert call("statusWords", row) == expected


@pytest.mark.parametrize(
    ("silence", "expected"),
    [
        ({"about": "adapter", "kind": "stopped"}, "its adapter was stopped"),
        (
            {"about": "adapter", "kind": "stopped", "since": "2026-03-02T04:00:00Z"},
            "its adapter was stopped, since 09:30:00",
        ),
        (
            {"about": "adapter", "kind": "silent", "since": "2026-03-02T04:00:00Z"},
            "no word from its adapter since 09:30:00",
        ),
        (
            {"about": "compose", "kind": "stopped", "since": "2026-03-02T04:00:00Z"},
            "its process-compose is gone since 09:30:00",
        ),
        ({"about": "compose", "kind": "silent"}, "its process-compose does not answer"),
        (
            {"about": "compose", "kind": "silent", "since": "2026-03-02T04:00:00Z", "error": "refused\x07"},
            "its process-compose does not answer since 09:30:00: refused\\u0007",
        ),
    ],
)
def test_silence(call, silence, expected):
    assert call("silenceWords", silence, PRESENT) == expected


def test_of_what_nobody_is_told(call):
    silence = {"pattern": "shop/*", "until": "2026-03-02T04:00:00Z", "who": "ops@a", "reason": "de\x07ploy"}
    assert call("untoldWords", silence, PRESENT) == " silent until 09:30:00 (ops@a: de\\u0007ploy)"
    bare = {**silence, "stack": "host-a", "who": "", "reason": ""}
    assert call("untoldWords", bare, PRESENT) == " on host-a silent until 09:30:00"


def test_rows_of_a_silent_stack_are_stale(call):
    silence, over = {"about": "adapter", "kind": "silent"}, {"about": "adapter", "kind": "stopped"}
    stacks = [{"name": "a"}, {"name": "b", "silence": silence}, {"name": "c", "silence": over}]
    silent = call("silencesOf", stacks)
    assert silent == {"b": silence, "c": over}
    rows = [{"stack": name, "condition": "up"} for name in "abc"]
    assert [call("conditionOf", row, silent) for row in rows] == ["up", "stale", "ended"]


@pytest.mark.parametrize(
    ("found", "silence", "expected"),
    [
        (
            {"status": "Running", "alive": True, "since": "S", "ended_at": "E"}
            | {"pid": 7, "restarts": 0, "crashes_24h": 2},
            None,
            {"Status": "Running", "Health": "no probe", "Up since": "S"}
            | {"Pid": 7, "Restarts": 0, "Crashes in 24 h": 2},
        ),
        (
            {"status": "Completed", "alive": False, "since": "S", "ended_at": "E", "exit_code": 0},
            None,
            {"Status": "Completed", "Health": "no probe", "Ended": "E", "Exit code": 0},
        ),
        (
            {"status": "Running", "reason": "", "state": {"has_ready_probe": True, "log_location": "/l"}},
            None,
            {"Status": "Running", "Health": "not known yet", "Log file": "/l"},
        ),
        (
            {"status": "Running", "health": "Ready", "state": {"has_ready_probe": True}},
            {"about": "adapter", "kind": "stopped"},
            {"Status": "ended: its adapter was stopped; it was Running", "Health": "Ready"},
        ),
        (
            {"status": "Running", "flapping": True},
            None,
            {"Status": "Running, flapping", "Health": "no probe"},
        ),
    ],
)
def test_facts(call, found, silence, expected):
    facts = call("factsOf", found, silence, PRESENT)
    assert [tuple(one) for one in facts] == list(expected.items())


# --- which rows and events are shown, and in which order ---


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", True),
        ("api", True),
        ("API", True),
        ("shop", True),
        ("hop/ap", True),
        ("lab", True),
        ("running", True),
        ("db", False),
        ("api lab", True),
        ("api db", False),
        ("  api   lab ", True),
        ("api-1", True),
        ("api-?", True),
        ("ap?", False),  # a pattern is for a whole text
        ("api*", True),
        ("shop/*", True),
        ("hop/*", False),
        ("*/api-1", True),
        ("other/api*", False),
        ("run*", True),
        ("api.*", False),  # all else in it is itself
        ("[a]pi*", False),
        ("(", False),
        ("!api", False),
        ("!db", True),
        ("!shop/*", False),
        ("!cron* run", True),
        ("api !lab", False),
        ("!", True),
        ("(*", False),
    ],
)
def test_filter(call, query, expected):
    texts = ["shop/api-1", "lab", "Running"]
    assert call("(query, texts) => matcher(query)(texts)", query, texts) is expected


def test_what_runs_again_and_again_is_one_line(call):
    def event(number: int, kind: str, process: str) -> dict[str, Any]:
        return {"id": number, "type": kind, "stack": "a", "namespace": "jobs", "process": process}

    cron = [event(9 - at, kind, "cron") for at in range(4) for kind in ("stopped", "started")]
    found = [*cron[:5], event(20, "crashed", "api"), *cron[5:], event(21, "started", "api")]
    found += [event(30 + at, "crashed", "db") for at in range(3)]
    told = call("events => folded(events)", found)
    assert [(one["process"], one["type"], times) for one, times in told] == [
        ("cron", "stopped", 4),
        ("cron", "started", 4),
        ("api", "crashed", 1),
        ("api", "started", 1),
        *[("db", "crashed", 1)] * 3,
    ]
    assert call("events => folded(events)", cron[:4]) == [[one, 1] for one in cron[:4]]


def test_only_a_pattern_without_a_slash_leaves_out_the_namespace(call):
    texts = ["shop/a/b"]
    found = [
        call("(query, texts) => matcher(query)(texts)", one, texts) for one in ("a?b", "a/b*", "shop/a/b*")
    ]
    assert found == [True, False, True]


def test_a_filter_takes_missing_texts_as_empty(call):
    assert call("() => ['x', '*'].map(query => matcher(query)(['a/b', undefined, null]))") == [False, True]


def item(key: str, stack: str = "a", since: int = 0, **row: Any) -> dict[str, Any]:
    usual = {"condition": "up", "health": "", "restarts": 0, "crashes_24h": 0}
    return {"key": key, "since": since, "row": usual | row | {"stack": stack}}


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("0", "one three two"),
        ("-0", "two three one"),
        ("1", "two one three"),  # crashed before stale before up
        ("-1", "three one two"),
        ("2", "three two one"),  # "", Not Ready, Ready
        ("-2", "one two three"),
        ("3", "two three one"),  # who is up for longest; who is not, last
        ("-3", "one three two"),
        ("4", "one two three"),
        ("-4", "three one two"),  # equal ones stay in the order of names
        ("5", "three two one"),
        ("-5", "one two three"),
    ],
)
def test_order_of_rows(call, sort, expected):
    items = [
        item("two", condition="crashed", since=100, health="Not Ready", crashes_24h=1),
        item("one", stack="silent", health="Ready", crashes_24h=3),
        item("three", since=200, restarts=10, health=None),
    ]
    found = call("inOrder", items, sort, {"silent": {}})
    assert " ".join(one["key"] for one in found) == expected


def test_conditions_are_counted_for_chips_and_title(call):
    rows = [item("a", condition=one) for one in ("up", "crashed", "up", "unhealthy")]
    counts = call("countConditions", [*rows, item("s", stack="b", condition="crashed")], {"b": {}})
    assert counts == {"up": 2, "crashed": 1, "unhealthy": 1, "stale": 1}
    assert call("titleOf", counts) == "(2) observe"
    assert call("titleOf", {"up": 3, "stale": 1}) == "observe"


@pytest.mark.parametrize(
    ("found", "known", "expected"),
    [
        ("", "", ""),
        ("abc", "", "cba"),
        ("abc", "cba", ""),
        ("bcde", "cba", "ed"),
        ("d", "cba", "d"),
    ],
)
def test_events_that_came_before_are_not_taken_again(call, found, known, expected):
    fresh = call("freshEvents", [{"id": one} for one in found], [{"id": one} for one in known])
    assert "".join(event["id"] for event in fresh) == expected


# --- timelines ---


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([], []),
        ([[0, 0]], [[100, 200, 0]]),  # the last one lasts
        ([[120, 0], [150, 3]], [[120, 150, 0], [150, 200, 3]]),
        ([[120, 0], [150, -1], [180, 1]], [[120, 150, 0], [180, 200, 1]]),
        ([[0, 0], [50, 3], [90, 0]], [[100, 200, 0]]),  # what was over before is left out
        ([[150, 0], [250, 3]], [[150, 200, 0]]),
        ([[300, 0]], []),
        ([[150, 3], [150, 0]], [[150, 150, 3], [150, 200, 0]]),  # an outage of no length is one
    ],
)
def test_spans(call, points, expected):
    assert call("spansOf", points, 100, 200) == expected


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([], []),
        ([[120, 150]], [[120, 150]]),
        ([[60, 150]], [[100, 150]]),
        ([[180, None]], [[180, 200]]),  # it has not ended
        ([[60, 90]], []),
        ([[210, 220]], []),
        ([[50, 150]], []),  # the page knows of nothing before that
        ([[10, None]], []),
    ],
)
def test_times_that_nobody_saw(call, times, expected):
    assert call("blindOf", times, 50, 100, 200) == expected


@pytest.mark.parametrize(
    ("spans", "blind", "expected"),
    [
        ([], [], {}),
        (
            [[0, 500, 0], [500, 1000, 2]],
            [],
            {"up": "M0.0 0h500.0v16h-500.0z", "down": "M500.0 7h500.0v2h-500.0z"},
        ),
        ([[500, 502, 2]], [], {"down": "M500.0 7h2.0v2h-2.0z"}),  # only trouble is made wider
        ([[500, 502, 0]], [], {"up": "M500.0 0h2.0v16h-2.0z"}),
        ([[500, 514, 3]], [], {"outage": "M500.0 0h14.0v16h-14.0z"}),
        ([[500, 513, 3]], [], {"outage": "M500.0 10h14.0v6h-14.0z"}),
        ([[100, 300, 1]], [[0, 200]], {"unhealthy": "M200.0 0h100.0v16h-100.0z", "blind": "M0.0 8H200.0"}),
        ([[150, 150, 3]], [[100, 200]], {"blind": "M100.0 8H200.0"}),
        ([[100, 200, 3]], [[50, 200]], {"blind": "M50.0 8H200.0"}),
        # a mark keeps to what was seen, and to the line
        ([[500, 502, 3]], [[502, 900]], {"outage": "M488.0 10h14.0v6h-14.0z", "blind": "M502.0 8H900.0"}),
        (
            [[503, 503, 1]],
            [[0, 500], [508, 600]],
            {"unhealthy": "M500.0 10h8.0v6h-8.0z", "blind": "M0.0 8H500.0M508.0 8H600.0"},
        ),
        ([[998, 1000, 3]], [], {"outage": "M986.0 10h14.0v6h-14.0z"}),
    ],
)
def test_paths_of_a_timeline(call, spans, blind, expected):
    found = call("linePaths", spans, blind, 0, 1000, 14)
    assert {name: path for name, path in found.items() if path} == expected


@pytest.mark.parametrize(
    ("spans", "blind", "hours", "expected"),
    [
        ([], [], 1, "nothing known in the last hour"),
        ([[0, 1000, 0]], [], 24, "100% up in the last 24 hours"),
        ([[0, 1999, 0], [1999, 2000, 2]], [], 6, "99.9% up in the last 6 hours"),
        ([[0, 9999, 0], [9999, 10000, 2]], [], 6, "99.9% up in the last 6 hours"),  # never rounded up to 100
        ([[0, 50, 1], [50, 100, 2]], [], 1, "50% up in the last hour"),  # unhealthy is up
        ([[0, 50, 3], [50, 100, 0], [100, 100, 3]], [], 1, "50% up in the last hour, 2 outages"),
        ([[0, 100, 0], [100, 200, 3]], [[50, 150]], 1, "50% up in the last hour, 1 outage"),
        ([[0, 100, 0], [100, 200, 3]], [[100, 200]], 1, "100% up in the last hour, 1 outage"),
    ],
)
def test_words_of_a_timeline(call, spans, blind, hours, expected):
    assert call("lineLabel", spans, blind, hours) == expected


@pytest.mark.parametrize(
    ("hours", "expected"),
    [
        (1, ["09:00", "09:15", "09:30", "09:45", "now"]),
        (6, ["04:00", "05:30", "07:00", "08:30", "now"]),
        (24, ["10:00", "16:00", "22:00", "04:00", "now"]),
    ],
)
def test_ticks(call, hours, expected):
    assert call("tickWords", PRESENT, hours) == expected
