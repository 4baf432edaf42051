"""What the end of a log says of a change: laid to its crash, and telling a probe's kill from a stop.
Pure; who fetches the log is handed to the adapter.
"""

from collections.abc import Sequence
from dataclasses import replace

from ..detect.changes import PROBE_LINE_AMONG, Change, settle
from ..events import EventType

_LOGGED = frozenset((EventType.CRASHED, EventType.UNHEALTHY))


def lines_wanted(change: Change, lines: int) -> int:
    """Return how much of the log the change has to wait for, where `lines` of it go with each crash.

    It is enough to find the probe's line too; 0 where nothing in the log could say more of this change.
    """
    laid = lines and any(event.type in _LOGGED for event in change.events)
    if change.events[0].of_observer or not (change.needs_log or laid):
        return 0
    return max(lines, PROBE_LINE_AMONG)


def lay_log(change: Change, tail: Sequence[str], lines: int) -> Change:
    """Return the change as the end of the log explains it, the last `lines` laid to its crash."""
    change = settle(change, tail)
    if not (lines and any(tail)):
        return change
    laid = list(tail[-lines:])
    events = (replace(e, log_tail=laid) if e.type in _LOGGED else e for e in change.events)
    return replace(change, events=tuple(events))
