"""`report`: a scripted history with every figure worked out by hand, then what it has to cope with."""

import json
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest

from observe_lib.errors import UsageError
from observe_lib.events import Event
from observe_lib.reader.accounts import Account, total_of
from observe_lib.reader.audit import Audit, Findings, Range, range_of
from observe_lib.reader.gaps import Gap, Gaps, find_gaps
from observe_lib.reader.retained import kept_since
from observe_lib.reader.states import States
from observe_lib.reader.timeline import Shade
from observe_lib.report.figures import ProcessStrip, percent_text, report_lines, strip_room
from observe_lib.rows import Place, ProcessRow, StackRow, Stale
from observe_lib.subjects import OBSERVE, observer_subject
from observe_lib.text.accounts import account_json, report_json
from observe_lib.text.output import Style
from observe_lib.times import UTC, format_time

T0 = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
#: the range is the hour from T0 on
HOUR = 3600.0
SINCE, UNTIL = T0.timestamp(), T0.timestamp() + HOUR


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def told(process: str, event_type: str, seconds: float, seq: int | None = None, **fields: Any) -> Event:
    """An event of host-a's default/`process`, so many seconds after T0."""
    moment = format_time(at(seconds))
    base = {"namespace": "default", "stack": "host-a", "timestamp": moment, "observed_at": moment}
    return Event(type=event_type, process=process, seq=seq, **{**base, **fields})


def observer(process: str, event_type: str, seconds: float, stack: str = "host-a", **extra: Any) -> Event:
    moment = format_time(at(seconds))
    return Event(
        type=event_type, process=process, namespace=OBSERVE, subject=observer_subject(process, event_type),
        timestamp=moment, observed_at=moment, stack=stack, extra=extra,
    )  # fmt: skip


def alive(pid: int = 7, **fields: Any) -> dict[str, Any]:
    return {"status": "Running", "is_running": True, "pid": pid, "is_ready": "-", **fields}


def audit_of(
    events: Iterable[Event],
    gaps: dict[str, Gaps] | None = None,
    states: States | None = None,
    **options: Any,
) -> Audit:
    audit = Audit(SINCE, UNTIL, **options)
    audit.gaps = gaps or {}
    for event in events:
        audit.add(event.to_json())
    return audit


def account_of(*events: Event, states: States | None = None, gaps: dict[str, Gaps] | None = None) -> Account:
    """The one account that these events make."""
    (account,) = audit_of(events, gaps).close(states)
    return account


def figures(account: Account) -> dict[str, Any]:
    """What a report says of a process, without what is 0 or absent."""
    found = {
        "up": account.up_s,
        "down": account.down_s,
        "unhealthy": account.unhealthy_s,
        "runs": account.runs,
        "crashes": account.crashes,
        "policy": account.policy_restarts,
        "asked": account.asked_restarts,
        "mtbf": account.mtbf_s,
        "mttr": account.mttr_s,
        "longest": account.longest_outage_s,
        "failed": account.outage_at is not None,
        "flapping": account.flapping,
        "lost": account.lost,
    }
    return {name: value for name, value in found.items() if value}


# --- an hour with every figure worked out by hand ---

#: the adapter was not there for 300 s, process-compose did not answer for 60 s: 3600 - 360 = 3240 s were seen
OBSERVER_TOLD = (
    observer("adapter", "stopped", 1800),
    observer("adapter", "started", 2100),
    observer("process-compose", "unhealthy", 3003, since=format_time(at(3000)), error="connection refused"),
    observer("process-compose", "healthy", 3060, blind_seconds=60.0),
)
#: nothing is heard of host-b's adapter since 10:16:40
STALE = {"host-b": Stale("adapter", "silent", at(1000))}

