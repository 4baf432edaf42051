import io
import json
import os
from datetime import datetime

import pytest

from observe_lib.cli import _parser
from observe_lib.commands.watch import (
    LIVE_LINE,
    TABLE_ROWS,
    WAITING_LINES,
    Screen,
    Selection,
    _look_for_reader,
    read_items,
    selection_of,
)
from observe_lib.errors import UsageError
from observe_lib.events import Event
from observe_lib.subjects import observer_subject
from observe_lib.text.output import Style, json_line
from observe_lib.times import UTC
from observe_lib.verbs import load_verb

NOW = datetime(2025, 10, 16, 12, tzinfo=UTC)


SCREEN = """
TIME      PROCESS           EVENT           DETAIL                                     (host-a, UTC)
--------  ----------------  --------------  --------------------------------------------------------
10:41:19  shop/api          crashed         exit 1
--- live (above: last event of each kind per process) ---
10:41:19  shop/api          restarted       restart 4, pid 5, after exit 1
"""


def make(event_type, process="shop/api", **fields):
    namespace, _, name = process.partition("/")
    return Event(event_type, name, namespace, "2025-10-16T10:41:19.000Z", **{"stack": "host-a", **fields})


def observe(event_type, process="process-compose", **fields):
    subject = observer_subject(process, event_type)
    return make(event_type, f"_observe/{process}", subject=subject, **fields)


class Run:
    """A screen on text: what was replayed, what came live, what it said on stderr."""

    def __init__(self, replay=(), live=(), as_json=False, **selection):
        self.out, self.notes = io.StringIO(), []
        style = Style(as_json=as_json, zone=UTC, now=lambda: NOW)
        self.screen = Screen(self.out, style, Selection(**selection), self.notes.append)
        for event in replay:
            self.screen.add(event)
        assert not self.out.getvalue()
        self.screen.live()
        for event in live:
            self.screen.add(event)
        self.screen.flush()

    @property
    def lines(self):
        return self.out.getvalue().splitlines()

    @property
    def shown(self):
        """Process and event of every row."""
        rows = [line.split() for line in self.lines if line[0].isdigit()]
        return [(process.removeprefix("shop/"), event) for _, process, event, *_ in rows]


def test_the_replay_is_a_table_and_what_follows_has_its_columns():
    run = Run(
        [make("crashed", exit_code=1)], [make("restarted", restarts=4, state={"pid": 5, "exit_code": 1})]
    )
    assert "\n".join(["", *run.lines, ""]) == SCREEN
    assert not run.notes


def test_nothing_stored_yet():
    assert Run().lines == ["--- live (nothing is stored yet) ---"]
    assert Run(processes=("x",)).lines == ["--- live (nothing that matches is stored yet) ---"]
    assert Run(new=True).lines == ["--- live ---"]
    assert Run([], [make("started")]).shown == [("api", "started")]


def test_one_change_is_one_row():
    events = [make("crashed", exit_code=1), make("status_changed", companion=True)]
    assert Run(events, events).shown == [("api", "crashed")] * 2
    assert len(Run(events, events, companions=True).shown) == 4


def test_json_is_each_event_as_stored_and_nothing_else():
    event = make("crashed", exit_code=1, state={"name": "api", "new": [1, None]}, extra={"later": "\x1b☃"})
    companion = make("status_changed", companion=True)
    run = Run([event, companion], [event], as_json=True, companions=True)
    assert [json.loads(line) for line in run.lines] == [e.to_dict() for e in (event, companion, event)]
    assert run.lines[0].endswith('"later":"\\u001b☃"}')


def test_live_shows_the_observer_too():
    assert Run([], [observe("healthy")]).shown == [("_observe/process-compose", "healthy")]


def test_an_unknown_type_shows():
    assert Run([make("throttled")], [make("throttled")]).shown == [("api", "throttled")] * 2


def test_stored_bytes_are_passed_on_where_they_are_one_line_that_may_be_printed():
    plain = b' {"type": "crashed", "count": 1, "process": "\xc3\xa9\\u001b"}'
    others = {
        "two lines": b'{"type":\n"crashed"}',
        "a tab": b'{"type":\t"crashed"}',
        "a return": b'{"type":"crashed"}\r',
        "C1": b'{"type":"crashed","x":"\xc2\x9b"}',
        "delete": b'{"type":"crashed","x":"\x7f"}',
        "turns text round": '{"type":"crashed","x":"\u202e"}'.encode(),
        "a byte order mark": b'\xef\xbb\xbf{"type":"crashed"}',
        "unknown bytes": b"",
    }
    run = Run(as_json=True)
    for payload in (plain, *others.values()):
        run.screen.add(make("crashed"), payload)
    run.screen.flush()
    assert run.lines == [plain.decode(), *[json_line(make("crashed").to_dict())] * len(others)]


