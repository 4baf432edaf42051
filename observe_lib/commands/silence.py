"""Keep every alerter from telling of some processes for a while; list these silences, end them.
The main thread; the bucket holds them, so that all alerters honour them.
"""

import argparse
import getpass
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ..errors import EXIT_FAILED, EXIT_OK, UsageError
from ..flags import add_form_flags, add_nats_flags
from ..settings import duration_of, nats_settings
from ..text.output import Style, json_line, print_note, printable, style_of, write_lines
from ..text.rows import silence_words
from ..times import now_utc

if TYPE_CHECKING:
    from ..reader.silences import Silence

ORDER = 10
ARGUMENTS = " [NAME]"
EXAMPLES = (
    "silence 'shop/*' --for 30m --reason deploy",
    "silence",
    "silence 'shop/*' --end",
)

_LONGEST_S = 365 * 86400.0


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `silence`."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="caddy, default/caddy, 'shop/*'; none: list")
    parser.add_argument("--for", metavar="TIME", help="for so long [1h]")
    parser.add_argument("--reason", metavar="TEXT", default="", help="why")
    parser.add_argument("--who", metavar="TEXT", help="who says so [user@host]")
    parser.add_argument("--stack", metavar="STACK", help="only in this process-compose [all]")
    parser.add_argument("--end", action="store_true", help="end the silences of NAME, of all without one")
    add_form_flags(parser).add_argument("--utc", action="store_true", help="print times in UTC [local]")
    add_nats_flags(parser)


def run(args: argparse.Namespace) -> int:
    """List silences, make one, or end some; EXIT_FAILED where there is none to end."""
    flags = vars(args)
    _check_silence(flags)
    settings, style = nats_settings(flags, os.environ), style_of(flags, sys.stdout, os.environ)
    stack = args.stack or ""
    length = duration_of("--for", flags["for"] or "1h", 1, _LONGEST_S)
    from ..reader.silences import Silence, SilenceBook

    with SilenceBook(settings) as book:
        now = now_utc()
        if args.end:
            return _end(book.change, args.name, stack, now, style)
        if args.name is None:
            _show([one for one in book.read() if now < one.until], style)
            return EXIT_OK
        who = args.who or _me_here()
        made = Silence(args.name, now + timedelta(seconds=length), args.reason, who, stack)
        same = (made.pattern, made.stack)
        book.change(now, lambda there: [one for one in there if (one.pattern, one.stack) != same] + [made])
    _show([made], style)
    return EXIT_OK


def _check_silence(flags: Mapping[str, Any]) -> None:
    if flags["name"] is not None and not flags["name"].strip("/ "):
        raise UsageError("NAME is empty", "name a process: caddy, default/caddy, 'shop/*'")
    for name in ("stack", "who"):
        if flags[name] is not None and not flags[name].strip():
            raise UsageError(f"--{name} is empty", "give it a value, or leave it out")
    if flags["end"] and flags["for"]:
        raise UsageError("--end and --for exclude each other", "leave one of them out")
    if flags["name"] is None and not flags["end"] and (flags["for"] or flags["reason"] or flags["who"]):
        raise UsageError("nothing is named", "name what is to be silent: 'shop/*'")


def _end(change: Any, name: str | None, stack: str, now: datetime, style: Style) -> int:
    ended: list[Silence] = []

    def without(there: "Sequence[Silence]") -> "Sequence[Silence]":
        ended[:] = [one for one in there if name in (None, one.pattern) and (not stack or stack == one.stack)]
        return [one for one in there if one not in ended]

    change(now, without)
    if not ended:
        print_note(f"no silence of {name!r} holds" if name is not None else "no silence holds")
        return EXIT_FAILED
    for one in ended:
        line = json_line(one.to_dict()) if style.as_json else printable(f"{one.pattern} is silent no more")
        write_lines([line])
    return EXIT_OK


def _show(silences: "Sequence[Silence]", style: Style) -> None:
    if style.as_json:
        write_lines(json_line(one.to_dict()) for one in silences)
    elif silences:
        write_lines(printable(silence_words(one, style)) for one in silences)
    else:
        print_note("nothing is silent")


def _me_here() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a uid without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
