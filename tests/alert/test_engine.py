"""What is told, when, and how often: a table of cases over a clock that the test turns."""

import pytest

from observe_lib.reader.silences import Silence
from observe_lib.rows import StackRow
from tests.alert.rows import Alerting, Process, heard, lost, moment

FIRING, RESOLVED = "firing", "resolved"


def crash_loop(process: Process, alerting: Alerting, begin: float, end: float, every: float = 10) -> None:
    at = begin
    while at < end:
        alerting.until(at)
        process.crash(at)
        alerting.until(at + 2)
        process.begin(at + 2)
        at += every


# --- trouble opens ---


def test_a_crash_is_told_at_once_that_is_when_its_group_is_whole():
    api = Process()
    alerting = Alerting(api).until(10)
    api.crash(10)
    alerting.until(15)
    assert alerting.told == []
    alerting.until(20)
    assert [(at, status) for at, status, _ in alerting.sent] == [(16, FIRING)]
    assert alerting.told == [(FIRING, "crashed api")]


def test_unhealthy_is_told_after_30_seconds():
    api = Process()
    api.ready(0)
    alerting = Alerting(api).until(10)
    api.not_ready(10)
    alerting.until(40)
    assert alerting.told == []
    assert alerting.until(50).told == [(FIRING, "unhealthy api")]


def test_a_start_is_no_trouble():
    api = Process()
    api.not_ready(0, starting=True)
    assert Alerting(api, also_open=True).until(300).told == []


def test_flapping_is_told_as_flapping_where_it_is_seen_first():
    api = Process()
    alerting = Alerting(api, types=frozenset(["flapping"])).until(10)
    crash_loop(api, alerting, 10, 50)
    assert alerting.told == [(FIRING, "flapping api")]


@pytest.mark.parametrize("about", ["adapter", "process-compose"])
def test_a_stack_that_is_not_heard_of_is_told_after_30_seconds(about):
    alerting = Alerting(Process(), Process("web")).until(10)
    alerting.stacks = lost(about, 8)
    assert alerting.until(40).told == []
    assert alerting.until(50).told == [(FIRING, f"stale {about}")]
    assert alerting.sent[0][2][0].startswith("host-a: 2 processes, no ")
    alerting.stacks = heard()
    assert alerting.until(60).told[1:] == [(RESOLVED, f"stale {about}")]


def test_a_stack_stopped_on_purpose_is_no_trouble():
    alerting = Alerting(Process()).until(10)
    alerting.stacks = {"host-a": StackRow("host-a", moment(8), {"stopped": True})}
    assert alerting.until(600).told == []


@pytest.mark.parametrize("kind", ["crashed", "unhealthy", "stale"])
def test_only_the_types_that_are_wanted_open_anything(kind):
    api = Process()
    api.ready(0)
    alerting = Alerting(api, types=frozenset([kind])).until(10)
    api.not_ready(10)
    alerting.until(60)
    api.crash(60)
    alerting.stacks = lost("adapter", 60)
    alerting.until(120)
    assert {what.split()[0] for _, what in alerting.told} == {kind}


def test_a_stack_that_has_none_of_the_processes_is_nobodys():
    alerting = Alerting(Process()).until(10)
    alerting.stacks = lost("adapter", 8, "host-b")
    assert alerting.until(120).told == []


def test_after_an_outage_of_nats_adapters_have_time_to_be_heard_of():
    alerting = Alerting(Process(), hold_s=dict.fromkeys(("stale", "crashed", "flapping", "unhealthy"), 1))
    alerting.until(100)
    alerting.up_at, alerting.stacks = moment(100), {"host-a": StackRow("host-a", moment(10))}
    alerting.until(118)
    alerting.stacks = {"host-a": StackRow("host-a", moment(118))}
    alerting.until(130)
    assert alerting.told == [], "it was heard of within 20 seconds"
    assert alerting.until(150).told == [(FIRING, "stale adapter")]


def test_what_was_told_of_a_stack_is_not_over_because_nats_is_back():
    alerting = Alerting(Process(), stacks={"host-a": StackRow("host-a", moment(0))}).until(100)
    alerting.up_at = moment(100)
    assert alerting.until(300).told == [(FIRING, "stale adapter")]


# --- held for --for ---


def test_what_is_over_within_the_time_is_not_told():
    api = Process()
    api.ready(0)
    alerting = Alerting(api).until(10)
    api.not_ready(10)
    alerting.until(35)
    api.ready(35)
    assert alerting.until(300).told == []


