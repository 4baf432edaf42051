"""Replies and messages compared with what is known, on a real outbox: what is told, kept, and waits."""

import json
import os
from datetime import timedelta

import pytest

from observe_lib.adapter import comparison as comparison_module
from observe_lib.adapter import outbox as outbox_module
from observe_lib.adapter import process_records as records_module
from observe_lib.adapter.record import process_token
from observe_lib.events import Event, EventType, Key
from observe_lib.times import format_time
from tests.adapter.bench import STACK, T0, Bench, Logs, ended, moment, running, state_of, stopping


@pytest.fixture(params=["memory", "file"])
def bench(request, tmp_path):
    bench = Bench(tmp_path if request.param == "file" else None)
    yield bench
    bench.outbox.close()


@pytest.fixture
def logged(tmp_path):
    bench = Bench(tmp_path, logs=Logs())
    yield bench
    bench.outbox.close()


def types(bench: Bench, process: str = "web") -> list[str]:
    return [event.type for event in bench.take() if event.process == process]


# --- the first look ---


def test_first_look_announces_what_was_there_before(bench):
    bench.reply(running("old", restarts=7), ended("once", pid=8), running("new", pid=9, began=1.0))
    found = {event.process: event for event in bench.take()}
    assert (found["old"].type, found["old"].initial, found["old"].seq) == ("started", True, 1)
    assert (found["once"].type, found["once"].initial) == ("status_changed", True)
    assert (found["new"].type, found["new"].initial) == ("started", False)


@pytest.mark.parametrize("skew_s, initial", [(0.0, False), (-3600.0, False), (3600.0, True)])
def test_what_is_new_is_a_matter_of_process_composes_clock(bench, skew_s, initial):
    """By our clock it began after we did; where process-compose's clock is ahead, it did not."""
    bench.reply(running("web", began=1.0), skew_s=skew_s)
    assert [event.initial for event in bench.take()] == [initial]


def test_a_start_that_was_killed_before_its_first_reply_leaves_the_first_look_to_the_next(tmp_path):
    first = Bench(tmp_path)
    assert first.comparison.records.tell("adapter", EventType.STARTED)
    second = first.again()
    second.reply(running("web", restarts=3))
    assert ("web", "started", "initial") in second.told()
    second.outbox.close()


def test_the_second_reply_is_no_first_look(bench):
    bench.reply(running("web"))
    bench.reply(running("web"), running("late", pid=8, began=-500.0))
    assert bench.told() == [("web", "started", "initial"), ("late", "started")]


def test_a_first_look_that_is_not_taken_is_a_first_look_again(bench):
    bench.refuses = True
    bench.reply(running("web", restarts=3))
    assert (bench.told(), bench.comparison.is_compared) == ([], False)
    bench.refuses = False
    bench.reply(running("web", restarts=3))
    assert bench.told() == [("web", "started", "initial")]


def test_a_first_look_waits_for_no_log(logged):
    """A kill meanwhile would have the next start count the past of what had no record yet."""
    logged.reply(running("sick", is_ready="Not Ready", has_ready_probe=True, restarts=7))
    assert not logged.logs.asked
    following = logged.again()
    following.reply(running("sick", is_ready="Not Ready", has_ready_probe=True, restarts=7))
    told = following.told()
    following.outbox.close()
    assert told == [("sick", "started", "initial"), ("sick", "unhealthy", "initial")]


# --- what a file remembers ---


def test_the_next_start_goes_on(tmp_path):
    first = Bench(tmp_path)
    first.reply(running("web"), running("gone", pid=8))
    assert len(first.take()) == 2
    first.comparison.records.tell("adapter", EventType.STARTED)
    second = first.again()
    second.clock.seconds = 1000.0
    assert second.comparison.records.observed("adapter").type == "started"
    second.reply(running("web", pid=9, began=990.0))
    events = second.take()
    assert [(one.process, one.type, one.seq) for one in events] == [
        ("adapter", "started", 1),
        ("web", "stopped", 2),
        ("web", "restarted", 3),
    ]
    assert events[1].extra["not_before"] == format_time(T0 + timedelta(seconds=2))
    second.outbox.close()


def test_what_waited_is_sent_by_the_next_start(tmp_path):
    first = Bench(tmp_path)
    first.reply(running("web"))
    first.reply(ended("web", code=3))
    second = first.again()
    assert second.told() == [("web", "started", "initial"), ("web", "crashed", "exit")]
    second.outbox.close()


