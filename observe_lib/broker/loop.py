"""The one asyncio loop: its thread "observe-loop", and the blocking calls into it from any other thread.
Knows nothing of NATS; never runs anybody's handler, and never blocks the loop.
"""

import asyncio
import concurrent.futures
import math
import os
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from ..errors import ObserveError
from ..log import log

T = TypeVar("T")

#: a wait looks up this often: Python may miss a Ctrl-C that comes just as it begins to wait for good
SLICE_S = 1.0


def ignore(*_: object) -> None:
    """Do nothing: the callback of who does not care."""


async def pause(event: asyncio.Event, seconds: float) -> None:
    """Wait until the event is set, or so long, and clear it.

    Not wait_for: before Python 3.12 it may swallow that we are being cancelled.
    """
    tick = asyncio.get_running_loop().call_later(seconds, event.set)
    try:
        await event.wait()
    finally:
        tick.cancel()
    event.clear()


class Bridge:
    """One loop thread, from `start()` to `stop()`; it cannot be started again.

    The thread is a daemon: a program that forgets to close something still ends.
    """

    def __init__(self, name: str = "observe-loop") -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(_note_exception)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._futures: set[concurrent.futures.Future[Any]] = set()
        self._grace_s, self._pid = 5.0, os.getpid()

    def start(self) -> None:
        """Start the thread, if it is not running yet."""
        if not self._thread.ident:
            self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        """Return what the coroutine returns; TimeoutError after `timeout_s`. Ctrl-C cancels it too."""
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError("a blocking call from the loop's own thread would never return")
        future = self.spawn(coroutine)
        try:
            end = math.inf if timeout_s is None else time.monotonic() + timeout_s
            while not future.done() and (left_s := end - time.monotonic()) > 0:
                concurrent.futures.wait((future,), min(left_s, SLICE_S))
            return future.result(0)
        except concurrent.futures.CancelledError as error:
            raise ObserveError("closed while waiting for NATS") from error
        except (concurrent.futures.TimeoutError, asyncio.TimeoutError) as error:  # not yet one before 3.11
            raise TimeoutError(str(error) or f"nothing within {timeout_s}s") from error
        finally:
            future.cancel()

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> "concurrent.futures.Future[T]":
        """Start the coroutine and return at once; ObserveError: the loop has ended, or is the parent's."""
        if os.getpid() != self._pid:
            coroutine.close()
            raise ObserveError("this Consumer was made in another process", "make a new one after the fork")
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        except RuntimeError as error:
            coroutine.close()
            raise ObserveError("closed") from error
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        return future

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Have the loop's thread call the function soon; nothing happens when the loop has ended."""
        try:
            self.loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            log.debug("the loop has ended, not called: %r", function)

    def stop(self, timeout_s: float = 5.0) -> None:
        """Cancel what still runs, end the loop, and wait for the thread no longer than `timeout_s`."""
        self._grace_s = timeout_s / 2
        self.call(self.loop.stop)
        if self._thread.ident and threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)
        elif not self._thread.ident:
            self.loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            if tasks := asyncio.all_tasks(self.loop):
                for task in tasks:
                    task.cancel()
                self.loop.run_until_complete(asyncio.wait(tasks, timeout=self._grace_s))
            self.loop.close()
            for future in list(self._futures):  # else whoever waits for one would wait for ever
                future.cancel()


def _note_exception(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Keep the loop's own complaints (a task nobody waited for) off people's screens."""
    log.debug("loop: %s", context.get("message"), exc_info=context.get("exception"))
