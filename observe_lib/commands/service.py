"""Print a systemd unit that runs the adapter, or the alerter, for ever.
Pure but for printing.
"""

import argparse
import getpass
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import EXIT_OK, UsageError
from ..flags import add_adapter_flags
from ..settings import (
    Flags,
    adapter_numbers,
    compose_settings,
    nats_settings,
    stack_name,
    state_directory,
    stream_limits,
)

ORDER = 14
ARGUMENTS = " [systemd] [-- FLAGS OF THE VERB]"
EXAMPLES = (
    "service systemd",
    "service systemd --user shop --compose-port 8080 --stack shop",
    "service systemd --verb alert -- --webhook https://alerts.example.org/hook",
)

#: systemd restarts an adapter whose threads have been still for so long
WATCHDOG_S = 60

_UNIT = """\
# Made by: {made_by}
# Put it to /etc/systemd/system/{name}.service, then: systemctl daemon-reload && systemctl enable --now {name}
# Secrets ({secrets} ...) belong into /etc/{name}.env, readable by root alone.

[Unit]
Description=observe: {description}
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
{service}ExecStart={command}
User={user}
EnvironmentFile=-/etc/{name}.env
Restart=always
RestartSec=2
RestartPreventExitStatus=2
TimeoutStopSec=30
NoNewPrivileges=yes
ProtectSystem=strict
PrivateTmp={private_tmp}

[Install]
WantedBy=multi-user.target
"""
#: what differs: which secrets, what it is, and the lines of its own; the alerter's state is in NATS
_OF_VERB = {
    "adapter": {
        "secrets": "NATS_PASSWORD, NATS_CREDS, PC_API_TOKEN",
        "description": "from process-compose to NATS JetStream",
        "service": "Type=notify\nNotifyAccess=main\nWatchdogSec={watchdog_s}\n"
        "Environment=OBSERVE_STATE_DIR=%S/{name}\nStateDirectory={name}\n{paths}",
    },
    "alert": {
        "secrets": "OBSERVE_WEBHOOK_URL, OBSERVE_WEBHOOK_HEADERS, NATS_PASSWORD",
        "description": "tells of trouble with processes",
        "service": "Type=exec\n",
    },
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `service`, which are those of `adapter` and a few more."""
    parser.add_argument("words", nargs="*", metavar="FLAGS", help="with --verb alert, after --: its flags")
    parser.add_argument(
        "--verb", choices=["adapter", "alert"], default="adapter", help="what it runs [adapter]"
    )
    parser.add_argument("--name", metavar="NAME", help="the unit's name [observe, or observe-alert]")
    parser.add_argument("--user", metavar="USER", help="who runs it [who asks]")
    add_adapter_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Print the unit; the flags of `adapter` among the arguments go into it."""
    user = _me() if args.user is None else args.user
    paths = [] if args.state_dir is None else [str(Path(args.state_dir).absolute())]
    program = [sys.executable, str(Path(sys.argv[0]).resolve())]  # how this very program was started
    words = args.words[1:] if args.words[:1] == ["systemd"] else args.words
    if args.verb == "alert":
        flags = _alert_words(words, adapter_words(vars(args)))
        name = "observe-alert" if args.name is None else args.name
        print(systemd_unit(name, user, flags, program, paths, "alert"), end="")
        return EXIT_OK
    if words:
        raise UsageError(f"unknown: {words[0]}", "service systemd; the adapter's flags stand without --")
    _check_adapter_flags(vars(args))
    name = "observe" if args.name is None else args.name
    print(systemd_unit(name, user, adapter_words(vars(args)), program, paths), end="")
    return EXIT_OK


def _check_adapter_flags(given: Flags) -> None:
    """UsageError where a flag is nonsense; no file is looked at, it may be for another user's eyes."""
    files = {name: None for name in ("token_file", "nats_creds") if (given[name] or "").strip()}
    compose_settings({**given, **files}, {})
    nats_settings({**given, **files}, {})
    stack_name(given, {}, "")
    state_directory(given, {})
    adapter_numbers(given)
    stream_limits(given)


def _alert_words(words: list[str], before: list[str]) -> list[str]:
    """Return what stands after --, the flags of `alert`; UsageError for what is no flag of it, or secret."""
    if before:
        raise UsageError(f"{before[0]} is the adapter's", "the flags of alert stand after --")
    if not words:
        raise UsageError("nobody to tell", "service systemd --verb alert -- --webhook URL")
    if any("://" in word and "@" in word for word in words):
        hint = "write OBSERVE_WEBHOOK_URL=... or NATS_URL=... into the unit's EnvironmentFile"
        raise UsageError("an address holds a secret, and a unit is for everybody's eyes", hint)
    files = ("--webhook-file", "--headers-file", "--nats-creds")
    named = zip(["", *words], words, strict=False)
    return [str(Path(word).absolute()) if flag in files else word for flag, word in named]


def adapter_words(given: Mapping[str, Any]) -> list[str]:
    """Return the words for those flags of `adapter` that were given."""
    parser, words = argparse.ArgumentParser(add_help=False), list[str]()
    add_adapter_flags(parser)
    for action in parser._actions:
        value = given[action.dest]
        if value == action.default:
            continue
        if action.dest == "nats_url" and "@" in value:
            hint = "write NATS_URL=... into the unit's EnvironmentFile, for its user's eyes only"
            raise UsageError("--nats-url holds a secret, and a unit is for everybody's eyes", hint)
        if action.metavar in ("FILE", "PATH", "DIR"):
            value = str(Path(value).absolute())  # systemd starts it elsewhere
        words += [action.option_strings[-1], *([] if value is True else [value])]
    return words


def systemd_unit(
    name: str,
    user: str,
    flags: list[str],
    program: list[str],
    paths: Sequence[str] = (),
    verb: str = "adapter",
) -> str:
    """Return the unit's text, `paths` to be written beside its own; UsageError for what may not be in one."""
    for source, text in (("--name", name), ("--user", user)):
        if not text.replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise UsageError(f"{source} {text!r} is no plain name", "letters, digits, - _ and .")
    if any("\n" in word or "\r" in word for word in flags):
        raise UsageError(f"a flag of {verb} has a line's end in it", "leave it out")
    command = " ".join(_unit_word(word) for word in [*program, verb, *flags])
    uses_tmp = any(word.startswith("/tmp/") for word in flags)  # a socket there, for example
    shown = [*(["--verb", verb] if verb != "adapter" else []), *(["--", *flags] if flags else [])]
    own = "".join(f"ReadWritePaths={_unit_word(path)}\n" for path in paths)
    words = _OF_VERB[verb]
    return _UNIT.format(
        **{**words, "service": words["service"].format(name=name, watchdog_s=WATCHDOG_S, paths=own)},
        name=name,
        user=user,
        command=command,
        made_by=shlex.join(["observe.py", "service", "systemd", *shown]),
        private_tmp="no" if uses_tmp else "yes",
    )


def _unit_word(word: str) -> str:
    """Return the word as systemd reads it back: `%` and `$` are its own, quotes as in C."""
    text = word.replace("%", "%%").replace("$", "$$")
    if text and all(c.isalnum() or c in "-_./:=,@+%$" for c in text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _me() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a uid without a name
        return str(os.getuid())
