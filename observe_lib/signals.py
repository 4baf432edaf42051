"""The signals that end a program, made an event that its loops wait on.
Only for the main thread, and only for `cli`: a library has no signal handlers.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .errors import EXIT_INTERRUPTED


@contextmanager
def stopped_by_signals(*names: str) -> Iterator[threading.Event]:
    """Give an event that these signals set, SIGTERM, SIGHUP or Ctrl-C if none is named.

    A second Ctrl-C interrupts, a third one kills.
    """
    stop = threading.Event()
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