def test_for_holds_a_crash_too_and_being_healthy_within_it_ends_that():
    api = Process()
    alerting = Alerting(api, hold_s={"crashed": 30, "unhealthy": 30, "flapping": 30, "stale": 30}).until(10)
    api.crash(10)
    alerting.until(12)
    api.begin(12)
    api.ready(20)
    assert alerting.until(300).told == []
    api.crash(300)
    assert alerting.until(400).told == [(FIRING, "crashed api")]
    assert alerting.sent[0][0] == pytest.approx(336, abs=1)


def test_a_stack_heard_of_within_the_time_is_not_told():
    alerting = Alerting(Process()).until(10)
    alerting.stacks = lost("adapter", 8)
    alerting.until(30)
    alerting.stacks = heard()
    assert alerting.until(120).told == []


# --- it is over ---


def over_after(end, **rules) -> list[tuple[float, str]]:
    api = Process()
    alerting = Alerting(api, **rules).until(10)
    api.crash(10)
    alerting.until(30)
    end(api)
    alerting.until(300)
    return [(at, status) for at, status, _ in alerting.sent]


@pytest.mark.parametrize(
    ("end", "at"),
    [
        (lambda api: api.begin(30), 31 + 60 + 5),  # runs for --settle
        (
            lambda api: (api.begin(30), api.ready(30)),
            31 + 60 + 5,
        ),  # Ready again after a crash: for that long, too
        (lambda api: api.stop(30), 31 + 5),  # stopped because somebody asked
        (lambda api: api.stop(30, reason="completed"), 31 + 5),  # ended by itself, well
    ],
)
def test_a_crash_is_over_when_it_runs_for_settle_or_ended_as_it_should(end, at):
    assert over_after(end) == [(16, FIRING), (at, RESOLVED)]


def test_settle_is_for_if_that_is_longer():
    told = over_after(
        lambda api: api.begin(60), hold_s={"crashed": 90, "unhealthy": 90, "flapping": 90, "stale": 90}
    )
    assert [status for _, status in told] == [FIRING, RESOLVED]
    assert told[1][0] == 31 + 90 + 5


def test_unhealthy_is_over_as_soon_as_it_is_healthy():
    api = Process()
    api.ready(0)
    alerting = Alerting(api).until(10)
    api.not_ready(10)
    alerting.until(100)
    api.ready(100)
    alerting.until(120)
    assert [(at, status) for at, status, _ in alerting.sent] == [(46, FIRING), (106, RESOLVED)]


def test_what_waits_to_start_again_is_not_over():
    assert over_after(lambda api: None) == [(16, FIRING)]


def test_a_process_that_is_no_more_is_over():
    api = Process()
    alerting = Alerting(api).until(10)
    api.crash(10)
    alerting.until(30)
    alerting.processes = []
    alerting.until(120)
    assert alerting.told == [(FIRING, "crashed api"), (RESOLVED, "crashed api")]


def test_nothing_is_over_while_its_adapter_is_not_heard_of():
    api = Process()
    alerting = Alerting(api, types=frozenset(["crashed"])).until(10)
    api.crash(10)
    alerting.until(20)
    api.begin(20)
    alerting.stacks = lost("adapter", 20)
    assert alerting.until(300).told == [(FIRING, "crashed api")]


# --- one alert while it lasts ---


def test_a_crash_loop_is_one_message_and_one_recovery():
    api = Process()
    alerting = Alerting(api).until(10)
    crash_loop(api, alerting, 10, 310)
    alerting.until(600)
    assert alerting.told == [(FIRING, "crashed api"), (RESOLVED, "flapping api")]
    assert alerting.sent[1][2] == ["shop/api runs for 1m5s, after 30 crashes in 4m50s"]


def test_a_crash_loop_that_is_ready_in_between_is_one_message_and_one_recovery():
    api = Process()
    alerting = Alerting(api).until(10)
    for at in range(10, 310, 30):
        alerting.until(at)
        api.crash(at)
        alerting.until(at + 2)
        api.begin(at + 2)
        alerting.until(at + 5)
        api.ready(at + 5)
    alerting.until(1000)
    assert alerting.told == [(FIRING, "crashed api"), (RESOLVED, "flapping api")]


