"""The lease: of several hosts one at a time works under a key of the bucket. Claimed, renewed, given back.
The class's coroutines are for the loop thread only; never sends anything else, never prints.
"""

import asyncio
import json
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import NatsError, StackHeldError
from ..events import SCHEMA, dump_json
from ..times import format_time, now_utc, parse_time, seconds_between
from .bucket import PASSING_ERRORS, Bucket, WrongLastError
from .loop import ignore, pause
from .session import DeniedError

#: a lease whose revision does not move within this time belongs to nobody any more
LEASE_S = 15.0
#: it is renewed this often
RENEW_S = 10.0
#: nothing is sent under a lease renewed longer ago than this: somebody else may hold it by now
VALID_S = 12.0
#: how often a lease that may be abandoned is looked at
LOOK_EACH_S = 1.0
#: what went wrong is tried again after this; what permissions refuse, after that: somebody may grant it
TRY_AGAIN_S = 0.5
ASK_GRANTED_S = 30.0


def boot_clock() -> float:
    """Return seconds on a clock that counts the time of a suspended machine, where there is one."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


def identity(pid: int | None = None) -> dict[str, Any]:
    """Return host, boot id, pid namespace, pid and its start time; what the system does not tell is None."""
    pid = pid or os.getpid()
    return {
        "host": socket.gethostname(),
        "boot_id": _read("/proc/sys/kernel/random/boot_id"),
        "pid_namespace": _link("/proc/self/ns/pid"),
        "pid": pid,
        "pid_started": _started(pid),
    }


def is_dead(holder: Mapping[str, Any], me: Mapping[str, Any]) -> bool:
    """Whether the holder said goodbye, or ran on this very system and its process is no more."""
    return bool(holder.get("stopped")) or _runs(holder, me) is False


def is_alive(holder: Mapping[str, Any], me: Mapping[str, Any]) -> bool:
    """Whether the holder runs on this very system."""
    return not holder.get("stopped") and _runs(holder, me) is True


def _runs(holder: Mapping[str, Any], me: Mapping[str, Any]) -> bool | None:
    """Return whether the holder's process is there, None where it cannot be seen from here."""
    here = (me.get("boot_id"), me.get("pid_namespace"))
    if None in here or (holder.get("boot_id"), holder.get("pid_namespace")) != here:
        return None
    pid, started = holder.get("pid"), holder.get("pid_started")
    return _started(pid) == started if isinstance(pid, int) and started is not None else None