HISTORY = (
    # web: two crashes, a restart by hand, a crash whose repair fell into the time without an adapter
    told("web", "started", -100, 1),
    told("web", "crashed", 600, 2, exit_code=1, reason="exit", run_seconds=700.0),
    told("web", "restarted", 610, 3, restarts=1),
    told("web", "stopped", 1200, 4, restarts=1, reason="requested"),
    told("web", "restarted", 1202, 5, restarts=1),
    told("web", "crashed", 1700, 6, restarts=2, exit_code=2, reason="exit"),
    told("web", "restarted", 2000, 7, restarts=2, observed_at=format_time(at(2101))),
    told("web", "unhealthy", 2400, 8, health="Not Ready"),
    told("web", "healthy", 2500, 9, health="Ready"),
    # flaky: new at 10:01:40, crashes three times within 500 s, then the policy gives up
    told("flaky", "started", 100, 1),
    told("flaky", "crashed", 200, 2, exit_code=1, reason="exit"),
    told("flaky", "restarted", 201, 3, restarts=1),
    told("flaky", "crashed", 400, 4, reason="probe"),
    told("flaky", "restarted", 401, 5, restarts=2),
    told("flaky", "crashed", 700, 6, exit_code=3, reason="exit"),
    # job: found Completed, ran once for 30 s
    told("job", "status_changed", 50, 1, initial=True, new_status="Completed"),
    told("job", "started", 1000, 2, old_status="Completed", new_status="Running"),
    told("job", "stopped", 1030, 3, exit_code=0, reason="completed"),
    # broken: appeared, and could not be launched: an end without a begin
    told("broken", "crashed", 500, 1, reason="launch_failed", new_status="Error"),
    # batch: three crashes and restarts while there was no adapter, told as one each
    told("batch", "started", -50, 1),
    told("batch", "crashed", 2100, 2, count=3, inferred=True, exit_code=1, reason="exit", restarts=3,
         extra={"not_before": format_time(at(1800))}),
    told("batch", "restarted", 2100, 3, count=3, inferred=True, restarts=3),
    # pool was scaled, so that its run goes on as pool-0
    told("pool", "started", -20, 1),
    told("pool", "status_changed", 900, 2, reason="renamed", renamed_to="pool-0", new_status="Removed"),
    told("pool-0", "status_changed", 900, 1, reason="renamed", renamed_from="pool", state=alive()),
    # old was there for 500 s, and removed while it ran
    told("old", "started", 300, 1),
    told("old", "stopped", 800, 2, reason="removed", inferred=True),
    told("old", "status_changed", 800, 3, companion=True, old_status="Running", new_status="Removed"),
    # another stack's process of the same name
    told("web", "healthy", 500, 12, stack="host-b", health="Ready"),
)  # fmt: skip

QUIET = Place("host-a", "default", "quiet")
#: quiet had no event: the bucket says that it lives since yesterday
BUCKET = States(
    {QUIET: ProcessRow(QUIET, alive=True, since=at(-86400), last_at=at(-86400))},
    {"host-a": StackRow("host-a"), "host-b": StackRow("host-b")},
)

BY_HAND = {
    # up 600 + 590 + 498 + (1600 - 100 - 60); down 10 + 2 + 100 (of 300, the rest was not seen);
    # runs: the one at 10:00 and three begun; mtbf 3128/2; mttr (10 + 100)/2
    "host-a web": {
        "up": 3128, "down": 112, "unhealthy": 100, "runs": 4, "crashes": 2, "policy": 1, "asked": 1,
        "mtbf": 1564, "mttr": 55, "longest": 100,
    },
    # up 100 + 199 + 299; down 1 + 1 + (2900 - 360); mtbf 598/3; mttr (1 + 1)/2: the last is not repaired
    "host-a flaky": {
        "up": 598, "down": 2542, "runs": 3, "crashes": 3, "policy": 2, "mtbf": 598 / 3, "mttr": 1,
        "longest": 2540, "failed": True, "flapping": "yes",
    },
    # known from 10:00:50 on: 3240 - 50 - 30
    "host-a job": {"up": 30, "down": 3160, "runs": 1},
    # down from 10:08:20 on: 3100 - 360; mtbf is 0 s up per crash
    "host-a broken": {"down": 2740, "crashes": 1, "longest": 2740, "failed": True},
    # all of what was seen; three crashes while nobody looked, so two of its runs were seen
    "host-a batch": {"up": 3240, "runs": 2},
    "host-a pool": {"up": 900, "runs": 1},
    "host-a pool-0": {"up": 2340, "runs": 1},  # 2700 - 360
    "host-a old": {"up": 500, "runs": 1},
    "host-a quiet": {"up": 3240, "runs": 1},
    # it was healthy at 10:08:20, so it was up before; seen until 10:16:40
    "host-b web": {"up": 1000, "runs": 1},
}  # fmt: skip


def hour() -> tuple[list[Account], Audit]:
    gaps = find_gaps(OBSERVER_TOLD, SINCE, UNTIL, STALE)
    audit = audit_of(HISTORY, gaps)
    return audit.close(BUCKET), audit


def test_every_figure_of_a_scripted_hour():
    accounts, _ = hour()
    found = {f"{one.place.stack} {one.place.process}": figures(one) for one in accounts}
    assert found.keys() == BY_HAND.keys()
    for name, expected in BY_HAND.items():
        assert found[name] == pytest.approx(expected), name


def test_the_totals_of_that_hour():
    accounts, _ = hour()
    total = total_of(accounts)
    # up 3128+598+0+3240+900+2340+500+3240+1000; down 112+2542+2740; neither of the job; runs
    # 4+3+1+0+2+1+0+1+1+1: pool's run counts once; mtbf 14946/6; mttr (10+100+1+1)/4
    assert figures(total) == pytest.approx({
        "up": 14946, "down": 5394, "runs": 14, "crashes": 6, "policy": 3, "asked": 1, "unhealthy": 100,
        "mtbf": 2491, "mttr": 28, "longest": 2740,
    })  # fmt: skip
    assert total.uptime_percent == pytest.approx(100 * 14946 / 20340)
    assert total.last_failure and total.last_failure.at == SINCE + 1700
    assert total.unseen == 3


