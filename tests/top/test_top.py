"""The live screen as text, at many sizes, and its keys; the real thing in a terminal: test_terminal.py."""

import re
import time
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from observe_lib.events import Event
from observe_lib.reader.board import Board, note_events
from observe_lib.reader.silences import Silence
from observe_lib.reader.states import States
from observe_lib.rows import Place
from observe_lib.text.output import text_width
from observe_lib.times import UTC
from observe_lib.top.screen import fit, render
from observe_lib.top.spans import Line
from observe_lib.top.view import ORDERS, SETTLE_S, View, linked, press
from tests.fleet import fleet, states_of, told

NOW = datetime(2026, 3, 1, 10, 43, 3, tzinfo=UTC)
LOG = ["starting", "bind: address already in use"]
API = Place("host-a", "shop", "api")


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


SHOP = [
    told("host-a", "shop/db", "started", 1, ago(200), initial=True),
    told("host-a", "default/flaky", "started", 1, ago(90), initial=True),
    told("host-a", "shop/api", "started", 1, ago(52), initial=True),
    told("host-a", "shop/migrate", "started", 1, ago(51)),
    told("host-a", "shop/migrate", "stopped", 2, ago(50), "Completed", exit_code=0, reason="completed"),
    told("host-a", "shop/db", "healthy", 2, ago(49), health="Ready"),
    told("host-a", "shop/api", "crashed", 2, ago(30), "Restarting", exit_code=1, restarts=1, reason="exit",
         run_seconds=1320.0, log_tail=LOG),
    told("host-a", "shop/api", "restarted", 3, ago(29.9), restarts=1),
    told("host-a", "shop/db", "unhealthy", 3, ago(6), health="Not Ready"),
    told("host-a", "default/flaky", "crashed", 2, ago(2), "Completed", exit_code=3, reason="exit",
         log_tail=LOG),
]  # fmt: skip


def view_of(events: list[Event], hosts: tuple[str, ...] = ("host-a",), **fields: object) -> View:
    leases = dict.fromkeys(hosts, {"owner": "x"})
    states = states_of(*events, leases=leases, beat_at=NOW - timedelta(seconds=3))
    recent = [event for event in events if event.seen_at >= "2026-03-01T09:43"]
    board = note_events(Board(), recent)
    view = View(NOW, states=states, board=board, url="nats://127.0.0.1:4222")
    return replace(view, **fields)  # type: ignore[arg-type]


def shop(**fields: object) -> View:
    return view_of(SHOP, **fields)


def crowd(number: int, **fields: object) -> View:
    hosts = ("host-a", "host-b")
    lives = fleet(number, NOW, hosts)
    return view_of(sorted(sum(lives.values(), []), key=lambda event: event.seen_at), hosts, **fields)


def text_of(view: View, width: int, height: int) -> list[str]:
    return [line_text(line) for line in render(view, width, height, UTC)]


def line_text(line: Line) -> str:
    """A line without its paint."""
    return "".join(span.text for span in line).rstrip()


def pressed(view: View, *keys: str, page: int = 5) -> View:
    view = fit(view, 80, 24)
    for key in keys:
        view = fit(press(view, key, page), 80, 24)
    return view


def names_of(view: View) -> list[str]:
    return [str(row.place) for row in view.listing.rows]


# --- how it looks ---

