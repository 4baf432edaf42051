"""Who holds a stack: what an adapter tells of itself in its heartbeat, and whether another one's is dead.
Pure but for what the operating system says of processes; knows nothing of NATS.
"""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: a lease whose revision does not move within this time belongs to nobody any more
LEASE_S = 15.0


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
    if holder.get("stopped"):
        return True
    here = (me.get("boot_id"), me.get("pid_namespace"))
    if None in here or (holder.get("boot_id"), holder.get("pid_namespace")) != here:
        return False
    pid, started = holder.get("pid"), holder.get("pid_started")
    return isinstance(pid, int) and started is not None and _started(pid) != started


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
