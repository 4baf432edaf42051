"""The loop thread and the blocking calls into it."""

import asyncio
import os
import signal
import sys
import threading
import time

import pytest

from observe_lib.broker.loop import Bridge
from observe_lib.errors import ObserveError


@pytest.fixture
def bridge():
    found = Bridge()
    found.start()
    yield found
    found.stop()
    assert not found._thread.is_alive()


async def give(value):
    await asyncio.sleep(0)
    return value


async def fail(error):
    raise error


class Stuck:
    """A coroutine that never ends, and whether it was cancelled."""

    def __init__(self):
        self.began, self.cancelled = threading.Event(), threading.Event()

    async def __call__(self):
        self.began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


def test_run_returns_what_the_coroutine_returns(bridge):
    bridge.start()  # once more does nothing
    assert bridge.run(give(3)) == 3
    assert bridge.run(give(threading), 5) is threading


@pytest.mark.parametrize("error", [ValueError("no"), KeyError("x"), ObserveError("hm", "do")])
def test_run_raises_what_the_coroutine_raises(bridge, error):
    with pytest.raises(type(error)) as caught:
        bridge.run(fail(error))
    assert caught.value is error


@pytest.mark.parametrize("error", [asyncio.TimeoutError(), TimeoutError("late")])
def test_a_timeout_within_is_a_timeout(bridge, error):
    with pytest.raises(TimeoutError):
        bridge.run(fail(error), 5)


def test_a_timeout_cancels(bridge):
    stuck = Stuck()
    with pytest.raises(TimeoutError, match="0.05"):
        bridge.run(stuck(), 0.05)
    assert stuck.cancelled.wait(5)


def test_ctrl_c_while_waiting_cancels(bridge):
    stuck, main = Stuck(), threading.get_ident()

    def press_ctrl_c() -> None:
        while not (stuck.began.is_set() and sys._current_frames()[main].f_code.co_name == "wait"):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press_ctrl_c, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        bridge.run(stuck())
    assert stuck.cancelled.wait(5)


def test_a_call_from_the_loop_itself_is_refused(bridge):
    async def call_itself():
        bridge.run(give(1))

    with pytest.raises(RuntimeError, match="never return"):
        bridge.run(call_itself())


def test_call(bridge):
    called = threading.Event()
    bridge.call(called.set)
    assert called.wait(5)


def test_stop_cancels_what_runs_and_frees_who_waits():
    bridge, stuck, raised = Bridge("loop-of-a-test"), Stuck(), []
    bridge.start()

    def wait():
        try:
            bridge.run(stuck())
        except ObserveError as error:
            raised.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    assert stuck.began.wait(5)
    bridge.stop()
    waiter.join(5)
    assert stuck.cancelled.is_set() and len(raised) == 1
    assert "loop-of-a-test" not in [one.name for one in threading.enumerate()]


def test_stop_is_bounded():
    bridge, release = Bridge(), threading.Event()
    bridge.start()
    bridge.call(release.wait)  # nothing may block the loop; if something does, `stop` still returns
    began = time.monotonic()
    bridge.stop(0.1)
    assert time.monotonic() - began < 2
    release.set()
    bridge._thread.join(5)


@pytest.mark.filterwarnings("error")
def test_after_stop(bridge):
    bridge.stop()
    bridge.stop()
    bridge.call(print)
    with pytest.raises(ObserveError, match="closed"):
        bridge.run(give(1))


def test_stop_before_start():
    Bridge().stop()


@pytest.mark.filterwarnings("error")
def test_another_process_is_refused(bridge):
    bridge._pid += 1  # as after a fork
    with pytest.raises(ObserveError, match="another process"):
        bridge.run(give(1), 5)


def test_a_task_that_fails_alone_is_not_shown(bridge, capfd):
    async def leave_it():
        asyncio.ensure_future(fail(ValueError("nobody waits for me")))
        await asyncio.sleep(0.01)

    bridge.run(leave_it())
    bridge.stop()
    assert capfd.readouterr().err == ""
