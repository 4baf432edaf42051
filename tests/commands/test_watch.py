import io
import json
import os
import threading
import time
import types
from datetime import datetime

import pytest

from observe_lib.cli import _parser
from observe_lib.commands.watch import (
    INBOX_SIZE,
    LIVE_LINE,
    Screen,
    Selection,
    _look_for_reader,
    _print_from,
    selection_of,
)
from observe_lib.errors import UsageError
from observe_lib.events import Event, observer_subject
from observe_lib.text.output import Style
from observe_lib.times import UTC
from observe_lib.verbs import load_verb

NOW = datetime(2025, 10, 16, 12, tzinfo=UTC)


SCREEN = """
TIME      PROCESS                   EVENT      DETAIL                                  (host-a, UTC)
--------  ------------------------  ---------  -----------------------------------------------------
10:41:19  shop/api                  crashed    exit 1
--- live (above: last event of each kind per process) ---
10:41:19  shop/api                  restarted  restart 4 after exit 1, pid 5
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


@pytest.mark.parametrize(
    ("replay", "selection", "shown"),
    [
        (["started"], {}, []),
        (["stopped", "started"], {}, []),
        (["unhealthy", "healthy"], {}, []),
        (["started", "unhealthy"], {}, ["unhealthy"]),
        (["unhealthy", "started", "stopped"], {}, ["stopped"]),
        (["started", "healthy"], {"processes": ("_observe/*",)}, ["started", "healthy"]),
    ],
)
def test_of_the_observer_only_bad_news_is_replayed(replay, selection, shown):
    run = Run([make("started"), *map(observe, replay), observe("stopped", "adapter")], **selection)
    assert [event for process, event in run.shown if process == "_observe/process-compose"] == shown
    assert ("_observe/adapter", "stopped") in run.shown or not selection


def test_live_shows_the_observer_too():
    assert Run([], [observe("healthy")]).shown == [("_observe/process-compose", "healthy")]


def test_an_unknown_type_shows():
    assert Run([make("throttled")], [make("throttled")]).shown == [("api", "throttled")] * 2


def test_of_two_stacks_sharing_a_name_the_newer_is_replayed():
    run = Run(
        [
            make("crashed"),
            make("stopped"),
            make("started", stack="host-b"),
            make("started", "a/b", stack="host-b"),
        ]
    )
    assert run.shown == [("api", "started"), ("a/b", "started")]
    assert run.notes == [
        "host-a and host-b both have shop/api: of such a name only the newer one's events are replayed"
    ]


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


def test_every_live_row_is_flushed():
    class Out(io.StringIO):
        flushed = ""

        def flush(self):
            self.flushed = self.getvalue()

    out = Out()
    screen = Screen(out, Style(zone=UTC), Selection(), print)
    screen.live()
    screen.add(make("started"))
    assert "started" in out.flushed


def test_an_idle_watch_notices_that_nobody_reads():
    read, write = os.pipe()
    with os.fdopen(write, "w") as out:
        _look_for_reader(out)
        os.close(read)
        with pytest.raises(BrokenPipeError):
            _look_for_reader(out)


def test_a_slow_screen_holds_the_subscription_back_and_lets_it_go_at_its_end():
    handed, stopped = [], threading.Event()

    class SlowOut(io.StringIO):
        def write(self, text):
            while len(handed) < INBOX_SIZE:
                time.sleep(0.01)
            return super().write(text)

    class Source:
        def subscribe(self, handler, on_live, **_):
            def hand_over():
                on_live()
                while not stopped.is_set():
                    handler(make("started"))
                    handed.append(1)

            self.thread = threading.Thread(target=hand_over)
            self.thread.start()
            return types.SimpleNamespace(stop=stopped.set)

    source, out = Source(), SlowOut()
    _print_from(source, Screen(out, Style(zone=UTC, now=lambda: NOW), Selection(count=1), print), 0)
    source.thread.join(5)
    assert not source.thread.is_alive()
    assert out.getvalue().count("started") == 1
    assert INBOX_SIZE <= len(handed) <= INBOX_SIZE + 3


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
