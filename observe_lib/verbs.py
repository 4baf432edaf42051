"""The verbs: each is a file with `add_flags` and `run` in it, `commands/NAME.py` or `NAME/command.py`.
Its docstring's first line says what it does; ORDER is its place in the help, ARGUMENTS, EXAMPLES its usage.
Help reads the files' text; a verb is imported only when it is asked for, so that one deleted is not missed.
"""

import argparse
import glob
import os
import re
from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

_HERE = os.path.dirname(os.path.abspath(__file__))
_SENTENCE = re.compile(r'^"""(.*?)(?:""")?$', re.M)
_ORDER = re.compile(r"^ORDER = (\d+)$", re.M)


class Verb(NamedTuple):
    """One verb: what the help says of it, what adds its flags, what runs it and returns the exit code."""

    sentence: str
    arguments: str
    examples: tuple[str, ...]
    add_flags: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def verb_sentences() -> dict[str, str]:
    """Return what each verb does, by its name, in the order of the help; none is imported for it."""
    found = []
    for name, path in _verb_paths().items():
        with open(os.path.join(_HERE, path), encoding="utf-8") as file:
            text = file.read()
        sentence, order = _SENTENCE.search(text), _ORDER.search(text)
        found.append((int(order[1]) if order else 99, name, sentence[1] if sentence else ""))
    return {name: sentence for _, name, sentence in sorted(found)}


def load_verb(name: str) -> Verb:
    """Return a verb, its module is imported only now; KeyError where there is none."""
    path = _verb_paths()[name].removesuffix(".py")
    module = import_module("." + path.replace(os.sep, "."), __package__)
    sentence = (module.__doc__ or "").partition("\n")[0]
    return Verb(sentence, module.ARGUMENTS, module.EXAMPLES, module.add_flags, module.run)


def _verb_paths() -> dict[str, str]:
    """Return the file of each verb, by the verb's name."""
    small = glob.glob("commands/[a-z]*.py", root_dir=_HERE)
    large = glob.glob("[a-z]*/command.py", root_dir=_HERE)
    return {os.path.basename(path).removesuffix(".py"): path for path in small} | {
        os.path.dirname(path): path for path in large
    }
