"""Signals that come in pairs, as GNU `timeout` and terminals send them: nothing hangs, nothing breaks."""

import os
import random
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial

import pytest

from observe_lib.signals import Stop
from tests.nats_server import RealNats
from tests.running import ROOT, start_observe

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals")
long = pytest.mark.long

#: waits for a pair again and again: `r` when it is ready, `w` when it goes on; a byte begins the next round
WAITS = """
import os
from observe_lib.signals import stopped_by_signals
while True:
    with stopped_by_signals() as stop:
        os.write(1, b"r")
        stop.wait()
        os.write(1, b"w")
        if not os.read(0, 1):
            break
"""


def send_pair(send: Callable[[], object], gap_s: float) -> None:
    """Send twice; a sleep would take longer than the gap."""
    send()
    end = time.perf_counter() + gap_s
    while time.perf_counter() < end:
        pass
    send()


def gaps(number: int) -> list[float]:
    """Return so many gaps from 0 to 200 µs, each as often as the others."""
    return [at % 21 * 10e-6 for at in range(number)]


@pytest.mark.parametrize("pairs", [2000, pytest.param(50_000, marks=long)])
def test_two_sigterms_end_a_wait(pairs):
    waiting = subprocess.Popen(
        [sys.executable, "-c", WAITS], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert waiting.stdin and waiting.stdout
    chosen = random.Random(1)
    try:
        for gap_s in gaps(pairs):
            assert os.read(waiting.stdout.fileno(), 1) == b"r"
            time.sleep(chosen.random() * 0.0004)  # before the wait begins, as it begins, and within it
            send_pair(partial(waiting.send_signal, signal.SIGTERM), gap_s)
            assert select.select([waiting.stdout], [], [], 10)[0], f"hangs, {gap_s * 1e6:.0f} µs apart"
            assert os.read(waiting.stdout.fileno(), 1) == b"w"
            time.sleep(0.0002)  # the second one is taken, too, before handlers are those of before
            waiting.stdin.write(b"x")
            waiting.stdin.flush()
    finally:
        waiting.kill()
        waiting.communicate()


@pytest.mark.parametrize("pairs", [2, pytest.param(42, marks=long)])
@pytest.mark.parametrize(
    ("words", "number", "code", "greeting"),
    [
        (["adapter", "--stack", "s", "--no-push"], signal.SIGTERM, 0, "stack s"),
        (["watch", "-v"], signal.SIGINT, 130, "PROCESS_EVENTS"),
        (["web", "--listen", "127.0.0.1:0"], signal.SIGINT, 130, "http://"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_a_pair_ends_a_verb(nats_server: RealNats, words, number, code, greeting, pairs):
    for gap_s in gaps(21)[:: max(1, 20 // pairs)][:pairs] * max(1, pairs // 21):
        verb = start_observe(nats_server.url, *words)
        assert verb.stderr
        try:
            heard = ""
            while greeting not in heard:
                line = verb.stderr.readline()
                assert line, heard
                heard += line
            send_pair(partial(verb.send_signal, number), gap_s)
            heard += verb.communicate(timeout=20)[1]
        finally:
            verb.kill()
            verb.communicate()
        assert verb.returncode == code, heard
        assert "Traceback" not in heard


def test_a_stop_is_for_every_thread_and_for_ever():
    stop, seen = Stop(), []
    threads = [threading.Thread(target=lambda: seen.append(stop.wait(10))) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert not stop.is_set() and not stop.wait(0.01)
    for _ in range(2):
        stop.set()
    for thread in threads:
        thread.join(5)
    assert seen == [True] * 3 and stop.wait() and stop.is_set()


def test_setting_it_again_and_again_never_blocks():
    stop = Stop()
    for _ in range(100_000):  # more than a socket takes that nobody reads
        stop.set()
    assert stop.wait(0)