def test_uptime_and_last_failure_of_that_hour():
    accounts, _ = hour()
    by_name = {f"{one.place.stack} {one.place.process}": one for one in accounts}
    assert by_name["host-a web"].uptime_percent == pytest.approx(100 * 3128 / 3240)
    assert by_name["host-a broken"].uptime_percent == 0
    assert by_name["host-a quiet"].uptime_percent == 100
    failure = by_name["host-a web"].last_failure
    assert failure and (failure.at, failure.reason, failure.exit_code) == (SINCE + 1700, "exit", 2)
    assert by_name["host-a flaky"].last_failure.words() == "exit 3"


def test_the_table_of_that_hour():
    accounts, audit = hour()
    blind = [(stack, gap) for stack in ("host-a", "host-b") for gap in audit.gaps[stack].listed]
    findings = Findings(Range(T0, T0, at(HOUR)), accounts, blind)
    first, *lines = report_lines(findings, Style(zone=UTC, now=lambda: at(HOUR)))
    assert first == "10:00:00 to 11:00:00 (1h, UTC)"
    head, *body = (" ".join(line.split()) for line in lines[:-5])
    assert head == "STACK PROCESS UPTIME RUNS CRASHES RESTARTS ASKED MTBF MTTR OUTAGE FLAPS LAST FAILURE"
    assert body == [
        "host-a default/batch 100% 2 0 0 0 - - - - -",
        "host-a default/broken 0.00% 0 1 0 0 0.0s - 45m40s+ - 10:08:20 launch failed",
        "host-a default/flaky 19.04% 3 3 2 0 3m19s 1.0s 42m20s+ yes 10:11:40 exit 3",
        "host-a default/job - 1 0 0 0 - - - - -",
        "host-a default/old 100% 1 0 0 0 - - - - -",
        "host-a default/pool 100% 1 0 0 0 - - - - -",
        "host-a default/pool-0 100% 1 0 0 0 - - - - -",
        "host-a default/quiet 100% 1 0 0 0 - - - - -",
        "host-a default/web 96.54% 4 2 1 1 26m4s 55.0s 1m40s - 10:28:20 exit 2",
        "host-b default/web 100% 1 0 0 0 - - - - -",
        "all 73.48% 14 6 3 1 41m31s 28.0s 45m40s 1 10:28:20 exit 2",
    ]
    assert lines[-5:] == [
        "",
        "blind: host-a 10:30:00 to 10:35:00 (5m): adapter stopped",
        "blind: host-a 10:50:00 to 10:51:00 (1m): no answer: connection refused",
        "blind: host-b 10:16:40 to 11:00:00 (43m20s): adapter silent",
        "unseen: 3 crashes while nobody looked are in no figure",
    ]


@pytest.mark.parametrize("columns", [50, 80, 100])
def test_a_long_name_hides_no_figures(columns):
    events = [told(name, "crashed", 100, 1, run_seconds=50.0) for name in ("x" * 300, "web")]
    events.append(told("web", "started", 100, 1, stack="y" * 300))
    findings = Findings(Range(at(0), at(0), at(HOUR)), audit_of(events).close(None), [])
    lines = list(report_lines(findings, Style(columns=lambda: columns)))[1:]
    titles, *rows = lines[:5]
    assert "UPTIME" in titles and [row.split()[2][-1] for row in rows[:3]] == ["%"] * 3
    assert all(len(line) <= columns for line in [titles, *rows]) and lines[5].startswith("(no room for ")
    piped = "\n".join(report_lines(findings, Style()))
    assert "x" * 300 in piped and "y" * 300 in piped and "no room" not in piped


def test_the_json_of_that_hour():
    accounts, _ = hour()
    findings = Findings(
        Range(T0, T0, at(HOUR)), accounts, [("host-b", Gap(SINCE + 1000, UNTIL, "adapter silent"))]
    )
    found = json.loads(json.dumps(report_json(findings)))
    assert (found["since"], found["until"]) == ("2026-03-01T10:00:00.000Z", "2026-03-01T11:00:00.000Z")
    assert found["blind"] == [
        {
            "stack": "host-b",
            "start": "2026-03-01T10:16:40.000Z",
            "end": "2026-03-01T11:00:00.000Z",
            "reason": "adapter silent",
        }
    ]
    web = next(one for one in found["processes"] if one["process"] == "web" and one["stack"] == "host-a")
    assert web == {
        "stack": "host-a", "namespace": "default", "process": "web", "uptime_percent": 96.5432,
        "up_seconds": 3128.0, "down_seconds": 112.0, "unhealthy_seconds": 100.0, "runs": 4, "crashes": 2,
        "restarts": 1, "asked_restarts": 1, "mtbf_seconds": 1564.0, "mttr_seconds": 55.0,
        "longest_outage_seconds": 100.0,
        "last_failure": {"timestamp": "2026-03-01T10:28:20.000Z", "reason": "exit", "exit_code": 2},
    }  # fmt: skip
    assert found["total"]["runs"] == 14 and "stack" not in found["total"]


