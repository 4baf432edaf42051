"""The signals that end a program, made something that its loops wait for.
Only for the main thread, and only for `cli` and `run_forever`: a library has no signal handlers.
"""

import math
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from .errors import EXIT_INTERRUPTED

#: a wait looks up this often: a signal may come just before the system begins to wait
LOOK_UP_S = 1.0
#: a Ctrl-C that comes so soon after another is that one, sent twice: by a terminal and by `timeout`
SAME_S = 0.3


class Stop:
    """Set once, by a signal or by any thread, and waited for.

    As `threading.Event`, but without a lock: a handler that interrupts the thread that waits, or another
    handler, would want the lock that its own thread holds, and wait for it for ever.
    """

    def __init__(self) -> None:
        self._set = False
        self._awaited, self._woken = socket.socketpair()
        self._woken.setblocking(False)

    def is_set(self) -> bool:
        """Whether it was set."""
        return self._set

    def set(self) -> None:
        """Have all who wait go on; may be called from anywhere, a signal's handler too."""
        self._set = True
        with suppress(OSError):  # what nobody reads is full at last
            self._woken.send(b"\0")  # is never read, so that it wakes whoever waits, now and later

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until it is set, `timeout_s` at most; return whether it is."""
        end = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while not self._set and (left_s := end - time.monotonic()) > 0:
            select.select([self._awaited], [], [], min(left_s, LOOK_UP_S))
        return self._set


@contextmanager
def interrupted_once() -> Iterator[None]:
    """Have a Ctrl-C that comes twice in a moment interrupt once: the second would break off its clean-up.

    Changes nothing where Ctrl-C means something else already, and outside the main thread.
    """
    at_s = -math.inf

    def note(number: int, frame: Any) -> None:
        nonlocal at_s
        before_s, at_s = at_s, time.monotonic()
        if at_s - before_s > SAME_S:
            raise KeyboardInterrupt

    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    if not is_main or before is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def stopped_by_signals(*names: str) -> Iterator[Stop]:
    """Give what these signals set, SIGTERM, SIGHUP or Ctrl-C if none is named.

    A second Ctrl-C interrupts, a third one kills.
    """
    stop = Stop()
    interrupts = 0

    def note(number: int, frame: Any) -> None:
        nonlocal interrupts
        interrupts += number == signal.SIGINT
        if interrupts > 2:
            os._exit(EXIT_INTERRUPTED)
        if interrupts > 1:
            raise KeyboardInterrupt
        stop.set()

    names = names or ("SIGINT", "SIGTERM", "SIGHUP")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    numbers = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]  # nohup
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
