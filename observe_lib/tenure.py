"""One adapter per stack: takes the lease, renews it with every heartbeat, notices when it is another's.
Coroutines for the loop thread only.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from .errors import StackHeldError
from .events import OBSERVE, SCHEMA, dump_json
from .lease import LEASE_S, is_dead
from .ledger import Entry, Ledger
from .link import WrongLastError
from .times import format_time, now_utc, parse_time, seconds_between

#: the key of the lease below the stack's
LEASE_KEY = f"{OBSERVE}.lease"
#: the lease is renewed this often
HEARTBEAT_S = 10.0
#: how often a lease that may be abandoned is looked at
LEASE_POLL_S = 1.0


class Tenure:
    """The lease of one stack, held by `owner`; `about()` is what the heartbeat tells of the holder."""

    def __init__(
        self, ledger: Ledger, stack: str, owner: str, about: Callable[[], Mapping[str, Any]]
    ) -> None:
        self._ledger, self._stack, self._owner, self._about = ledger, stack, owner, about
        self._revision = 0
        self.before: Mapping[str, Any] = {}

    async def claim(self, takeover: bool, say: Callable[[str, str], None]) -> None:
        """Take the lease, unless another adapter lives and holds it: StackHeldError then.

        `before` is what the last holder's heartbeat said, {} if there was none.
        """
        revision, payload = await self._ledger.revision_of(LEASE_KEY)
        holder = Entry.parse(revision, payload).found
        self._revision, self.before = revision, holder or {}
        if holder is None or takeover or is_dead(holder, self._about()):
            return
        say("stack", f"{self._stack} was held by {_holder(holder)}, waiting {LEASE_S:g}s for a sign of it")
        for _ in range(int(LEASE_S / LEASE_POLL_S)):
            await asyncio.sleep(LEASE_POLL_S)
            moved, payload = await self._ledger.revision_of(LEASE_KEY)
            if moved != revision:
                raise self._held(Entry.parse(moved, payload).found or holder)

    async def beat(self, **more: Any) -> bool:
        """Renew the lease; return whether it was as we had left it. StackHeldError if it is another's."""
        kept = True
        while True:
            acknowledged = self._ledger.acknowledged
            told = {**self._about(), **more, "acknowledged": acknowledged, "at": format_time(now_utc())}
            beat = dump_json({"schema": SCHEMA, "owner": self._owner, **told})
            try:
                self._revision = await self._ledger.write(LEASE_KEY, beat, self._revision)
                self._ledger.settled(LEASE_KEY)
                return kept
            except WrongLastError:
                kept = False
                self._revision = await self.check()

    async def check(self) -> int:
        """Return the lease's present revision; StackHeldError if it is another adapter's by now."""
        revision, payload = await self._ledger.revision_of(LEASE_KEY)
        found = Entry.parse(revision, payload).found or {}
        if found.get("owner") not in (None, self._owner, self.before.get("owner")):
            raise self._held(found)
        return revision

    def _held(self, holder: Mapping[str, Any]) -> StackHeldError:
        text = f"stack {self._stack} is held by {_holder(holder)}, watching {holder.get('watches', '?')}"
        with suppress(ValueError, TypeError, LookupError):
            text += f", alive {max(0.0, seconds_between(parse_time(holder['at']), now_utc())):.0f}s ago"
        hint = f"name this one (--stack {self._stack}-2), or replace that one (--takeover)"
        return StackHeldError(text, hint)


def _holder(lease: Mapping[str, Any]) -> str:
    return f"pid {lease.get('pid', '?')} on {lease.get('host', '?')}"
