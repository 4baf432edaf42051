"""Whether NATS takes writes, asked without one: limits reached, and what the server says of its disk.
Pure but for `write_error`, which asks the server's monitoring port; for any thread.
"""

from collections.abc import Mapping
from typing import Any

import requests

from .findings import FAIL, OK, Finding

#: where a nats-server's own monitoring is, if it is (`nats-server -m 8222`)
MONITOR_PORT = 8222
MONITOR_WITHIN_S = 1.0
#: nats-server 2.15 does not write again by itself, and its API does not tell
RESTART_HINT = "free some room there, then restart nats-server, which takes no writes until then"


def room_finding(
    account: Mapping[str, Any], streams: Mapping[str, Mapping[str, Any] | None], error: str = ""
) -> Finding:
    """Return whether there is room: in the account (as `$JS.API.INFO` told), in each stream, on disk."""
    if error:
        return Finding(FAIL, "room", f"takes no writes: {error}", RESTART_HINT)
    limit = (account.get("limits") or {}).get("max_storage", -1)
    used = account.get("storage", 0)
    if 0 < limit <= used:
        told = f"the account is full: {_mib(used)} of {_mib(limit)}"
        return Finding(FAIL, "room", told, "give it more, or keep less: adapter --max-age 6h")
    for name, info in streams.items():
        if info and (full := _full(info["config"], info["state"])):
            told = f"{name} is full: {full}, and takes nothing new"
            return Finding(FAIL, "room", told, f"nats stream edit {name}")
    told = f"{_mib(used)} used" + (f" of {_mib(limit)}" if limit > 0 else "")
    return Finding(OK, "room", told, facts={"storage": used})


def _full(config: Mapping[str, Any], state: Mapping[str, Any]) -> str:
    """Return what a stream is full of, "" where it drops old messages instead, or is not."""
    if config.get("discard") != "new":
        return ""
    if 0 < config.get("max_bytes", -1) <= state["bytes"] + 1024:  # hardly an event is smaller
        return _mib(config["max_bytes"])
    return f"{config['max_msgs']} messages" if 0 < config.get("max_msgs", -1) <= state["messages"] else ""


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


def write_error(host: str, server_id: str, port: int = MONITOR_PORT) -> str:
    """Return what keeps this server from writing, as its monitoring says; "" where it says nothing."""
    monitor = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    try:
        with requests.Session() as session:
            session.trust_env = False
            if session.get(f"{monitor}/varz", timeout=MONITOR_WITHIN_S).json()["server_id"] != server_id:
                return ""
            error = str(session.get(f"{monitor}/healthz", timeout=MONITOR_WITHIN_S).json().get("error", ""))
    except (requests.RequestException, ValueError, LookupError, TypeError, AttributeError):
        return ""
    return error if "write error" in error or "no space" in error else ""