# --- what a process was before its first event in the range ---


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (told("p", "crashed", 600, reason="exit"), {"up": 600, "runs": 1}),
        (told("p", "crashed", 600, reason="exit", run_seconds=60.0), {"up": 60, "runs": 1}),
        (told("p", "crashed", 600, reason="exit", run_seconds=3e9), {"up": 600, "runs": 1}),
        (told("p", "stopped", 600, reason="requested", run_seconds=-5.0), {"runs": 1}),
        (told("p", "started", 600, old_status="Completed"), {"down": 600, "runs": 1}),
        (told("p", "started", 600, new_status="Running"), {"runs": 1}),
        (told("p", "started", -9000, initial=True, observed_at=format_time(at(600))), {"runs": 1}),
        (told("p", "restarted", 600, restarts=3, old_status="Restarting"),
         {"down": 600, "runs": 1, "policy": 1}),
        (told("p", "restarted", 600, restarts=3), {"down": 600, "runs": 1, "asked": 1}),
        (told("p", "unhealthy", 600), {"up": 600, "runs": 1}),
        (told("p", "healthy", 600, extra={"was_seconds": 9.0}), {"up": 600, "unhealthy": 600, "runs": 1}),
        (told("p", "crashed", 600, reason="launch_failed", old_status="Completed"), {"down": 600}),
        (told("p", "crashed", 600, reason="launch_failed"), {}),
        (told("p", "status_changed", 600, old_status="Running", state=alive(status="Terminating",
              is_running=False)), {"up": 600, "runs": 1}),
        (told("p", "status_changed", 600, old_status="Completed", state={"status": "Scheduled"}),
         {"down": 600}),
        (told("p", "status_changed", 600, initial=True, state={"status": "Disabled"}), {}),
        (told("p", "status_changed", 600, renamed_from="q", state=alive()), {"runs": 1}),
    ],
)  # fmt: skip
def test_the_first_event_tells_what_was_before_it(event, expected):
    audit = audit_of([event])
    (account,) = audit.close(None)
    # what it is from then on is of no interest here
    rest = HOUR - 600
    for name in ("up", "down", "unhealthy"):
        seconds = getattr(account, f"{name}_s")
        kept = seconds - rest if seconds >= rest else seconds
        assert kept == pytest.approx(expected.get(name, 0)), name
    counted = {name: figures(account).get(name, 0) for name in ("runs", "policy", "asked")}
    assert counted == {name: expected.get(name, 0) for name in counted}


def test_what_was_before_the_range_is_known_but_not_counted():
    events = [
        told("p", "started", -250, 1),
        told("p", "crashed", -200, 2, reason="exit"),
        told("p", "restarted", -199, 3, restarts=1),
        told("p", "crashed", -100, 4, reason="exit"),
        told("p", "restarted", 100, 5, restarts=2),
    ]
    # an outage that began before the range is measured within it, and is not one for the mean
    assert figures(account_of(*events)) == {
        "up": 3500, "down": 100, "runs": 1, "policy": 1, "longest": 100,
    }  # fmt: skip


def test_what_is_after_the_range_still_tells_what_was_before_it():
    assert figures(account_of(told("p", "crashed", HOUR + 50, 9, reason="exit"))) == {"up": 3600, "runs": 1}
    assert audit_of([told("p", "started", HOUR + 50, 1)]).close(None) == []


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"alive": True}, {"up": 3600, "runs": 1}),
        ({"alive": True, "health": "Not Ready"}, {"up": 3600, "unhealthy": 3600, "runs": 1}),
        ({"alive": False}, {"down": 3600}),
        (
            {"alive": False, "ended_at": at(-9), "crashed_at": at(-9)},
            {"down": 3600, "longest": 3600, "failed": True},
        ),
        ({"alive": False, "ended_at": at(-5), "crashed_at": at(-9)}, {"down": 3600}),
        ({"alive": True, "last_at": at(600)}, {"up": 3000, "runs": 1}),
    ],
)
def test_a_process_without_an_event_is_what_the_bucket_says(row, expected):
    place = Place("host-a", "default", "p")
    states = States({place: ProcessRow(place, **row)}, {"host-a": StackRow("host-a")})
    assert figures(account_of(states=states)) == expected


