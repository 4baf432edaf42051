"""Who holds a lease: whose is dead at once, whose is watched, when to send, what a second one is told."""

import asyncio
import json
import os
import signal
import subprocess
import sys

import pytest

from observe_lib.broker.bucket import WrongLastError
from observe_lib.broker.lease import Lease, identity, is_dead
from observe_lib.broker.session import DeniedError
from observe_lib.errors import StackHeldError
from observe_lib.times import format_time, now_utc

from .virtual_time import run_virtually

HERE = {"host": "host-a", "boot_id": "b1", "pid_namespace": "pid:[1]", "pid": os.getpid(), "pid_started": 1}
SLEEPER = [sys.executable, "-c", "import sys; sys.stdin.read()"]


@pytest.fixture
def sleeper():
    """A process that lives until the test ends it."""
    with subprocess.Popen(SLEEPER, stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_identity_tells_one_process_from_another(sleeper):
    mine, other = identity(), identity(sleeper.pid)
    assert mine == identity(os.getpid()) and mine["pid"] == os.getpid()
    assert (mine["host"], mine["boot_id"], mine["pid_namespace"]) == (
        other["host"],
        other["boot_id"],
        other["pid_namespace"],
    )
    assert mine["pid_started"] and other["pid_started"] >= mine["pid_started"]


@pytest.mark.parametrize(
    "holder, dead",
    [
        ({}, True),  # the pid did not begin at tick 1: it is another process by now
        ({"pid": 2**22 + 1}, True),  # nobody has it
        ({"stopped": True, "boot_id": "b2"}, True),  # it said goodbye, wherever it was
        ({"boot_id": "b2"}, False),  # before a reboot, or another machine: who knows
        ({"pid_namespace": "pid:[2]"}, False),  # another container
        ({"boot_id": None}, False),
        ({"pid": None}, False),
        ({"pid": "1"}, False),
        ({"pid_started": None}, False),
    ],
    ids=str,
)
def test_who_is_dead(holder, dead):
    assert is_dead({**HERE, **holder}, HERE) == dead


def test_where_the_system_tells_nothing_nobody_is_dead():
    nothing = {**HERE, "boot_id": None, "pid_namespace": None}
    assert not is_dead({**nothing, "pid": 2**22 + 1}, nothing)


def test_a_process_is_dead_when_it_has_ended_even_if_nobody_has_reaped_it(sleeper):
    holder, me = identity(sleeper.pid), identity()
    assert not is_dead(holder, me)
    sleeper.send_signal(signal.SIGSTOP)
    assert not is_dead(holder, me)
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)  # a zombie
    assert is_dead(holder, me)


def test_a_name_with_parentheses_and_blanks_is_read(tmp_path):
    """Field 22 is counted from the last parenthesis: a program may be called `a) 1 (b`."""
    script = tmp_path / "a) 1 2 (b"
    script.write_text("#!/bin/sh\nread line\n")
    script.chmod(0o755)
    with subprocess.Popen([str(script)], stdin=subprocess.PIPE) as process:
        found = identity(process.pid)
        process.kill()
    assert isinstance(found["pid_started"], int) and found["pid_started"] > 0


# --- claiming it ---

KEY = "host-a._observe.lease"
LIVING = {**identity(), "owner": "other", "watches": "127.0.0.1:8080"}
ELSEWHERE = {**LIVING, "host": "host-b", "boot_id": "another", "at": format_time(now_utc())}
DEAD = {**LIVING, "pid": 2**22 + 1}
STOPPED = {**ELSEWHERE, "stopped": True}
NEXT = {"a sign": 1}
DENIED = DeniedError("may not publish to $KV.x", "grant publish on $KV.>")


