"""The end of a process's log, fetched for a crash and for an end that only the log can explain.
A few threads of its own do the asking, bounded in time, so that a slow log delays nobody else's event.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from queue import SimpleQueue

from ..detect.changes import PROBE_LINE_AMONG, Change, settle
from ..errors import ObserveError
from ..events import EventType
from ..log import log

#: a log tail that is not there by then is done without
LOG_WITHIN_S = 1.0
#: so many logs are fetched at once
LOGS_AT_ONCE = 4
#: a log tail is cut to its last bytes
LOG_BYTES = 8192
#: process-compose's line between a run and its restart; an empty one of the process itself has no newline
RUN_BREAK = "\n"

AskLog = Callable[[str, int], list[str]]

_LOGGED = frozenset((EventType.CRASHED, EventType.UNHEALTHY))
_ANSI = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*(?:[@-~]|$)"  # colours, cursor
    r"|\x1b[]PX^_][^\x07\x1b]*(?:\x07|\x1b\\|$)"  # titles, links, pictures
    r"|\x1b[ -/]*[0-~]?"
)


class Tails:
    """Fetches with `ask(name, lines)`, and lays `lines` of it to each crash (0: only looks).

    So many logs are fetched at once as there are `asks`: none of them has to bear two questions at a time.
    """

    def __init__(self, asks: Sequence[AskLog], lines: int) -> None:
        self._lines = lines
        self._idle: SimpleQueue[AskLog] = SimpleQueue()
        for ask in asks:
            self._idle.put(ask)
        self._threads = ThreadPoolExecutor(len(asks), "observe-log")

    def wants(self, change: Change) -> bool:
        """Whether the change has to wait for a log."""
        laid = self._lines and any(event.type in _LOGGED for event in change.events)
        return bool(change.needs_log or laid) and not change.events[0].of_observer

    async def settled(self, change: Change) -> Change:
        """Return the change as the log explains it, the log's end laid to its crash (if it is to be had)."""
        count = max(self._lines, PROBE_LINE_AMONG)
        fetched = asyncio.get_running_loop().run_in_executor(
            self._threads, self._fetch, change.key.process, count
        )
        try:
            lines = last_run(await asyncio.wait_for(fetched, LOG_WITHIN_S))
            tail = cut_log(_ANSI.sub("", line) for line in lines)
        except asyncio.TimeoutError:
            log.info("no log of %s within %gs", change.key, LOG_WITHIN_S)
            tail = []
        change = settle(change, tail)
        laid = tail[-self._lines :] if self._lines and any(tail) else []
        events = (replace(e, log_tail=laid) if laid and e.type in _LOGGED else e for e in change.events)
        return replace(change, events=tuple(events))

    def _fetch(self, process: str, count: int) -> list[str]:
        ask = self._idle.get()
        try:
            return ask(process, count)
        except ObserveError as error:
            log.info("no log of %s: %s", process, error)
        except Exception:  # the thread's top: whatever it is, the event is told all the same
            log.exception("the log of %s could not be read", process)
        finally:
            self._idle.put(ask)
        return []

    def stop(self) -> None:
        """Ask no more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def last_run(lines: Sequence[str]) -> Sequence[str]:
    """Return what the last run logged: no words of the run before it, which ended otherwise."""
    breaks = [at for at, line in enumerate(lines) if line == RUN_BREAK]
    return lines[breaks[-1] + 1 :] if breaks else lines


def cut_log(lines: Iterable[str], limit: int = LOG_BYTES) -> list[str]:
    """Return the last lines that fit into `limit` bytes of UTF-8; one line alone is cut to its end."""
    kept: list[str] = []
    for line in reversed(list(lines)):
        raw = line.rstrip("\r\n").encode("utf-8", "replace")
        if len(raw) > limit:
            if not kept:
                kept.append(raw[-limit:].decode("utf-8", "ignore"))
            break
        limit -= len(raw) + 1
        kept.append(raw.decode("utf-8"))
    return kept[::-1]
