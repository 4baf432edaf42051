"""One receiver: its engine, and the message that is handed over, again and again until it is taken.
For the main thread; a thread of its own only sends what it was given.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from typing import Any

from ..log import Say, log
from .engine import Engine
from .message import line_of
from .run_command import RunCommand
from .trouble import Rules
from .webhook import NotToldError, Webhook

#: a message is given up after this
GIVE_UP_S = 15 * 60.0
#: waits between two tries grow from the first to the last of these
FIRST_WAIT_S, LAST_WAIT_S = 1.0, 60.0


#: what takes messages, in the receiver's thread
Sends = Webhook | RunCommand


class Receiver:
    """One who is told: `is_due`, then `hand_over`; `settle` notes what came of it."""

    def __init__(
        self, sends: Sends, rules: Rules, say: Say, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.sends, self.rules, self._say, self._clock = sends, rules, say, clock
        self._pool = ThreadPoolExecutor(1, f"observe-{sends.name}")
        self.begin(Engine(rules))

    def begin(self, engine: Engine) -> None:
        """Go on with an engine; what was under way is forgotten, if it is not in there."""
        self.engine = engine
        self.payload: Mapping[str, Any] | None = None  #: of the message that is being handed over
        self._try: Future[bool] | None = None
        self._due_at = self._wait_s = 0.0

    @property
    def is_due(self) -> bool:
        """Whether a message is to be handed over now, for the first time or again."""
        return self.engine.sending is not None and self._try is None and self._clock() >= self._due_at

    def hand_over(self, payload: Mapping[str, Any]) -> None:
        """Have a message sent once."""
        if self.payload is None:
            self._end, self._wait_s, self._said = self._clock() + GIVE_UP_S, FIRST_WAIT_S, ""
        self.payload = payload
        self._try = self._pool.submit(self.sends.send, payload, line_of(payload))

    def settle(self, now: datetime) -> bool:
        """Note what came of the message; return whether that is known, for good."""
        if self.payload is None or self._try is None or not self._try.done():
            return False
        tried, self._try, line = self._try, None, line_of(self.payload)
        try:
            is_sent, failed = tried.result(), False
            self._say(str(self.payload["status"]), f"{line}     sent" if is_sent else line)
        except NotToldError as error:
            if error.again and self._clock() + self._wait_s <= self._end:
                self._wait(str(error))
                return False
            failed = True
            self._say(self.sends.name, f"{error}; given up: {line}")
        except Exception:  # the thread's top: whatever a receiver does, the others are told
            log.exception("%s failed", self.sends.name)
            failed = True
        self.payload, self._due_at = None, 0.0
        self.engine.done(now, failed=failed)
        return True

    def _wait(self, why: str) -> None:
        self._due_at = self._clock() + self._wait_s
        self._wait_s = min(2 * self._wait_s, LAST_WAIT_S)
        if why != self._said:
            self._said = why
            self._say(self.sends.name, f"{why}, trying again (1 waits)")

    def stop(self) -> None:
        """Wait for its thread, which has heard that the program ends."""
        self._pool.shutdown()
