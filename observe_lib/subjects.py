"""Subjects: names as tokens and back, the subject of an event, which names and filters mean which process.
Pure; runs in every thread.
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache

#: every event's subject is below this
ROOT = "core.process"
#: the namespace of the observer's own events; a user's own namespace of that name is `=5Fobserve`
OBSERVE = "_observe"
#: a token longer than this many bytes is cut, and ends in a part of its SHA-256
TOKEN_MAX = 200
TOKEN_CUT = 160
#: more filters than this become one wider one: a name and its replicas are just within
MAX_FILTERS = 120

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-/")
_PLAIN_TEXT = re.compile(r"[A-Za-z0-9_/-]*")
_PLAIN_TAIL = re.compile(r"[A-Za-z0-9_/-]{1,200}\.[A-Za-z0-9_/-]{1,200}\.[a-z_]{1,200}")
_REPLICA = re.compile(r"-[0-9]+$")
_SUFFIXES = (*(f"-{number}" for number in range(9)), *(f"-{number:02}" for number in range(99)))
_ESCAPED = re.compile(r"=([0-9A-F]{2})")


def encode_token(text: str) -> str:
    """Return the text as one subject token that is a legal KV key too, reversible up to 200 bytes."""
    if _PLAIN_TEXT.fullmatch(text) and len(text) <= TOKEN_MAX:
        return text
    raw = text.encode("utf-8", "surrogatepass")
    token = "".join(chr(byte) if byte in _PLAIN else f"={byte:02X}" for byte in raw)
    if len(token) <= TOKEN_MAX:
        return token
    cut = token[:TOKEN_CUT]
    if "=" in cut[-2:]:  # never end within an escape
        cut = cut[: cut.rindex("=")]
    return f"{cut}=={hashlib.sha256(token.encode()).hexdigest()[:16]}"


def decode_token(token: str) -> str:
    """Return the text behind a token; of one that was cut, only what is left (the JSON has the name)."""
    raw = _ESCAPED.sub(lambda match: chr(int(match.group(1), 16)), token)
    return raw.encode("latin-1", "replace").decode("utf-8", "replace")


def encode_namespace(namespace: str) -> str:
    """Return the token of a process's namespace; empty is `default`, and no user's is `_observe`."""
    if namespace == OBSERVE:
        return "=5F" + OBSERVE[1:]
    return encode_token(namespace or "default")


def subject_of(namespace: str, process: str, event_type: str) -> str:
    """Return `core.process.{namespace}.{name}.{type}`; an empty name is a ValueError."""
    tail = f"{namespace}.{process}.{event_type}"
    if namespace != OBSERVE and _PLAIN_TAIL.fullmatch(tail):  # as nearly all are
        return f"{ROOT}.{tail}"
    if not process:
        raise ValueError("a process without a name has no subject")
    return f"{ROOT}.{encode_namespace(namespace)}.{encode_token(process)}.{encode_token(event_type)}"


def observer_subject(process: str, event_type: str) -> str:
    """Return the subject of an event of the observer itself."""
    return f"{ROOT}.{OBSERVE}.{encode_token(process)}.{event_type}"


def process_wanted(patterns: Sequence[str], namespaces: Iterable[str], process: str) -> bool:
    """Tell whether a process is any of these names and globs (none given: of all), and none after `!`.

    A process of several namespaces is meant by a name in any of them.
    """
    if not patterns:
        return True
    named = [one for one in patterns if not one.startswith("!")]
    left_out = [one[1:] for one in patterns if one.startswith("!")]
    spaces = list(namespaces)
    if named and not any(process_matches(one, space, process) for one in named for space in spaces):
        return False
    return not any(process_matches(one, space, process) for one in left_out for space in spaces)


def process_matches(pattern: str, namespace: str, process: str) -> bool:
    """Tell whether this process is `ns/name`, or has a bare name in any namespace; `*`, `?`, `[]` are globs.

    A bare name is that of its replicas too: `worker` of `worker-0` to `worker-8`, `worker-00` to `worker-98`.
    """
    text = f"{namespace}/{process}" if "/" in pattern else process
    if text == pattern or fnmatchcase(text, pattern):
        return True
    return "/" not in pattern and process.startswith(pattern) and process in _replicas(pattern)


@lru_cache(maxsize=256)
def _replicas(name: str) -> Collection[str]:
    """Return how process-compose calls the replicas of a process, up to 99; a replica has none."""
    return () if _REPLICA.search(name) else dict.fromkeys(name + suffix for suffix in _SUFFIXES)


def filter_subjects(processes: Iterable[str] = (), types: Iterable[str] = ()) -> list[str]:
    """Return the subjects that hold every event of these processes and types (none given: of all).

    A glob becomes `*`, what is after `!` is among them, and there may be other types: `process_wanted` has to
    look again. Subjects that another one holds are left out.
    """
    named = (pattern for pattern in processes if not pattern.startswith("!"))
    heads = [head for pattern in named for head in _heads(pattern)] or [f"{ROOT}.*.*"]
    tails = [encode_token(event_type) for event_type in types] or ["*"]
    if len(heads) * len(tails) > MAX_FILTERS:
        tails = ["*"]
    found = dict.fromkeys(f"{head}.{tail}" for head in heads for tail in tails)
    return [one for one in found if not any(one != other and _holds(other, one) for other in found)]


def _heads(pattern: str) -> list[str]:
    """Return `core.process.{namespace}.{name}` for every way to read a pattern: names may hold slashes."""
    slashes = [at for at, letter in enumerate(pattern) if letter == "/"]
    pairs = [(pattern[:at], pattern[at + 1 :]) for at in slashes] or [("*", pattern)]
    if not slashes and glob_token(pattern) != "*":
        pairs += [("*", replica) for replica in _replicas(pattern)]
    return [f"{ROOT}.{glob_token(namespace)}.{glob_token(name)}" for namespace, name in pairs]


def glob_token(text: str) -> str:
    """Return a pattern as a token of a filter, which may hold more: a glob becomes `*`."""
    return "*" if any(letter in text for letter in "*?[") else encode_token(text)


def _holds(wide: str, narrow: str) -> bool:
    return all(ours in ("*", theirs) for ours, theirs in zip(wide.split("."), narrow.split("."), strict=True))
