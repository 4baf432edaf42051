"""One adapter per stack: takes the lease, renews it with every heartbeat, notices when it is another's.
Coroutines for the loop thread only.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from ..broker.bucket import DeniedError, WrongLastError
from ..broker.lease import LEASE_S, is_dead
from ..broker.link import DENIED_AFTER_S
from ..errors import StackHeldError
from ..events import SCHEMA, dump_json
from ..times import format_time, now_utc, parse_time, seconds_between
from .ledger import LEASE_KEY, Entry, Ledger

#: the lease is renewed this often
HEARTBEAT_S = 10.0
#: nothing is written under a lease that is older: somebody else may hold it by now
FRESH_S = 12.0
#: how often a lease that may be abandoned is looked at
LEASE_POLL_S = 1.0


class Tenure:
    """The lease of one stack, held by `owner`; `about()` is what the heartbeat tells of the holder."""

    def __init__(
        self, ledger: Ledger, stack: str, owner: str, about: Callable[[], Mapping[str, Any]]
    ) -> None:
        self._ledger, self._stack, self._owner, self._about = ledger, stack, owner, about
        self.revision = 0
        self._beaten: datetime | None = None
        self._beating = asyncio.Lock()
        self.before: Mapping[str, Any] = {}
        self.contested = self.shared = False

    async def claim(self, takeover: bool, say: Callable[[str, str], None]) -> None:
        """Take the lease, unless another adapter lives and holds it: StackHeldError then.

        `before` is what the last holder's heartbeat said, {} if there was none; `contested` whether that
        one may still be alive, not knowing yet; `shared` whether it wrote while we were there already.
        """
        revision, payload = await self._ledger.revision_of(LEASE_KEY)
        holder = Entry.parse(revision, payload).found
        self.revision, self.before = revision, holder or {}
        self.contested = holder is not None and not is_dead(holder, self._about())
        self.shared = self.contested and takeover
        if self.contested and not takeover:
            await self._outwait(holder or {}, say)
        carried = {name: self.before.get(name) or 0 for name in ("acknowledged", "whole")}
        await self.beat(**carried)

    async def _outwait(self, holder: Mapping[str, Any], say: Callable[[str, str], None]) -> None:
        """See whether the holder gives a sign of life, or goodbye, until its lease is over."""
        say("stack", f"{self._stack} was held by {_holder(holder)}, waiting {LEASE_S:g}s for a sign of it")
        for _ in range(int(LEASE_S / LEASE_POLL_S)):
            await asyncio.sleep(LEASE_POLL_S)
            revision, payload = await self._ledger.revision_of(LEASE_KEY)
            if revision == self.revision:
                continue
            found = Entry.parse(revision, payload).found or {}
            if found and not is_dead(found, self._about()):
                raise self._held(found)
            self.revision, self.before, self.contested, self.shared = revision, found, False, True
            return

    async def beat(self, **more: Any) -> None:
        """Renew the lease, whatever became of it meanwhile. StackHeldError if it is another's."""
        async with self._beating:
            await self._renew(more)

    async def confirm(self) -> None:
        """Renew the lease where it is so old (we were suspended, NATS was away) that others may have it."""
        if not self._is_fresh():
            async with self._beating:
                if not self._is_fresh():
                    await self._renew({})

    def _is_fresh(self) -> bool:
        return self._beaten is not None and 0 <= seconds_between(self._beaten, now_utc()) < FRESH_S

    async def _renew(self, more: Mapping[str, Any]) -> None:
        while True:
            at = now_utc()
            told = {**self._about(), "acknowledged": self._ledger.acknowledged, "at": format_time(at), **more}
            beat = dump_json({"schema": SCHEMA, "owner": self._owner, **told})
            try:
                self.revision = await self._ledger.write(LEASE_KEY, beat, self.revision)
                self._ledger.settled(LEASE_KEY)
                self._beaten = at
                return
            except WrongLastError:
                await self.check()
            except DeniedError:
                await asyncio.sleep(DENIED_AFTER_S)

    async def check(self) -> None:
        """Read at which revision the lease is; StackHeldError if it is another adapter's by now."""
        revision, payload = await self._ledger.revision_of(LEASE_KEY)
        found = Entry.parse(revision, payload).found or {}
        if found.get("owner") not in (None, self._owner, self.before.get("owner")):
            raise self._held(found)
        self.revision = revision

    def _held(self, holder: Mapping[str, Any]) -> StackHeldError:
        text = f"stack {self._stack} is held by {_holder(holder)}, watching {holder.get('watches', '?')}"
        with suppress(ValueError, TypeError, LookupError):
            text += f", alive {max(0.0, seconds_between(parse_time(holder['at']), now_utc())):.0f}s ago"
        hint = f"name this one (--stack {self._stack}-2), or replace that one (--takeover)"
        return StackHeldError(text, hint)


def _holder(lease: Mapping[str, Any]) -> str:
    return f"pid {lease.get('pid', '?')} on {lease.get('host', '?')}"