# --- runs, restarts, outages ---


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        pytest.param(
            [told("p", "started", 0, 1), told("p", "stopped", 600, 2, reason="requested"),
             told("p", "restarted", 601, 3), told("p", "restarted", 900, 4)],
            {"asked": 2, "runs": 3}, id="two restarts by hand, the second one's end unseen",
        ),
        pytest.param(
            [told("p", "started", 0, 1), told("p", "crashed", 600, 2, reason="exit", restarts=5),
             told("p", "restarted", 601, 3, restarts=5, count=5)],
            {"policy": 5, "runs": 6, "crashes": 1}, id="five restarts told as one",
        ),
        pytest.param(
            [told("p", "started", 0, 1, restarts=7, initial=True),
             told("p", "stopped", 600, 2, reason="replaced"),
             told("p", "restarted", 600, 3, restarts=2, count=3)],
            {"policy": 2, "asked": 1, "runs": 4}, id="a file watch resets the count, then the policy twice",
        ),
        pytest.param(
            [told("p", "started", 0, 1), told("p", "stopped", 600, 2, reason="completed"),
             told("p", "restarted", 601, 3, restarts=1)],
            {"policy": 1, "runs": 2}, id="restart: always after exit 0",
        ),
        pytest.param(
            [told("p", "started", 0, 1), told("p", "stopped", 600, 2, reason="requested"),
             told("p", "started", 900, 3)],
            {"runs": 2}, id="stopped, and started much later: no restart",
        ),
    ],
)  # fmt: skip
def test_restarts_by_the_policy_stand_apart_from_those_asked_for(events, expected):
    found = figures(account_of(*events))
    names = ("policy", "asked", "runs", "crashes")
    assert {name: found[name] for name in names if name in found} == expected


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        pytest.param(
            [told("p", "crashed", 600, 2, reason="exit"),
             told("p", "crashed", 700, 3, reason="launch_failed"),
             told("p", "started", 900, 4)],
            {"mttr": 300, "longest": 300}, id="one outage, through a launch that failed",
        ),
        pytest.param(
            [told("p", "crashed", 600, 2, reason="exit"),
             told("p", "status_changed", 660, 3, old_status="Restarting", new_status="Completed")],
            {"longest": 60}, id="somebody ends it while it waits to be restarted: no outage any more",
        ),
        pytest.param(
            [told("p", "crashed", 600, 2, reason="exit"),
             told("p", "status_changed", 660, 3, old_status="Completed", new_status="Removed")],
            {"longest": 60}, id="removed: the outage is over, not repaired",
        ),
        pytest.param(
            [told("p", "crashed", 600, 2, reason="exit", inferred=True),
             told("p", "restarted", 600, 3, restarts=1, inferred=True)],
            {}, id="a crash of which only the next run was seen has no length",
        ),
        pytest.param(
            [told("p", "stopped", 600, 2, reason="requested")], {}, id="a stop on request is no outage",
        ),
        pytest.param(
            [told("p", "crashed", 3590, 2, reason="exit"), told("p", "restarted", HOUR + 10, 3, restarts=1)],
            {"longest": 10, "failed": True}, id="still down at the end of the range, whatever came later",
        ),
    ],
)  # fmt: skip
def test_an_outage_lasts_from_a_crash_until_a_run_lives(events, expected):
    found = figures(account_of(*events))
    assert {name: found[name] for name in ("mttr", "longest", "failed") if name in found} == expected


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([("crashed", 0), ("crashed", 300), ("crashed", 600)], "yes"),
        ([("crashed", 0), ("crashed", 300), ("crashed", 601)], ""),
        ([("crashed", 0), ("unhealthy", 5), ("unhealthy", 10)], "yes"),
        ([("crashed", 3000), ("crashed", 3300), ("crashed", 3599)], "now"),
        ([("crashed", -400), ("crashed", -300), ("crashed", 10)], ""),
    ],
)
def test_flapping_is_three_bad_turns_within_ten_minutes(events, expected):
    turns = []
    for number, (event_type, seconds) in enumerate(events):
        turns.append(told("p", "started", seconds - 0.5, 2 * number + 1))
        turns.append(told("p", event_type, seconds, 2 * number + 2, reason="exit"))
    assert account_of(*turns).flapping == expected