def test_when_the_last_good_reply_was_is_kept_without_any_change(tmp_path):
    first = Bench(tmp_path)
    first.reply(running("web"))
    for seconds in (3, 6, 13, 15):
        first.clock.seconds = seconds
        first.comparison.records.note_good(first.clock())
    second = first.again()
    assert second.comparison.records.last_good == T0 + timedelta(seconds=13)  # every 10 s
    second.outbox.close()


def test_a_record_that_nobody_can_read_is_begun_anew_and_said(tmp_path):
    first = Bench(tmp_path)
    first.reply(running("web"), running("db", pid=8))
    first.take()
    first.outbox._connection.execute("update known set body = '{}' where process = 'default.web'")
    second = first.again()
    assert ["web" in line for line in second.said] == [True]
    second.reply(running("web"), running("db", pid=8))
    assert second.told() == [("web", "started")]
    second.outbox.close()


def test_forgetting_begins_anew(tmp_path):
    bench = Bench(tmp_path, logs=Logs())
    bench.reply(running("web"), running("db", pid=8), running("launching", pid=0))
    bench.reply(ended("web", code=3), running("db", pid=8), running("launching", pid=0))
    assert bench.comparison.records.look_again_s
    bench.comparison.records.tell("adapter", EventType.STARTED)
    waited = bench.outbox.waiting()
    assert (bench.comparison.forget(), waited > 0) == (waited, True)
    assert (
        bench.outbox.waiting(),
        bench.comparison.records.known,
        bench.comparison.records.look_again_s,
    ) == (0, {}, None)
    assert not bench.comparison.is_compared
    bench.logs.answer("too late")
    assert bench.outbox.waiting() == 0
    bench.reply(ended("web", code=3), running("db", pid=8))
    events = bench.take()
    assert {(one.process, one.type, one.initial, one.seq) for one in events} == {
        ("web", "status_changed", True, 1),
        ("db", "started", True, 1),
    }
    bench.outbox.close()


@pytest.mark.parametrize("later, initial", [(False, False), (True, True)])
def test_what_began_before_it_was_forgotten(bench, later, initial):
    """At a start it began after we did; later somebody else told of it."""
    bench.reply(running("web"))
    bench.reply(running("web"), running("new", pid=8, began=3.0, restarts=2))
    bench.comparison.forget(bench.clock() if later else None)
    bench.reply(running("web"), running("new", pid=8, began=3.0, restarts=2))
    found = [event for event in bench.take() if event.process == "new"]
    assert all(event.initial for event in found) == initial
    assert (len(found) == 1) == initial


# --- a server that does not know the stack ---


def test_restating_announces_what_is_alive_under_the_next_seq(bench):
    bench.reply(running("web", is_ready="Ready"), ended("once", pid=8))
    before = bench.take()
    bench.comparison.restate()
    events = bench.take()
    assert [(one.process, one.type, one.initial) for one in events] == [
        ("web", "started", True),
        ("web", "healthy", True),
    ]
    assert [one.seq for one in events] == [3, 4] and len(before) == 3
    bench.comparison.restate()
    assert len(bench.take()) == 2


def test_restating_waits_for_the_first_reply(tmp_path):
    first = Bench(tmp_path)
    first.reply(running("web"), running("db", pid=8))
    first.take()
    second = first.again()
    second.comparison.restate()
    assert second.take() == []
    second.reply(ended("web", code=3), running("db", pid=8))
    assert second.told() == [("web", "crashed", "exit"), ("db", "started", "initial")]
    second.reply(ended("web", code=3), running("db", pid=8))
    assert second.told() == []
    second.outbox.close()


def test_restating_is_tried_again_where_the_file_took_nothing(bench):
    bench.reply(running("web"))
    bench.take()
    bench.refuses = True
    bench.comparison.restate()
    bench.refuses = False
    bench.reply(running("web"))
    assert bench.told() == [("web", "started", "initial")]


# --- messages ---


def test_a_message_and_the_reply_after_it(bench):
    bench.reply(running("web"))
    bench.hear(stopping("web"))
    bench.hear(ended("web", code=-1))
    bench.reply(ended("web", code=-1))
    assert bench.told() == [
        ("web", "started", "initial"),
        ("web", "status_changed"),
        ("web", "stopped", "requested"),
    ]


