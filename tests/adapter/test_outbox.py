"""What the outbox keeps, hands out and forgets, on real files; how a file is opened is test_outbox_file's."""

import sqlite3
import tracemalloc
from collections import defaultdict
from datetime import datetime, timedelta, timezone
from pathlib import Path
from random import Random

import pytest

from observe_lib.adapter import outbox as outbox_module
from observe_lib.adapter.outbox import Outbox, Record
from observe_lib.adapter.seal import Sealed
from observe_lib.errors import OutboxError
from observe_lib.times import format_time

NOW = datetime(2025, 10, 16, 16, 26, 18, 123000, tzinfo=timezone.utc)


def sealed(process: str, seq: int, size: int = 10) -> Sealed:
    """Return an event of so many bytes."""
    return Sealed(process, f"core.process.{process}.x", f"host-a.{process}.{seq}.{seq}", b"x" * size)


def opened(directory: Path) -> Outbox:
    """Open host-a's file; whoever hears a word of it fails."""

    def say(topic: str, text: str) -> None:
        raise AssertionError(text)

    return Outbox.open(directory, "host-a", takeover=False, say=say)


@pytest.fixture
def outbox(tmp_path):
    found = opened(tmp_path)
    yield found
    found.close()


def ids(events) -> list[str]:
    return [event.message_id.partition(".")[2].rpartition(".")[0] for event in events]


def test_what_is_known_and_what_waits_outlives_the_program(tmp_path):
    outbox = opened(tmp_path)
    assert (outbox.made, outbox.records(), outbox.last_good, outbox.waiting()) == (True, [], None, 0)
    records = [Record("d.a", 2, b"{}"), Record("d.b", 1, b"[]")]
    outbox.commit(records, [sealed("d.a", 1), sealed("d.a", 2)], NOW)
    outbox.close()
    outbox = opened(tmp_path)
    assert (outbox.made, outbox.last_good) == (False, NOW)
    assert sorted(outbox.records()) == [("d.a", 2, b"{}"), ("d.b", 1, b"[]")]
    (event,) = outbox.take([], 10, 1000)
    assert event[1:] == sealed("d.a", 1)
    outbox.close()


def test_records_are_replaced_and_removed(outbox):
    outbox.commit([Record("d.a", 1, b"1"), Record("d.b", 1, b"1")], [], None)
    outbox.commit([Record("d.a", 2, b"2"), Record("d.b", 1, None), Record("d.c", 0, None)], [], None)
    assert outbox.records() == [Record("d.a", 2, b"2")]
    assert outbox._meta("last_good") is None


@pytest.mark.parametrize("gone", ["sent", "dropped"])
def test_a_later_start_finds_that_something_was_sent(tmp_path, gone):
    for had_sent in (False, False, True, True):
        outbox = opened(tmp_path)
        assert outbox.had_sent == had_sent
        if outbox.made:
            outbox.commit([], [sealed("d.a", 1), sealed("d.a", 2)], None)
        elif gone == "sent":
            outbox.take(outbox.take([], 1, 1000), 0, 0)
        else:
            outbox.forget()
        outbox.close()


def test_of_each_process_one_at_a_time_in_turns(outbox):
    outbox.commit([], [sealed(f"d.{name}", seq) for name, seq in ("a1", "a2", "b1", "a3", "b2", "c1")], None)
    first = outbox.take([], 2, 1000)
    assert ids(first) == ["d.a.1", "d.b.1"]
    assert ids(outbox.take([], 9, 1000)) == ["d.c.1"]
    assert ids(outbox.take([first[1]], 9, 1000)) == ["d.b.2"]
    assert ids(outbox.take([first[0]], 9, 1000)) == ["d.a.2"]
    assert (outbox.waiting(), outbox.queue.count_of("d.a"), outbox.queue.size) == (4, 2, 40)


def test_bytes_are_limited_but_for_one_alone(outbox):
    sizes = [30, 50, 30, 200, 10]
    outbox.commit([], [sealed(f"d.{number}", 1, size) for number, size in enumerate(sizes)], None)
    assert [len(one.payload) for one in outbox.take([], 9, 100)] == [30, 50]
    assert [len(one.payload) for one in outbox.take([], 9, 100)] == [30]
    assert [len(one.payload) for one in outbox.take([], 9, 100)] == [200]
    assert [len(one.payload) for one in outbox.take([], 9, 10)] == [10]