def _started(pid: int) -> int | None:
    """Return a process's start in clock ticks since boot (field 22 of its stat); None for a zombie."""
    stat = _read(f"/proc/{pid}/stat")
    fields = stat.rpartition(")")[2].split() if stat else []
    return int(fields[19]) if len(fields) > 19 and fields[0] not in "ZX" else None


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _link(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None


class Lease:
    """The lease under `key`, for `owner`: an id that no other process has, nor this one after a restart.

    `about()` is what the lease tells of us, with `identity()` in it. `on_claim(found)` is awaited before a
    lease is taken: what it said, None where there is none. `on_trouble(error)` hears each failure that
    passes, `say(text)` what people should know. `kind`, `name` and `hint` say of whom one speaks, and what
    to do about another one's lease. `clock` counts suspended time.
    """

    def __init__(
        self,
        values: Bucket,
        key: str,
        owner: str,
        about: Callable[[], Mapping[str, Any]],
        *,
        name: str,
        kind: str = "stack",
        hint: str = "",
        takeover: bool = False,
        say: Callable[[str], object] = ignore,
        on_claim: Callable[[Mapping[str, Any] | None], Awaitable[None]] | None = None,
        on_trouble: Callable[[Exception], object] = ignore,
        clock: Callable[[], float] = boot_clock,
    ) -> None:
        self._values, self._key, self._owner, self._about = values, key, owner, about
        self._name, self._kind, self._hint, self._takeover = name, kind, hint, takeover
        self._say, self._on_claim, self._on_trouble, self._clock = say, on_claim, on_trouble, clock
        self._revision: int | None = None  # None: to be claimed
        self._renewed: float | None = None  # when the request was sent that renewed it last
        self._silent_until = 0.0
        self._unguarded = self._anew = False
        self._denied = ""  # what was said of permissions, and still holds
        self._found: Mapping[str, Any] | None = None  # what was claimed last
        self._due, self._fresh = asyncio.Event(), asyncio.Event()

    @property
    def is_fresh(self) -> bool:
        """Whether we may send: renewed a moment ago, or permissions let nobody have a lease."""
        if self._unguarded:
            return True
        now = self._clock()
        return self._renewed is not None and now - self._renewed < VALID_S and now >= self._silent_until

    async def wait_fresh(self) -> None:
        """Wait until we may send; a lease that grew old, as over a suspension, is renewed now."""
        while not self.is_fresh:
            self._fresh.clear()
            self._due.set()
            await self._fresh.wait()

    def renew_now(self) -> None:
        """Renew it at once: what it tells of us has changed."""
        self._due.set()

    def connected(self) -> None:
        """There is a new connection: nothing is sent over it before the lease was claimed there."""
        self._anew = True
        self._let_go()
        self._due.set()

    async def hold(self) -> None:
        """Claim the lease and renew it, until cancelled; one task for life, reconnections included.

        StackHeldError: another one lives and has it, now or since we could not renew it.
        """
        while True:
            self._due.clear()
            try:
                wait_s = await self._renew()
            except DeniedError as error:
                wait_s = ASK_GRANTED_S
                if not self._anew:
                    self._go_unguarded(error)
            except WrongLastError:
                wait_s = TRY_AGAIN_S
                self._let_go()
            except (NatsError, *PASSING_ERRORS) as error:
                wait_s = TRY_AGAIN_S
                self._on_trouble(error)
            await pause(self._due, wait_s)

    async def stop(self) -> bool:
        """Write that we have stopped, after `hold` was cancelled; False: it could not be, or is another's."""
        self._let_go()
        try:
            revision, found = await self._read()
            if found is None or found.get("owner") != self._owner:
                return False
            await self._values.put(self._key, self._payload(stopped=True), revision)
            return True
        except (NatsError, *PASSING_ERRORS) as error:
            self._on_trouble(error)
            return False

    async def _renew(self) -> float:
        """Write the lease, claiming it first where that is due; return in how many seconds to do it again."""
        self._anew, revision = False, self._revision
        if revision is None:
            revision = await self._claim()
        sent = self._clock()
        if not self._anew:
            revision = await self._values.put(self._key, self._payload(), revision)
        if self._anew:  # that was the connection before
            return 0.0
        self._revision, self._renewed, self._unguarded, self._takeover = revision, sent, False, False
        if self._denied:
            self._say(f"a lease guards {self._kind} {self._name} again")
            self._denied = ""
        if self.is_fresh:
            self._fresh.set()
        now, due = self._clock(), sent + RENEW_S
        return max(0.0, (min(due, self._silent_until) if now < self._silent_until else due) - now)

    async def _claim(self) -> int:
        """Return the revision that is ours to write over."""
        revision, found = await self._read()
        if self._takeover and not self._is_free(found):  # it may send for as long as its own lease is fresh
            self._silent_until = self._clock() + LEASE_S
        elif not self._is_free(found):
            revision, found = await self._watch(revision, found or {})
        if not (self._denied and found == self._found):  # that is asked for again and again
            self._unguarded, self._found = False, found
            if self._on_claim is not None:
                await self._on_claim(found)
        return revision

    async def _watch(self, revision: int, found: Mapping[str, Any]) -> tuple[int, Mapping[str, Any] | None]:
        """See whether the holder gives a sign of life, or ends, until its lease is over."""
        self._say(f"{self._name} was held by {_who(found)}, waiting {LEASE_S:g}s for a sign of it")
        looks = 0
        while looks * LOOK_EACH_S < LEASE_S:
            await asyncio.sleep(LOOK_EACH_S)
            if self._anew:
                raise WrongLastError("the lease of another connection")
            try:
                now, latest = await self._read()
            except PASSING_ERRORS as error:  # not seen, so not counted
                self._on_trouble(error)
                continue
            looks += 1
            if self._is_free(latest):
                return now, latest
            if now != revision:
                raise self._held(latest or {})
        return revision, found

    def _is_free(self, found: Mapping[str, Any] | None) -> bool:
        """Whether it is ours to take at once: none, an unanswered write of our own, or its holder is dead."""
        return found is None or found.get("owner") == self._owner or is_dead(found, self._about())

    async def _read(self) -> tuple[int, Mapping[str, Any] | None]:
        """Return the lease and its revision; {} for one that makes no sense, None for none."""
        revision, payload = await self._values.get(self._key)
        try:
            found = json.loads(payload) if payload else None
        except (ValueError, RecursionError):
            found = {}
        return revision, found if found is None or isinstance(found, dict) else {}

    def _payload(self, **more: Any) -> bytes:
        told = {"schema": SCHEMA, "owner": self._owner, **self._about(), "at": format_time(now_utc()), **more}
        return dump_json(told)

    def _let_go(self) -> None:
        """Send nothing until it was claimed."""
        self._revision, self._renewed, self._unguarded = None, None, False

    def _go_unguarded(self, error: DeniedError) -> None:
        """Let it be sent all the same, and say so."""
        self._let_go()
        self._unguarded = True
        self._fresh.set()
        if self._denied != str(error):
            self._denied = str(error)
            self._say(f"{error}: nothing guards {self._kind} {self._name} against a second one; {error.hint}")

    def _held(self, holder: Mapping[str, Any]) -> StackHeldError:
        text = f"{self._kind} {self._name} is held by {_who(holder)}, watching {holder.get('watches', '?')}"
        with suppress(ValueError, TypeError, LookupError):
            text += f", alive {max(0.0, seconds_between(parse_time(holder['at']), now_utc())):.0f}s ago"
        hint = f"name this one (--stack {self._name}-2), or replace that one (--takeover)"
        return StackHeldError(text, self._hint or hint)


def _who(lease: Mapping[str, Any]) -> str:
    return f"pid {lease.get('pid', '?')} on {lease.get('host', '?')}"
