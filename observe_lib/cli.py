"""The command line: which verb, its flags, logging, signals, errors in two lines, exit codes.
Runs in the main thread; a verb's module is imported only when that verb is asked for.
"""

import argparse
import difflib
import logging
import os
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from typing import NamedTuple, NoReturn

from .commands.adapter import adapter_options, adapter_parts, add_adapter_flags
from .errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, ObserveError, UsageError
from .settings import VERSION, is_container_id, whole_number
from .signals import interrupted_once, stopped_by_signals
from .text.output import mute, note_line, print_note, style_of
from .times import now_utc

PROGRAM = "python observe.py"
#: what pip calls the packages that the core needs, by what Python calls them
PACKAGES = {"nats": "nats-py", "requests": "requests", "tabulate": "tabulate"}
#: the loggers of libraries, whose words only a programmer understands
NOISY = ("nats", "urllib3", "asyncio")

_HELP = f"""\
usage: {PROGRAM} VERB [flags]        {PROGRAM} VERB --help shows its flags and examples

Says what happens to the processes that process-compose supervises, and keeps it in NATS JetStream.
"""

AddFlags = Callable[[argparse.ArgumentParser], None]
RunVerb = Callable[[argparse.Namespace], int]


class Verb(NamedTuple):
    """What the help says of a verb."""

    sentence: str
    arguments: str
    examples: tuple[str, ...]