class Values:
    """A bucket of one key. `trouble` is raised by the next calls, one each; an answer takes `answer_s`,
    half of it on the way there."""

    def __init__(self, lease=None) -> None:
        self.revision, self.payload = (5, json.dumps(lease).encode()) if lease is not None else (0, b"")
        self.trouble: list[Exception] = []
        self.unanswered = 0
        self.answer_s = 0.0
        self.writes: list[float] = []

    @property
    def lease(self):
        return json.loads(self.payload)

    def write(self, lease) -> None:
        self.revision, self.payload = self.revision + 1, json.dumps(lease).encode()

    async def get(self, key):
        assert key == KEY
        await asyncio.sleep(self.answer_s)
        if self.trouble:
            raise self.trouble.pop(0)
        return self.revision, self.payload

    async def put(self, key, payload, expected_revision):
        assert key == KEY
        await asyncio.sleep(self.answer_s / 2)
        if self.trouble:
            raise self.trouble.pop(0)
        if expected_revision != self.revision:
            raise WrongLastError("wrong last sequence")
        self.revision, self.payload = self.revision + 1, payload
        self.writes.append(asyncio.get_running_loop().time())
        if self.unanswered:
            self.unanswered -= 1
            await asyncio.sleep(5)
            raise asyncio.TimeoutError
        await asyncio.sleep(self.answer_s / 2)
        return self.revision


class Holder:
    """A lease on virtual time, held in a task of its own; `asleep_s`: how long the machine was suspended."""

    def __init__(self, values, owner="me", **options) -> None:
        self.said: list[str] = []
        self.claims: list[object] = []
        self.troubles: list[Exception] = []
        self.asleep_s = 0.0
        loop = asyncio.get_running_loop()
        about = options.pop("about", identity)
        self.began, self.time = loop.time(), loop.time
        self.lease = Lease(
            values,
            KEY,
            owner,
            about,
            name="host-a",
            say=self.said.append,
            on_claim=self._note_claim,
            on_trouble=self.troubles.append,
            clock=lambda: loop.time() + self.asleep_s,
            **options,
        )
        self.task = loop.create_task(self.lease.hold())

    async def _note_claim(self, found) -> None:
        assert not self.lease.is_fresh  # before anything may be sent
        self.claims.append(found)

    async def fresh_after(self) -> float:
        """Return after how many seconds we may send; StackHeldError where we may never."""
        fresh = asyncio.ensure_future(self.lease.wait_fresh())
        await asyncio.wait((fresh, self.task), return_when=asyncio.FIRST_COMPLETED)
        if self.task.done():
            await self.task
        return round(self.time() - self.began, 1)


def host_b() -> dict[str, object]:
    """What an adapter of another host tells of itself."""
    return {**identity(), "host": "host-b", "boot_id": "another"}


@pytest.mark.parametrize(
    "lease, fresh_s, claimed",
    [
        (None, 0, None),
        (DEAD, 0, DEAD),
        (STOPPED, 0, STOPPED),
        ({**ELSEWHERE, "owner": "me"}, 0, {**ELSEWHERE, "owner": "me"}),  # our own unanswered write
        (ELSEWHERE, 15, ELSEWHERE),  # gives no sign of life
        (LIVING, 15, LIVING),  # here, and halted
        ({"owner": 3}, 15, {"owner": 3}),  # makes no sense
        ("nonsense", 15, {}),
    ],
    ids=["none", "dead", "stopped", "ours", "elsewhere", "halted", "no owner", "no object"],
)
def test_what_is_found_is_taken(lease, fresh_s, claimed):
    async def scenario() -> None:
        values = Values(lease)
        holder = Holder(values)
        assert await holder.fresh_after() == fresh_s
        assert holder.claims == [claimed] and values.lease["owner"] == "me"
        assert [text[:18] for text in holder.said] == ["host-a was held by"] * bool(fresh_s)

    run_virtually(scenario())


def test_a_deleted_lease_is_none_and_written_over_the_mark():
    async def scenario() -> None:
        values = Values()
        values.revision = 7
        holder = Holder(values)
        assert await holder.fresh_after() == 0 and holder.claims == [None]

    run_virtually(scenario())