def test_a_reply_asked_for_before_a_message_says_nothing_of_that_process(bench):
    bench.reply(running("web"), running("db", pid=8))
    bench.clock.seconds += 1
    asked_at = bench.clock()
    bench.hear(ended("web", code=3))
    states = [state_of(running("web")), state_of(running("db", pid=9, began=2.5))]
    bench.comparison.compare({Key("default", one.name): one for one in states}, asked_at, 0.0)
    assert bench.told()[2:] == [
        ("web", "crashed", "exit"),
        ("db", "stopped", "replaced"),
        ("db", "restarted"),
    ]
    bench.reply(ended("web", code=3), running("db", pid=9, began=2.5))
    assert bench.told() == []


def test_a_message_of_somebody_unknown_says_nothing(bench):
    bench.hear(ended("web", code=3))
    assert bench.take() == []


def test_a_message_keeps_the_namespaces(bench):
    bench.reply(running("web", namespace=["shop", "data"]))
    bench.hear(stopping("web", namespace=["shop", "data"]))
    assert [event.namespaces for event in bench.take()] == [["shop", "data"]] * 2


# --- logs ---


def test_a_crash_waits_for_its_log_and_no_other_process_for_that(logged):
    logged.reply(running("web"), running("db", pid=8))
    logged.take()
    logged.reply(ended("web", code=3), ended("db", pid=8))
    assert logged.told() == [("db", "stopped", "completed")]
    assert [(name, lines) for name, lines, _ in logged.logs.asked] == [("web", 20)]
    logged.logs.answer("one", "two")
    (crash,) = logged.take()
    assert (crash.type, crash.log_tail, logged.rings) == ("crashed", ["one", "two"], 1)


def test_what_comes_meanwhile_is_compared_in_its_order(logged):
    logged.reply(running("web"))
    logged.take()
    logged.hear(ended("web", code=3, status="Restarting", restarts=0))
    logged.hear(ended("web", pid=8, code=4, status="Restarting", restarts=1), after_s=1)
    logged.reply(running("web", pid=9, restarts=2))
    assert logged.take() == []
    logged.logs.answer("first")
    (crash,) = logged.take()
    assert (crash.exit_code, crash.log_tail) == (3, ["first"])
    logged.logs.answer("second")  # the message's own
    logged.reply(running("web", pid=9, restarts=2))
    told = [(one.type, one.exit_code, one.log_tail) for one in logged.take()]
    assert told == [("restarted", None, None), ("crashed", 4, ["second"]), ("restarted", None, None)]


def test_the_newest_reply_is_compared_at_its_own_time(logged):
    logged.reply(running("web"))
    logged.reply(ended("web", code=3))
    logged.reply(running("web", pid=8, began=3))
    logged.reply(running("web", pid=9, began=7))
    logged.take()
    at = format_time(logged.clock())
    logged.clock.seconds += 0.9
    logged.logs.answer("boom")
    crashed, started = logged.take()
    assert (started.type, started.state["pid"], started.observed_at) == ("started", 9, at)
    assert crashed.log_tail == ["boom"]


def test_a_name_that_shows_its_pid_waits_too(logged):
    """It was renamed in the moment of its crash: not a begin of another process."""
    logged.reply(running("pool"))
    logged.hear(ended("pool", code=3, status="Restarting"))
    logged.reply(running("pool-0", restarts=0))
    assert [event.process for event in logged.take()] == ["pool"]
    logged.logs.answer("boom")
    assert types(logged, "pool") == ["crashed"]


def test_no_more_than_a_hundred_logs_are_waited_for(logged):
    crowd = range(1, 151)
    logged.reply(*(running(f"p{pid}", pid) for pid in crowd))
    logged.take()
    logged.reply(*(ended(f"p{pid}", pid, code=1) for pid in crowd))
    assert (len(logged.logs.asked), len(logged.take())) == (100, 50)
    for _ in range(100):
        logged.logs.answer("boom")
    assert len(logged.take()) == 100


@pytest.mark.parametrize("line, reason", [("Error: readiness check fail", "probe"), ("bye", "requested")])
def test_the_log_tells_a_probes_kill_from_a_stop(logged, line, reason):
    logged.reply(running("web", is_ready="Not Ready", has_ready_probe=True))
    logged.reply(stopping("web", is_ready="Not Ready", has_ready_probe=True))
    logged.reply(ended("web", code=-1))
    logged.take()
    logged.logs.answer("x", line)
    (end,) = logged.take()
    assert end.reason == reason


