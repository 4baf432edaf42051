"""The command line: which verb, its flags, logging, signals, errors in two lines, exit codes.
Runs in the main thread; a verb's module is imported only when that verb is asked for.
"""

import argparse
import difflib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import Any, NamedTuple, NoReturn

from .config import (
    VERSION,
    add_compose_flags,
    add_nats_flags,
    compose_settings,
    duration_of,
    is_container_id,
    nats_settings,
    stack_name,
    whole_number,
)
from .errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, ObserveError, UsageError
from .output import note_line, printable, style_of
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
_YEARS_S = 10 * 365 * 86400.0

AddFlags = Callable[[argparse.ArgumentParser], None]
RunVerb = Callable[[argparse.Namespace], int]


class Verb(NamedTuple):
    """One verb: a sentence for the help, examples, and how to get at its flags and its work."""

    sentence: str
    arguments: str
    examples: tuple[str, ...]
    load: Callable[[], tuple[AddFlags, RunVerb]]


def _load_adapter() -> tuple[AddFlags, RunVerb]:
    return _add_adapter_flags, _run_adapter


def _load_watch() -> tuple[AddFlags, RunVerb]:
    from .watch import add_watch_flags, run_watch

    return add_watch_flags, run_watch


def _load_demo() -> tuple[AddFlags, RunVerb]:
    return _add_demo_flags, _run_demo


def _load_ps() -> tuple[AddFlags, RunVerb]:
    from .ps import add_ps_flags, run_ps

    return add_ps_flags, run_ps


def _load_wait() -> tuple[AddFlags, RunVerb]:
    from .wait import add_wait_flags, run_wait

    return add_wait_flags, run_wait


def _load_show() -> tuple[AddFlags, RunVerb]:
    from .show import add_show_flags, run_show

    return add_show_flags, run_show


def _load_forget() -> tuple[AddFlags, RunVerb]:
    from .forget import add_forget_flags, run_forget

    return add_forget_flags, run_forget


def _load_doctor() -> tuple[AddFlags, RunVerb]:
    from .doctor import add_doctor_flags, run_doctor

    return add_doctor_flags, run_doctor


def _load_vendor() -> tuple[AddFlags, RunVerb]:
    from .vendor import add_vendor_flags, run_vendor

    return add_vendor_flags, run_vendor


def _load_service() -> tuple[AddFlags, RunVerb]:
    from .service import add_service_flags, run_service

    return add_service_flags, run_service