def test_an_acknowledgement_twice_late_or_of_nothing_does_no_harm(outbox):
    outbox.commit([], [sealed("d.a", 1), sealed("d.a", 2), sealed("d.b", 1)], None)
    first, other = outbox.take([], 9, 1000)
    assert ids(outbox.take([first, first, first._replace(id=12345)], 9, 1000)) == ["d.a.2"]
    assert outbox.take([first], 9, 1000, [first]) == []
    assert ids(outbox.take([], 9, 1000, [other])) == ["d.b.1"]
    assert outbox.waiting() == 2


def test_an_event_is_cut_in_its_place(outbox, tmp_path):
    outbox.commit([], [sealed("d.a", 1, 900), sealed("d.b", 1, 5)], None)
    (event,) = outbox.take([], 1, 10**6)
    outbox.cut(event, b"small")
    outbox.cut(event._replace(id=99), b"none")
    assert outbox.queue.size == 10
    (smaller,) = outbox.take([], 1, 10**6, [event])
    assert smaller == event._replace(payload=b"small")
    outbox.take([smaller], 1, 10)
    assert outbox.queue.size == 5


def test_an_id_never_comes_again(tmp_path):
    seen = []
    for _ in range(3):
        outbox = opened(tmp_path)
        outbox.commit([], [sealed("d.a", 1)], None)
        (event,) = outbox.take([], 1, 100)
        outbox.take([event], 0, 0)
        seen.append(event.id)
        outbox.close()
    assert seen == sorted(set(seen))


@pytest.mark.parametrize("with_file, may_wait", [(True, 50_000), (False, 20_000)])
def test_how_much_may_wait_is_set(tmp_path, with_file, may_wait):
    directory = tmp_path if with_file else None
    outbox = Outbox.open(directory, "host-a", takeover=False, say=lambda *_: None, most_events=50_000)
    assert (outbox.most_events, outbox.most_bytes) == (may_wait, 50_000_000)
    outbox.close()


def test_when_too_much_waits(outbox, monkeypatch):
    monkeypatch.setattr(outbox_module, "MOST_OF_PROCESS", 2)
    outbox.most_events, outbox.most_bytes = 5, 100
    outbox.commit([], [sealed("d.a", 1), sealed("d.a", 2), sealed("d.b", 1)], None)
    assert (outbox.is_full("d.a"), outbox.is_full("d.b"), outbox.is_full()) == (True, False, False)
    outbox.commit([], [sealed("d.c", 1), sealed("d.d", 1)], None)
    assert outbox.is_full()
    (event, *_) = outbox.take([], 9, 1000)
    outbox.take([event], 0, 0)
    assert not outbox.is_full()
    assert not outbox.is_full("d.a")
    outbox.commit([], [sealed("d.e", 1, 80)], None)
    assert outbox.is_full()


def test_who_had_the_file(tmp_path):
    first = opened(tmp_path)
    first.close()
    second = opened(tmp_path)
    assert second.owner != first.owner
    assert [second.had_owner(one) for one in (first.owner, second.owner, "another")] == [True, True, False]
    second.close()


def test_the_last_good_reply_alone(outbox, tmp_path):
    outbox.commit([], [], NOW)
    outbox.touch(NOW + timedelta(seconds=10))
    outbox.close()
    again = opened(tmp_path)
    assert again.last_good == NOW + timedelta(seconds=10)
    again.close()


def test_forgetting_all_of_it(outbox):
    outbox.commit([Record("d.a", 1, b"1")], [sealed("d.a", 1), sealed("d.a", 2)], NOW)
    (event,) = outbox.take([], 9, 1000)
    assert outbox.forget() == 2
    assert (outbox.records(), outbox.waiting(), outbox.queue.size, outbox.take([], 9, 99)) == ([], 0, 0, [])
    outbox.commit([], [sealed("d.a", 1)], NOW)
    assert len(outbox.take([event], 9, 1000)) == 1  # the old one's acknowledgement is nobody's
    assert outbox.had_owner(outbox.owner)


def test_a_commit_is_whole_or_nothing(outbox, tmp_path):
    outbox.commit([Record("d.a", 1, b"1")], [sealed("d.a", 1)], NOW)
    other = sqlite3.connect(outbox.path)
    refuse = "when new.process = 'd.c' begin select raise(abort, 'no'); end"
    other.execute(f"create trigger t before insert on outbox {refuse}")
    later = NOW + timedelta(seconds=1)
    with pytest.raises(OutboxError, match=r"host-a\.sqlite cannot be used \(no\)") as caught:
        records = [Record("d.a", 2, b"2"), Record("d.z", 1, b"1")]
        outbox.commit(records, [sealed("d.a", 2), sealed("d.c", 1)], later)
    assert caught.value.hint
    assert (outbox.records(), outbox.waiting()) == ([Record("d.a", 1, b"1")], 1)
    assert outbox._meta("last_good") == format_time(NOW)
    other.execute("drop trigger t")
    other.close()
    outbox.commit([Record("d.a", 2, b"2")], [sealed("d.a", 2), sealed("d.c", 1)], later)
    assert ids(outbox.take([], 9, 100)) == ["d.a.1", "d.c.1"]


