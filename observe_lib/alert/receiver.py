"""One receiver: its engine, and the thread that hands its messages over, trying again for a while.
The engine is for the main thread alone; the thread of its own only sends what it was given.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from typing import Any, Protocol

from ..log import Say, log
from .engine import Engine
from .message import line_of
from .webhook import NotToldError

#: a message is given up after this
GIVE_UP_S = 15 * 60.0
#: waits between two tries grow from the first to the last of these
FIRST_WAIT_S, LAST_WAIT_S = 1.0, 60.0


class Sends(Protocol):
    """What takes messages: a webhook or a command."""

    name: str
    shown: str

    def send(self, payload: Mapping[str, Any], line: str) -> None:
        """Send it once; NotToldError."""


def hand_over(
    sends: Sends,
    payload: Mapping[str, Any],
    line: str,
    *,
    say: Say,
    clock: Callable[[], float],
    wait: Callable[[float], bool],
    may_send: Callable[[], bool] = lambda: True,
) -> bool | None:
    """Send it until it is taken; False: given up after `GIVE_UP_S`. None: broken off, it is still to be sent.

    `wait(seconds)` returns whether the program ends, `may_send()` whether the lease is still ours.
    """
    end, wait_s, said = clock() + GIVE_UP_S, FIRST_WAIT_S, ""
    while may_send():
        try:
            sends.send(payload, line)
            return True
        except NotToldError as error:
            if not error.again or clock() + wait_s > end:
                say(sends.name, f"{error}; given up: {line}")
                return False
            if str(error) != said:
                said = str(error)
                say(sends.name, f"{error}, trying again (1 waits)")
        if wait(wait_s):
            return None
        wait_s = min(2 * wait_s, LAST_WAIT_S)
    return None


class Receiver:
    """One who is told; `deliver(payload, line)` is called in its thread, and returns as `hand_over`."""

    def __init__(self, sends: Sends, deliver: Callable[[Mapping[str, Any], str], bool | None]) -> None:
        self.sends, self._deliver = sends, deliver
        self._pool = ThreadPoolExecutor(1, f"observe-{sends.name}")
        self._under_way: Future[bool | None] | None = None
        self._line = ("", "")
        self.engine: Engine | None = None

    @property
    def is_due(self) -> bool:
        """Whether a message is begun that is not under way."""
        return self._under_way is None and self.engine is not None and self.engine.sending is not None

    def start(self, payload: Mapping[str, Any]) -> None:
        """Have a message handed over."""
        line = line_of(payload)
        self._line = (str(payload["status"]), line)
        self._under_way = self._pool.submit(self._deliver, payload, line)

    def settle(self, now: datetime, say: Say) -> bool:
        """Note what came of the message, once that is known; return whether it did."""
        if self._under_way is None or not self._under_way.done():
            return False
        future, self._under_way = self._under_way, None
        try:
            taken = future.result()
        except Exception:  # the thread's top: whatever a receiver does, the others are told
            log.exception("%s failed", self.sends.name)
            taken = False
        if taken is None or self.engine is None:
            return False
        self.engine.done(now, failed=not taken)
        status, line = self._line
        if taken:
            say(status, f"{line}     sent")
        return True

    def stop(self) -> None:
        """Wait for its thread, which has heard that the program ends."""
        self._pool.shutdown()