#: every verb, in the order of the help
VERBS = {
    "adapter": Verb(
        "Follow a process-compose and publish what happens to its processes, until Ctrl-C.",
        "",
        ("adapter --nats-url nats://127.0.0.1:4222", "adapter --compose-port 8080 --poll-interval 500ms"),
        _load_adapter,
    ),
    "watch": Verb(
        "Show the last event of each kind per process, then what happens from now on.",
        " [NAME ...]",
        (
            "watch 'shop/*' --exclude-type status_changed",
            "watch --process default/caddy --type crashed --json",
        ),
        _load_watch,
    ),
    "ps": Verb(
        "Show what every process of every stack is now, one row each.",
        " [NAME ...]",
        ("ps", "ps 'shop/*' --sort crashes", "ps --stack host-a --json"),
        _load_ps,
    ),
    "wait": Verb(
        "Wait until processes are ready; exit 0 when all are, 3 when one cannot be any more, 124 in the end.",
        " NAME ...",
        (
            "wait shop/db shop/api --for healthy --fail-on crashed --timeout 60s",
            "wait migrate --for completed",
        ),
        _load_wait,
    ),
    "show": Verb(
        "Show all of one process: state, run, last events, last crash with the end of its log.",
        " NAME",
        ("show default/caddy", "show web --stack host-b"),
        _load_show,
    ),
    "forget": Verb(
        "Drop the states of a stack that is no more; its events stay.",
        " STACK",
        ("forget old-host", "forget old-host --yes"),
        _load_forget,
    ),
    "demo": Verb(
        "Show it all at once: real processes, an adapter and watch, over a NATS of its own.",
        "",
        ("demo", "demo --seconds 20"),
        _load_demo,
    ),
    "doctor": Verb(
        "Say what is reachable, what is not, and what to do about it; exit 1 if something must be mended.",
        "",
        ("doctor", "doctor --compose-port 8080 --json"),
        _load_doctor,
    ),
    "vendor": Verb(
        "Put observe into another repository: observe.py and observe_lib/, or one file.",
        " DIR",
        ("vendor ../shop/tools", "vendor ../shop/tools --single-file", "vendor ../shop/tools --check"),
        _load_vendor,
    ),
    "service": Verb(
        "Print a systemd unit that runs the adapter for ever.",
        " systemd [-- FLAGS OF ADAPTER]",
        ("service systemd", "service systemd --user shop -- --compose-port 8080 --stack shop"),
        _load_service,
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: this process's own) and return its exit code."""
    _mend_streams()
    try:
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
    name, flags = words[0], words[1:]
    if name not in VERBS:
        raise _unknown_verb(name)
    add_flags, run = VERBS[name].load()
    args = _parser(name, add_flags).parse_args(flags)
    _set_up_logging(args)
    return run(args)


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
    lines = [f"observe: {printable(str(error))}", *([printable(error.hint)] if error.hint else [])]
    with suppress(OSError):
        print("\n".join(lines), file=sys.stderr, flush=True)
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


# --- the process around a verb: streams, logging, signals ---


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


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """Give an event that SIGTERM, SIGHUP or Ctrl-C sets; a second Ctrl-C interrupts, a third one kills."""
    stop = threading.Event()
    interrupts = 0

    def note(number: int, frame: Any) -> None:
        nonlocal interrupts
        interrupts += number == signal.SIGINT
        if interrupts > 2:
            os._exit(EXIT_INTERRUPTED)
        if interrupts > 1:
            raise KeyboardInterrupt
        stop.set()

    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]  # nohup
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# --- the verb adapter; its work is in its own module ---


def _add_adapter_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--poll-interval", metavar="TIME", default="2s", help="how often to ask process-compose [2s]")
    add("--stack", metavar="NAME", help="what to call this process-compose [OBSERVE_STACK, the host's name]")
    add("--takeover", action="store_true", help="replace the adapter that holds this stack")
    add("--no-push", action="store_true", help="poll only, without process-compose's push stream")
    add("--no-embedded", action="store_true", help="never start a NATS server of its own")
    add("--log-lines", metavar="N", default="20", help="log lines sent along with a crash, 0: none [20]")
    add("--drain-timeout", metavar="TIME", default="5s", help="how long to flush when ending [5s]")
    add("--max-age", metavar="TIME", help="how long the stream keeps events [as it is, 24h for a new one]")
    add("--duplicate-window", metavar="TIME", help="the stream's [as it is, 1h for a new one]")
    add("--replicas", metavar="N", help="the stream's and the bucket's [as it is, 1 for new ones]")
    add_compose_flags(parser)
    add_nats_flags(parser)


def _run_adapter(args: argparse.Namespace) -> int:
    flags, hostname = vars(args), socket.gethostname()
    compose, nats = compose_settings(flags, os.environ), nats_settings(flags, os.environ)
    stack = stack_name(args.stack, os.environ, hostname)
    poll_interval_s = duration_of("--poll-interval", args.poll_interval, 0.05, 3600)
    drain_timeout_s = duration_of("--drain-timeout", args.drain_timeout, 0.05, 3600)
    log_lines = whole_number("--log-lines", args.log_lines, 0, 1000)
    max_age_s = args.max_age and duration_of("--max-age", args.max_age, 1, _YEARS_S)
    window = args.duplicate_window
    window_s = window and duration_of("--duplicate-window", window, 0.1, _YEARS_S)
    replicas = args.replicas and whole_number("--replicas", args.replicas, 1, 5)
    from .adapter import AdapterOptions, run_adapter
    from .stream import StreamOptions

    options = AdapterOptions(
        compose=compose,
        nats=nats,
        stack=stack,
        poll_interval_s=poll_interval_s,
        log_lines=log_lines,
        drain_timeout_s=drain_timeout_s,
        push=not args.no_push,
        embedded=not args.no_embedded,
        takeover=args.takeover,
        stream=StreamOptions(max_age_s=max_age_s, duplicate_window_s=window_s, replicas=replicas),
        version=VERSION,
    )
    say = _mute if args.quiet else _say
    if stack == hostname and is_container_id(hostname):
        say("stack", f"{stack} is a container's id, another one after every start: name it with --stack")
    with _stopped_by_signals() as stop:
        return run_adapter(options, say, stop)


# --- the verb demo; its work is in its own module ---


def _add_demo_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", metavar="N", help="end after N seconds [go on until Ctrl-C]")


def _run_demo(args: argparse.Namespace) -> int:
    seconds = None if args.seconds is None else whole_number("--seconds", args.seconds, 1, 86400)
    from .demo import run_demo

    style = style_of({"output": None, "utc": False, "color": "auto"}, sys.stdout, os.environ)
    with _stopped_by_signals() as stop:
        return run_demo(seconds, style, _say if args.verbose else _mute, stop)


def _say(topic: str, text: str) -> None:
    """Print a line on stderr; a terminal that is gone is no reason to stop watching."""
    with suppress(OSError, ValueError):
        sys.stderr.write(note_line(topic, text, now_utc()) + "\n")
        sys.stderr.flush()


def _mute(topic: str, text: str) -> None:
    pass