def test_a_deletion_that_fails_is_asked_for_again(outbox):
    outbox.commit([], [sealed("d.a", 1), sealed("d.a", 2), sealed("d.b", 1)], None)
    (event,) = outbox.take([], 1, 100)
    other = sqlite3.connect(outbox.path)
    other.execute("create trigger t before delete on outbox begin select raise(abort, 'no'); end")
    with pytest.raises(OutboxError):
        outbox.take([event], 9, 100)
    assert outbox.waiting() == 3
    other.execute("drop trigger t")
    other.close()
    assert ids(outbox.take([event], 9, 100)) == ["d.a.2", "d.b.1"]


def test_after_the_end_it_says_so(tmp_path):
    outbox = opened(tmp_path)
    outbox.commit([], [sealed("d.a", 1)], NOW)
    outbox.close()
    outbox.close()
    with pytest.raises(OutboxError, match="closed"):
        outbox.commit([], [sealed("d.a", 1)], NOW)
    with pytest.raises(OutboxError, match="closed"):
        outbox.take([], 1, 1)


def test_a_file_that_nothing_waits_in_becomes_small_again(tmp_path, monkeypatch):
    monkeypatch.setattr(outbox_module, "VACUUM_BYTES", 8_000_000)
    outbox = opened(tmp_path)
    outbox.commit([Record("d.a", 1, b"1")], [sealed(f"d.{n}", 1, 100_000) for n in range(150)], NOW)
    outbox.touch(NOW)
    large = outbox.path.stat().st_size
    done = outbox.take([], 999, 10**9)
    outbox.take(done[1:], 0, 0)
    outbox.touch(NOW)
    assert outbox.path.stat().st_size >= large > 8_000_000  # one waits still
    outbox.take(done[:1], 0, 0)
    outbox.touch(NOW)
    outbox.touch(NOW)
    assert outbox.path.stat().st_size < 8_000_000
    assert outbox.records() == [Record("d.a", 1, b"1")]
    outbox.close()


def test_memory_does_not_grow_with_what_waits(tmp_path):
    outbox = opened(tmp_path)
    for turn in range(4):
        outbox.commit([], [sealed(f"d.{n % 20}", turn * 5000 + n, 400) for n in range(5000)], None)
    outbox.close()
    tracemalloc.start()
    outbox = opened(tmp_path)
    for _ in range(50):
        outbox.take(outbox.take([], 1000, 256_000), 0, 0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert outbox.waiting() == 19_000
    assert peak < 500_000  # 8 MB wait
    outbox.close()


def test_any_history_as_a_plain_list_would_have_it(tmp_path):
    """Random commits, takes, acknowledgements, put-backs and new starts beside a list of what waits."""
    rng = Random(1410)
    outbox, model, taken, seqs = opened(tmp_path), [], {}, defaultdict(int)
    for _ in range(600):
        what = rng.random()
        if what < 0.4:
            events = []
            for _ in range(rng.randint(0, 4)):
                process = f"d.{rng.randint(0, 7)}"
                seqs[process] += 1
                events.append(sealed(process, seqs[process], rng.choice([1, 40, 400])))
            outbox.commit([], events, None)
            model += events
        elif what < 0.9:
            done = [event for event in taken if rng.random() < 0.6]
            for event in done:
                model.remove(taken.pop(event))
            count, size = rng.randint(0, 5), rng.choice([10, 100, 1000])
            busy = {one.process for one in taken.values()}
            oldest = {one.process: one for one in reversed(model)}
            heads = [one for one in model if one is oldest[one.process] and one.process not in busy][:count]
            expected = [one for n, one in enumerate(heads)
                        if not n or sum(len(each.payload) for each in heads[: n + 1]) <= size]  # fmt: skip
            found = outbox.take(done, count, size)
            assert [event[1:] for event in found] == expected
            taken |= dict(zip(found, expected, strict=True))
        elif what < 0.96:
            back = [event for event in taken if rng.random() < 0.5]
            assert outbox.take([], 0, 0, back) == []
            for event in back:
                del taken[event]
        else:
            outbox.close()
            outbox, taken = opened(tmp_path), {}
        assert outbox.waiting() == len(model)
        assert outbox.queue.size == sum(len(one.payload) for one in model)
        assert outbox.queue.count_of("d.3") == sum(one.process == "d.3" for one in model)
    outbox.close()