def test_it_is_repeated_while_it_lasts_with_its_count_and_flapping_takes_the_place_of_crashed():
    api = Process()
    alerting = Alerting(api, repeat_s=120).until(10)
    crash_loop(api, alerting, 10, 270)
    alerting.until(270)
    assert alerting.told == [(FIRING, "crashed api"), (FIRING, "flapping api"), (FIRING, "flapping api")]
    assert alerting.sent[1][2] == ["shop/api flapping: 14 crashes in 2m10s, exit 1"]
    fingerprints = {one["alerts"][0]["fingerprint"] for one in alerting.payloads}
    assert len(fingerprints) == 1 and len({one["groupKey"] for one in alerting.payloads}) == 1


def test_nothing_is_repeated_before_its_time():
    api = Process()
    alerting = Alerting(api).until(10)
    api.crash(10, status="Completed")
    alerting.until(4 * 3600)
    assert len(alerting.sent) == 1
    assert len(alerting.until(4 * 3600 + 30).sent) == 2


def test_an_unhealthy_process_that_its_probe_kills_is_one_alert():
    api = Process()
    api.ready(0)
    alerting = Alerting(api).until(10)
    api.not_ready(10)
    alerting.until(60)
    api.crash(60)
    assert alerting.until(120).told == [(FIRING, "unhealthy api")]
    api.begin(120)
    assert alerting.until(300).told[1:] == [(RESOLVED, "crashed api")]


def test_what_begins_again_before_its_end_was_told_goes_on():
    api = Process()
    alerting = Alerting(api).until(10)
    api.crash(10)
    alerting.until(20)
    api.begin(20)
    alerting.until(83)  # over, and not told yet
    api.crash(83)
    assert alerting.until(120).told == [(FIRING, "crashed api")]


# --- backlog ---


def test_what_was_observed_over_15_minutes_ago_opens_nothing_and_is_one_line():
    api, web = Process(), Process("web")
    alerting = Alerting(api, web).until(2000)
    for one in (api, web):
        one.crash(1000)
        one.begin(1002)
    assert alerting.until(2100).told == []
    assert alerting.said == [("missed", "shop/api, shop/web: seen over 15 minutes ago, nobody is told")]


def test_old_bad_health_that_comes_late_opens_nothing():
    api = Process()
    alerting = Alerting(api).until(2000)
    api.not_ready(1000)
    assert alerting.until(2100).told == []
    assert [topic for topic, _ in alerting.said] == ["missed"]


# --- groups ---


