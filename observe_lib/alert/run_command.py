"""Runs a command for a message: no shell, the JSON on its stdin, the fields as OBSERVE_* and as {names}.
Runs in the receiver's thread, one command at a time; what outlives its time is killed.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from ..errors import UsageError
from ..events import dump_json
from .webhook import NotToldError

#: what stands for a field in the command's words
FIELDS = ("status", "alertname", "stack", "namespace", "process", "severity", "summary", "fingerprint")
#: a command that names one of these acts on one process
_OF_ONE = frozenset(("stack", "namespace", "process", "fingerprint"))
#: an environment variable holds no more characters
MOST_LETTERS = 8192
#: sysexits.h: the command asks for another try
EX_TEMPFAIL = 75
#: how often a running command is looked at, and how long one may go on when we end
COMMAND_LOOK_S, COMMAND_GRACE_S = 0.2, 5.0

_FIELD = re.compile(r"\{(" + "|".join(FIELDS) + r")\}")


class RunCommand:
    """One command; `is_ending()` tells that the program wants to end."""

    name = "exec"

    def __init__(
        self, command: str, timeout_s: float = 60.0, is_ending: Callable[[], bool] = lambda: False
    ) -> None:
        self._words, self._timeout_s, self._is_ending = _split(command), timeout_s, is_ending
        named = {name for word in self._words for name in _FIELD.findall(word)}
        self.acts_on_one = bool(named & _OF_ONE)  #: it is to be given messages of one process each
        self._asks_status = "status" in named
        self.shown = self._words[0]

    def send(self, payload: Mapping[str, Any], line: str) -> bool:
        """Run it; False where it is not for that. NotToldError where it fails, `again` where it exits 75.

        What acts on a process, as a restart does, is not done again when all is well; {status} asks for it.
        """
        fields = fields_of(payload, line)
        is_over = payload["status"] == "resolved" and not self._asks_status
        if self.acts_on_one and (is_over or not fields["process"]):
            return False
        words = [self._words[0], *(_filled(word, fields) for word in self._words[1:])]
        try:
            process = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=2, env=_environ(fields), start_new_session=True
            )
        except (OSError, ValueError) as error:
            raise NotToldError(f"{self.shown}: {getattr(error, 'strerror', None) or error}", False) from error
        code = self._finish(process, dump_json(payload))
        if code is None:
            raise NotToldError(f"{self.shown}: killed, it took over {self._timeout_s:g}s", False)
        if code:
            ended = f"exit {code}" if code > 0 else f"killed by signal {-code}"
            raise NotToldError(f"{self.shown}: {ended}", code == EX_TEMPFAIL)
        return True

    def _finish(self, process: "subprocess.Popen[bytes]", payload: bytes) -> int | None:
        """Return the exit code, None where its time is over."""
        end, ending, told = time.monotonic() + self._timeout_s, False, payload
        while True:
            try:
                process.communicate(told, COMMAND_LOOK_S)
                return process.returncode
            except subprocess.TimeoutExpired:
                told = b""  # it is being written
            if self._is_ending() and not ending:
                ending, end = True, min(end, time.monotonic() + COMMAND_GRACE_S)
            if time.monotonic() >= end:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                return None


def fields_of(payload: Mapping[str, Any], line: str) -> dict[str, str]:
    """Return the fields of a message: what all its alerts share, and "" for what they do not."""
    labels, alerts = payload["commonLabels"], payload["alerts"]
    fields = {
        **{name: labels.get(name, "") for name in FIELDS},
        "status": payload["status"],
        "summary": line,
        "fingerprint": alerts[0]["fingerprint"] if len(alerts) == 1 else "",
        "description": "\n".join(alert["annotations"]["description"] for alert in alerts[:10]),
        "starts_at": min(alert["startsAt"] for alert in alerts),
        "ends_at": max(alert["endsAt"] for alert in alerts),
        "group_key": payload["groupKey"],
        "count": str(len(alerts)),
    }
    return {name: _plain(text) for name, text in fields.items()}


def _environ(fields: Mapping[str, str]) -> dict[str, str]:
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("OBSERVE_WEBHOOK")}
    return {**inherited, **{f"OBSERVE_{name.upper()}": text for name, text in fields.items()}}


def _split(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"--exec: {error}", "quote it as for a shell; no shell runs it") from error
    if not words:
        raise UsageError("--exec is empty", "name a command")
    if shutil.which(words[0]) is None:
        raise UsageError(
            f"--exec: no command {words[0]}", "a path, or a name on PATH; for a script: chmod +x"
        )
    return words


def _filled(word: str, fields: Mapping[str, str]) -> str:
    """Return the word with its fields; NotToldError where a name would become a flag of the command."""
    text = _FIELD.sub(lambda match: fields[match[1]], word)
    if text.startswith("-") and not word.startswith("-"):
        raise NotToldError(f"{text!r} looks like a flag of the command: it is not run", False)
    return text


def _plain(text: str) -> str:
    """Return a text that can be an argument: no NUL, nothing that no UTF-8 can say, not too long."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")[:MOST_LETTERS]
