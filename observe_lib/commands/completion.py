"""Print a script that completes verbs and flags in bash or zsh.
Pure but for printing: the script asks nobody, it holds every word there is.
"""

import argparse
import shlex
from collections.abc import Callable, Iterable, Mapping

from ..errors import EXIT_OK
from ..events import EventType, Severity

ORDER = 15
ARGUMENTS = " bash|zsh"
EXAMPLES = (
    "completion bash",
    "completion zsh",
)

#: what flags take that argparse does not know of
_COMPLETED: dict[str, list[str]] = {
    "--type": list(EventType),
    "--exclude-type": list(EventType),
    "--fail-on": list(EventType),
    "--severity": list(Severity),
}
#: what arguments without a flag take that argparse does not know of
_POSITIONALS = {("service", "words"): ["systemd"]}
#: how the program is called; `python observe.py` is python's to complete
_NAMES = "observe observe.py"
#: zsh takes a script for bash
_ZSH = """\
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
autoload -Uz bashcompinit && bashcompinit
"""
_SCRIPT = """\
_observe() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} words=
    if [ "$COMP_CWORD" -eq 1 ]; then
        words={verbs}
    else
        case $before in
{values}
        *)
            case ${{COMP_WORDS[1]}}:$word in
{flags}
            esac
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word")) || :
}}
complete -o default -F _observe {names}
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `completion`."""
    parser.add_argument("shell", choices=["bash", "zsh"], help="whose script to print")


def run(args: argparse.Namespace) -> int:
    """Print the script for the verbs that there are; `cli` hands them in."""
    script = completion_script({name: args.load_verb(name).add_flags for name in args.verbs()})
    print((_ZSH if args.shell == "zsh" else "") + script, end="")
    return EXIT_OK


def completion_script(verbs: Mapping[str, Callable[[argparse.ArgumentParser], None]]) -> str:
    """Return the script for bash, of verbs and what adds their flags; else files are completed."""
    values: dict[str, list[str]] = dict(_COMPLETED)
    flags: dict[str, list[str]] = {}
    for verb, add_verbs_flags in verbs.items():
        parser = argparse.ArgumentParser()
        parser.add_argument("-v", "--verbose")
        parser.add_argument("-q", "--quiet")
        add_verbs_flags(parser)
        for one in parser._actions:
            names, words = one.option_strings, list(one.choices or _POSITIONALS.get((verb, one.dest), []))
            values |= {name: words for name in names if words}
            kind = f"{verb}:-*" if names else f"{verb}:*"
            flags.setdefault(kind, []).extend([max(names, key=len)] if names else words)
    return _SCRIPT.format(
        verbs=shlex.quote(" ".join(verbs)),
        values="\n".join(_case(" " * 8, name, words) for name, words in sorted(values.items())),
        flags="\n".join(_case(" " * 12, verb, words) for verb, words in flags.items()),
        names=_NAMES,
    )


def _case(indent: str, name: str, words: Iterable[str]) -> str:
    return f"{indent}{name}) words={shlex.quote(' '.join(words))} ;;"