def test_a_crash_loop_while_the_adapter_was_away_is_in_no_figure():
    """100 s of a loop that begins anew every 2 s, of which nobody saw more than what came of it."""
    gaps = {"host-a": Gaps([Gap(SINCE + 1000, SINCE + 1100, "adapter killed")])}
    audit = audit_of([
        told("p", "started", -50, 1),
        told("p", "crashed", 1098, 2, count=50, inferred=True, exit_code=1, reason="exit", restarts=50,
             extra={"not_before": format_time(at(999))}),
        told("p", "restarted", 1099, 3, count=50, restarts=50),
        told("p", "crashed", 2000, 4, exit_code=1, reason="exit", restarts=51),
        told("p", "restarted", 2010, 5, restarts=51),
    ], gaps)  # fmt: skip
    found = audit.close(States({}, {"host-a": StackRow("host-a")}))[0]
    assert (found.crashes, found.unseen, found.policy_restarts, found.runs) == (1, 50, 1, 3)
    assert (found.up_s, found.mtbf_s, found.mttr_s) == (3490, 3490, 10)
    assert found.uptime_percent == pytest.approx(100 * 3490 / 3500)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (
            [told("p", "started", 100, 1), told("p", "stopped", 130, 2, exit_code=0, reason="completed")],
            (1, 0),
        ),
        (
            [
                told("p", "started", 100, 1, old_status="Scheduled", new_status="Running"),
                told("p", "crashed", 130, 2, exit_code=1, reason="exit", new_status="Scheduled"),
                told("p", "started", 700, 3, old_status="Scheduled", new_status="Running"),
            ],
            (2, 1),
        ),
    ],
    ids=["once", "on a schedule"],
)
def test_what_runs_once_or_on_a_schedule_has_runs_and_failures_but_no_uptime(events, expected):
    found = audit_of(events).close(States({}, {"host-a": StackRow("host-a")}))[0]
    assert (found.runs, found.crashes) == expected
    assert (found.uptime_percent, found.mtbf_s, found.mttr_s) == (None, None, None)
    assert total_of([found]).uptime_percent is None


def test_crashes_that_were_not_seen_one_by_one_flap_only_if_they_were_close():
    def crashed(not_before: float) -> Event:
        extra = {"not_before": format_time(at(not_before))}
        return told("p", "crashed", 3000, 2, count=40, inferred=True, reason="exit", extra=extra)

    assert account_of(crashed(2401)).flapping == "now"
    assert account_of(crashed(100)).flapping == ""


# --- what the stream does to a reader ---


def test_an_event_stored_twice_counts_once():
    events = [told("p", "started", 0, 1), *[told("p", "crashed", 600, 2, reason="exit")] * 2]
    assert figures(account_of(*events))["crashes"] == 1


def test_what_a_host_whose_clock_is_behind_saw_counts():
    begun = [told("p", "started", 700, 1), told("p", "stopped", 1000, 2, reason="requested")]
    seen = {number: format_time(at(600 + number)) for number in (1, 2)}
    later = [
        told("p", "started", 1200, 1, observed_at=seen[1]),
        told("p", "crashed", 1300, 2, reason="exit", observed_at=seen[2]),
    ]
    found = figures(account_of(*begun, *later))
    assert (found["runs"], found["crashes"]) == (2, 1)


def test_a_process_that_was_removed_begins_anew_with_its_seq():
    gone = told("p", "status_changed", 700, 8, old_status="Completed", new_status="Removed")
    events = [told("p", "started", 0, 6), told("p", "stopped", 600, 7, reason="completed"), gone]
    again = [told("p", "started", 1000, 1), told("p", "crashed", 1600, 2, reason="exit")]
    assert figures(account_of(*events, *again)) == {
        "up": 1200, "down": 2100, "runs": 2, "crashes": 1, "mtbf": 1200, "longest": 2000, "failed": True,
    }  # fmt: skip


def test_what_was_between_two_events_is_not_known_where_one_is_missing():
    events = [told("p", "started", 0, 1), told("p", "healthy", 100, 2), told("p", "healthy", 1100, 5)]
    assert figures(account_of(*events)) == {"up": 2600, "runs": 1, "lost": 2}


def test_an_adapter_with_an_empty_memory_finds_the_same_run_again():
    begun = told("p", "started", 100, 1)
    found = told("p", "started", 100, 1, initial=True, observed_at=format_time(at(2000)))
    other = told("p", "started", 1500, 1, initial=True, observed_at=format_time(at(2000)))
    assert figures(account_of(begun, found)) == {"up": 3500, "runs": 1}
    assert figures(account_of(begun, other))["runs"] == 2


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"[]", b"7", b"null", b'{"type":"crashed"}',
     b'{"type":"crashed","process":7,"namespace":"a","timestamp":"x"}',
     b'{"type":"crashed","process":"p","namespace":"a","timestamp":"yesterday"}', b"[" * 100_000,
     *(b'{"type":"crashed","process":"p","namespace":"a","timestamp":"2026-03-01T10:00:00.000Z",%b}' % wrong
       for wrong in (b'"restarts":"many"', b'"seq":true', b'"reason":7', b'"old_status":[]', b'"state":3'))],
)  # fmt: skip
def test_what_is_no_event_is_counted(payload):
    audit = audit_of([])
    audit.add(payload)
    assert (audit.malformed, audit.close(None)) == (1, [])


def test_names_and_stacks_are_told_apart_and_chosen():
    events = [
        told("web", "started", 0, 1),
        told("web", "started", 0, 1, stack="host-b"),
        told("api", "started", 0, 1, namespace="shop"),
        told("adapter", "started", 0, 1, namespace=OBSERVE),  # somebody's own namespace of that name
        observer("adapter", "started", 0),
    ]

    def places(**options: Any) -> list[str]:
        return [f"{one.place.stack} {one.place}" for one in audit_of(events, **options).close(None)]

    assert places() == [
        "host-a _observe/adapter", "host-a default/web", "host-a shop/api", "host-b default/web",
    ]  # fmt: skip
    assert places(patterns=("web",)) == ["host-a default/web", "host-b default/web"]
    assert places(patterns=("shop/*", "nothing")) == ["host-a shop/api"]
    assert places(stack="host-b") == ["host-b default/web"]