def test_a_long_replay_comes_row_by_row_below_its_first_rows():
    out = io.StringIO()
    screen = Screen(out, Style(zone=UTC, now=lambda: NOW), Selection(), print)
    for number in range(TABLE_ROWS + WAITING_LINES):
        screen.add(make("started", f"shop/{number}"))
    assert out.getvalue().count("started") > TABLE_ROWS
    screen.live()
    lines = out.getvalue().splitlines()
    assert len(lines) == 2 + TABLE_ROWS + WAITING_LINES + 1
    assert lines[-1] == LIVE_LINE


def test_severity_is_a_lower_bound_and_an_unknown_one_is_loud():
    events = [make("crashed"), make("started"), make("unhealthy"), make("odd", severity="fatal")]
    assert [e for _, e in Run(events, severity="warning").shown] == ["crashed", "unhealthy", "odd"]


@pytest.mark.parametrize(
    ("selection", "notes"),
    [
        ({"processes": ("api", "shop/*", "default/api")}, ["no process matches 'default/api' yet; waiting"]),
        ({"processes": ("x",), "types": ("crashed",)}, ["no event that you want of 'x' yet; waiting"]),
        ({"processes": ("x",), "new": True}, []),
        ({"processes": ("x",), "count": 1}, []),
        ({}, []),
    ],
)
def test_a_name_that_nothing_has_is_said_once(selection, notes):
    assert Run([make("started")], [make("started")], **selection).notes == notes


@pytest.mark.parametrize(("count", "rows", "live_line"), [(1, 1, 0), (2, 2, 0), (3, 3, 1), (4, 4, 1)])
def test_count_ends_it(count, rows, live_line):
    run = Run(
        [make("crashed"), make("status_changed", companion=True), make("started")],
        [make("stopped")] * 2,
        count=count,
    )
    assert len(run.shown) == rows
    assert run.lines.count(LIVE_LINE) == live_line
    assert run.screen.is_full


class Source:
    """A subscription that has these batches, then nothing."""

    def __init__(self, *batches):
        self.batches = list(batches)

    def read(self, timeout_s):
        return [(event, None) for event in self.batches.pop(0)] if self.batches else []


class Out(io.StringIO):
    flushed = ""

    def flush(self):
        self.flushed = self.getvalue()


def test_what_came_is_flushed_as_soon_as_nothing_waits():
    out = Out()
    screen = Screen(out, Style(zone=UTC, now=lambda: NOW), Selection(), print)
    screen.live()
    items = read_items(Source([make("started")], [], [make("stopped")]), screen)
    screen.add(next(items)[0])
    screen.add(next(items)[0])
    assert "  started" in out.flushed and "  stopped" not in out.flushed


def test_an_idle_watch_notices_that_nobody_reads():
    read, write = os.pipe()
    with os.fdopen(write, "w") as out:
        _look_for_reader(out)
        os.close(read)
        with pytest.raises(BrokenPipeError):
            _look_for_reader(out)


def test_it_reads_no_further_when_the_screen_is_full():
    source = Source([make("started")] * 3, [make("started")])
    screen = Screen(Out(), Style(zone=UTC, now=lambda: NOW), Selection(count=2), print)
    screen.live()
    for item, _ in read_items(source, screen):
        screen.add(item)
    assert screen.is_full and len(source.batches) == 1


def select(*words):
    return selection_of(vars(_parser("watch", load_verb("watch")).parse_args(words)))


def test_flags():
    assert select() == Selection()
    assert select("api", "--process", "shop/*").processes == ("api", "shop/*")
    assert select("--type", "crashed,stopped", "--type", "healthy").types == ("crashed", "stopped", "healthy")
    assert select("--exclude-type", "status_changed").exclude_types == ("status_changed",)
    assert select("--type", "crashed,stopped", "--exclude-type", "stopped").types == ("crashed",)
    assert select("--severity", "error").severity == "error"
    assert (select("-v").companions, select("--json").companions) == (True, True)
    assert (select("--count", "3").count, select("--new").new, select("--stack", "s").stack) == (3, True, "s")


@pytest.mark.parametrize(
    "words",
    ["--type=exploded", "--type=", "--exclude-type=x", "--severity=loud", "--stack=", "--count=0",
     "--process=", "--type=crashed --exclude-type=crashed", "--json -o table", "-v -q", "--color=pink",
     "-o xml", "--typ crashed"],
)  # fmt: skip
def test_nonsense(words):
    with pytest.raises(UsageError) as caught:
        select(*words.split())
    assert caught.value.hint
    with pytest.raises(UsageError):
        select("")
