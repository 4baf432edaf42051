"""The log fetcher: the end of a process's last run's log, cut to size and without escapes.
A few threads of its own do the asking, bounded in time, so that a slow log delays nobody else's event.
"""

import re
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

from ..errors import ComposeError, ObserveError
from ..log import log
from ..settings import ComposeSettings
from .client import ComposeClient

#: a log that is not there by then is done without
LOG_WITHIN_S = 1.0
#: so many logs are fetched at once
LOGS_AT_ONCE = 4
#: a log is cut to its last bytes
LOG_BYTES = 8192
#: a line with more letters is cut in its middle, where a mark takes no more than so many
LINE_LETTERS, MARK_LETTERS = 1000, 50
#: a reply is not read further: fewer lines are asked for then
REPLY_BYTES = 4 * 1024 * 1024
#: process-compose's line between a run and its restart; an empty one of the process itself has no newline
RUN_BREAK = "\n"

_ANSI = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*(?:[@-~]|$)"  # colours, cursor
    r"|\x1b[]PX^_][^\x07\x1b]*(?:\x07|\x1b\\|$)"  # titles, links, pictures
    r"|\x1b[ -/]*[0-~]?"
)


class LogFetcher:
    """Fetches the ends of logs until `stop()`, as many at once as there are `clients`."""

    def __init__(self, clients: Sequence[ComposeClient]) -> None:
        self._clients = clients
        self._idle: SimpleQueue[ComposeClient] = SimpleQueue()
        for client in clients:
            self._idle.put(client)
        self._threads = ThreadPoolExecutor(len(clients), "observe-log")

    def fetch(self, process: str, lines: int) -> "Future[list[str]]":
        """Have what the last run logged among the last lines fetched: oldest first, 8 KiB at most.

        It is [] where it is not to be had within a second, whatever the reason; it never raises.
        """
        return self._threads.submit(self._fetch, process, lines, time.monotonic() + LOG_WITHIN_S)

    def stop(self) -> None:
        """Ask no more, and close the clients."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for client in self._clients:
            client.close()

    def _fetch(self, process: str, lines: int, end: float) -> list[str]:
        client = self._idle.get()
        try:
            left_s = end - time.monotonic()
            if left_s > 0:  # else those before it were too slow
                return self._ask(client, process, lines, left_s)
            log.info("no log of %s within %gs", process, LOG_WITHIN_S)
        except ObserveError as error:
            log.info("no log of %s: %s", process, error)
        except Exception:  # the thread's top: whatever it is, the event is told all the same
            log.exception("the log of %s could not be read", process)
        finally:
            self._idle.put(client)
        return []

    def _ask(self, client: ComposeClient, process: str, lines: int, left_s: float) -> list[str]:
        """Ask for fewer lines where so many are too large to be held."""
        try:
            found = last_run(client.logs(process, lines, left_s))
        except ComposeError as error:
            if error.kind != "too_large":
                raise
            if lines <= 1:
                return [f"[a line of more than {REPLY_BYTES >> 20} MiB]"]
            return self._ask(client, process, lines // 4, left_s)
        return cut_log(_ANSI.sub("", _cut_middle(line.rstrip("\r\n"))) for line in found)


def log_fetcher(settings: ComposeSettings) -> LogFetcher:
    """Return what fetches logs from this process-compose, over connections of its own."""
    where = (settings.address, settings.port, settings.socket, settings.token)
    clients = (ComposeClient(*where, max_bytes=REPLY_BYTES) for _ in range(LOGS_AT_ONCE))
    return LogFetcher(list(clients))


def last_run(lines: Sequence[str]) -> Sequence[str]:
    """Return what the last run logged: no words of the run before it, which ended otherwise."""
    breaks = [at for at, line in enumerate(lines) if line == RUN_BREAK]
    return lines[breaks[-1] + 1 :] if breaks else lines


def cut_log(lines: Iterable[str], limit: int = LOG_BYTES) -> list[str]:
    """Return the last lines that fit into `limit` bytes of UTF-8; a long one is cut in its middle."""
    kept: list[str] = []
    for line in reversed(list(lines)):
        raw = _cut_middle(line.rstrip("\r\n")).encode("utf-8", "replace")
        if limit < len(raw):
            break
        limit -= len(raw) + 1
        kept.append(raw.decode())
    return kept[::-1]


def _cut_middle(line: str) -> str:
    """Return the line, or its begin and its end with a mark between them that tells what is missing."""
    if len(line) <= LINE_LETTERS + MARK_LETTERS:
        return line
    half = LINE_LETTERS // 2
    return f"{line[:half]} [… {len(line) - 2 * half:,} letters …] {line[-half:]}"
