"""DESIGN section 4, row by row and sentence by sentence: states in, events out.

A look is a state or a list of them (one reply), 1 s after the last; `Cast` holds what is known; what push
says is a message, compared at once. In the tables an event is a line: type, reason, exit code, `x2` for a
count, `~` for inferred, `!` for initial, `...` for starting; a companion is left out, any other
status_changed is `-> status`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from observe_lib.compose.state import ProcessState
from observe_lib.detect.changes import Change, announce, detect, end_unseen, settle
from observe_lib.detect.known import GONE_AFTER_S, LAUNCH_POLLS, Known, leave_out
from observe_lib.detect.messages import state_heard
from observe_lib.events import Event, Key
from observe_lib.times import UTC, format_time, parse_time
from tests.stand_in import make_state

NOON = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
PROBE_LOG = ["ready", "Error: readiness check fail - exit status 1", "bye"]
DAEMON_LOG = ["up", "Error: liveness check fail - exit status 1"]
Look = ProcessState | Sequence[ProcessState]


def clock(seconds: float) -> str:
    return format_time(NOON + timedelta(seconds=seconds))


def S(
    status: str, pid: int = 0, restarts: int = 0, code: int = 0, start: float = -60, **fields: Any
) -> ProcessState:
    """Return a state of `web`; times are seconds from noon, `health` is is_ready."""
    running = status in ("Running", "Launching", "Launched")
    times = {"process_start_time": clock(start) if pid else None, "process_ready_time": None}
    for name in ("end", "ready"):
        if name in fields:
            times[f"process_{name}_time"] = clock(fields.pop(name))
    fields = {"is_ready": fields.pop("health", "-"), "age": 0, "is_running": running, **times, **fields}
    name = fields.pop("name", "web")
    return ProcessState.from_raw(
        make_state(name, status=status, pid=pid, restarts=restarts, exit_code=code, **fields)
    )


class Cast:
    """What is known of one stack; `look` compares a reply and takes over, `hear` messages.

    With push, it has listened for an hour; where a reply shows an end first, `look` looks until it is told.
    """

    def __init__(self, push: bool = False, interval_s: float = 2.0, **more: Any) -> None:
        self.known: dict[Key, Known] = {}
        listens = {"listening_since": NOON - timedelta(hours=1)} if push else {}
        self.more: dict[str, Any] = {"interval_s": interval_s, **listens, **more}
        self.now = NOON - timedelta(seconds=1)
        self.changes: list[Change] = []

    def look(
        self, states: Look, after_s: float = 1.0, log_tail: Sequence[str] = (), **more: Any
    ) -> list[Event]:
        self.now += timedelta(seconds=after_s)
        states = [states] if isinstance(states, ProcessState) else states
        reply = {Key(state.namespace, state.name): state for state in states}
        found = self.compare(self.known, reply, log_tail, **more)
        seen_at = self.now
        while any(known.unheard for known in self.known.values()):
            more = {**more, "last_good": self.now}
            self.now += timedelta(seconds=0.05)
            found += self.compare(self.known, reply, log_tail, **more)
        self.now = seen_at
        if "listening_since" in self.more:
            self.more["last_good"] = self.now
        return found

    def hear(
        self, *messages: ProcessState, after_s: float = 0.0, log_tail: Sequence[str] = ()
    ) -> list[Event]:
        """Compare messages, the way the push thread does."""
        self.now += timedelta(seconds=after_s)
        found = []
        for message in messages:
            key = Key(message.namespace, message.name)
            before = self.known.get(key)
            state = state_heard(before, message)
            if before and state:
                found += self.compare({key: before}, {key: state}, log_tail)
        return found

    def compare(
        self,
        known: Mapping[Key, Known],
        reply: Mapping[Key, ProcessState],
        log_tail: Sequence[str],
        **more: Any,
    ) -> list[Event]:
        changes = detect(known, reply, self.now, **{**self.more, **more})
        self.changes = [settle(change, log_tail) for change in changes]
        for change in self.changes:
            if change.known is None:
                del self.known[change.key]
            else:
                self.known[change.key] = change.known
        return [event for change in self.changes for event in change.events]

    @property
    def web(self) -> Known:
        return self.known[Key("default", "web")]


def line(event: Event) -> str:
    if event.type == "status_changed":
        words = ["->", event.new_status, event.reason]
    else:
        code = None if event.exit_code is None else str(event.exit_code)
        words = [event.type, event.reason, code, f"x{event.count}" if event.count > 1 else None]
    marks = ["~"] * event.inferred + ["!"] * event.initial + ["..."] * event.starting
    return " ".join([w for w in words if w] + marks)


def lines(events: Sequence[Event]) -> list[str]:
    return [line(event) for event in events if not event.companion]


def told(*looks: Look, push: bool = False, interval_s: float = 2.0) -> list[str]:
    """Return what the last of these looks tells."""
    cast = Cast(push, interval_s)
    for states in looks:
        events = cast.look(states)
    return lines(events)


def table(*rows: tuple[Any, ...]) -> list[Any]:
    return [pytest.param(*row[1:], id=row[0]) for row in rows]


RUNS = S("Running", 7)  # alive, its first run
DONE = S("Completed", 7, end=-1)
AGAIN = S("Restarting", 7, 1, code=1)
PENDING = S("Pending")

# --- the counting table, and the order within a batch ---

COUNTED = table(
    # after has no run
    ("launching by hand", [RUNS, S("Running")], ["stopped replaced ~"]),
    ("launching, the old pid, its end unseen", [RUNS, S("Running", 7, 1, code=1)], ["crashed exit 1 ~"]),
    ("and launched", [RUNS, S("Running", 7, 1, code=1), S("Running", 8, 1, code=1)], ["restarted"]),
    ("launching by policy", [RUNS, AGAIN, S("Running", 7, 1, code=1)], []),
    ("pending after it ran", [DONE, PENDING], ["-> Pending"]),
    # the same run
    ("it runs on", [RUNS, S("Running", 7, mem=9)], []),
    ("it ends", [RUNS, DONE], ["stopped completed 0"]),
    ("it ends and will be restarted", [RUNS, AGAIN], ["crashed exit 1"]),
    ("still with the old count", [RUNS, S("Restarting", 7, 0, code=1)], ["crashed exit 1"]),
    ("which rises", [RUNS, S("Restarting", 7, 0, code=1), AGAIN], []),
    ("stopped while restarting", [RUNS, AGAIN, S("Completed", 7, 1, code=1)], ["-> Completed"]),
    # before has no run
    ("its first run", [PENDING, RUNS], ["started"]),
    ("it came and went", [PENDING, DONE], ["started ~", "stopped completed 0"]),
    ("it came, went, restarts", [PENDING, AGAIN], ["started ~", "crashed exit 1"]),
    (
        "three runs, the last alive",
        [PENDING, S("Running", 9, 2, code=1)],
        ["started ~", "restarted ~", "crashed exit 1 x2 ~", "restarted"],
    ),
    (
        "three runs, none alive",
        [PENDING, S("Completed", 9, 2, code=1, end=-1)],
        ["started ~", "restarted x2 ~", "crashed exit 1 x3 ~"],
    ),
    ("a new name", [[], RUNS], ["started"]),
    (
        "a new name, restarted once",
        [[], S("Running", 9, 1, code=1)],
        ["started ~", "crashed exit 1 ~", "restarted"],
    ),
    # another run, rise > 0
    ("restarted by policy", [RUNS, S("Running", 8, 1, code=1)], ["crashed exit 1 ~", "restarted"]),
    ("twice", [RUNS, S("Running", 9, 2, code=1)], ["crashed exit 1 x2 ~", "restarted x2 ~"]),
    (
        "restarted, and given up",
        [RUNS, S("Completed", 8, 1, code=1, end=-1)],
        ["restarted ~", "crashed exit 1 x2 ~"],
    ),
    (
        "one unseen, then this",
        [RUNS, AGAIN, S("Running", 9, 2, code=1)],
        ["restarted ~", "crashed exit 1 ~", "restarted"],
    ),
    # another run, rise = 0
    ("the policy's next", [RUNS, AGAIN, S("Running", 8, 1, code=1)], ["restarted"]),
    ("restarted by hand", [RUNS, S("Running", 8, start=-1)], ["stopped replaced ~", "restarted"]),
    ("started by hand", [RUNS, DONE, S("Running", 8, start=-1)], ["started"]),
    (
        "started by hand, and over",
        [RUNS, DONE, S("Completed", 8, code=3, start=-1, end=0)],
        ["started ~", "crashed exit 3"],
    ),
    (
        "replaced, and over",
        [RUNS, S("Completed", 8, code=3, start=-1, end=0)],
        ["restarted ~", "stopped replaced ~", "crashed exit 3"],
    ),
    # another run, the restarts fell
    (
        "a file changed",
        [S("Running", 7, 3), S("Running", 8, 0, start=-1)],
        ["stopped replaced ~", "restarted"],
    ),
    (
        "and it restarted",
        [S("Running", 7, 3), S("Running", 9, 1, code=1, start=-1)],
        ["stopped replaced ~", "crashed exit 1 ~", "restarted x2 ~"],
    ),
    ("reset while it was down", [S("Completed", 7, 3), S("Running", 8, 0, start=-1)], ["started"]),
    # and: status Error
    ("a launch failed", [PENDING, S("Error", end=0)], ["crashed launch_failed"]),
    ("a new name", [[], S("Error", end=0)], ["crashed launch_failed"]),
    ("the same failure", [S("Error", end=0), S("Error", end=0, mem=9)], []),
    ("another failure", [S("Error", end=0), S("Error", end=1)], ["crashed launch_failed"]),
    ("replaced by it", [RUNS, S("Error", end=0)], ["stopped replaced ~", "crashed launch_failed"]),
    (
        "the policy's launch failed",
        [RUNS, AGAIN, S("Error", 7, 1, code=1, end=0)],
        ["crashed launch_failed"],
    ),
    (
        "its end unseen",
        [RUNS, S("Error", 7, 1, code=1, end=0)],
        ["crashed exit 1", "crashed launch_failed"],
    ),
    ("launched after all", [S("Error", end=0), S("Running", 8, start=0)], ["started"]),
)


@pytest.mark.parametrize("looks, events", COUNTED)
def test_what_is_told_of_the_runs_between_two_looks(looks, events):
    assert told(*looks) == events


# --- the class of an end ---

TERMINATING = S("Terminating", 7)
SICK = S("Running", 7, health="Not Ready")

CLASSED = table(
    ("Terminating, then Restarting", [RUNS, TERMINATING, AGAIN], ["crashed probe 1"]),
    (
        "the same, the Restarting unseen",
        [RUNS, TERMINATING, S("Running", 8, 1, code=-1)],
        ["crashed probe -1 ~", "restarted"],
    ),
    ("Terminating", [RUNS, TERMINATING, DONE], ["stopped requested 0"]),
    ("even by a signal", [RUNS, TERMINATING, S("Completed", 7, code=-1)], ["stopped requested -1"]),
    ("even with a failure", [RUNS, TERMINATING, S("Completed", 7, code=3)], ["stopped requested 3"]),
    (
        "Terminating, then replaced",
        [RUNS, TERMINATING, S("Running", 8, start=0)],
        ["stopped requested ~", "restarted"],
    ),
    (
        "Terminating, then by hand and by policy",
        [RUNS, TERMINATING, S("Running", 9, 1, code=1, start=0)],
        ["stopped requested ~", "restarted"],
    ),
    ("replaced", [RUNS, S("Running", 8, start=0)], ["stopped replaced ~", "restarted"]),
    ("Error", [PENDING, S("Error", end=0)], ["crashed launch_failed"]),
)


@pytest.mark.parametrize("looks, events", CLASSED)
def test_the_class_of_an_end(looks, events):
    assert told(*looks) == events


@pytest.mark.parametrize(
    "code, without_push, with_push",
    [
        (0, "stopped completed 0", None),
        (42, "stopped completed 42", None),  # in success_exit_codes
        (129, "stopped terminated 129", None),
        (130, "stopped terminated 130", None),
        (143, "stopped terminated 143", None),
        (-1, "crashed killed -1 ~", "crashed killed -1"),  # a quick stop, unseen, looks the same
        (137, "crashed killed 137 ~", "crashed killed 137"),
        (139, "crashed killed 139 ~", "crashed killed 139"),
        (1, "crashed exit 1", None),
        (3, "crashed exit 3", None),
        (128, "crashed exit 128", None),
        (255, "crashed exit 255", None),
    ],
)
def test_the_class_by_exit_code(code, without_push, with_push):
    for push, expected in ((False, without_push), (True, with_push or without_push)):
        for ended in ("Completed", "Restarting", "Scheduled"):
            over = S(ended, 7, int(ended == "Restarting"), code, success_exit_codes=[42])
            assert told(RUNS, over, push=push) == [expected]
            assert told(PENDING, over, push=push) == ["started ~", expected]


def test_a_success_code_comes_before_the_signals():
    over = [S("Completed", 7, code=code, success_exit_codes=[-1, 143, 3]) for code in (-1, 143, 3)]
    assert [told(RUNS, one) for one in over] == [[f"stopped completed {one.exit_code}"] for one in over]


# --- settle: killed by its probe, or stopped on request ---

SETTLED = table(
    ("the line is there", SICK, DONE, PROBE_LOG, ["crashed probe 0"]),
    ("no line", SICK, DONE, ["ready", "bye"], ["stopped requested 0"]),
    ("no log", SICK, DONE, [], ["stopped requested 0"]),
    ("the line of long ago", SICK, DONE, PROBE_LOG + ["on we go"] * 20, ["stopped requested 0"]),
    ("it was Ready", S("Running", 7, health="Ready"), DONE, PROBE_LOG, ["stopped requested 0"]),
    ("it had no health", RUNS, DONE, PROBE_LOG, ["stopped requested 0"]),
    (
        "the begin after it is no restart",
        SICK,
        S("Running", 8, start=1),
        PROBE_LOG,
        ["crashed probe ~", "started"],
    ),
    (
        "the begin after it is one",
        SICK,
        S("Running", 8, start=1),
        [],
        ["stopped requested ~", "restarted"],
    ),
)


@pytest.mark.parametrize("sick, over, log_tail, events", SETTLED)
def test_the_log_tells_who_ended_an_unready_process(sick, over, log_tail, events):
    cast = Cast()
    cast.look(sick)
    cast.look(TERMINATING)
    assert lines(cast.look(over, log_tail=log_tail)) == events
    assert not any(change.needs_log for change in cast.changes)


def test_settle_corrects_type_subject_severity_and_what_is_known():
    cast = Cast()
    cast.look(SICK)
    cast.look(TERMINATING)
    (change,) = detect(cast.known, {Key("default", "web"): DONE}, cast.now)
    assert change.needs_log and change.known and change.known.requested_at
    killed, asked = settle(change, PROBE_LOG), settle(change, [])
    end = killed.events[0]
    assert (end.type, end.severity, end.subject) == ("crashed", "error", "core.process.default.web.crashed")
    assert killed.known and killed.known.requested_at is None  # so a start soon after is no restart
    assert asked == replace(change, needs_log=False)


@pytest.mark.parametrize(
    ("looks", "after"),
    [
        ([RUNS, TERMINATING, AGAIN, S("Running", 9, 1, start=3)], "probe"),
        ([RUNS, TERMINATING, S("Running", 8, 1, code=-1)], "probe"),  # both in one look
        ([RUNS, S("Restarting", 7, 1, code=-1), S("Running", 9, 1, code=-1, start=3)], None),
    ],
)
def test_a_restart_tells_that_a_probe_had_killed_the_run_before(looks, after):
    cast = Cast()
    told = [event for look in looks for event in cast.look(look)]
    (restarted,) = [event for event in told if event.type == "restarted"]
    assert restarted.extra.get("after") == after
    lived = cast.web.state
    cast.look(S("Restarting", lived.pid, 2, code=1, process_start_time=lived.raw["process_start_time"]))
    (restarted,) = [one for one in cast.look(S("Running", 11, 2, code=1, start=6)) if one.type == "restarted"]
    assert "after" not in restarted.extra  # it is about the last end alone


def test_a_probe_that_the_policy_answers_needs_no_log():
    cast = Cast()
    cast.look(SICK)
    cast.look(TERMINATING)
    (change,) = detect(cast.known, {Key("default", "web"): AGAIN}, cast.now)
    assert not change.needs_log


# --- begins: started or restarted ---

BEGUN = table(
    # what was before, its end, seconds until the next run, the interval, how that begins
    ("asked, and soon", [TERMINATING, S("Completed", 7, end=1)], 1, 2, "restarted"),
    ("asked, 3 s", [TERMINATING, S("Completed", 7, end=1)], 3, 2, "restarted"),
    ("asked, later", [TERMINATING, S("Completed", 7, end=1)], 4, 2, "started"),
    ("asked, later, but polled seldom", [TERMINATING, S("Completed", 7, end=1)], 9, 10, "restarted"),
    ("by itself", [DONE], 1, 2, "started"),
    ("crashed", [S("Completed", 7, code=3)], 1, 2, "started"),
    ("by signal", [S("Completed", 7, code=143)], 1, 2, "started"),
)


@pytest.mark.parametrize("end, seconds, interval_s, begin", BEGUN)
def test_a_begin_after_an_end_on_request_is_a_restart(end, seconds, interval_s, begin):
    cast = Cast(interval_s=interval_s)
    for one in [RUNS, *end]:
        cast.look(one)
    assert lines(cast.look(S("Running", 8, start=1 + seconds, age=int(1e9)), seconds)) == [begin]


def test_a_begin_after_a_launch_by_hand_was_seen_is_a_restart():
    assert told(RUNS, S("Running"), S("Running", 8, start=1)) == ["restarted"]


def test_the_restarts_of_a_begin_are_those_it_began_with():
    cast = Cast()
    cast.look(RUNS)
    (end, begin) = cast.look(S("Running", 9, 2, code=1))
    assert (end.count, end.restarts, begin.count, begin.restarts) == (2, 2, 2, 2)
    end = cast.look(S("Restarting", 9, 3, code=1))[0]
    assert end.restarts == 3
    assert "restarts" not in Cast().look(RUNS)[0].to_dict()


# --- launches in progress ---


@pytest.mark.parametrize(
    "launching", [S("Running", 7, 1, code=1), S("Launching", 7, 1, code=1), S("Running", 0, 1)]
)
def test_a_launch_in_progress_is_looked_at_again_and_tells_nothing(launching):
    cast = Cast()
    for one in (RUNS, AGAIN):
        cast.look(one)
    for _ in range(5):
        assert cast.look(launching, 0.05) == []
        assert cast.web.look_again_s == 0.05
    assert lines(cast.look(S("Running", 8, 1, code=1), 0.05)) == ["restarted"]
    assert cast.web.look_again_s is None


def test_after_20_polls_a_run_with_the_old_pid_is_a_run():
    cast = Cast()
    for one in (RUNS, AGAIN):
        cast.look(one)
    found = [lines(cast.look(S("Running", 7, 1, code=1), 0.05)) for _ in range(LAUNCH_POLLS + 5)]
    assert [at for at, events in enumerate(found, 1) if events] == [LAUNCH_POLLS]
    assert found[LAUNCH_POLLS - 1] == ["restarted"]


def test_after_20_polls_a_pid_of_0_is_told_as_a_status():
    cast = Cast()
    cast.look(PENDING)
    found = [lines(cast.look(S("Running"), 0.05)) for _ in range(LAUNCH_POLLS + 5)]
    assert [events for events in found if events] == [["-> Running"]]
    assert cast.web.look_again_s is None
    assert lines(cast.look(RUNS)) == ["started"]


def test_a_launch_first_seen_under_the_last_runs_pid_is_begun_once():
    looks = [S("Running", 8, 1, code=1), S("Running", 9, 1, code=1)]  # 8 was over, 9 is what began
    cast = Cast()
    for one in (RUNS, AGAIN):
        cast.look(one)
    begins = [line(event) for look in [S("Restarting", 7, 1, code=1), *looks] for event in cast.look(look)]
    assert [one for one in begins if one.startswith(("started", "restarted", "crashed"))] == ["restarted"]
    assert cast.web.run and cast.web.run.pid == 9


# --- renames, and names that are gone ---

A, B = S("Running", 7, name="pool"), S("Running", 7, name="pool-0")


def test_a_rename_is_no_end_and_no_begin():
    cast = Cast()
    cast.look([A])
    left, entered = cast.look([B, S("Running", 8, name="pool-1", start=0)])[:2]
    assert (left.process, left.reason, left.renamed_to) == ("pool", "renamed", "pool-0")
    assert (left.old_status, left.new_status) == ("Running", "Removed")
    assert (entered.process, entered.reason, entered.renamed_from) == ("pool-0", "renamed", "pool")
    assert not left.companion and not entered.companion
    assert {str(key) for key in cast.known} == {"default/pool-0", "default/pool-1"}
    over = cast.look([S("Completed", 7, name="pool-0", end=1), S("Running", 8, name="pool-1", start=0)])
    assert lines(over) == ["stopped completed 0"]  # the new name goes on with the old one's run
    assert over[0].process == "pool-0"


RENAMED = table(
    ("back", [[B], [A]], ["-> Removed renamed", "-> renamed"]),
    ("its name gone for one reply", [[A], [], [B]], ["-> Removed renamed", "-> renamed"]),
    (
        "and it ended",
        [[A], [S("Completed", 7, name="pool-0", code=3, end=0)]],
        ["-> Removed renamed", "crashed exit 3", "-> Completed renamed"],
    ),
    (
        "one that had ended",
        [[S("Completed", 7, name="pool")], [S("Completed", 7, name="pool-0")]],
        ["-> Removed renamed", "-> renamed"],
    ),
    (
        "another namespace",
        [[A], [S("Running", 7, name="pool", namespace="prod")]],
        ["-> Removed renamed", "-> renamed"],
    ),
    (
        "another start under that pid is another run",
        [[A], [S("Running", 7, name="x", start=0)]],
        ["started", "stopped removed ~"],
    ),
    ("the old name shows it still", [[A], [A, B]], []),  # a reply from the middle of a rename
    ("then it does not", [[A], [A, B], [B]], ["-> Removed renamed", "-> renamed"]),
    ("no pid, no rename", [[S("Pending", name="pool")], [S("Pending", name="pool-0")]], ["-> Pending"]),
)


@pytest.mark.parametrize("looks, events", RENAMED)
def test_renames(looks, events):
    assert told(*looks) == events


ANCHOR = S("Running", 5, name="anchor")
GONE = table(
    # before, what push says once the name is gone, what is told at last, after how long
    ("alive", [RUNS], [], ["stopped removed ~"], 10),
    ("terminating", [RUNS, TERMINATING], [], ["stopped requested ~"], 10),
    ("asked, said by push", [RUNS], [TERMINATING], ["-> Terminating", "stopped requested ~"], 60),
    (
        "and over, said by push",
        [RUNS],
        [TERMINATING, S("Completed", 7, code=-1)],
        ["-> Terminating", "stopped requested -1", "-> Removed"],
        GONE_AFTER_S,
    ),
    (
        "by itself, said by push",
        [RUNS],
        [S("Completed", 7, code=3)],
        ["crashed exit 3", "-> Removed"],
        GONE_AFTER_S,
    ),
    ("not alive", [RUNS, DONE], [], ["-> Removed"], GONE_AFTER_S),
    ("never ran", [PENDING], [], ["-> Removed"], GONE_AFTER_S),
    ("restarting", [RUNS, AGAIN], [], ["-> Removed"], GONE_AFTER_S),
)


@pytest.mark.parametrize("looks, messages, events, after_s", GONE)
def test_a_name_that_is_gone(looks, messages, events, after_s):
    cast = Cast(push=bool(messages))
    for one in looks:
        cast.look([one, ANCHOR])
    found = cast.look([ANCHOR])
    if after_s == GONE_AFTER_S and not messages:
        assert cast.web.look_again_s == GONE_AFTER_S
    found += cast.hear(*messages)
    found += cast.look([ANCHOR], after_s - 0.01)
    assert Key("default", "web") in cast.known
    found += cast.look([ANCHOR], 0.02)
    assert lines(found) == events
    assert list(cast.known) == [Key("default", "anchor")]


def test_a_name_that_is_gone_while_push_was_not_there_is_waited_for_no_longer_than_a_stop_takes():
    cast = Cast()
    cast.look([RUNS, ANCHOR])
    cast.look([ANCHOR])
    cast.more["listening_since"] = cast.now + timedelta(seconds=1)  # connected again
    assert cast.look([ANCHOR], 9) == []
    assert lines(cast.look([ANCHOR], 1.5)) == ["stopped removed ~"]


def test_a_connection_made_since_the_last_reply_that_showed_it_may_have_missed_its_last_word():
    cast = Cast(push=True)
    cast.look([RUNS, ANCHOR])
    cast.more["listening_since"] = cast.now + timedelta(seconds=0.5)
    cast.look([ANCHOR])
    assert cast.look([ANCHOR], 9) == []
    assert lines(cast.look([ANCHOR], 1.5)) == ["stopped removed ~"]


def test_where_no_name_is_left_it_is_another_project():
    cast = Cast(push=True)
    cast.look([RUNS, S("Completed", 6, name="once")])
    found = cast.look([ANCHOR])
    assert sorted(lines(found)) == ["started", "stopped removed ~"]
    assert lines(cast.look([ANCHOR])) == ["-> Removed"]  # of what was not alive


def test_an_empty_reply_is_no_other_project():
    cast = Cast(push=True)
    cast.look(RUNS)
    assert cast.look([]) == [] == cast.look([], 9)
    assert lines(cast.hear(DONE)) == ["stopped completed 0"]


def test_a_name_that_is_back_was_never_gone():
    cast = Cast()
    cast.look([RUNS, ANCHOR])
    assert cast.look([ANCHOR]) == [] == cast.look([RUNS, ANCHOR], 9)
    assert cast.look([ANCHOR]) == []  # counted anew
    assert cast.look([ANCHOR], 9.9) == []
    assert lines(cast.look([ANCHOR], 0.2)) == ["stopped removed ~"]


RELOADED = table(
    ("without push", False, [], ["stopped replaced ~", "restarted"]),
    (
        "with push",
        True,
        [TERMINATING, S("Completed", 7, code=0, end=3)],
        ["-> Terminating", "stopped requested 0", "restarted"],
    ),
)


@pytest.mark.parametrize("push, messages, events", RELOADED)
def test_what_a_reload_changes_is_stopped_and_restarted_and_none_other(push, messages, events):
    cast = Cast(push)
    cast.look([RUNS, ANCHOR])
    found = cast.look([ANCHOR]) + cast.hear(*messages, after_s=2.0)
    assert lines(found + cast.look([S("Running", 8, start=3.5), ANCHOR])) == events


def test_the_removal_of_a_living_one_is_a_companion():
    cast = Cast()
    cast.look(RUNS)
    end, status = [event for event in cast.look([ANCHOR]) if event.process == "web"]
    assert (status.old_status, status.new_status, status.companion) == ("Running", "Removed", True)
    assert (end.old_status, end.new_status) == ("Running", "Removed")


# --- first look ---

BORN = NOON - timedelta(seconds=5)
FIRST = table(
    ("alive", RUNS, ["started !"]),
    ("alive, restarted before", S("Running", 7, 4, code=1), ["started !"]),
    ("alive and Ready", S("Running", 7, health="Ready"), ["started !", "healthy !"]),
    ("alive and Not Ready", S("Running", 7, health="Not Ready"), ["started !", "unhealthy ! ..."]),
    (
        "alive, Not Ready, and it was Ready",
        S("Running", 7, health="Not Ready", ready=-30),
        ["started !", "unhealthy !"],
    ),
    ("terminating", TERMINATING, ["started !"]),
    ("completed", DONE, ["-> Completed !"]),
    ("crashed", S("Completed", 7, code=3), ["-> Completed !"]),
    ("restarting", AGAIN, ["-> Restarting !"]),
    ("pending: no time", PENDING, ["-> Pending !"]),
    ("launching: no time", S("Running"), ["-> Running !"]),
    ("disabled", S("Disabled"), ["-> Disabled !"]),
    ("failed before", S("Error", end=-60), ["-> Error !"]),
    ("failed after", S("Error", end=-1), ["crashed launch_failed"]),
    ("skipped after: only Error's end counts", S("Skipped", code=1, end=-1), ["-> Skipped !"]),
    ("began after", S("Running", 7, start=-1), ["started"]),
    ("began and ended after", S("Completed", 7, code=3, start=-2, end=-1), ["started ~", "crashed exit 3"]),
    (
        "began after, restarted",
        S("Running", 7, 1, code=1, start=-3),
        ["started ~", "crashed exit 1 ~", "restarted"],
    ),
)


@pytest.mark.parametrize("state, events", FIRST)
def test_first_look(state, events):
    assert lines(Cast(born=BORN).look(state)) == events


def test_after_the_first_look_it_goes_on_as_ever():
    cast = Cast()
    cast.look([S("Running", 7, 4, code=1), S("Restarting", 9, 2, code=1, name="b")], born=BORN)
    found = cast.look([S("Restarting", 7, 5, code=1), S("Running", 10, 2, code=1, name="b")])
    assert lines(found) == ["crashed exit 1", "restarted"]


def test_a_launch_during_the_first_look_is_looked_at_again():
    cast = Cast()
    cast.look(S("Running"), born=BORN)
    assert cast.web.look_again_s == 0.05
    assert lines(cast.look(S("Running", 7, start=0), 0.05)) == ["started"]


def test_born_is_on_the_clock_of_process_compose():
    ahead = 3600.0  # it is an hour ahead
    state = S("Running", 7, start=ahead - 1)
    born = BORN + timedelta(seconds=ahead)
    (begin, _) = Cast(born=born, skew_s=ahead).look(state)
    assert line(begin) == "started"
    assert line(Cast(born=born, skew_s=ahead).look(S("Running", 7, start=ahead - 60))[0]) == "started !"
    assert (begin.timestamp, begin.observed_at) == (clock(ahead - 1), clock(0))


# --- when ---


def at(event: Event) -> float:
    return (parse_time(event.timestamp) - NOON).total_seconds()


TIMED = table(
    # looks at 0, 1, 2 ...; what the last one tells, when, and how long the run was
    ("begin: age", [PENDING, S("Running", 7, start=0.2, age=int(0.7e9))], [("started", 0.3, None)]),
    ("begin: no age", [PENDING, S("Running", 7, start=0.2)], [("started", 0.2, None)]),
    ("begin: by policy", [RUNS, AGAIN, S("Running", 8, 1, age=int(0.4e9))], [("restarted", 1.6, None)]),
    ("begin: by policy, no age", [RUNS, AGAIN, S("Running", 8, 1)], [("restarted", 2.0, None)]),
    (
        "begin and end of one unseen alive",
        [PENDING, S("Completed", 7, start=0.2, end=0.7)],
        [("started", 0.2, None), ("stopped", 0.7, 0.5)],
    ),
    (
        "end: its end time",
        [S("Running", 7, age=int(5e9)), S("Completed", 7, end=0.4)],
        [("stopped", 0.4, 5.4)],
    ),
    ("end: none given", [S("Running", 7, age=int(5e9)), S("Completed", 7)], [("stopped", 1.0, None)]),
    ("end: by policy", [S("Running", 7, age=int(5e9)), AGAIN], [("crashed", 1.0, None)]),
    (
        "end: of before the begin",
        [S("Running", 7, 1, age=int(5e9)), S("Completed", 7, 1, end=-20)],
        [("stopped", 1.0, None)],
    ),
    (
        "end: not after the next begin",
        [RUNS, S("Running", 8, start=0.3, age=int(0.7e9))],
        [("stopped", 0.3, None), ("restarted", 0.3, None)],
    ),
    (
        "end: not after the next begin, though that is over",
        [RUNS, S("Completed", 8, code=3, start=0.3, end=0.6)],
        [("restarted", 0.3, None), ("stopped", 0.3, None), ("crashed", 0.6, 0.3)],
    ),
    (
        "unseen ones lie before what is seen",
        [S("Completed", 6, 0, end=-9), S("Running", 8, 1, code=1, start=0.1, age=int(0.5e9))],
        [("started", 0.5, None), ("crashed", 0.5, None), ("restarted", 0.5, None)],
    ),
    ("a launch that failed", [PENDING, S("Error", end=0.6)], [("crashed", 0.6, None)]),
)


@pytest.mark.parametrize("looks, events", TIMED)
def test_when_it_was(looks, events):
    cast = Cast()
    for one in looks:
        found = cast.look(one)
    shown = [event for event in found if event.type != "status_changed"]
    assert [(e.type, at(e), e.run_seconds) for e in shown] == events
    assert {e.observed_at for e in found} == {format_time(cast.now)}


def test_an_end_is_when_push_said_so_where_there_is_no_end_time():
    cast = Cast(push=True)
    cast.look(S("Running", 7, age=int(5e9)))
    (end, _) = cast.hear(S("Restarting", 7, code=1), after_s=0.25)
    assert (line(end), at(end), end.run_seconds) == ("crashed exit 1", 0.25, 5.25)
    assert lines(cast.look(AGAIN, 0.5)) == []


@pytest.mark.parametrize("skew_s", [0.0, 600.0, -600.0])
def test_all_moments_are_on_the_clock_of_process_compose(skew_s):
    cast = Cast(push=True, skew_s=skew_s, born=NOON)
    cast.look(S("Running", 7, start=skew_s + 0.5, age=int(5e9)))  # it began before that
    (end, _) = cast.hear(S("Restarting", 7, start=skew_s + 0.5, code=1), after_s=0.25)
    assert (at(end), end.run_seconds, end.observed_at) == (skew_s + 0.25, 5.25, clock(0.25))
    cast = Cast(skew_s=skew_s)
    cast.look(S("Running", 7, start=skew_s - 9))
    end = cast.look(S("Running", 8, start=skew_s + 0.5), last_good=NOON)[0]
    assert (at(end), end.extra) == (skew_s + 0.5, {"not_before": clock(skew_s)})


def test_what_is_inferred_says_since_when_it_may_be():
    cast = Cast()
    cast.look(RUNS)
    end, begin = cast.look(S("Running", 8, 1, code=1), last_good=cast.now)[:2]
    assert end.extra == {"not_before": clock(0)}
    assert begin.extra == {}


@pytest.mark.parametrize("push", [False, True])
def test_what_an_adapter_that_was_away_finds_may_be_since_the_last_reply_before(push):
    """However often it is looked at until push has had its time to say more."""
    cast = Cast()
    cast.look(S("Running", 7, start=-9))
    last_good, cast.now = cast.now, cast.now + timedelta(minutes=3)
    listening = cast.now - timedelta(seconds=0.1) if push else None
    events = cast.look(
        S("Running", 9, 3, code=1, start=-9, age=40_000_000_000),
        last_good=last_good,
        listening_since=listening,
    )
    assert [event.type for event in events] == ["crashed", "restarted"]
    for event in events:
        assert (event.count, event.extra["not_before"]) == (3, format_time(last_good))


def test_a_name_that_was_gone_may_have_ended_since_it_was_shown():
    cast = Cast()
    cast.look(S("Running", 7))
    shown_at = cast.now
    for _ in range(11):
        events = cast.look([], last_good=cast.now)
        if events:
            break
    assert [event.type for event in events] == ["stopped", "status_changed"]
    assert events[0].extra["not_before"] == format_time(shown_at)


# --- health ---

READY = S("Running", 7, health="Ready", ready=0.5)
HEALTHY = table(
    ("gets Ready", [RUNS, READY], ["healthy"]),
    ("stays Ready", [RUNS, READY, S("Running", 7, health="Ready", mem=3)], []),
    ("gets Not Ready", [READY, SICK], ["unhealthy"]),
    ("from nothing", [RUNS, SICK], ["unhealthy ..."]),
    (
        "the next run from nothing",
        [READY, S("Running", 8, start=0), S("Running", 8, start=0, health="Not Ready")],
        ["unhealthy ..."],
    ),
    ("and back", [READY, SICK, READY], ["healthy"]),
    ("falls back to nothing", [READY, RUNS], []),
    ("still Ready after that", [READY, RUNS, READY], []),
    ("without a probe", [RUNS, S("Running", 7, health="Ready", has_ready_probe=False)], ["healthy"]),
    ("begins Ready", [PENDING, READY], ["started", "healthy"]),
    ("ends Ready", [RUNS, S("Completed", 7, health="Ready")], ["stopped completed 0"]),
    (
        "Ready while not running",
        [PENDING, S("Completed", 7, health="Ready")],
        ["started ~", "stopped completed 0"],
    ),
    (
        "the next run anew",
        [READY, S("Running", 8, start=0, health="Ready")],
        ["stopped replaced ~", "restarted", "healthy"],
    ),
    ("a launched daemon", [S("Launching", 7), S("Launched", 7, health="Ready")], ["healthy", "-> Launched"]),
)


@pytest.mark.parametrize("looks, events", HEALTHY)
def test_health(looks, events):
    assert told(*looks) == events


def test_health_names_itself_when_it_turned_and_how_long_it_was():
    cast = Cast()
    cast.look(S("Running", 7, age=int(1e9)))
    healthy = cast.look(READY)[0]
    assert (healthy.health, at(healthy), healthy.extra) == ("Ready", 0.5, {})  # process_ready_time
    unhealthy = cast.look(SICK)[0]
    assert (unhealthy.health, at(unhealthy), unhealthy.extra) == ("Not Ready", 2.0, {"was_seconds": 1.5})
    again = cast.look(READY)[0]
    assert at(again) == 3.0  # that ready time is of the first turn


def test_health_was_never_for_less_than_nothing():
    """The other clock is measured anew with each reply: it may seem to have gone back meanwhile."""
    cast = Cast()
    cast.look(READY, skew_s=5.0)
    cast.look(SICK, skew_s=5.0)
    again = cast.look(S("Running", 7, health="Ready"), skew_s=3.0)[0]
    assert again.extra["was_seconds"] == 0.0


def test_a_start_is_no_trouble():
    cast = Cast()
    cast.look(RUNS)
    (event,) = cast.look(SICK)
    assert (event.severity, event.starting) == ("info", True)
    assert event.to_dict()["starting"] is True
    cast.look(READY)
    (event,) = cast.look(SICK)
    assert (event.severity, event.starting) == ("warning", False)
    assert "starting" not in event.to_dict()


HEARD = S("Running", 7, health="Not Ready")
UNSEEN = table(
    # looks before, what push says, the look after it, all that is told
    ("Ready again", [READY], [HEARD], READY, ["unhealthy", "healthy"]),
    ("no reply shows health", [RUNS], [HEARD], RUNS, ["unhealthy ..."]),
    ("the reply shows it too", [READY], [HEARD], SICK, ["unhealthy"]),
    ("known already", [SICK], [HEARD], SICK, []),
    ("and over", [READY], [HEARD, S("Restarting", 7, code=1)], AGAIN, ["unhealthy", "crashed exit 1"]),
    ("known, and over", [SICK], [HEARD, S("Restarting", 7, code=1)], AGAIN, ["crashed exit 1"]),
    (
        "killed by its probe",
        [READY],
        [HEARD, TERMINATING, S("Restarting", 7, code=1)],
        AGAIN,
        ["unhealthy", "-> Terminating", "crashed probe 1"],
    ),
    (
        "and the next run is there",
        [READY],
        [HEARD, TERMINATING, S("Restarting", 7, code=-1)],
        S("Running", 8, 1, code=-1),
        ["unhealthy", "-> Terminating", "crashed probe -1", "restarted"],
    ),
    ("of another run", [READY], [S("Running", 6, health="Not Ready")], READY, []),
)


@pytest.mark.parametrize("looks, messages, after, events", UNSEEN)
def test_a_not_ready_that_only_push_showed(looks, messages, after, events):
    cast = Cast(push=True)
    for one in looks:
        cast.look(one)
    found = cast.hear(*messages, after_s=0.25)
    for event in found:
        if event.type == "unhealthy":
            assert at(event) == (len(looks) - 1) + 0.25  # at its arrival
    assert lines(found + cast.look(after, 0.5)) == events


# --- push: what polling does not show ---

SPOKEN = table(
    # looks before, what push says, the look after it, all that is told
    (
        "a quick stop",
        [RUNS],
        [TERMINATING, S("Completed", 7, code=-1)],
        S("Completed", 7, code=-1),
        ["-> Terminating", "stopped requested -1"],
    ),
    ("no stop", [RUNS], [], S("Completed", 7, code=-1, end=0.5), ["crashed killed -1"]),
    (
        "a quick restart by hand",
        [RUNS],
        [TERMINATING, S("Completed", 7, code=0)],
        S("Running", 8, start=0),
        ["-> Terminating", "stopped requested 0", "restarted"],
    ),
    (
        "crashed, then started by hand",
        [RUNS],
        [S("Completed", 7, code=3)],
        S("Running", 8, start=0),
        ["crashed exit 3", "started"],
    ),
    (
        "stopped for good, started by hand, then restarted by policy",
        [RUNS],
        [
            TERMINATING,
            S("Completed", 7, code=0, end=0.2),
            S("Running"),
            S("Restarting", 8, code=1, start=0.3),
        ],
        S("Running", 9, 1, code=1, start=0.3),
        ["-> Terminating", "stopped requested 0", "restarted ~", "crashed exit 1", "restarted"],
    ),
    (
        "the same, and a manual start keeps the count",
        [S("Running", 7, 6)],
        [
            S("Terminating", 7, 6),
            S("Completed", 7, 6, code=0, end=0.2),
            S("Restarting", 8, 6, code=1, start=0.3),
        ],
        S("Running", 9, 7, code=1, start=0.3),
        ["-> Terminating", "stopped requested 0", "restarted ~", "crashed exit 1", "restarted"],
    ),
    (
        "a run no reply showed alive, stopped",
        [PENDING],
        [TERMINATING, S("Completed", 7, code=-1)],
        S("Completed", 7, code=-1),
        ["started ~", "stopped requested -1"],
    ),
    (
        "a run no reply showed alive, killed by its probe",
        [PENDING],
        [TERMINATING, S("Restarting", 7, code=1)],
        AGAIN,
        ["started ~", "crashed probe 1"],
    ),
    (
        "a run no reply showed alive, of the policy",
        [RUNS, AGAIN],
        [S("Restarting", 8, 1, code=4)],
        S("Running", 9, 2, code=4),
        ["restarted ~", "crashed exit 4", "restarted"],
    ),
    (
        "of another run",
        [RUNS],
        [S("Terminating", 6)],
        S("Completed", 7, code=-1, end=0.5),
        ["crashed killed -1"],
    ),
    ("of the run before this one", [RUNS, S("Running", 8, start=1)], [DONE], S("Running", 8, start=1), []),
    ("a run that is over", [RUNS, DONE], [TERMINATING, DONE], DONE, []),
    (
        "over before the last end",
        [RUNS, S("Running", 8, start=0.5), S("Completed", 8, start=0.5, end=2)],
        [S("Completed", 6, start=-3, end=-2)],
        S("Completed", 8, start=0.5, end=2),
        [],
    ),
    ("nobody knows it", [], [S("Completed", 7, code=3)], [], []),
    (
        "a launch failed",
        [PENDING],
        [S("Error", end=0.5)],
        S("Error", end=0.5),
        ["crashed launch_failed"],
    ),
)


@pytest.mark.parametrize("looks, messages, after, events", SPOKEN)
def test_a_message_is_a_reply_about_one_process(looks, messages, after, events):
    cast = Cast(push=True)
    for one in looks:
        cast.look(one)
    found = cast.hear(*messages)
    assert lines(found + cast.look(after)) == events


def test_a_terminating_is_remembered_though_the_next_reply_does_not_show_it():
    cast = Cast(push=True)
    cast.look(RUNS)
    assert lines(cast.hear(TERMINATING)) == ["-> Terminating"]
    assert lines(cast.look(S("Completed", 7, code=-1))) == ["stopped requested -1"]


def test_a_reply_that_shows_an_end_before_push_said_so_is_looked_at_again():
    over = S("Completed", 7, code=-1, end=0.9)
    reply = {Key("default", "web"): over}
    cast = Cast(push=True)
    cast.look(RUNS)
    cast.now += timedelta(seconds=1)
    assert cast.compare(cast.known, reply, ()) == []
    assert cast.web.alive and cast.web.look_again_s == 0.05
    assert lines(cast.hear(TERMINATING, over, after_s=0.01)) == ["-> Terminating", "stopped requested -1"]
    assert cast.web.look_again_s is None


WATCHED = table(
    # what push says before, and after, a reply that shows the next run already
    ("all comes after", [], [TERMINATING, S("Completed", 7, code=-1, end=0.4)]),
    ("the last word comes after", [TERMINATING], [S("Completed", 7, code=-1, end=0.4)]),
)


@pytest.mark.parametrize("first, then", WATCHED)
def test_a_file_watch_shows_the_next_run_before_push_says_how_the_last_one_ended(first, then):
    runs = S("Running", 8, start=0.5)
    cast = Cast(push=True)
    cast.look(RUNS)
    found = cast.hear(*first, after_s=1)
    assert cast.compare(cast.known, {Key("default", "web"): runs}, ()) == []
    found += cast.hear(*then, after_s=0.01)
    assert lines(found + cast.look(runs)) == ["-> Terminating", "stopped requested -1", "restarted"]


def test_what_no_word_comes_of_is_told_all_the_same():
    over = S("Completed", 7, code=-1, end=0.9)
    reply = {Key("default", "web"): over}
    cast = Cast(push=True)
    cast.look(RUNS)
    cast.now += timedelta(seconds=1)
    assert cast.compare(cast.known, reply, ()) == []
    cast.now += timedelta(seconds=0.24)
    assert cast.compare(cast.known, reply, ()) == []
    cast.now += timedelta(seconds=0.02)
    (end, _) = cast.compare(cast.known, reply, ())
    assert (line(end), at(end)) == ("crashed killed -1", 0.9)


UNHEARD = table(
    # when it ended, since when push listens
    ("nobody listens", 0.5, None, "crashed killed -1 ~"),
    ("before push listened", 0.5, 0.7, "crashed killed -1 ~"),
    ("since it listens", 0.5, 0.3, "crashed killed -1"),
)


@pytest.mark.parametrize("ended, listening, event", UNHEARD)
@pytest.mark.parametrize("skew_s", [0.0, 600.0])
def test_an_end_that_nobody_listened_to(ended, listening, event, skew_s):
    since = None if listening is None else NOON + timedelta(seconds=listening)
    cast = Cast(listening_since=since, skew_s=skew_s)
    cast.look(RUNS)
    assert lines(cast.look(S("Completed", 7, code=-1, end=ended + skew_s)))[0] == event


@pytest.mark.parametrize("listening_s, event", [(-1.0, "crashed killed -1"), (0.5, "crashed killed -1 ~")])
def test_an_end_without_a_time_may_lie_anywhere_after_the_last_good_reply(listening_s, event):
    cast = Cast(listening_since=NOON + timedelta(seconds=listening_s))
    cast.look(RUNS, last_good=NOON)
    assert lines(cast.look(S("Restarting", 7, 1, code=-1), last_good=NOON)) == [event]


BACKOFF = table(
    # a crash looper that is stopped while it waits: what is told in all
    ("a poll saw it", False, [AGAIN], [], ["crashed exit 1", "-> Completed"]),
    ("push saw it", True, [], [S("Restarting", 7, code=1)], ["crashed exit 1", "-> Completed"]),
    ("push saw it all", True, [], [S("Restarting", 7, code=1), S("Completed", 7, 1, code=1, end=2)], None),
    ("nobody saw it", False, [], [], ["crashed exit 1"]),
)


@pytest.mark.parametrize("push, looks, messages, events", BACKOFF)
def test_a_stop_in_the_back_off(push, looks, messages, events):
    cast = Cast(push)
    found = cast.look(RUNS)[:0]
    for one in looks:
        found += cast.look(one)
    found += cast.hear(*messages, after_s=0.5)
    found += cast.look(S("Completed", 7, 1, code=1, end=2))
    assert lines(found) == (events or ["crashed exit 1", "-> Completed"])


LATE = table(
    # another run of a looper is over at the next look: crashed once more, or stopped in its back-off?
    ("by polls", False, [], ["restarted x2 ~", "crashed exit 1 x2 ~"]),
    ("heard", True, [S("Restarting", 8, 1, code=1)], ["restarted ~", "crashed exit 1", "-> Completed"]),
)


@pytest.mark.parametrize("push, messages, events", LATE)
def test_a_looper_stopped_in_a_back_off_that_no_poll_saw(push, messages, events):
    cast = Cast(push)
    for one in (RUNS, AGAIN):
        cast.look(one)
    found = cast.hear(*messages, after_s=0.5)
    assert lines(found + cast.look(S("Completed", 8, 2, code=1, end=2))) == events


# --- daemons ---

UP = S("Launched", 7)
DAEMONS = table(
    # what the reply or message after it shows, its log, what is told without push, and with it
    ("found dead", S("Completed", 7, end=0.9), DAEMON_LOG, "crashed probe", "crashed probe"),
    ("no log", S("Completed", 7, end=0.9), [], "stopped requested 0 ~", "stopped requested 0"),
    ("to be restarted", S("Restarting", 7, 0), [], "crashed probe", "crashed probe"),
    ("being restarted", S("Launching", 8, 1), [], "crashed probe ~", "crashed probe ~"),
)


@pytest.mark.parametrize("heard", [False, True], ids=["polled", "heard"])
@pytest.mark.parametrize("over, log_tail, polled, pushed", DAEMONS)
def test_a_daemon_found_dead_is_told_by_its_log(over, log_tail, polled, pushed, heard):
    cast = Cast(push=heard)
    cast.look(UP)
    found = cast.hear(over, log_tail=log_tail) if heard else []
    found += cast.look(over, log_tail=log_tail)
    assert lines(found)[0] == (pushed if heard else polled)
    assert len([event for event in found if event.type in ("stopped", "crashed")]) == 1


def test_a_daemon_that_was_seen_terminating_was_stopped():
    stopped = [UP, S("Terminating", 7), S("Completed", 7, end=1)]
    cast = Cast()
    for one in stopped:
        found = cast.look(one, log_tail=DAEMON_LOG)
    assert lines(found) == ["stopped requested 0"]


def test_a_launcher_that_fails_is_no_daemon_found_dead():
    assert told(S("Launching", 7), S("Completed", 7, code=1, end=1)) == ["crashed exit 1"]


# --- the API is gone ---

DYING = S("Terminating", 7)
UNSEEN = table(
    ("it was being stopped", [DYING], (), "stopped requested ~"),
    ("it runs", [RUNS], (), None),
    ("it has ended", [DYING, DONE], (), None),
    ("it never ran", [PENDING], (), None),
    ("it was not ready", [S("Running", 7, health="Not Ready"), DYING], (), "stopped requested ~"),
    ("its probe did it", [S("Running", 7, health="Not Ready"), DYING], PROBE_LOG, "crashed probe ~"),
)


@pytest.mark.parametrize("looks, log_tail, event", UNSEEN)
def test_what_was_being_stopped_ends_with_process_compose(looks, log_tail, event):
    cast = Cast(push=True)
    for one in [RUNS, *looks]:
        cast.look(one)
    changes = end_unseen(cast.known, cast.now)
    assert [line(one) for change in changes for one in settle(change, log_tail).events] == [event] * bool(
        event
    )
    for change in changes:
        assert change.known and not change.known.alive and change.known.state.status == "Terminating"


# --- statuses that are no run ---

STATUSES = table(
    ("skipped", [PENDING, S("Skipped", code=1, end=0)], ["-> Skipped"]),
    ("disabled", [[], S("Disabled")], ["-> Disabled"]),
    ("started by hand", [S("Disabled"), RUNS], ["started"]),
    ("foreground", [[], S("Foreground")], ["-> Foreground"]),
    ("scheduled", [[], S("Scheduled")], ["-> Scheduled"]),
    ("its tick", [S("Scheduled"), S("Running", 7, start=0)], ["started"]),
    ("its end", [S("Running", 7), S("Scheduled", 7, code=1, end=0)], ["crashed exit 1"]),
    ("its next tick", [S("Scheduled", 7), S("Running", 8, start=0)], ["started"]),
    (
        "a whole tick between two looks",
        [S("Scheduled", 7), S("Scheduled", 8, start=0, end=0.5)],
        ["started ~", "stopped completed 0"],
    ),
    ("no longer scheduled", [S("Scheduled", 7), DONE], ["-> Completed"]),
    ("watching after it ended", [RUNS, S("Watching", 7, end=0)], ["stopped completed 0"]),
    ("completed, then watching", [RUNS, DONE, S("Watching", 7)], ["-> Watching"]),
    ("pending and stopped", [PENDING, S("Terminating")], ["-> Terminating"]),
    ("a status of the future", [PENDING, S("Paused")], ["-> Paused"]),
)


@pytest.mark.parametrize("looks, events", STATUSES)
def test_statuses(looks, events):
    assert told(*looks) == events


# --- the events themselves ---


def test_an_event_carries_the_state_and_the_change():
    cast = Cast()
    cast.look(RUNS)
    end, status = cast.look(S("Completed", 7, 2, code=3, brand_new=[1]))
    assert end.to_dict() == {
        "type": "crashed",
        "process": "web",
        "namespace": "default",
        "timestamp": clock(1),
        "subject": "core.process.default.web.crashed",
        "severity": "error",
        "state": end.state,
        "exit_code": 3,
        "restarts": 2,
        "old_status": "Running",
        "new_status": "Completed",
        "schema": 1,
        "observed_at": clock(1),
        "reason": "exit",
        **({"count": 2, "inferred": True} if end.count > 1 else {}),
    }
    assert end.state and end.state["brand_new"] == [1]
    assert status.companion and (status.old_status, status.new_status) == ("Running", "Completed")


def test_companions_come_last_and_only_where_another_event_tells_the_change():
    cast = Cast()
    assert [e.companion for e in cast.look(PENDING)] == [False]
    assert [(e.type, e.companion) for e in cast.look(READY)] == [
        ("started", False),
        ("healthy", False),
        ("status_changed", True),
    ]


def test_namespaces_are_kept_and_the_first_one_counts():
    cast = Cast()
    (begin, status) = cast.look(S("Running", 7, namespace=["prod", "eu"]))
    assert (begin.namespace, begin.subject) == ("prod", "core.process.prod.web.started")
    assert begin.namespaces == status.namespaces == ["prod", "eu"]
    assert begin.state and begin.state["namespace"] == "prod"
    assert "namespaces" not in Cast().look(S("Running", 7, namespace=["prod"]))[0].to_dict()


def test_one_name_in_two_namespaces_is_two_processes():
    cast = Cast()
    found = cast.look([S("Running", 7), S("Running", 8, namespace="prod")])
    assert sorted(e.subject for e in found if e.type == "started") == [
        "core.process.default.web.started",
        "core.process.prod.web.started",
    ]


def test_detect_changes_nothing_that_it_is_given():
    cast = Cast()
    cast.look([RUNS, S("Running", 8, name="b")])
    known = dict(cast.known)
    reply = {Key("default", "web"): DONE}
    first = detect(cast.known, reply, cast.now)
    assert cast.known == known
    assert detect(cast.known, reply, cast.now) == first  # an offer that was not taken


def test_a_process_that_is_left_out_takes_new_names_of_its_run_with_it():
    cast = Cast()
    cast.look([A, S("Running", 8, name="b")])
    reply = {Key("default", one.name): one for one in (B, S("Completed", 8, name="b"), ANCHOR)}
    known, after = leave_out(cast.known, reply, [Key("default", "pool"), Key("default", "unknown")])
    assert [str(key) for key in known] == ["default/b"]
    assert [key.process for key in after] == ["b", "anchor"]
    assert leave_out(cast.known, reply, []) == (cast.known, reply)


def test_a_process_that_cannot_be_compared_harms_no_other():
    cast = Cast()
    cast.look([RUNS, S("Running", 8, name="b")])
    broken = replace(DONE, started_at="no time", start="x", pid=9)
    failed: list[Any] = []
    reply = {Key("default", "web"): broken, Key("default", "b"): S("Completed", 8, name="b")}
    changes = detect(cast.known, reply, cast.now, on_failure=lambda key, error: failed.append((key, error)))
    assert [change.key.process for change in changes] == ["b"]
    assert [key.process for key, _ in failed] == ["web"]
    with pytest.raises(TypeError):
        detect(cast.known, reply, cast.now)


@pytest.mark.parametrize("restarts", [4 * 10**7, 2**63 - 1])
def test_many_restarts_are_counted_and_not_listed(restarts):
    cast = Cast()
    cast.look(RUNS)
    end, begin = cast.look(S("Running", 8, restarts, code=1))[:2]
    assert (end.count, begin.count) == (restarts, restarts)
    assert lines([end, begin]) == [f"crashed exit 1 x{restarts} ~", f"restarted x{restarts} ~"]


def test_a_server_that_knows_nothing_is_told_what_is_alive():
    cast = Cast()
    cast.look([S("Running", 7, 2, age=int(5e9)), DONE_B, S("Running", 9, name="c", health="Not Ready")])
    cast.now += timedelta(seconds=60)
    changes = announce(cast.known, cast.now)
    assert [lines(change.events) for change in changes] == [["started !"], ["started !", "unhealthy ! ..."]]
    assert [change.known for change in changes] == [cast.web, cast.known[Key("default", "c")]]
    begin = changes[0].events[0]
    assert (at(begin), begin.restarts, begin.observed_at) == (-5.0, 2, clock(60))


DONE_B = S("Completed", 8, name="b")


def test_what_did_not_change_costs_nothing():
    cast = Cast()
    cast.look(RUNS)
    assert detect(cast.known, {Key("default", "web"): RUNS}, cast.now) == []


def test_after_an_outage_it_is_compared_with_what_was_known():
    cast = Cast()
    cast.look([RUNS, S("Running", 8, name="b")])
    cast.now += timedelta(hours=3)
    found = cast.look([S("Running", 9, 5, code=1), S("Running", 8, name="b")])
    assert lines(found) == ["crashed exit 1 x5 ~", "restarted x5 ~"]


# --- what Scheduled hides ---


def test_a_scheduled_run_that_is_slow_to_stop_has_not_ended_yet():
    cast = Cast(push=True)
    cast.look(RUNS)
    assert lines(cast.hear(TERMINATING)) == ["-> Terminating"]
    assert lines(cast.look(S("Scheduled", 7))) == []
    assert lines(cast.look(S("Scheduled", 7))) == []
    found = cast.hear(S("Completed", 7, code=5, end=2.5))
    assert lines(found) == ["stopped requested 5"]
    assert found[0].run_seconds is None or found[0].timestamp == clock(2.5)


def test_a_tick_that_push_said_is_over_is_scheduled_again():
    runs = S("Running", 7, start=-1, next_run_time=clock(3))
    over = S("Completed", 7, start=-1, end=0.5)
    for push in (False, True):
        cast = Cast(push)
        cast.look(runs)
        found = cast.hear(over, after_s=0.5) if push else []
        found += cast.look(S("Scheduled", 7, start=-1, end=0.5, next_run_time=clock(3)))
        assert lines(found) == ["stopped completed 0"]


TICKS = table(
    ("a tick", 3.01, "started"),
    ("by hand", 1.0, "restarted"),
)


@pytest.mark.parametrize("start, begin", TICKS)
def test_a_tick_after_a_run_that_was_replaced_is_started(start, begin):
    cast = Cast()
    cast.look(S("Running", 7, next_run_time=clock(3)))
    found = cast.look(S("Running", 8, start=start, next_run_time=clock(8)), 4.0)
    assert lines(found) == ["stopped replaced ~", begin]


def test_a_scheduled_launch_that_fails_is_told_each_time():
    cast = Cast()
    assert lines(cast.look(S("Scheduled"))) == ["-> Scheduled"]
    assert lines(cast.look(S("Scheduled", end=0.5))) == ["crashed launch_failed"]
    assert lines(cast.look(S("Scheduled", end=0.5))) == []
    assert lines(cast.look(S("Scheduled", end=3.5))) == ["crashed launch_failed"]
    assert lines(cast.look(S("Scheduled", code=1, end=6.5))) == []  # skipped


def test_a_count_that_fell_is_counted_anew_where_no_start_tells():
    """Before 1.110 no start time is sent: a Restarting under another pid with a lower count was reset."""
    cast, timeless = Cast(), {"process_start_time": None}
    cast.look(S("Running", 7, 2, code=1, **timeless))
    cast.look(S("Completed", 7, 2, code=1, **timeless))
    assert lines(cast.look(S("Restarting", 8, 1, code=1, **timeless))) == ["started ~", "crashed exit 1"]
    assert lines(cast.look(S("Running", 9, 1, code=1, **timeless))) == ["restarted"]