@pytest.mark.parametrize(
    "sign, taken",
    [
        ({**ELSEWHERE, **NEXT}, False),
        ({**ELSEWHERE, "stopped": True}, True),
        ({**DEAD, **NEXT}, True),
        ({"owner": "a third"}, False),
    ],
    ids=["alive", "stopped", "dead", "another one"],
)
@pytest.mark.parametrize("after_s", [0.5, 13.5])
def test_a_sign_of_its_holder_decides_at_once(sign, taken, after_s):
    async def scenario() -> None:
        values = Values(ELSEWHERE)
        holder = Holder(values)
        await asyncio.sleep(after_s)
        values.write(sign)
        if taken:
            assert await holder.fresh_after() == after_s + 0.5 and holder.claims == [sign]
            return
        with pytest.raises(StackHeldError) as caught:
            await holder.fresh_after()
        assert (holder.time() - holder.began, holder.claims, values.lease) == (after_s + 0.5, [], sign)
        assert str(caught.value).startswith("stack host-a is held by pid ")
        assert caught.value.hint == "name this one (--stack host-a-2), or replace that one (--takeover)"

    run_virtually(scenario())


def test_who_holds_it_is_told():
    async def scenario() -> None:
        values = Values(ELSEWHERE)
        holder = Holder(values)
        await asyncio.sleep(1.5)
        values.write({**ELSEWHERE, "at": format_time(now_utc())})
        pid = ELSEWHERE["pid"]
        text = f"stack host-a is held by pid {pid} on host-b, watching 127.0.0.1:8080, alive 0s ago"
        with pytest.raises(StackHeldError) as caught:
            await holder.fresh_after()
        assert str(caught.value) == text
        assert holder.said == [f"host-a was held by pid {pid} on host-b, waiting 15s for a sign of it"]

    run_virtually(scenario())


def test_the_pid_that_dies_meanwhile_is_not_watched_to_the_end(sleeper):
    async def scenario() -> None:
        holder = Holder(Values({**LIVING, **identity(sleeper.pid)}))
        await asyncio.sleep(3.5)
        sleeper.kill()
        os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
        assert await holder.fresh_after() == 4

    run_virtually(scenario())


def test_a_look_that_fails_is_not_counted():
    async def scenario() -> None:
        values = Values(ELSEWHERE)
        holder = Holder(values)
        await asyncio.sleep(3.5)
        values.trouble = [OSError("gone"), asyncio.TimeoutError()]
        assert await holder.fresh_after() == 17 and len(holder.troubles) == 2

    run_virtually(scenario())


def test_two_that_start_at_once_have_one_winner():
    async def scenario() -> None:
        values = Values()
        values.answer_s = 0.1
        holders = [Holder(values, name, about=host_b) for name in "abc"]
        await asyncio.sleep(60)
        ended = [holder for holder in holders if holder.task.done()]
        assert len(ended) == 2 and sum(holder.lease.is_fresh for holder in holders) == 1
        for holder in ended:
            assert isinstance(holder.task.exception(), StackHeldError) and not holder.lease.is_fresh

    run_virtually(scenario())


# --- keeping it ---


def test_it_is_renewed_every_ten_seconds_and_when_asked():
    async def scenario() -> None:
        values = Values()
        holder = Holder(values)
        await asyncio.sleep(31)
        assert [at - holder.began for at in values.writes] == [0, 10, 20, 30]
        holder.lease.renew_now()
        await asyncio.sleep(10.5)
        assert [round(at - holder.began) for at in values.writes][4:] == [31, 41]
        assert holder.claims == [None]

    run_virtually(scenario())


def test_a_renewal_tells_what_is_so_now():
    async def scenario() -> None:
        values, told = Values(), {**identity(), "waiting": 0}
        Holder(values, about=lambda: told)
        await asyncio.sleep(1)
        told["waiting"] = 7
        await asyncio.sleep(10)
        assert values.lease["waiting"] == 7 and values.lease["at"] and values.lease["pid"] == os.getpid()

    run_virtually(scenario())