def test_what_waits_for_its_log_is_committed_without_it_at_the_end(logged):
    logged.reply(running("web"))
    logged.hear(ended("web", code=3, status="Restarting"))
    logged.hear(ended("web", pid=8, code=4, status="Restarting", restarts=1))
    logged.comparison.settle()
    assert [(one.exit_code, one.log_tail) for one in logged.take() if one.type == "crashed"] == [
        (3, None),
        (4, None),
    ]
    logged.logs.answer("too late")
    assert logged.take() == []


def test_a_fetch_that_is_cancelled_is_a_log_without_lines(logged):
    logged.reply(running("web"))
    logged.reply(ended("web", code=3))
    logged.logs.asked[0][2].cancel()
    assert logged.told()[-1] == ("web", "crashed", "exit")


# --- a file that takes no commit ---


def test_what_is_not_taken_is_compared_again(bench):
    bench.reply(running("web"))
    bench.take()
    bench.refuses = True
    bench.reply(ended("web", code=2))
    bench.reply(running("web", pid=8, restarts=1))
    assert (bench.take(), bench.comparison.records.known[Key("default", "web")].state.pid) == ([], 7)
    assert bench.said == ["the outbox cannot be used (full)", "free some room"]  # once
    bench.refuses = False
    bench.reply(running("web", pid=9, restarts=2, exit_code=5))
    assert [(one.type, one.count) for one in bench.take()] == [("crashed", 2), ("restarted", 2)]
    bench.refuses = True
    bench.reply(ended("web", pid=9, code=2))
    assert len(bench.said) == 4  # another time


def test_messages_wait_in_their_order_for_a_file_that_takes_them(bench):
    bench.reply(running("web"), running("db", pid=8))
    bench.take()
    bench.refuses = True
    bench.hear(stopping("web"))
    bench.hear(ended("web", code=-1))
    bench.refuses = False
    assert bench.take() == []
    bench.hear(ended("db", pid=8, code=3))
    in_order = [("web", "status_changed"), ("web", "stopped", "requested"), ("db", "crashed", "exit")]
    assert bench.told() == in_order
    bench.reply(ended("web", code=-1), ended("db", pid=8, code=3))
    assert bench.told() == []


def test_a_reply_does_not_overtake_messages_that_wait(bench, monkeypatch):
    bench.reply(running("web"))
    bench.take()
    bench.refuses = True
    bench.hear(stopping("web"))
    bench.reply(ended("web", code=-1))
    bench.refuses = False
    bench.reply(ended("web", code=-1))
    assert bench.told() == [("web", "status_changed"), ("web", "stopped", "requested")]


def test_a_log_that_came_for_a_full_file_is_kept(logged):
    logged.reply(running("web"))
    logged.reply(ended("web", code=3))
    logged.take()
    logged.refuses = True
    logged.logs.answer("boom")
    logged.reply(ended("web", code=3))
    assert logged.take() == []
    logged.refuses = False
    logged.reply(ended("web", code=3))
    (crash,) = logged.take()
    assert crash.log_tail == ["boom"]


def test_messages_that_wait_are_a_thousand(bench):
    bench.reply(running("web"))
    bench.refuses = True
    for _ in range(comparison_module.KEPT_MESSAGES + 50):
        bench.hear(ended("web", code=3), after_s=0)
    assert len(bench.comparison._messages) == comparison_module.KEPT_MESSAGES == 1000


def test_an_event_of_the_observers_own_that_is_not_taken(bench):
    bench.refuses = True
    assert not bench.comparison.records.tell("process-compose", EventType.STARTED)
    assert bench.comparison.records.observed("process-compose") is None
    bench.refuses = False
    assert bench.comparison.records.tell("process-compose", EventType.STARTED)
    assert [(one.type, one.seq) for one in bench.take()] == [("started", 1)]


# --- limits ---


def crash_looping(bench: Bench, times: int, first: int = 1) -> None:
    for number in range(first, first + times):
        bench.reply(running("web", pid=6 + number, restarts=number, exit_code=1), running("db", pid=5))


