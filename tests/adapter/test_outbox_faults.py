"""The outbox under what no program can prevent: killed in the middle of a commit, a disk that is full."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from random import Random

import pytest

from observe_lib.adapter.outbox import Outbox, Record
from observe_lib.adapter.outbox_facts import look
from observe_lib.adapter.seal import Sealed
from observe_lib.errors import OutboxError
from observe_lib.times import now_utc

ROOT = Path(__file__).resolve().parents[2]
PROCESSES = [f"d.{number}" for number in range(40)]

#: commits for ever, each one a new record and two events of every process; and deletes what it was told to
COMMIT = """
import sys
from pathlib import Path
from observe_lib.adapter.outbox import Outbox
from observe_lib.times import now_utc
from tests.adapter.test_outbox_faults import PROCESSES, told
outbox = Outbox.open(Path(sys.argv[1]), "host-a", takeover=False, say=print)
turn = max((record.seq // 2 for record in outbox.records()), default=0)
while True:
    turn += 1
    outbox.commit(*told(turn), now_utc())
    print("committed", turn, flush=True)
    taken = outbox.take([], 30, 100_000)
    outbox.take(taken, 0, 0)
    if turn % 50 == 0:
        outbox.touch(now_utc())
    for event in taken:
        print("gone", event.message_id)
"""


def told(turn: int) -> tuple[list[Record], list[Sealed]]:
    """Return one comparison: a record and two events for each process, some of them large."""
    records = [Record(name, turn * 2, b"%d" % turn + b" " * 600) for name in PROCESSES]
    size = 20_000 if turn % 20 == 0 else 700
    events = [
        Sealed(name, f"core.process.{name}.x", f"host-a.{name}.{seq}.{seq}", b"x" * size)
        for name in PROCESSES
        for seq in (turn * 2 - 1, turn * 2)
    ]
    return records, events


def waiting_seqs(outbox: Outbox) -> dict[str, list[int]]:
    """Return the seqs that wait, by process, in the order in which they are handed out."""
    found = defaultdict(list)
    while events := outbox.take([], 1000, 10**9):
        for event in events:
            found[event.process].append(int(event.message_id.rpartition(".")[2]))
        outbox.take(events, 0, 0)
    return found


def check_killed(directory: Path, begun_at: int, run_s: float) -> int:
    """Kill it while it commits; each commit has to be there whole. Return the last one."""
    command = [sys.executable, "-c", COMMIT, str(directory)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == f"committed {begun_at + 1}\n"
        time.sleep(run_s)
        child.send_signal(signal.SIGKILL)
        said = child.stdout.read()
    last_said = max([begun_at + 1, *map(int, re.findall(r"committed (\d+)\n", said))])
    copy = directory.parent / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(directory, copy)
    facts = look(copy, "host-a")
    assert (facts.held, facts.trouble, facts.waiting > 0) == (False, "", True)
    outbox = Outbox.open(copy, "host-a", takeover=False, say=lambda topic, text: pytest.fail(text))
    (turn,) = {int(record.body.split()[0]) for record in outbox.records()}
    assert turn >= last_said
    assert {record.seq for record in outbox.records()} == {turn * 2}
    assert [record.process for record in outbox.records()] == PROCESSES
    seqs = waiting_seqs(outbox)
    gone = re.findall(r"gone host-a\.(d\.\d+)\.(\d+)\.\d+\n", said)
    for name in PROCESSES:
        assert seqs[name] == list(range(turn * 2 - len(seqs[name]) + 1, turn * 2 + 1))
        assert not {int(seq) for other, seq in gone if other == name} & set(seqs[name])
    assert outbox.waiting() == outbox.queue.size == 0
    outbox.close()
    return turn


def test_killed_while_it_commits_each_commit_is_whole(tmp_path):
    turn, rng = 0, Random(9)
    for _ in range(3):
        turn = check_killed(tmp_path / "state", turn, rng.uniform(0.02, 0.3))


@pytest.mark.long
def test_killed_while_it_commits_fifty_times(tmp_path):
    turn, rng = 0, Random(50)
    for number in range(50):
        if number % 5 == 0:
            shutil.rmtree(tmp_path / "state", ignore_errors=True)
            turn = 0
        turn = check_killed(tmp_path / "state", turn, rng.uniform(0.0, 0.5))


#: files that cannot grow once it is open: as on a full disk, where none may be made
NO_GROWTH = """
import resource, sys
from pathlib import Path
from observe_lib.adapter import outbox as outbox_module
from observe_lib.adapter.outbox import Outbox
from tests.adapter.test_outbox_faults import commit_for_a_while
outbox = Outbox.open(Path(sys.argv[1]), "host-a", takeover=False, say=print)
largest = max(one.stat().st_size for one in Path(sys.argv[1]).iterdir())
resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
outbox_module.disk_room = lambda path: 0
commit_for_a_while(outbox)
"""


def commit_for_a_while(outbox: Outbox) -> None:
    """While NATS takes events nothing stops; else what has no room is refused, until it takes some again."""
    for turn in range(1, 301):
        outbox.commit(*told(turn), now_utc())
        outbox.touch(now_utc())
        waiting_seqs(outbox)
    turn = 301
    for _ in range(100):
        try:
            outbox.commit(*told(turn), now_utc())
            turn += 1
        except OutboxError as error:
            assert "free some room on the disk" in error.hint
            assert {record.seq for record in outbox.records()} == {turn * 2 - 2}
    assert 303 < turn < 401
    assert waiting_seqs(outbox) == {name: list(range(601, turn * 2 - 1)) for name in PROCESSES}
    outbox.commit(*told(turn), now_utc())
    assert set(map(len, waiting_seqs(outbox).values())) == {2}


def test_files_that_cannot_grow(tmp_path):
    command = [sys.executable, "-c", NO_GROWTH, str(tmp_path)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def opened(directory: Path, said: list[str]) -> Outbox:
    return Outbox.open(directory, "host-a", takeover=False, say=lambda topic, text: said.append(text))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 32 MB, where that may be made."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(place)]
    if os.geteuid() or not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(place: Path) -> None:
    """Leave not one block of the disk."""
    with (place / "ballast").open("ab", buffering=0) as ballast:
        for size in (65536, 4096):
            try:
                while ballast.write(b"x" * size) == size:
                    pass
            except OSError:
                pass


def test_a_disk_that_is_full_and_then_is_not(small_disk):
    said: list[str] = []
    outbox = Outbox.open(
        small_disk / "s", "host-a", takeover=False, say=lambda topic, text: said.append(text)
    )
    fill(small_disk)
    commit_for_a_while(outbox)
    fill(small_disk)
    while not outbox.waiting() > 2000:
        try:
            outbox.commit(*told(1), None)
        except OutboxError:
            (small_disk / "ballast").unlink(missing_ok=True)
    assert said == []
    outbox.close()
    fill(small_disk)  # what the log had, too
    with pytest.raises(OutboxError, match="disk is full|cannot be used") as caught:
        opened(small_disk / "s", said)
    assert "free" in caught.value.hint
    (small_disk / "ballast").unlink()
    outbox = Outbox.open(
        small_disk / "s", "host-a", takeover=False, say=lambda topic, text: said.append(text)
    )
    assert outbox.waiting() > 2000
    outbox.close()


def test_a_full_disk_with_no_file_on_it_yet(small_disk):
    said: list[str] = []
    (small_disk / "s").mkdir()
    fill(small_disk)
    outbox = Outbox.open(
        small_disk / "s", "host-a", takeover=False, say=lambda topic, text: said.append(text)
    )
    assert outbox.path is None
    assert "in memory alone" in said[0]
    outbox.commit(*told(1), None)
    assert outbox.waiting() == 80
    outbox.close()