#: every verb, in the order of the help
VERBS = {
    "adapter": Verb(
        "Follow a process-compose and publish what happens to its processes, until Ctrl-C.",
        "",
        ("adapter --nats-url nats://127.0.0.1:4222", "adapter --compose-port 8080 --poll-interval 500ms"),
    ),
    "watch": Verb(
        "Show the last event of each kind per process, then what happens from now on.",
        " [NAME ...]",
        (
            "watch 'shop/*' --exclude-type status_changed",
            "watch --process default/caddy --type crashed --json",
        ),
    ),
    "ps": Verb(
        "Show what every process of every stack is now, one row each.",
        " [NAME ...]",
        ("ps 'shop/*' --sort crashes", "ps --stack host-a --json"),
    ),
    "wait": Verb(
        "Wait until processes are ready; exit 0 when all are, 3 when one cannot be any more, 124 in the end.",
        " NAME ...",
        (
            "wait shop/db shop/api --for healthy --fail-on crashed --timeout 60s",
            "wait migrate --for completed",
        ),
    ),
    "show": Verb(
        "Show all of one process: state, run, last events, last crash with the end of its log.",
        " NAME",
        ("show default/caddy", "show web --stack host-b"),
    ),
    "report": Verb(
        "Count what became of each process over a time: uptime, crashes, restarts, repairs, blind time.",
        " [NAME ...]",
        ("report --since 7d 'shop/*'", "report --since 09:00 --until 10:30 --timeline"),
    ),
    "top": Verb(
        "Show a live screen of all processes and what happens to them; ? there shows its keys.",
        " [NAME ...]",
        ("top", "top 'shop/*' --stack host-a"),
    ),
    "forget": Verb(
        "Drop the states of a stack that is no more; its events stay.",
        " STACK",
        ("forget old-host", "forget old-host --yes"),
    ),
    "web": Verb(
        "Serve what ps, show and watch know as one live page, as JSON and as metrics, until Ctrl-C.",
        "",
        ("web", "web --listen 0.0.0.0:8282 --web-token-file /etc/observe.token"),
    ),
    "demo": Verb(
        "Show it all at once: real processes, an adapter and watch, over a NATS of its own.",
        "",
        ("demo", "demo --seconds 20"),
    ),
    "doctor": Verb(
        "Say what is reachable, what is not, and what to do about it; exit 1 if something must be mended.",
        "",
        ("doctor", "doctor --compose-port 8080 --json"),
    ),
    "vendor": Verb(
        "Put observe into another repository: observe.py and observe_lib/, or one file.",
        " DIR",
        ("vendor ../shop/tools", "vendor ../shop/tools --single-file", "vendor ../shop/tools --check"),
    ),
    "service": Verb(
        "Print a systemd unit that runs the adapter for ever.",
        " systemd",
        ("service systemd", "service systemd --user shop --compose-port 8080 --stack shop"),
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: this process's own) and return its exit code."""
    _mend_streams()
    try:
        with interrupted_once():
            code = _run_verb(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
        return code
    except SystemExit as end:  # argparse, after --help
        return end.code if isinstance(end.code, int) else EXIT_OK
    except BrokenPipeError:
        _silence_stdout()
        return EXIT_OK
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in PACKAGES:
            raise
        return _complain(_missing_packages())
    except ObserveError as error:
        return _complain(error)
    except OSError as error:  # a full disk below stdout, no file handles left
        _silence_stdout()
        return _complain(ObserveError(str(error), "if this is about the output, send it to another place"))


def _run_verb(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(top_help(), file=sys.stdout if words else sys.stderr)
        return EXIT_OK if words else EXIT_USAGE
    if words[0] in ("-V", "--version", "version"):
        print(f"observe {VERSION}")
        return EXIT_OK
    name, *flags = words
    add_flags, run = load_verb(name)
    args = _parser(name, add_flags).parse_args(flags)
    _set_up_logging(args)
    return run(args)


def load_verb(name: str) -> tuple[AddFlags, RunVerb]:
    """Return what adds the flags of a verb, and what runs it; its module is imported only now."""
    match name:
        case "adapter":
            return add_adapter_flags, _run_adapter
        case "demo":
            return _add_demo_flags, _run_demo
        case "watch":
            from .commands.watch import add_watch_flags, run_watch

            return add_watch_flags, run_watch
        case "ps":
            from .commands.ps import add_ps_flags, run_ps

            return add_ps_flags, run_ps
        case "wait":
            from .commands.wait import add_wait_flags, run_wait

            return add_wait_flags, run_wait
        case "show":
            from .commands.show import add_show_flags, run_show

            return add_show_flags, run_show
        case "report":
            from .report.command import add_report_flags, run_report

            return add_report_flags, run_report
        case "top":
            from .top.command import add_top_flags

            return add_top_flags, _run_top
        case "forget":
            from .commands.forget import add_forget_flags, run_forget

            return add_forget_flags, run_forget
        case "web":
            from .web.command import add_web_flags, run_web

            return add_web_flags, run_web
        case "doctor":
            from .doctor.command import add_doctor_flags, run_doctor

            return add_doctor_flags, run_doctor
        case "vendor":
            from .vendor.command import add_vendor_flags, run_vendor

            return add_vendor_flags, run_vendor
        case "service":
            from .commands.service import add_service_flags, run_service

            return add_service_flags, run_service
    raise _unknown_verb(name)


def top_help() -> str:
    """Return the help without a verb: every verb with its sentence, none of them imported."""
    verbs = "\n".join(f"  {name:<9} {verb.sentence}" for name, verb in VERBS.items())
    return f"{_HELP}\nverbs:\n{verbs}\n\n  --version"


class _Parser(argparse.ArgumentParser):
    """argparse, but what it finds wrong is a `UsageError`."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, f"its flags: {self.prog} --help")


def _parser(name: str, add_flags: AddFlags) -> argparse.ArgumentParser:
    verb = VERBS[name]
    examples = "\n".join(f"  {PROGRAM} {example}" for example in verb.examples)
    parser = _Parser(
        prog=f"{PROGRAM} {name}",
        usage=f"{PROGRAM} {name} [flags]{verb.arguments}",
        description=verb.sentence,
        epilog=f"In brackets: a flag's environment variables and its default.\n\nexamples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    loud = parser.add_mutually_exclusive_group()
    loud.add_argument("-v", "--verbose", action="store_true", help="say more")
    loud.add_argument("-q", "--quiet", action="store_true", help="only data and errors")
    add_flags(parser)
    return parser


def _unknown_verb(word: str) -> UsageError:
    if word.startswith("-"):
        return UsageError(f"{word} comes before a verb", f"the verb first: {PROGRAM} watch {word}")
    near = difflib.get_close_matches(word, VERBS, 1)
    hint = f"did you mean {PROGRAM} {near[0]}?" if near else f"there are: {', '.join(VERBS)}"
    return UsageError(f"no verb {word!r}", hint)


def _complain(error: ObserveError) -> int:
    print_note(f"observe: {error}")
    if error.hint:
        print_note(error.hint)
    return error.exit_code


def _missing_packages() -> ObserveError:
    missing = [package for module, package in PACKAGES.items() if find_spec(module) is None]
    *others, last = missing or ["a part of one of its packages"]
    listed = f"{', '.join(others)} and {last}" if others else last
    install = f"python3 -m venv .venv && .venv/bin/pip install {' '.join(PACKAGES.values())}"
    return ObserveError(
        f"this needs {listed}, which this Python does not have",
        f"{install} && .venv/bin/python observe.py …   (or: uv run observe.py …)",
    )


# --- the process around a verb: streams, logging ---


def _mend_streams() -> None:
    """A closed stdout is /dev/null, and no character is ever too much for a stream's encoding."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        if hasattr(getattr(sys, name), "reconfigure"):
            getattr(sys, name).reconfigure(errors="backslashreplace")


def _silence_stdout() -> None:
    """Nobody reads any more: what is still in the buffer must not raise again when Python ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _LogLine(logging.Formatter):
    """A log record as a note: the module it is from, and nothing that could move the terminal's text."""

    def format(self, record: logging.LogRecord) -> str:
        line = note_line(record.module, record.getMessage(), now_utc())
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _set_up_logging(args: argparse.Namespace) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_LogLine())
    level = logging.INFO if args.verbose else logging.ERROR if args.quiet else logging.WARNING
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.raiseExceptions = False  # a closed stderr must not end the adapter
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.CRITICAL)


# --- verbs whose work needs signals, and says what it does ---


def _run_adapter(args: argparse.Namespace) -> int:
    hostname = socket.gethostname()
    options = adapter_options(args, hostname, now_utc())
    from .adapter.adapter import run_adapter

    say = mute if args.quiet else _say
    if options.stack == hostname and is_container_id(hostname):
        say("stack", f"{hostname} is a container's id, another one after every start: name it with --stack")
    with stopped_by_signals() as stop:
        return run_adapter(options, say, stop, adapter_parts(args, options, say))


def _add_demo_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", metavar="N", help="end after N seconds [go on until Ctrl-C]")


def _run_demo(args: argparse.Namespace) -> int:
    seconds = None if args.seconds is None else whole_number("--seconds", args.seconds, 1, 86400)
    from .demo.command import run_demo

    style = style_of({"output": None, "utc": False, "color": "auto"}, sys.stdout, os.environ)
    with stopped_by_signals() as stop:
        return run_demo(seconds, style, _say if args.verbose else mute, stop)


def _run_top(args: argparse.Namespace) -> int:
    from .top.command import run_top

    with stopped_by_signals("SIGTERM", "SIGHUP", "SIGQUIT") as stop:  # Ctrl-C interrupts at once
        return run_top(args, stop)


def _say(topic: str, text: str) -> None:
    print_note(note_line(topic, text, now_utc()))
