"""Tell somebody of trouble, once, and when it is over.
The main thread decides; each receiver has a thread that sends, NATS has the loop's.
"""

import argparse
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..errors import EXIT_FAILED, EXIT_OK, UsageError
from ..flags import add_nats_flags, add_selection_flags
from ..settings import choices, duration_of, nats_settings, whole_number
from ..signals import Stop, stopped_by_signals
from ..text.output import mute, printable, say_note
from ..text.tables import selected
from ..times import now_utc, parse_duration
from .trouble import HOLD_S, KINDS, Rules

if TYPE_CHECKING:
    from .receiver import Sends

ORDER = 10
ARGUMENTS = " [NAME ...]"
EXAMPLES = (
    "alert --webhook https://alerts.example.org/hook",
    "alert 'shop/*' --type crashed,unhealthy --for 30s --exec ./page.sh",
    "alert --exec './restart.sh {process}' --type unhealthy --for 2m --limit 3/h",
    "alert --test --webhook https://ntfy.example.org/ops",
)

#: how often it looks
TICK_S = 0.25
_DAY_S, _YEAR_S = 86400.0, 365 * 86400.0
_ALERTER_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `alert`: whom to tell, of what, and when."""
    add_selection_flags(parser)
    whom = parser.add_argument_group("whom to tell").add_argument
    whom("--webhook", metavar="URL", help="post Alertmanager's JSON, version 4, to it [OBSERVE_WEBHOOK_URL]")
    whom("--webhook-file", metavar="FILE", help="a file with the URL, where that is a secret")
    headers = "a file with `Name: value` lines for the webhook [the lines in OBSERVE_WEBHOOK_HEADERS]"
    whom("--headers-file", metavar="FILE", help=headers)
    run = "run it, no shell: JSON on stdin, OBSERVE_* variables, {process} {namespace} {stack} {status} ..."
    whom("--exec", metavar="COMMAND", help=run)
    whom("--exec-timeout", metavar="TIME", default="1m", help="kill the command after this [1m]")
    what = parser.add_argument_group("what, and when").add_argument
    what("--type", metavar="TYPE", action="append", help=f"only these: {', '.join(KINDS)} [all]")
    held = "tell what lasts so long [0 for crashed and flapping, 30s for unhealthy and stale]"
    what("--for", metavar="TIME", help=held)
    what("--settle", metavar="TIME", default="60s", help="it is over when it runs for so long [60s]")
    what("--repeat", metavar="TIME", default="4h", help="tell again what still lasts [4h]")
    what("--limit", metavar="N/h", default="20/h", help="most messages in that time: 20/h, 3/10m [20/h]")
    what("--also-open", action="store_true", help="at the very first start tell what is open already")
    several = "of several alerters of one name one works, the others stand by [alert]"
    what("--name", metavar="NAME", dest="alerter", default="alert", help=several)
    what("--link", metavar="URL", default="", help="an address to put into messages: that of `web`, say")
    parser.add_argument("--test", action="store_true", help="only send a test message, and that it is over")
    add_nats_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Tell until Ctrl-C or SIGTERM; with --test only that it works."""
    flags = vars(args)
    rules, settings, (patterns, stack) = _rules_of(flags), nats_settings(flags, os.environ), selected(flags)
    if not _ALERTER_NAME.fullmatch(args.alerter):
        raise UsageError(f"--name {args.alerter!r} is no plain name", "up to 64 letters, digits, - and _")
    say = mute if args.quiet else say_note
    with stopped_by_signals() as stop:
        senders = _senders_of(flags, stop)
        if args.test:
            return _test(senders, args.alerter, args.link)
        from .alerter import Alerter
        from .receiver import Receiver
        from .store import Store

        store = Store(settings, args.alerter, say, patterns, stack)
        receivers = [Receiver(one, replace(rules, one_each=one.acts_on_one), say) for one in senders]
        alerter = Alerter(store, receivers, args.alerter, say, args.link)
        store.open()
        try:
            while not stop.wait(TICK_S) and store.failure is None:
                alerter.tick(now_utc())
        finally:
            stop.set()
            alerter.end(now_utc())
            store.close()
        if store.failure is not None:
            raise store.failure
    return EXIT_OK


def _rules_of(flags: Mapping[str, Any]) -> Rules:
    """Return what one wants to be told; UsageError for what makes no sense."""
    given = flags["for"]
    hold_s: Mapping[str, float] = HOLD_S
    if given is not None:
        hold_s = dict.fromkeys(KINDS, 0.0 if given == "0" else duration_of("--for", given, 0.001, _YEAR_S))
    limit, limit_s = _limit_of(flags["limit"])
    return Rules(
        types=frozenset(choices("--type", flags["type"], KINDS) or KINDS),
        hold_s=hold_s,
        settle_s=duration_of("--settle", flags["settle"], 0.001, _DAY_S),
        repeat_s=duration_of("--repeat", flags["repeat"], 1, _YEAR_S),
        limit=limit,
        limit_s=limit_s,
        also_open=flags["also_open"],
    )


def _limit_of(text: str) -> tuple[int, float]:
    count, _, per = text.partition("/")
    try:
        per_s = parse_duration(per if per[:1].isdigit() else f"1{per}")
    except ValueError as error:
        hint = "write it as 20/h, 3/10m or 100/d"
        raise UsageError(f"--limit {text!r} is no number per time", hint) from error
    return whole_number("--limit", count, 1, 1_000_000), per_s


def _senders_of(flags: Mapping[str, Any], stop: Stop) -> "list[Sends]":
    """Return all who are to be told; UsageError where there is nobody."""
    from .run_command import RunCommand
    from .webhook import host_of, webhook_of

    if flags["link"]:
        host_of("--link", flags["link"])
    webhook = webhook_of(flags, os.environ)
    found: list[Sends] = [] if webhook is None else [webhook]
    if flags["exec"] is not None:
        timeout_s = duration_of("--exec-timeout", flags["exec_timeout"], 0.1, _DAY_S)
        found.append(RunCommand(flags["exec"], timeout_s, stop.is_set))
    if not found:
        raise UsageError("nobody to tell", "--webhook URL, or --exec COMMAND")
    return found


def _test(senders: "list[Sends]", name: str, link: str) -> int:
    """Send a test to each, and that it is over; EXIT_FAILED where one does not take it."""
    from .message import line_of, trial_payload
    from .webhook import NotToldError

    code = EXIT_OK
    for sends in senders:
        began = now_utc()
        try:
            for status in ("firing", "resolved"):
                payload = trial_payload(status, began, name, link)
                sends.send(payload, line_of(payload))
            print(printable(f"{sends.name}: {sends.shown} took a test message, and that it is over"))
        except NotToldError as error:
            print(printable(f"{sends.name}: {error}"), file=sys.stderr)
            code = EXIT_FAILED
    return code
