"""Wait until processes are ready; exit 0 when all are, 3 when one cannot be any more, 124 in the end.
The main thread waits and prints one row per process as it comes out.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..calling import how_to_call
from ..errors import EXIT_OK, NatsError, NatsRefusedError, UsageError
from ..events import EventType
from ..flags import add_form_flags, add_nats_flags, add_selection_flags
from ..reader.wait import GOALS, SOURCE_GONE, Outcome, TimedOutError
from ..settings import NatsSettings, choices, duration_of, nats_settings
from ..text.output import (
    COLOURS,
    Style,
    json_line,
    mute,
    painted,
    print_note,
    printable,
    style_of,
    text_width,
    write_lines,
)
from ..text.tables import TITLES, WIDEST, selected, table_line
from ..text.words import detail
from ..times import format_duration

if TYPE_CHECKING:
    from ..reader.consumer import Consumer

ORDER = 4
ARGUMENTS = " NAME ..."
EXAMPLES = (
    "wait shop/db shop/api --for healthy --fail-on crashed --timeout 60s",
    "wait migrate --for completed",
)

DAY_S = 86400.0
#: a NATS that is not there yet is tried again after so long
NATS_AGAIN_S = 0.5

_TOLD = frozenset((*GOALS, *EventType))


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `wait`."""
    add_selection_flags(parser)
    add = parser.add_argument
    goals = "what to wait for, one of a comma list: " + ", ".join(GOALS)
    ready = "ready is: with a probe Ready, without one running, a one-shot ended well"
    add("--for", dest="goals", metavar="GOAL", action="append", help=f"{goals} [ready; {ready}]")
    types = ", ".join(EventType)
    add("--fail-on", metavar="TYPE", action="append", help=f"give up at such an event meanwhile: {types}")
    add("--timeout", metavar="TIME", default="60s", help="then exit with 124 [60s]")
    add_form_flags(parser)
    add_nats_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Wait; 0 when all came out well, else GoalMissedError (3) or TimedOutError (124)."""
    flags = vars(args)
    patterns, stack = selected(flags)
    if not patterns:
        raise UsageError("wait for what?", f"name processes: {how_to_call('wait shop/db shop/api')}")
    goals = choices("--for", flags["goals"], GOALS) or ["ready"]
    fail_on = choices("--fail-on", flags["fail_on"], EventType)
    timeout_s = duration_of("--timeout", flags["timeout"], 0.001, 30 * DAY_S)
    settings, style = nats_settings(flags, os.environ), style_of(flags, sys.stdout, os.environ)
    consumer, left_s = _connected(settings, timeout_s, mute if args.quiet else print_note)
    with consumer:
        consumer.wait_for(
            patterns,
            goals,
            fail_on=fail_on,
            stack=stack,
            timeout_s=left_s,
            on_outcome=(lambda outcome: None) if args.quiet else _printer(patterns, style),
        )
    return EXIT_OK


def _connected(
    settings: NatsSettings, timeout_s: float, note: Callable[[str], object]
) -> "tuple[Consumer, float]":
    """Return a connected Consumer as soon as there is a NATS, and how long is left; else TimedOutError."""
    from ..reader.consumer import Consumer

    begun, left_s = time.monotonic(), timeout_s
    while True:
        try:
            return Consumer(settings).connect(), left_s
        except NatsRefusedError:
            raise
        except NatsError as error:
            if left_s == timeout_s:
                note(f"{error}, waiting for it")
            time.sleep(min(left_s, NATS_AGAIN_S))
            if (left_s := begun + timeout_s - time.monotonic()) <= 0:
                raise TimedOutError(f"{error}, for {format_duration(timeout_s)}", error.hint) from error


def _printer(patterns: Sequence[str], style: Style) -> Callable[[Outcome], None]:
    """Return what prints an outcome: in columns, though the later rows are not known yet."""
    width = min(max(map(_width_for, patterns)), WIDEST)

    def show(outcome: Outcome) -> None:
        nonlocal width
        if style.as_json:
            return write_lines([json_line(outcome_json(outcome))])
        name = printable(f"{outcome.place} ({outcome.place.stack})" if outcome.shared else str(outcome.place))
        width = max(width, min(text_width(name), WIDEST))
        return write_lines([table_line((width, 0), (name, outcome_words(outcome, style)))])

    return show


def _width_for(pattern: str) -> int:
    """Return how wide the names will be: a whole one as it is, of others most are in `default`."""
    whole = "/" in pattern and not pattern.startswith("!") and not set("*?[") & set(pattern)
    return text_width(pattern) if whole else max(TITLES["PROCESS"], text_width(f"default/{pattern}"))


def outcome_words(outcome: Outcome, style: Style) -> str:
    """Return how it came out, when, and what there is to say of it."""
    late = outcome.after_s > 0
    when = f"after {format_duration(outcome.after_s)}" if late else "already" if outcome.word in _TOLD else ""
    word = outcome.word.ljust(9)
    if style.colour:
        word = painted(word, COLOURS.get(outcome.word, "green" if outcome.reached else "red"))
    return f"{word} {', '.join(filter(None, (when, printable(outcome_detail(outcome)))))}".rstrip()


def outcome_detail(outcome: Outcome) -> str:
    """Return what was in the way, without how long a run was: that is not how long was waited."""
    if outcome.event is not None:
        return detail(replace(outcome.event, run_seconds=None), str)
    return SOURCE_GONE if outcome.word == "gone" else ""


def outcome_json(outcome: Outcome) -> dict[str, object]:
    """Return an outcome as a JSON object."""
    found: dict[str, object] = {
        **outcome.place._asdict(),
        "reached": outcome.reached,
        "outcome": outcome.word,
        "after_seconds": round(outcome.after_s, 3),
    }
    told = outcome_detail(outcome)
    return found | ({"detail": told} if told else {})