SCREENS = {
    (80, 16): """\
observe top  nats://127.0.0.1:4222                  1 stack, 1 adapter  10:43:03
4 processes  1 up  1 crashed  1 unhealthy  1 done  2 crashes/24h    0 events/min
   PROCESS          STATUS      HEALTH      PID      UP  RST CR/24H LAST HOUR
>× default/flaky    Completed 3 -             -       -    0      1 ▁▁▁▁▁▁▁▁▁▁▁█
 ! shop/db          Running     Not Ready  4003   3h20m    0      0 ▁▁▁▁▁▁▁▁▁▁▄▄
   shop/api         Running     -          4003  29m54s    1      1  ▁▁▁▁█▁▁▁▁▁▁
   shop/migrate     Completed 0 -             -       -    0      0  ···········
── events ─────────────────────────────────────────────── 1-4 of 4 by trouble ──
10:41:03  default/flaky  crashed    exit 3: bind: address already in use
10:37:03  shop/db        unhealthy  Not Ready
10:13:09  shop/api       restarted  pid 4003, 1 restart before
10:13:03  shop/api       crashed    exit 1 after 22m: bind: address already in …
09:54:03  shop/db        healthy    Ready
09:53:03  shop/migrate   stopped    exit 0
09:52:03  shop/migrate   started    pid 4001
/ filter   s sort   t events   Enter details   p pause   ? help   q quit""",
    (40, 10): """\
4 processes  1 crashed          10:43:03
   PROCESS          STATUS           UP
>× default/flaky    Completed 3       -
 ! shop/db          Running       3h20m
   shop/api         Running      29m54s
   shop/migrate     Completed 0       -
── events ─────── 1-4 of 4 by trouble ──
10:41:03 default/flaky crashed   exit 3…
10:37:03 shop/db       unhealthy Not Re…
Enter details  p pause  ? help  q quit""",
}
DETAILS = """\
shop/api on host-a
  last hour        ▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁█▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁
  status    Running
  run       pid 4003, up 29m54s, since 10:13:09
  health    -, without a probe
  restarts  1, and 1 crash in 24h

10:13:09  restarted  pid 4003, 1 restart before
10:13:03  crashed    exit 1 after 22m: bind: address already in use
09:51:03  started    pid 4001, found running

last crash, 10:13:03: exit 1 after 22m: bind: address already in use
  | starting
  | bind: address already in use"""


@pytest.mark.parametrize("size", SCREENS, ids=lambda size: f"{size[0]}x{size[1]}")
def test_it_looks_like_this(size):
    assert "\n".join(text_of(shop(), *size)) == SCREENS[size]


def test_the_details_look_like_this():
    lines = text_of(shop(mode="details", cursor=API), 80, 24)
    assert "\n".join(lines[2:]).partition("\n\n\n")[0] == DETAILS


@pytest.mark.parametrize("pid, restarts", [(7, 0), (4003, 99), (4_194_304, 12_345)])
def test_at_80_columns_pid_restarts_and_crashes_stay_whole(pid, restarts):
    view = shop()
    rows = {
        place: row._replace(pid=pid, restarts=restarts, exit_code=255)
        for place, row in view.states.rows.items()
    }
    _, _, titles, *lines = text_of(replace(view, states=replace(view.states, rows=rows)), 80, 24)
    assert {"STATUS", "HEALTH", "PID", "UP", "RST", "CR/24H"} <= set(titles.split())
    for line in lines[:3]:
        assert re.search(rf" {pid} .* {restarts} +\d", line), line
    assert "…" not in "".join(lines[:4])


SIZES = [(1, 1), (3, 2), (10, 4), (20, 5), (40, 10), (79, 24), (80, 24), (120, 30), (200, 50), (300, 80)]


@pytest.mark.parametrize("mode", ["list", "prompt", "details", "help"])
@pytest.mark.parametrize("number", [0, 3, 300])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_it_fills_every_size_and_never_more(size, number, mode):
    width, height = size
    view = crowd(number, mode=mode, cursor=None)
    view = replace(view, cursor=next(iter(sorted(view.states.rows)), None), filter="収" * (mode == "prompt"))
    for lost_at in (None, NOW):
        lines = render(replace(view, lost_at=lost_at), width, height)
        assert len(lines) == height
        assert max(columns_of(line) for line in lines) <= width


def columns_of(line: Line) -> int:
    return sum(text_width(span.text) for span in line)


def test_names_are_whole_before_the_last_event_has_a_column():
    view = view_of([*SHOP, told("host-a", "jobs/indexer-of-the-large-catalogue", "started", 1, ago(3))])
    for width in (100, 110, 120, 130, 140, 200):
        heading, *rows = text_of(view, width, 20)[2:8]
        assert ("jobs/indexer-of-the-large-catalogue" in "".join(rows)) or "LAST" not in heading, width
    assert "LAST HOUR" in heading and "LAST EVENT" in heading


def test_the_line_under_the_cursor_is_a_bar_across_the_screen():
    lines = render(pressed(shop(), "down"), 100, 20)
    bars = [line for line in lines if line and all("reverse" in span.paint for span in line)]
    assert [columns_of(line) for line in bars] == [100] and line_text(bars[0]).startswith(">! shop/db")


def test_two_thousand_processes_take_little_time():
    view, frames = crowd(2000), 10
    began = time.process_time()
    for second in range(frames):  # every second ages change, and with them nearly everything is made anew
        render(replace(view, now=NOW + timedelta(seconds=second)), 200, 50)
    assert (time.process_time() - began) / frames < 0.1