def test_a_process_with_too_much_waiting_is_not_compared_and_others_are(bench, monkeypatch):
    monkeypatch.setattr(outbox_module, "MOST_OF_PROCESS", 10)
    bench.reply(running("web", pid=6), running("db", pid=5))
    crash_looping(bench, 30)
    assert bench.outbox.queue.count_of("default.web") < 10 + 4
    bench.reply(running("web", pid=36, restarts=30, exit_code=1), ended("db", pid=5, code=3))
    assert bench.outbox.queue.count_of("default.db") > 1
    assert [line for line in bench.said if "too many events wait" in line] == bench.said
    assert len(bench.said) == 1
    events = bench.take()
    bench.reply(running("web", pid=36, restarts=30, exit_code=1), ended("db", pid=5, code=3))
    events += bench.take()
    ends = sum(one.count for one in events if (one.process, one.type) == ("web", "crashed"))
    begins = sum(one.count for one in events if (one.process, one.type) == ("web", "restarted"))
    assert (ends, begins) == (30, 30)
    assert max(one.count for one in events) > 10
    assert [one.seq for one in events if one.process == "web"] == sorted(
        one.seq for one in events if one.process == "web"
    )


@pytest.mark.parametrize("limit", [("most_events", 10), ("most_bytes", 5000)], ids=["events", "bytes"])
def test_with_too_much_waiting_in_all_none_is_compared_but_the_observers_own(bench, limit):
    setattr(bench.outbox, *limit)
    bench.reply(running("web", pid=6), running("db", pid=5))
    crash_looping(bench, 30)
    bench.hear(ended("db", pid=5, code=3))
    before = bench.outbox.waiting()
    assert before < 10 + 4
    assert bench.comparison.records.tell("process-compose", EventType.UNHEALTHY)
    assert bench.outbox.waiting() == before + 1
    assert len(bench.said) == 1
    bench.take()
    bench.reply(running("web", pid=36, restarts=30, exit_code=1), ended("db", pid=5, code=3))
    told = [(one.process, one.type) for one in bench.take()]
    assert ("db", "crashed") in told and ("web", "crashed") in told
    crash_looping(bench, 30, 31)
    assert len(bench.said) == 2  # it was over, and is said again


# --- one insane process ---


def test_a_process_whose_comparison_fails_harms_no_other(bench, monkeypatch, caplog):
    real = records_module.seal

    def fail(event: Event, *arguments):
        if event.process == "odd" and event.type == "crashed":
            raise OverflowError("no clock holds that")
        return real(event, *arguments)

    bench.reply(running("web"), running("odd", pid=8))
    bench.take()
    monkeypatch.setattr(records_module, "seal", fail)
    for _ in range(3):
        bench.reply(ended("web"), ended("odd", pid=8, code=1))
    assert bench.told() == [("web", "stopped", "completed")]
    assert sum("odd cannot be compared" in record.message for record in caplog.records) == 1
    monkeypatch.setattr(records_module, "seal", real)
    bench.reply(ended("web"), ended("odd", pid=8, code=1))
    assert bench.told() == [("odd", "crashed", "exit")]


# --- names ---


@pytest.mark.parametrize("old, new", [("pool", "pool-0"), ("a/pool", "a/pool-0")])
def test_another_name_keeps_the_history(bench, old, new):
    bench.reply(running(old, pid=6))
    bench.reply(running(old, pid=7, restarts=1, exit_code=3))
    bench.take()
    bench.reply(running(new, pid=7, restarts=1, exit_code=3))
    assert [(one.process, one.type, one.seq) for one in bench.take()] == [
        (old, "status_changed", 4),
        (new, "status_changed", 1),
    ]
    record = bench.comparison.records._records[process_token("default", new)]
    assert record.history.events["crashed"][0] == 1
    assert Key("default", old) not in bench.comparison.records.known


# --- rows ---


def keys(bench: Bench, process: str) -> list[tuple[str, bool]]:
    """Return each key that is due of a process, and whether there is a row (else it is to be deleted)."""
    return [
        (key.removeprefix(f"{STACK}."), payload != b"")
        for key, payload in bench.comparison.records.rows(process)
    ]


def test_rows_are_due_with_each_commit(bench):
    bench.reply(running("web"), running("db", pid=8))
    assert sorted(bench.woken) == ["default.db", "default.web"]
    bench.woken.clear()
    bench.reply(ended("web"), running("db", pid=8))
    assert bench.woken == ["default.web"]
    row = bench.row("web")
    assert (row["stack"], row["status"], row["alive"], row["exit_code"]) == (STACK, "Completed", False, 0)


def test_what_changed_without_an_event_is_in_the_row(bench):
    bench.reply(running("web", exit_code=0))
    bench.woken.clear()
    bench.reply(running("web", exit_code=0, description="what it does"))
    assert bench.woken == ["default.web"]