def test_a_forgotten_stack_is_not_taken_to_live_on():
    events = [told("p", "started", 0, 1), told("p", "healthy", 900, 2)]
    audit = audit_of(events)
    (account,) = audit.close(States())
    assert figures(account) == {"up": 900, "runs": 1}
    assert audit.gaps["host-a"].listed == [Gap(SINCE + 900, UNTIL, "forgotten")]


# --- blind time ---


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        pytest.param([], [], id="nothing told"),
        pytest.param(
            [observer("adapter", "stopped", 100), observer("adapter", "started", 160)],
            [(100, 160, "adapter stopped")], id="an adapter was restarted",
        ),
        pytest.param(
            [observer("adapter", "started", 160, last_alive=format_time(at(100)))],
            [(100, 160, "adapter killed")], id="an adapter was killed",
        ),
        pytest.param(
            [observer("adapter", "started", 160, last_alive=format_time(at(-500)))],
            [(0, 160, "adapter killed")], id="before the range",
        ),
        pytest.param(
            [observer("adapter", "started", 160), observer("process-compose", "started", 170)],
            [(0, 170, "no adapter, no process-compose")], id="nobody was there before",
        ),
        pytest.param(
            [observer("adapter", "stopped", 3000)], [(3000, 3600, "adapter stopped")], id="until now",
        ),
        pytest.param(
            [observer("process-compose", "unhealthy", 105, since=format_time(at(100)), error="refused"),
             observer("process-compose", "healthy", 160, blind_seconds=60.0)],
            [(100, 160, "no answer: refused")], id="process-compose did not answer",
        ),
        pytest.param(
            [observer("process-compose", "healthy", 160, blind_seconds=60.0)],
            [(100, 160, "no answer")], id="only its return is in the range",
        ),
        pytest.param(
            [observer("process-compose", "stopped", 105, since=format_time(at(100))),
             observer("adapter", "stopped", 130), observer("adapter", "started", 200),
             observer("process-compose", "started", 190)],
            [(100, 200, "process-compose stopped, adapter stopped")], id="both, one within the other",
        ),
        pytest.param(
            [observer("process-compose", "unhealthy", 100, since="nonsense", error=7),
             observer("something", "stopped", 150), observer("process-compose", "started", 160)],
            [(100, 160, "process-compose stopped")], id="fields that nobody can read",
        ),
    ],
)  # fmt: skip
def test_blind_time_is_what_the_observer_says_of_itself(events, expected):
    gaps = find_gaps(events, SINCE, UNTIL, {})
    found = gaps["host-a"].listed if gaps else []
    assert [(gap.start - SINCE, gap.end - SINCE, gap.why) for gap in found] == expected


def test_gaps_are_a_clock_that_stands_still():
    gaps = Gaps([Gap(50, 60, "b"), Gap(10, 20, "a"), Gap(55, 70, "c"), Gap(5, 5, "nothing")])
    assert gaps.listed == [Gap(10, 20, "a"), Gap(50, 70, "b, c")]
    cases = {(0, 100): 70, (0, 10): 10, (12, 18): 0, (15, 55): 30, (20, 50): 30, (70, 80): 10, (65, 75): 5}
    assert {span: gaps.seen_s(*span) for span in cases} == cases
    for span, seconds in cases.items():
        assert sum(end - start for start, end in gaps.visible(*span)) == seconds


# --- the timeline ---


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([(0, 100, Shade.UP)], "██████████"),
        ([(0, 31, Shade.UP), (31, 100, Shade.DOWN)], "███░░░░░░░"),
        ([(0, 38, Shade.UP), (38, 100, Shade.DOWN)], "████░░░░░░"),
        ([(0, 45.5, Shade.UP), (45.5, 45.6, Shade.OUTAGE), (45.6, 100, Shade.UP)], "████░█████"),
        ([(0, 45, Shade.UP), (45, 51, Shade.UNHEALTHY), (51, 100, Shade.UP)], "████▒▒████"),
        ([(30, 100, Shade.UP)], "   ███████"),
        ([(0, 100.0000001, Shade.UP)], "██████████"),
        ([], "          "),
    ],
)
def test_a_column_shows_trouble_or_else_what_there_was_most_of(spans, expected):
    strip = ProcessStrip(0, 100, 10)
    for start, end, shade in spans:
        strip.add(start, end, shade)
    assert strip.text(Gaps()) == expected