def test_what_opens_within_5_seconds_is_one_message():
    processes = [Process(f"web-{number}") for number in range(200)]
    alerting = Alerting(*processes).until(10)
    for at, one in enumerate(processes):
        alerting.until(10 + at // 50)
        one.crash(10 + at // 50)
    alerting.until(100)
    assert [len(summaries) for _, _, summaries in alerting.sent] == [200]


def test_what_opens_later_is_another_message_and_what_was_told_together_ends_together():
    api, web = Process(), Process("web")
    alerting = Alerting(api, web).until(10)
    api.crash(10)
    alerting.until(30)
    web.crash(30)
    alerting.until(50)
    api.begin(50)
    web.begin(50)
    alerting.until(200)
    assert [what for _, what in alerting.told] == ["crashed api", "crashed web", "crashed api", "crashed web"]
    assert alerting.payloads[0]["groupKey"] == alerting.payloads[2]["groupKey"]
    assert alerting.payloads[1]["groupKey"] == alerting.payloads[3]["groupKey"]


# --- the limit ---


def test_past_the_limit_one_message_says_how_many_are_held_back_and_none_is_lost():
    processes = [Process(f"web-{number}") for number in range(6)]
    alerting = Alerting(*processes, limit=3).until(10)
    for at, one in enumerate(processes):
        alerting.until(10 + 20 * at)
        one.crash(10 + 20 * at, status="Completed")
    alerting.until(3000)
    held = [
        payload for payload in alerting.payloads if payload["alerts"][0]["labels"]["alertname"] == "held_back"
    ]
    assert len(alerting.payloads) == 4 and len(held) == 1
    assert held[0]["commonAnnotations"]["summary"] == "1 alert held back: 3 messages within 1h were sent"
    alerting.until(4000)
    assert alerting.told[4] == (FIRING, "crashed web-3, crashed web-4, crashed web-5")


def test_a_command_that_acts_on_one_gets_a_message_of_each_and_no_more_than_the_limit_says():
    processes = [Process(f"web-{number}") for number in range(6)]
    alerting = Alerting(*processes, limit=3, one_each=True).until(10)
    for one in processes:
        one.crash(10, status="Completed")
    alerting.until(3000)
    assert alerting.told == [(FIRING, f"crashed web-{number}") for number in range(3)] + [
        (FIRING, "held_back ")
    ]
    assert alerting.until(4000).told[4:] == [(FIRING, f"crashed web-{number}") for number in range(3, 6)]


# --- silences ---


def deploy(end: float) -> list[Silence]:
    return [Silence("shop/*", moment(end), "deploy", "ops@host-a")]


def test_what_is_silenced_is_not_told_and_at_its_end_what_still_lasts_is_told_once():
    api, web = Process(), Process("web")
    alerting = Alerting(api, web).until(10)
    alerting.silences = deploy(300)
    api.crash(10, status="Completed")
    web.crash(10)
    alerting.until(20)
    web.begin(20)
    assert alerting.until(299).told == []
    assert [topic for topic, _ in alerting.said] == ["silenced", "silenced"]
    assert "shop/api crashed (ops@host-a until " in alerting.said[0][1] and alerting.said[0][1].endswith(
        ": deploy)"
    )
    assert alerting.until(1000).told == [(FIRING, "crashed api")]
    assert alerting.sent[0][0] == pytest.approx(305, abs=1)


def test_a_silence_that_is_ended_early_ends_at_once():
    api = Process()
    alerting = Alerting(api).until(10)
    alerting.silences = deploy(3000)
    api.crash(10, status="Completed")
    alerting.until(100)
    alerting.silences = ()
    assert alerting.until(110).told == [(FIRING, "crashed api")]


def test_a_silence_keeps_repeats_back_and_lets_the_recovery_through():
    api = Process()
    alerting = Alerting(api, repeat_s=60).until(10)
    api.crash(10)
    alerting.until(20)
    alerting.silences = deploy(3000)
    alerting.until(200)
    api.begin(200)
    assert alerting.until(400).told == [(FIRING, "crashed api"), (RESOLVED, "crashed api")]


def test_a_silence_of_any_of_its_namespaces_silences_a_process():
    api = Process()
    api.fields["namespaces"] = ["shop", "data"]
    alerting = Alerting(api).until(10)
    alerting.silences = [Silence("data/*", moment(900))]
    api.crash(10)
    assert alerting.until(30).told == []


def test_a_silence_of_others_silences_nobody_else():
    api = Process()
    alerting = Alerting(api).until(10)
    alerting.silences = [Silence("jobs/*", moment(900)), Silence("shop/*", moment(900), stack="host-b")]
    api.crash(10)
    assert alerting.until(30).told == [(FIRING, "crashed api")]


# --- the state survives ---


def test_the_very_first_start_tells_nothing_of_what_was_before():
    down, sick = Process("down"), Process("sick")
    down.crash(-100, status="Completed")
    sick.not_ready(-100)
    alerting = Alerting(down, sick)
    alerting.stacks = heard()
    assert alerting.until(600).told == []
    down.begin(600)
    alerting.until(605)
    down.crash(605)
    assert alerting.until(700).told == [(FIRING, "crashed down")]


def test_also_open_tells_it():
    down, sick, fine = Process("down"), Process("sick"), Process("fine")
    down.crash(-100, status="Completed")
    sick.not_ready(-100)
    fine.crash(-100)
    fine.begin(-90)
    alerting = Alerting(down, sick, fine, also_open=True).until(600)
    assert alerting.told == [(FIRING, "crashed down, unhealthy sick")]


def test_a_stale_stack_of_before_is_not_told():
    api = Process()
    assert Alerting(api, stacks=lost("adapter", -500)).until(600).told == []
    assert Alerting(api, stacks=lost("adapter", -500), also_open=True).until(600).told


def test_a_restart_tells_nothing_twice():
    api, web = Process(), Process("web")
    alerting = Alerting(api, web).until(10)
    api.crash(10, status="Completed")
    web.crash(10)
    alerting.until(12)
    web.begin(12)
    alerting.until(100)  # api is told and open, web told and over
    assert len(alerting.sent) == 2
    assert alerting.restarted().until(600).told == []


def test_a_restart_misses_nothing_that_opened_while_it_was_away():
    down, ran, sick = Process("down"), Process("ran"), Process("sick")
    sick.ready(0)
    alerting = Alerting(down, ran, sick).until(100)
    down.crash(200, status="Completed")
    ran.crash(300)
    ran.begin(302)
    sick.not_ready(200)
    other = alerting.restarted(at=3000)
    assert other.until(3010).told == [(FIRING, "crashed down, unhealthy sick")], "both last"
    assert other.said == [("missed", "shop/ran: seen over 15 minutes ago, nobody is told")]


def test_a_restart_tells_the_end_of_what_was_told():
    api = Process()
    alerting = Alerting(api).until(10)
    api.crash(10)
    alerting.until(20)
    api.begin(30)
    other = alerting.restarted(at=500)
    assert other.until(600).told == [(RESOLVED, "crashed api")]


def test_what_was_under_way_goes_out_again_and_nothing_else():
    api = Process()
    alerting = Alerting(api).until(10)
    alerting.takes = False  # killed before it heard that the message was taken
    api.crash(10, status="Completed")
    alerting.until(100)
    assert len(alerting.sent) == 1 and alerting.engine.sending is not None
    other = alerting.restarted()
    assert other.engine.sending is None, "it was sent again, and taken"
    assert other.until(600).told == [], "no second one"


def test_what_is_held_and_silenced_survives():
    api = Process()
    api.ready(0)
    alerting = Alerting(api, hold_s={"crashed": 0, "unhealthy": 300, "flapping": 0, "stale": 30}).until(10)
    api.not_ready(10)
    alerting.until(200)
    other = alerting.restarted(hold_s={"crashed": 0, "unhealthy": 300, "flapping": 0, "stale": 30})
    assert other.until(305).told == []
    assert other.until(320).told == [(FIRING, "unhealthy api")]


def test_a_message_given_up_is_counted_and_told_again_at_the_next_repeat():
    api = Process()
    alerting = Alerting(api, repeat_s=100).until(10)
    alerting.takes = False
    api.crash(10, status="Completed")
    alerting.until(30)
    alerting.engine.done(moment(30), failed=True)
    alerting.takes = True
    assert alerting.engine.failed == 1
    alerting.until(120)
    assert len(alerting.sent) == 1
    assert len(alerting.until(140).sent) == 2


def test_its_counts_begin_anew_with_its_adapter():
    api = Process()
    for at in range(0, 50, 10):
        api.crash(at)
    api.begin(50)
    alerting = Alerting(api, at=60).until(70)
    api.crash(70)
    alerting.until(80)
    fresh = Process()
    fresh.crash(90)
    alerting.processes = [fresh]
    alerting.until(100)
    fresh.begin(100)
    alerting.until(300)
    assert alerting.sent[-1][2] == ["shop/api runs for 1m5s, after 1 crash"]


@pytest.mark.parametrize(
    "more", [{"seq": "x"}, {"observed_at": "soon"}, {"count": -3}, {"why": [1]}, {"exit_code": {}}], ids=str
)
def test_a_crash_that_makes_no_sense_is_told_as_well_as_can_be(more):
    api = Process()
    alerting = Alerting(api).until(10)
    api.crash(10)
    api.fields["last_crash"] |= more
    assert alerting.until(60).told == [(FIRING, "crashed api")]


def test_a_crash_that_is_over_before_its_message_goes_out_is_told_and_that_it_is_over():
    api = Process()
    alerting = Alerting(api, settle_s=1).until(10)
    api.crash(10)
    api.begin(10)
    assert alerting.until(60).told == [(FIRING, "crashed api"), (RESOLVED, "crashed api")]


def test_what_is_over_while_it_is_silenced_or_held_back_is_not_told():
    api, web = Process(), Process("web")
    alerting = Alerting(api, web, settle_s=1, limit=1).until(10)
    alerting.silences = deploy(60)
    api.crash(10)
    alerting.until(30)
    api.begin(30)
    alerting.until(100)
    api.crash(100, status="Completed")
    alerting.until(120)
    web.crash(120)
    alerting.until(140)
    web.begin(140)
    alerting.until(4000)
    assert alerting.told == [(FIRING, "crashed api"), (FIRING, "held_back ")]


def test_for_a_command_that_acts_on_one_only_what_is_done_to_it_counts():
    api = Process()
    alerting = Alerting(api, limit=3, one_each=True, settle_s=10).until(10)
    for at in range(10, 250, 60):
        alerting.until(at)
        api.crash(at)
        alerting.until(at + 10)
        api.begin(at + 10)
    alerting.until(400)
    assert [status for _, status, _ in alerting.sent][:6] == [FIRING, RESOLVED] * 3
    assert alerting.told[6:] == [(FIRING, "held_back ")], "and the fourth is held back"
