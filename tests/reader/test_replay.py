"""What a replay is made of: names of several stacks, the observer's news, and the order of the stream."""

import pytest

from observe_lib.events import Event, observer_subject
from observe_lib.reader.feed import Mark
from observe_lib.reader.message import Message
from observe_lib.reader.replay import Replay, shared_names
from observe_lib.reader.subscription import Arrival, Wanted

AT = "2025-10-16T10:41:19.000Z"


def told(seq: int, kind: str, process: str = "api", stack: str = "a", observer: bool = False) -> Arrival:
    subject = observer_subject(process, kind) if observer else ""
    space = "_observe" if observer else "shop"
    event = Event(kind, process, space, AT, subject=subject, stack=stack, seq=seq)
    return event, Message(event.to_json(), "", seq)


def key(stack: str, name: str) -> str:
    return f"$KV.PROCESS_STATES.{stack}.{name}"


KEYS = [
    *(key(stack, name) for stack in ("a", "b") for name in ("shop.web", "shop.a=2Eb", "_observe.lease")),
    key("a", "shop.api"),
    key("b", "other.api"),
    key("c", "shop.web"),
]


@pytest.mark.parametrize(
    ("processes", "names"),
    [
        ((), {"shop.web", "shop.a=2Eb"}),
        (("web",), {"shop.web"}),
        (("shop/*", "!shop/x"), {"shop.web", "shop.a=2Eb"}),
        (("a.b",), {"shop.a=2Eb"}),
        (("api",), set()),
    ],
)
def test_which_names_several_stacks_have(processes, names):
    assert shared_names(KEYS, Wanted(processes)) == names


def merged(names: set[str], stored: list, feed: list, wanted: Wanted | None = None) -> list[object]:
    wanted = wanted or Wanted()
    replay = Replay(names, wanted)
    replay.take(stored)
    found = replay.merged(feed)
    return [(one.stack, one.type, one.seq) if isinstance(one, Event) else one for one, _ in found]


def test_each_stack_has_its_last_event_per_subject_in_stream_order():
    stored = [
        told(1, "started", "web", "a"),
        told(2, "started", "web", "b"),
        told(4, "crashed", "web", "a"),
        told(6, "started", "web", "b"),
    ]
    feed = [
        told(3, "started"),
        stored[2],
        told(5, "stopped"),
        stored[3],
        (Mark.LIVE, None),
        told(7, "crashed"),
    ]
    assert merged({"shop.web"}, stored, feed) == [
        ("a", "started", 1),
        ("a", "started", 3),
        ("a", "crashed", 4),
        ("a", "stopped", 5),
        ("b", "started", 6),
        Mark.LIVE,
        ("a", "crashed", 7),
    ]


def test_what_came_after_it_was_read_is_shown_as_it_comes():
    stored = [told(1, "started", "web", "a")]
    feed = [told(5, "started", "web", "b"), (Mark.LIVE, None), told(6, "started", "web", "a")]
    found = merged({"shop.web"}, stored, feed)
    assert found == [("a", "started", 1), ("b", "started", 5), Mark.LIVE, ("a", "started", 6)]


@pytest.mark.parametrize(
    ("kinds", "processes", "shown"),
    [
        (["started"], (), []),
        (["stopped", "started"], (), []),
        (["unhealthy", "healthy"], (), []),
        (["started", "unhealthy"], (), ["unhealthy"]),
        (["unhealthy", "started", "stopped"], (), ["stopped"]),
        (["started", "healthy"], ("_observe/*",), ["started", "healthy"]),
        (["unhealthy"], ("api",), []),
    ],
)
def test_of_the_observer_only_bad_news_is_replayed(kinds, processes, shown):
    wanted = Wanted(processes)
    source = [told(seq, kind, "process-compose", "a", True) for seq, kind in enumerate(kinds, 1)]
    feed = [*source, told(9, "started", "adapter", "a", True), (Mark.LIVE, None)]
    names = Replay((), wanted).subjects()
    stored = [one for one in source if any("process-compose" in name for name in names)]
    found = merged(set(), stored, feed, wanted)
    assert [kind for _, kind, seq in found[: found.index(Mark.LIVE)] if seq < 9] == shown


def test_bad_news_of_one_stack_stand_beside_good_ones_of_another():
    stored = [
        told(1, "unhealthy", "process-compose", "a", True),
        told(2, "unhealthy", "process-compose", "b", True),
        told(3, "healthy", "process-compose", "b", True),
    ]
    assert merged(set(), stored, [stored[1], stored[2], (Mark.LIVE, None)]) == [
        ("a", "unhealthy", 1),
        Mark.LIVE,
    ]


def test_live_shows_the_observer_too():
    feed = [(Mark.LIVE, None), told(4, "healthy", "process-compose", "a", True)]
    assert merged(set(), [], feed) == [Mark.LIVE, ("a", "healthy", 4)]