def test_nothing_is_sent_under_a_lease_of_more_than_twelve_seconds():
    async def scenario() -> None:
        values = Values()
        holder = Holder(values)
        await asyncio.sleep(1)
        values.trouble = [OSError("gone")] * 100
        await asyncio.sleep(10.9)
        assert holder.lease.is_fresh
        await asyncio.sleep(0.2)
        assert not holder.lease.is_fresh and holder.troubles
        values.trouble.clear()
        assert await holder.fresh_after() < 13 and holder.claims == [None]

    run_virtually(scenario())


def test_an_unanswered_renewal_that_was_written_is_our_own():
    async def scenario() -> None:
        values = Values()
        holder = Holder(values)
        await asyncio.sleep(1)
        values.unanswered = 1
        await asyncio.sleep(59)
        assert holder.lease.is_fresh and not holder.said and not holder.task.done()
        assert [found and found["owner"] for found in holder.claims] == [None, "me"]

    run_virtually(scenario())


@pytest.mark.parametrize("answer_s", [1.0, 4.0, 9.0])
def test_on_a_slow_link_a_second_one_does_not_get_it(answer_s):
    async def scenario() -> None:
        values = Values()
        holder = Holder(values)
        await asyncio.sleep(1)
        values.answer_s = answer_s
        for _ in range(3):
            second = Holder(values, "second", about=host_b)
            with pytest.raises(StackHeldError):
                await second.fresh_after()
        assert not holder.task.done() and values.lease["owner"] == "me" and holder.claims == [None]

    run_virtually(scenario())


def test_suspended_while_nobody_took_it_it_is_renewed_before_anything_is_sent():
    async def scenario() -> None:
        values = Values()
        holder = Holder(values)
        await asyncio.sleep(1)
        holder.asleep_s = 3600
        assert not holder.lease.is_fresh
        assert await holder.fresh_after() == 1 and values.writes[-1] - holder.began == 1
        assert holder.claims == [None]

    run_virtually(scenario())


@pytest.mark.parametrize("stopped", [False, True], ids=["lives", "has stopped"])
def test_suspended_while_another_one_took_it(stopped):
    async def scenario() -> None:
        values = Values()
        holder = Holder(values)
        await asyncio.sleep(1)
        holder.asleep_s = 60
        values.write({**ELSEWHERE, "stopped": stopped})
        if stopped:
            assert await holder.fresh_after() == 1.5 and holder.claims[-1]["owner"] == "other"
            return
        waiting = asyncio.ensure_future(holder.lease.wait_fresh())
        await asyncio.sleep(5)
        values.write({**ELSEWHERE, **NEXT})
        with pytest.raises(StackHeldError):
            await holder.task
        assert not waiting.done() and not holder.lease.is_fresh and values.lease == {**ELSEWHERE, **NEXT}

    run_virtually(scenario())


def test_a_new_connection_is_a_claim_before_anything_is_sent():
    async def scenario() -> None:
        values = Values()
        holder = Holder(values)
        await asyncio.sleep(1)
        holder.lease.connected()
        assert not holder.lease.is_fresh
        assert await holder.fresh_after() == 1 and holder.claims[-1]["owner"] == "me"
        values.revision, values.payload = 0, b""  # another server, or a wiped one
        holder.lease.connected()
        assert await holder.fresh_after() == 1 and holder.claims[-1] is None

    run_virtually(scenario())


def test_a_connection_in_the_midst_of_a_claim_begins_it_again():
    async def scenario() -> None:
        values = Values(ELSEWHERE)
        holder = Holder(values)
        await asyncio.sleep(14.5)
        values.revision = 1  # where it was written once
        holder.lease.connected()
        assert await holder.fresh_after() == 30

    run_virtually(scenario())


def test_a_connection_while_a_renewal_is_on_its_way_does_not_count_it():
    async def scenario() -> None:
        values = Values()
        values.answer_s = 2.0
        holder = Holder(values)
        await asyncio.sleep(13.5)
        holder.lease.connected()
        await asyncio.sleep(0.7)
        assert len(values.writes) == 2 and not holder.lease.is_fresh
        assert await holder.fresh_after() == 18 and len(holder.claims) == 2

    run_virtually(scenario())