def test_the_row_of_a_process_that_is_gone_is_deleted(bench):
    bench.reply(running("web"), running("db", pid=8))
    assert keys(bench, "default.web") == [("default.web", True)]
    bench.comparison.listening_since = None
    for _ in range(8):
        bench.reply(running("db", pid=8))
    assert keys(bench, "default.web") == [("default.web", False)]
    assert bench.comparison.records.row_keys() == {f"{STACK}.default.db"}


def test_rows_of_a_process_of_several_namespaces(bench):
    bench.reply(running("web", namespace=["shop", "data"]))
    assert keys(bench, "shop.web") == [("shop.web", True), ("data.web", True)]
    assert bench.comparison.records.row_keys() == {f"{STACK}.shop.web", f"{STACK}.data.web"}
    bench.reply(running("web", namespace=["shop", "other"]))
    assert keys(bench, "shop.web") == [("shop.web", True), ("other.web", True), ("data.web", False)]


def test_a_row_that_another_process_has_now_is_not_deleted(bench):
    """Its first namespace is another one: it is renamed, the key is still one of its own."""
    bench.reply(running("web", namespace=["shop", "data"]))
    keys(bench, "shop.web")
    bench.reply(running("web", namespace=["data"]))
    assert dict([*keys(bench, "data.web"), *keys(bench, "shop.web")]) == {"data.web": True, "shop.web": False}


def test_the_observers_own_have_no_row(bench):
    bench.comparison.records.tell("adapter", EventType.STARTED)
    assert (bench.woken, bench.comparison.records.processes(), bench.comparison.records.row_keys()) == (
        [],
        [],
        set(),
    )


def test_a_row_tells_how_far_it_is_ahead(bench):
    bench.reply(running("web"))
    bench.reply(ended("web"))
    (_, payload), *_ = bench.comparison.records.rows("default.web")
    assert json.loads(payload)["seq"] == bench.comparison.records._records["default.web"].seq == 3


# --- the observer's own events ---


def test_the_observers_events(bench):
    assert bench.comparison.records.tell("adapter", EventType.STARTED, last_alive=moment(-5), nothing=None)
    assert bench.comparison.records.tell("adapter", EventType.STOPPED)
    first, second = bench.take()
    assert (first.namespace, first.seq, second.seq, first.state) == ("_observe", 1, 2, None)
    assert first.extra == {"last_alive": moment(-5)} and second.extra == {}
    assert first.subject == "core.process._observe.adapter.started"
    assert first.stack == STACK
    assert bench.comparison.records.observed("adapter").type == "stopped"


# --- what was being stopped when process-compose went ---


def test_what_was_being_stopped_ends_when_nobody_listens(bench):
    bench.reply(running("web"), running("db", pid=8))
    bench.hear(stopping("web"))
    bench.take()
    bench.comparison.end_unseen()
    bench.comparison.end_unseen()
    (end,) = bench.take()
    assert (end.process, end.type, end.reason, end.inferred) == ("web", "stopped", "requested", True)


def test_what_was_being_stopped_ends_with_the_next_project_at_the_latest(bench):
    bench.reply(running("web"))
    bench.hear(stopping("web"))
    bench.take()
    bench.reply(running("other", pid=20, began=1.0))
    assert ("web", "stopped", "requested") in bench.told()


def test_a_message_too_large_is_sealed_smaller(bench):
    bench.comparison.records.max_payload = 900
    bench.reply(running("web", description="x" * 2000))
    (taken,) = bench.outbox.take([], 10, 10**6)
    assert len(taken.payload) <= 900 and "description" not in Event.from_json(taken.payload).state


def test_the_file_is_the_owners_alone(tmp_path):
    bench = Bench(tmp_path)
    assert os.stat(bench.outbox.path).st_mode & 0o777 == 0o600
    bench.outbox.close()


def test_a_reply_asked_for_before_a_message_that_waits_for_its_log(tmp_path):
    bench = Bench(tmp_path, logs=Logs())
    bench.reply(running("web", is_ready="Ready", has_ready_probe=True))
    bench.take()
    bench.clock.seconds += 2
    asked_at = bench.clock()
    bench.hear(running("web", is_ready="Not Ready", has_ready_probe=True))
    reply = {Key("default", "web"): bench._read(running("web", is_ready="Ready", has_ready_probe=True))}
    bench.comparison.compare(reply, asked_at, 0.0)
    bench.logs.answer("sick")
    assert [e.type for e in bench.take()] == ["unhealthy"]