def test_columns_in_which_nobody_looked():
    strip, gaps = ProcessStrip(0, 100, 10), Gaps([Gap(20, 44, "")])
    for start, end in gaps.visible(0, 100):
        strip.add(start, end, Shade.UP)
    assert strip.text(gaps) == "██··██████"


def test_colours_are_one_sequence_a_stretch():
    strip = ProcessStrip(0, 40, 4)
    strip.add(0, 20, Shade.UP)
    strip.add(20, 30, Shade.OUTAGE)
    assert strip.text(Gaps(), colour=True) == "\x1b[32m██\x1b[0m\x1b[31m░\x1b[0m "


def test_the_strips_of_an_hour():
    gaps = find_gaps(OBSERVER_TOLD, SINCE, UNTIL, STALE)
    audit = audit_of(HISTORY, gaps, strip=lambda: ProcessStrip(SINCE, UNTIL, 12))  # five minutes a column
    found = {
        f"{one.place.stack} {one.place.process}": one.strip.text(one.gaps) for one in audit.close(BUCKET)
    }
    assert found == {
        "host-a web": "██░██░·█▒███",
        "host-a flaky": "░░░░░░·░░░░░",
        "host-a job": "░░░░░░·░░░░░",
        "host-a broken": " ░░░░░·░░░░░",
        "host-a batch": "██████·█████",
        "host-a pool": "███   ·     ",
        "host-a pool-0": "   ███·█████",
        "host-a old": " ██   ·     ",
        "host-a quiet": "██████·█████",
        "host-b web": "███·········",
    }


def test_strips_have_all_the_room_beside_the_names_that_are_asked_for():
    style = Style(columns=lambda: 100)
    assert strip_room([], style) == 100 - 33 - 2
    assert strip_room([Place("host-a", "default", "web")], style) == 100 - 12 - 2
    assert strip_room([Place("host-a", "shop", "checkout-api")], style) == 100 - 17 - 2
    assert (
        strip_room([Place(stack, "default", "web") for stack in ("host-a", "host-b")], style) == 100 - 18 - 2
    )
    assert strip_room([Place("host-a", "default", "x" * 300)], style) == 100 - 33 - 2


# --- the rest ---


@pytest.mark.parametrize(
    ("percent", "expected"),
    [(100.0, "100%"), (99.9999, "99.99%"), (99.5, "99.50%"), (0.0, "0.00%")],
)
def test_only_all_of_it_is_a_hundred_percent(percent, expected):
    assert percent_text(percent) == expected


def test_what_never_was_to_run_has_no_uptime():
    disabled = account_of(told("p", "status_changed", 0, 1, initial=True, state={"status": "Disabled"}))
    assert disabled.uptime_percent is None and "uptime_percent" not in account_json(disabled)


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [("1h", None, (at(-3600), at(0))), ("09:00", "09:30", (at(-3600), at(-1800))), ("1h", "12:00", None)],
)
def test_the_range_is_what_the_flags_say(since, until, expected):
    flags = {"since": since, "until": until, "utc": True}
    if expected is None:  # 12:00 is yesterday's: before the range begins
        with pytest.raises(UsageError):
            range_of(flags, T0)
        return
    found = range_of(flags, T0)
    assert (found.since, found.until) == expected


def test_a_clock_time_is_of_the_zone_that_is_printed(monkeypatch):
    monkeypatch.setenv("TZ", "IST-5:30")
    time.tzset()
    try:
        local = range_of({"since": "09:00", "until": "09:30"}, T0)
        utc = range_of({"since": "09:00", "until": "09:30", "utc": True}, T0)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert (utc.since - local.since).total_seconds() == 5.5 * 3600


@pytest.mark.parametrize("text", ["", "soon", "25:00", "0s", "2026-13-01T00:00:00Z"])
def test_a_time_that_is_none_is_a_usage_error(text):
    with pytest.raises(UsageError):
        range_of({"since": text, "until": None}, T0)


AN_HOUR = 3600 * 10**9
FROM_A_MINUTE_AGO = {"messages": 1, "first_ts": format_time(at(-60))}


@pytest.mark.parametrize(
    ("config", "state", "expected"),
    [
        ({"max_age": AN_HOUR}, {"first_seq": 1}, None),
        ({"max_age": AN_HOUR}, {"first_seq": 5, **FROM_A_MINUTE_AGO}, at(-3600)),
        ({"max_age": 0}, {"first_seq": 5, **FROM_A_MINUTE_AGO}, at(-60)),
        ({"max_age": AN_HOUR, "max_bytes": 10}, {"first_seq": 5, **FROM_A_MINUTE_AGO}, at(-60)),
        ({"max_age": 0}, {"first_seq": 5, "messages": 0, "first_ts": "0001-01-01T00:00:00Z"}, at(0)),
    ],
)  # fmt: skip
def test_from_when_on_the_stream_has_everything(config, state, expected):
    assert kept_since({"config": config, "state": state}, T0) == expected
