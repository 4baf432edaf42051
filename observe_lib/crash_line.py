"""Which line of a crash's log tells why it crashed: one line for rows, screens and alerts alike.
Pure; a log is anybody's text, so every line is looked at no further than its beginning.
"""

import re
from collections.abc import Iterable, Sequence

#: so much of a line is looked at
LOOKED_AT = 1000

_COLOUR_SEQUENCE = re.compile(r"\x1b\[[0-9;:]*m")
_TRACEBACK = "Traceback (most recent call last):"
#: Go's, and Rust's, of which newer ones say what was wrong on the next line
_PANIC = re.compile(r"(?:panic|fatal error): |thread '[^']*'[^']{0,30} panicked at ")
#: in lower case, in which lines are looked at
_ERROR = re.compile(
    r"error|exception|\b(?:fatal\b|critical\b|panic|fail(?:ed|ure|s)?\b|cannot\b|can't\b|could not\b"
    r"|unable to\b|no such\b|not found\b|denied\b|refused\b|already in use\b|abort(?:ed)?\b"
    r"|invalid\b|out of memory\b|segmentation fault\b|core dumped\b)"
)
#: counts of none, and the lines of a stack, which are full of such names
_NO_ERROR = re.compile(
    r"\b(?:(?:no|0|without(?: any)?) (?:errors?|failures?|exceptions?)\b|errors?[=:] ?0\b)"
)
_STACK_LINE = re.compile(r"\s+at |\s+File \"|\s+\.\.\. ")


def telling_line(log: Iterable[str]) -> str:
    """Return the line that tells why: the end of the last traceback or panic, else the last one that names
    an error, else the last one that is not empty; without colours, "" where there is none.
    """
    lines = [_COLOUR_SEQUENCE.sub("", line).rstrip() for line in log]
    lines = [line for line in lines if line]
    for at in range(len(lines) - 1, -1, -1):
        if found := _end_of_trace(lines, at):
            return found
    named = (line for line in reversed(lines) if _names_error(line[:LOOKED_AT]))
    return next(named, lines[-1] if lines else "").strip()


def _end_of_trace(lines: Sequence[str], at: int) -> str:
    """Return what the traceback or panic that begins at a line says in the end, "" where none does."""
    begin = lines[at][:LOOKED_AT]
    if begin.endswith(_TRACEBACK):
        inner = len(begin) - len(_TRACEBACK)  # where every line has a prefix as wide, or is indented
        ends = (line for line in lines[at + 1 :] if not line[inner : inner + 1].isspace())
        return next(ends, "").strip()
    if _PANIC.match(begin.lstrip()):
        goes_on = begin.endswith(":") and at + 1 < len(lines)
        return lines[at + goes_on].strip()
    return ""


def _names_error(line: str) -> bool:
    return bool(_ERROR.search(_NO_ERROR.sub("", line.lower()))) and not _STACK_LINE.match(line)
