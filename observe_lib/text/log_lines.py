"""What was logged, as lines on stderr like the others.
Set up once, by `cli`; any thread may log.
"""

import logging

from ..times import now_utc
from .output import note_line

#: the loggers of libraries, whose words only a programmer understands
NOISY = ("nats", "urllib3", "asyncio")


class _LogLine(logging.Formatter):
    """A log record as a note: the module it is from, and nothing that could move the terminal's text."""

    def format(self, record: logging.LogRecord) -> str:
        line = note_line(record.module, record.getMessage(), now_utc())
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def set_up_logging(*, verbose: bool, quiet: bool) -> None:
    """Have warnings printed, with `verbose` more, with `quiet` only errors."""
    handler = logging.StreamHandler()
    handler.setFormatter(_LogLine())
    level = logging.INFO if verbose else logging.ERROR if quiet else logging.WARNING
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.raiseExceptions = False  # a closed stderr must not end the adapter
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.CRITICAL)