def test_colour_is_not_needed():
    marks = {line[1] for line in text_of(crowd(300), 120, 40)[3:20]}
    assert marks == {"×", "!", " "}


def test_ascii_only_is_possible():
    assert all(line.replace("…", ".").isascii() for line in text_of(shop(ascii=True), 110, 20))


def test_hostile_names_and_logs_cannot_move_the_cursor():
    bad = "\x1b[2J\r\n\u202e"
    events = [
        told("host\x1b-a", f"de{bad}fault/x{bad}", "started", 1, ago(3)),
        told("host\x1b-a", f"de{bad}fault/x{bad}", "crashed", 2, ago(2), f"Comp{bad}", log_tail=[bad]),
    ]
    place = next(iter(view_of(events).states.rows))
    for mode in ("list", "details", "prompt"):
        view = view_of(events, mode=mode, cursor=place, filter=bad if mode == "prompt" else "", note=bad)
        for line in render(view, 200, 30):
            assert all(span.text.isprintable() for span in line)


def test_a_silent_adapter_makes_its_rows_stale_and_says_so():
    view = shop(now=NOW + timedelta(seconds=60))
    lines = text_of(view, 80, 20)
    assert lines[2].startswith("host-a: no word from its adapter since 10:43:00 (1m3s)")
    assert lines[1].startswith("4 processes  4 stale") and "1 stack, 0 adapters" in lines[0]
    assert all(line.startswith((">?", " ?")) and " stale " in line for line in lines[4:8])


def test_a_stack_that_was_stopped_is_no_alarm():
    states = states_of(*SHOP, leases={"host-a": {"stopped": True}}, beat_at=NOW)
    view = shop(states=states)
    lines = text_of(view, 80, 20)
    assert lines[2].startswith("host-a: its adapter was stopped") and lines[1].startswith(
        "4 processes  4 ended"
    )
    assert {span.paint for span in render(view, 80, 20, UTC)[2]} == {"dim"}
    silent = shop(now=NOW + timedelta(seconds=60))
    assert {span.paint for span in render(silent, 80, 20, UTC)[2]} == {"bold yellow"}


def test_what_nobody_is_told_of_is_said_while_it_holds():
    first, last = Silence("shop/*", ago(-5), "deploy", "ops@host-a"), Silence("api", ago(-9), stack="host-a")
    states = replace(shop().states, silences=(Silence("old", ago(1)), last, first))
    lines = text_of(shop(states=states), 80, 20)
    assert lines[2] == "shop/* silent until 10:48:03 (ops@host-a: deploy) (and 1 more)"
    silent = text_of(shop(states=states, now=NOW + timedelta(seconds=60)), 80, 20)
    assert silent[2].startswith("host-a: no word"), "what may not hold is more"
    assert not any("silent" in line for line in text_of(shop(states=states, now=ago(-10)), 80, 20))


def test_a_lost_server_is_said_and_makes_nobody_silent():
    view = linked(shop(), False, NOW)
    later = linked(replace(view, now=NOW + timedelta(seconds=60)), False, NOW + timedelta(seconds=60))
    lines = text_of(later, 80, 20)
    assert lines[2] == "NATS is away since 10:43:03 (1m), trying again; all this is as of then"
    assert "1 stack, 1 adapter" in lines[0] and not any("stale" in line for line in lines)
    back = linked(later, True, later.now)
    assert not any("stale" in line or "away" in line for line in text_of(back, 80, 20))
    settled = linked(back, True, later.now + timedelta(seconds=SETTLE_S))
    assert any("stale" in line for line in text_of(settled, 80, 20)), "now it would have been heard of"


@pytest.mark.parametrize(
    "view, words",
    [
        (view_of([], ()), "nothing is known yet"),
        (shop(filter="nobody"), "no process matches 'nobody'"),
        (shop(patterns=("nobody",)), "no process matches what the command line names"),
    ],
)
def test_an_empty_screen_says_why(view, words):
    assert any(words in line for line in text_of(view, 80, 20))


def test_only_what_the_command_line_names_is_listed_counted_and_told():
    view = crowd(300, patterns=("shop/*",), stack="host-b")
    lines = text_of(view, 120, 24)
    assert lines[0].endswith("1 stack, 1 adapter  10:43:03") and lines[1].startswith("4 processes")
    assert {row.place.stack for row in pressed(view).listing.rows} == {"host-b"}
    assert {event.namespace for event in pressed(view).listing.events} == {"shop"}


