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

    It is enough to find the probe's line too; 0 where nothing in the log could say more of this change. None
    waits at a first look: a kill in between would make the next start count a past; nor with another name.
    """
    if any(event.initial or event.renamed_from for event in change.events):
        return 0
    laid = lines and any(event.type in _LOGGED for event in change.events)
    return max(lines, PROBE_LINE_AMONG) if change.needs_log or laid else 0


def lay_log(change: Change, tail: Sequence[str], lines: int) -> Change:
    """Return the change as the end of the log explains it, the last `lines` laid to its crash."""
    change = settle(change, tail)
    if not (lines and any(tail)):
        return change
    laid = list(tail[-lines:])
    events = (replace(e, log_tail=laid) if e.type in _LOGGED else e for e in change.events)
    return replace(change, events=tuple(events))
