"""Contexts of the `nats` command line: what `NATS_CONTEXT` names, as the variables that say the same.
Pure but for reading that one file; nothing in it is ever part of a text made here.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import UsageError

#: what a context calls it, by the variable that says the same
_FIELDS = {
    "NATS_URL": "url",
    "NATS_USER": "user",
    "NATS_PASSWORD": "password",
    "NATS_TOKEN": "token",
    "NATS_CREDS": "creds",
    "NATS_NKEY": "nkey",
    "NATS_CA": "ca",
    "NATS_CERT": "cert",
    "NATS_KEY": "key",
}
_FILES = frozenset(("NATS_CREDS", "NATS_NKEY", "NATS_CA", "NATS_CERT", "NATS_KEY"))


def with_context(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment, and below it what the context says that `NATS_CONTEXT` names, if any."""
    given = {name: text for name, text in environ.items() if text}
    name = given.get("NATS_CONTEXT")
    return {**_read_context(name, given), **given} if name else given


def _read_context(name: str, environ: Mapping[str, str]) -> dict[str, str]:
    hint = "nats context ls shows which there are"
    if not re.fullmatch(r"[\w.-]+", name) or name.startswith("."):
        raise UsageError(f"NATS_CONTEXT {name!r} is no name of a context", hint)
    base = environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME", "~"), ".config").expanduser()
    path = Path(base, "nats", "context", f"{name}.json")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"NATS_CONTEXT: {path} cannot be read ({error.strerror})", hint) from error
    except ValueError as error:
        raise UsageError(f"NATS_CONTEXT: {path} is no JSON", hint) from error
    if not isinstance(found, dict):
        raise UsageError(f"NATS_CONTEXT: {path} holds no context", hint)
    return {
        variable: _text(variable, found[field]) for variable, field in _FIELDS.items() if found.get(field)
    }


def _text(variable: str, value: Any) -> str:
    return str(Path(str(value)).expanduser()) if variable in _FILES else str(value)
