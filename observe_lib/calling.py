"""How this program was called, for the messages that name the next command: as printed it works.
Pure but for looking at `sys`, the environment and PATH; imports nothing of its own.
"""

import os
import shlex
import shutil
import sys
from collections.abc import Mapping

#: what is said where nobody can know: in a program that only uses the library
_USUAL = "python observe.py"


def how_to_call(*words: str) -> str:
    """Return a command line with these words (empty ones are left out), begun as this one was begun."""
    return " ".join([program_words(sys.argv[0], sys.executable, os.environ), *filter(None, words)])


def program_words(script: str, python: str, environ: Mapping[str, str]) -> str:
    """Return how to begin a command line, by a program's name where PATH finds the same one."""
    name = os.path.basename(script)
    if name.removesuffix(".exe") == "observe":
        return _shown(script, environ)
    if not (name.startswith("observe") and name.endswith(".py")):
        return _USUAL
    if "UV_RUN_RECURSION_DEPTH" in environ:
        return f"uv run {shlex.quote(script)}"
    return f"{_shown(python, environ)} {shlex.quote(script)}"


def _shown(path: str, environ: Mapping[str, str]) -> str:
    """Return a program's name where that is enough, else its path, from here on if it is below."""
    name = os.path.basename(path)
    if not path or shutil.which(name, path=environ.get("PATH")) == path:
        return name or "python"
    for short in ("python", "python3"):
        if name.startswith(short) and shutil.which(short, path=environ.get("PATH")) == path:
            return short
    near = os.path.relpath(path)
    return shlex.quote(path if near.startswith(os.pardir) else near)
