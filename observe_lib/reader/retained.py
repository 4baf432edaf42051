"""What the stream still holds: from where on, and from when on everything is there.
A coroutine for the loop thread, and pure arithmetic; reads no event.
"""

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from ..broker.stream import ask_stream
from ..times import now_utc, parse_time


class Retained(NamedTuple):
    """What the stream still has: whether there is one, and its first and last place."""

    stream: bool = False
    first_seq: int = 1
    last_seq: int = 0
    #: when the first message was stored, where others were dropped before it
    first_at: datetime | None = None
    #: when the first message that is there was stored
    oldest: datetime | None = None
    #: from when on everything is there; None: nothing was dropped yet
    since: datetime | None = None


async def retained(js: JetStreamContext) -> Retained:
    """Return what the stream has."""
    try:
        info = await ask_stream(js, "INFO")
    except NotFoundError:
        return Retained()
    state, since = info["state"], kept_since(info, now_utc())
    oldest = parse_time(state["first_ts"]) if state["messages"] else None
    return Retained(True, state["first_seq"], state["last_seq"], oldest if since else None, oldest, since)


def kept_since(info: dict[str, Any], now: datetime) -> datetime | None:
    """Return from when on the stream has everything; None where nothing was dropped yet."""
    config, state = info["config"], info["state"]
    if state["first_seq"] <= 1:
        return None
    limits = ("max_bytes", "max_msgs", "max_msgs_per_subject")
    if config.get("max_age", 0) > 0 and not any(config.get(limit, -1) > 0 for limit in limits):
        return now - timedelta(seconds=config["max_age"] / 1e9)
    return parse_time(state["first_ts"]) if state["messages"] else now
