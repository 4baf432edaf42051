"""Who holds a stack: whose lease is dead at once, whose is waited for, and what a second adapter is told."""

import asyncio
import json
import os
import signal
import subprocess
import sys

import pytest

from observe_lib import cli
from observe_lib.adapter import adapter
from observe_lib.adapter import tenure as tenure_module
from observe_lib.adapter.tenure import Tenure
from observe_lib.broker.lease import identity, is_dead
from observe_lib.broker.link import WrongLastError
from observe_lib.errors import StackHeldError
from observe_lib.times import format_time, now_utc

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


class Memory:
    """A ledger of one lease; `moves` are leases that appear one per look after the first."""

    acknowledged = 7

    def __init__(self, lease=None, moves=()) -> None:
        self.revision, self.lease, self.moves = (5, lease, list(moves)) if lease else (0, None, [])
        self.looks = 0

    async def revision_of(self, key):
        self.looks += 1
        if self.looks > 1 and self.moves:
            moved = self.moves.pop(0)
            if moved is not None:
                self.revision, self.lease = self.revision + 1, moved
        return self.revision, json.dumps(self.lease).encode() if self.lease else b""

    async def write(self, key, payload, last):
        if last != self.revision:
            raise WrongLastError("wrong last sequence")
        self.revision, self.lease = self.revision + 1, json.loads(payload)
        return self.revision

    def settled(self, key) -> None:
        pass


LIVING = {**identity(), "pid": os.getpid(), "owner": "other", "watches": "127.0.0.1:8080"}
FORGED = {**LIVING, "host": "host-b", "boot_id": "another", "at": format_time(now_utc())}
DEAD = {**LIVING, "pid": 2**22 + 1}


def claim(monkeypatch, memory, takeover=False) -> tuple[Tenure, list[str], float]:
    """Claim the lease on a clock that only waits move; return what was said, and how long it took."""
    waited = []

    async def sleep(seconds) -> None:
        waited.append(seconds)

    said: list[str] = []
    monkeypatch.setattr(tenure_module.asyncio, "sleep", sleep)

    async def run() -> Tenure:
        found = Tenure(memory, "host-a", "me", identity)
        await found.claim(takeover, lambda topic, text: said.append(text))
        return found

    try:
        return asyncio.run(run()), said, sum(waited)
    except StackHeldError as error:
        error.waited_s = sum(waited)
        raise


@pytest.mark.parametrize("lease", [None, DEAD, {**FORGED, "stopped": True}], ids=["none", "dead", "stopped"])
def test_taken_at_once(monkeypatch, lease):
    memory = Memory(lease)
    _, said, waited_s = claim(monkeypatch, memory)
    assert (said, waited_s, memory.lease["owner"]) == ([], 0, "me")


@pytest.mark.parametrize("lease", [FORGED, LIVING], ids=["elsewhere", "here, and halted"])
def test_one_that_gives_no_sign_is_waited_for(monkeypatch, lease):
    memory = Memory(lease)
    _, said, waited_s = claim(monkeypatch, memory)
    assert said == [f"host-a was held by pid {lease['pid']} on {lease['host']}, waiting 15s for a sign of it"]
    assert (waited_s, memory.lease["owner"]) == (15, "me")


def test_one_that_moves_is_refused_at_that_moment(monkeypatch):
    again = {**FORGED, "at": format_time(now_utc())}
    with pytest.raises(StackHeldError) as caught:
        claim(monkeypatch, Memory(FORGED, [None, None, again]))
    text = f"stack host-a is held by pid {FORGED['pid']} on host-b, watching 127.0.0.1:8080, alive 0s ago"
    assert (str(caught.value), caught.value.waited_s) == (text, 3)
    assert caught.value.hint == "name this one (--stack host-a-2), or replace that one (--takeover)"


def test_one_that_says_goodbye_meanwhile_is_waited_for_no_longer(monkeypatch):
    memory = Memory(FORGED, [None, {**FORGED, "stopped": True}])
    _, _, waited_s = claim(monkeypatch, memory)
    assert (waited_s, memory.lease["owner"]) == (2, "me")


def test_takeover_waits_for_no_sign_and_the_other_is_told(monkeypatch):
    memory = Memory(LIVING)
    ours, said, waited_s = claim(monkeypatch, memory, takeover=True)
    assert (said, waited_s, memory.lease["owner"]) == ([], 0, "me")
    theirs = Tenure(memory, "host-a", "other", identity)
    with pytest.raises(StackHeldError, match=f"held by pid {os.getpid()} on "):
        asyncio.run(theirs.beat())
    asyncio.run(ours.beat())


@pytest.mark.parametrize("lease", [{"owner": 3}, {"pid": "x", "at": "nonsense", "host": None}], ids=str)
def test_a_lease_of_nonsense_is_outwaited(monkeypatch, lease):
    memory = Memory(lease)
    assert claim(monkeypatch, memory)[2] == 15
    with pytest.raises(StackHeldError):
        claim(monkeypatch, Memory(lease, [{**lease, "more": 1}]))


@pytest.mark.parametrize(
    "hostname, flags, told",
    [
        ("3f2a9c01de45", (), True),
        ("3f2a9c01de45", ("--stack", "shop"), False),
        ("host-a", (), False),
    ],
)
def test_a_container_id_as_host_name_is_said(monkeypatch, capsys, hostname, flags, told):
    """It is another one after every start, so that nobody would find the stack again."""
    stacks = []
    monkeypatch.delenv("OBSERVE_STACK", raising=False)
    monkeypatch.setattr("socket.gethostname", lambda: hostname)
    monkeypatch.setattr(adapter, "run_adapter", lambda options, *_: stacks.append(options.stack) or 0)
    assert cli.main(["adapter", *flags]) == 0
    assert stacks == [flags[1] if flags else hostname]
    assert ("name it with --stack" in capsys.readouterr().err) == told