# --- replacing another one, permissions, the end ---


def test_a_takeover_takes_it_at_once_and_sends_when_the_other_cannot_any_more():
    async def scenario() -> None:
        values = Values()
        first = Holder(values, "first", about=host_b)
        await asyncio.sleep(3)
        second = Holder(values, "second", takeover=True)
        await asyncio.sleep(0.1)
        assert values.lease["owner"] == "second" and first.lease.is_fresh and not second.lease.is_fresh
        assert await second.fresh_after() == 15
        assert not first.lease.is_fresh and second.claims[0]["owner"] == "first"
        with pytest.raises(StackHeldError):
            await first.task
        assert not second.task.done() and second.said == []

    run_virtually(scenario())


def test_a_takeover_that_is_not_answered_is_silent_all_the_same():
    async def scenario() -> None:
        values = Values(ELSEWHERE)
        values.unanswered = 1
        assert await Holder(values, takeover=True).fresh_after() == 15

    run_virtually(scenario())


def test_a_takeover_of_what_nobody_holds_waits_for_nothing():
    async def scenario() -> None:
        for lease in (None, DEAD, STOPPED):
            assert await Holder(Values(lease), takeover=True).fresh_after() == 0

    run_virtually(scenario())


def test_a_takeover_is_for_the_start_alone():
    async def scenario() -> None:
        values = Values()
        holder = Holder(values, takeover=True)
        await asyncio.sleep(1)
        values.write(ELSEWHERE)
        await asyncio.sleep(12)
        values.write({**ELSEWHERE, **NEXT})
        with pytest.raises(StackHeldError):
            await holder.task

    run_virtually(scenario())


def test_what_permissions_refuse_is_sent_all_the_same_and_said_once():
    async def scenario() -> None:
        values = Values()
        values.trouble = [DENIED] * 4  # the second one for who waits
        holder = Holder(values)
        assert await holder.fresh_after() == 0
        await asyncio.sleep(65)
        text = "may not publish to $KV.x: nothing guards stack host-a against a second one; "
        text += "grant publish on $KV.>"
        assert holder.said == [text] and holder.lease.is_fresh and not values.writes
        await asyncio.sleep(30)
        assert holder.said == [text, "a lease guards stack host-a again"] and values.writes

    run_virtually(scenario())


def test_what_was_claimed_is_told_once_where_only_writing_is_refused():
    async def scenario() -> None:
        values = Values(STOPPED)

        async def refuse(*_) -> int:
            raise DENIED

        values.put = refuse
        holder = Holder(values)
        await asyncio.sleep(100)
        assert holder.lease.is_fresh and holder.claims == [STOPPED] and len(holder.said) == 1
        del values.put
        values.write(DEAD)
        await asyncio.sleep(30)
        assert holder.lease.is_fresh and holder.claims == [STOPPED, DEAD] and len(holder.said) == 2

    run_virtually(scenario())


def test_the_end_is_written():
    async def scenario() -> None:
        values = Values()
        holder = Holder(values)
        await asyncio.sleep(1)
        holder.task.cancel()
        assert await holder.lease.stop() and values.lease["stopped"] is True
        assert not holder.lease.is_fresh
        assert await Holder(values, "next", about=host_b).fresh_after() == 0

    run_virtually(scenario())


def test_the_end_of_what_is_another_ones_is_not():
    async def scenario() -> None:
        for lease in (None, ELSEWHERE):
            values = Values(lease)
            holder = Holder(values)
            holder.task.cancel()
            assert not await holder.lease.stop() and not values.writes
        values = Values()
        holder = Holder(values)
        await asyncio.sleep(1)
        values.trouble = [OSError("gone")]
        assert not await holder.lease.stop()

    run_virtually(scenario())