# --- keys ---


def test_the_cursor_stays_on_its_process():
    view = pressed(shop(), "j", "j")
    assert view.cursor == API
    assert pressed(replace(view, order="name")).index == 1
    gone = replace(shop(), cursor=Place("host-a", "shop", "gone"), index=2)
    assert pressed(gone).cursor == API, "the place in the list is kept when the process is not there any more"


@pytest.mark.parametrize(
    "keys, index",
    [
        ((), 0),
        (("down",), 1),
        (("j", "k"), 0),
        (("up",), 0),
        (("page_down",), 13),
        (("page_down", "page_up"), 0),
        (("G",), 299),
        (("end", "up"), 298),
        (("end", "home"), 0),
        (("end", "g"), 0),
        (("x", "left", "", "resize"), 0),
    ],
    ids=str,
)
def test_moving(keys, index):
    view = pressed(crowd(300), *keys, page=13)
    assert view.index == index and view.offset <= index < view.offset + 13
    assert view.listing.rows[index].place == (view.cursor or view.listing.rows[0].place)


@pytest.mark.parametrize(
    "typed, names",
    [
        ("api", ["shop/api"]),
        ("SHOP", ["shop/db", "shop/api", "shop/migrate"]),
        ("shop running", ["shop/db", "shop/api"]),
        ("crashed", ["default/flaky"]),
        ("shop/*i", ["shop/api"]),
        ("host-a flaky", ["default/flaky"]),
        ("host-b", []),
    ],
)
def test_the_filter(typed, names):
    view = pressed(shop(), "/", *typed)
    assert view.mode == "prompt" and names_of(view) == names
    assert {str(event.key) for event in view.listing.events} >= set(names) or "running" in typed
    assert pressed(view, "enter").filter == typed
    assert pressed(view, "esc").filter == "", "Esc gives back what was there before"
    assert pressed(view, "enter", "/", "x", "esc").filter == typed
    assert pressed(view, "enter", "esc").filter == ""
    assert pressed(view, "backspace").filter == typed[:-1]
    assert pressed(view, "\x15", "backspace").mode == "list"
    assert pressed(shop(), "/", "q", "p", "?").filter == "qp?"


@pytest.mark.parametrize(
    "order, first",
    [
        ("trouble", "default/flaky"),
        ("name", "default/flaky"),
        ("up", "shop/db"),
        ("restarts", "shop/api"),
        ("crashes", "default/flaky"),
        ("last event", "default/flaky"),
    ],
)
def test_sorting(order, first):
    view = pressed(shop(), *["s"] * ORDERS.index(order))
    assert view.order == order and names_of(view)[0] == first
    assert f"by {order}" in "\n".join(text_of(view, 80, 24))
    assert pressed(view, "s", "S").order == order


def test_only_one_type_of_events():
    view = pressed(shop(), "T", "T", "T", "T")
    assert view.event_type == "crashed"
    assert [event.process for event in view.listing.events] == ["flaky", "api"]
    assert pressed(view, *["t"] * 4).event_type == "" == pressed(view, "esc").event_type


def test_details_and_help_scroll_and_go_back():
    view = pressed(shop(), "down", "down", "enter")
    assert view.mode == "details" and view.row is not None and str(view.row.place) == "shop/api"
    small = fit(press(view, "G", 5), 40, 10)
    assert text_of(small, 40, 10)[-2] == "  | bind: address already in use"
    assert fit(press(small, "k", 5), 40, 10).scroll == small.scroll - 1
    assert pressed(view, "esc").mode == "list" == pressed(view, "?", "?").mode
    assert pressed(view, "esc").cursor == API
    assert pressed(view, "q").mode == "quit"


def test_details_of_a_process_that_leaves_the_list():
    view = pressed(shop(), "/", *"exit", "enter")
    view = pressed(shop(filter="default"), "enter")
    assert view.row is not None and view.row.place.process == "flaky"
    assert pressed(replace(view, states=States())).mode == "details"
    assert "it is no more" in text_of(replace(view, states=States()), 80, 24)


def test_pause_is_said():
    view = pressed(shop(), "p")
    assert view.paused and text_of(view, 80, 24)[0].endswith("PAUSED 10:43:03")
    assert not pressed(view, "p").paused
