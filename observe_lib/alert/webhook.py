"""Posts messages to a webhook. Its address, its headers and what they hold of secrets are never printed.
Runs in the receiver's thread; asks once, and leaves it to others to try again.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from ..errors import UsageError
from ..events import dump_json
from ..settings import VERSION

#: one try takes no longer, connecting and answering each
WEBHOOK_TIMEOUT_S = 10.0
#: the status of what will not be smaller when it is sent again
CONTENT_TOO_LARGE = 413
_HEADER_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*:[ \t]*([^\x00-\x1f\x7f]*)")


class NotToldError(Exception):
    """It was not taken; `again`: another try may help. Its text is for people, and holds no secret."""

    def __init__(self, text: str, again: bool = True) -> None:
        super().__init__(text)
        self.again = again


class Webhook:
    """One address that takes Alertmanager's JSON; `shown` is how it may be printed."""

    name, acts_on_one = "webhook", False

    def __init__(self, url: str, headers: Mapping[str, str], shown: str) -> None:
        self._url, self._headers, self.shown = url, dict(headers), shown

    def send(self, payload: Mapping[str, Any], line: str) -> bool:
        """Post it once; NotToldError where no 2xx comes back."""
        headers = {"User-Agent": f"observe/{VERSION}", **self._headers, "Content-Type": "application/json"}
        body = dump_json(payload)
        try:
            with requests.post(
                self._url,
                data=body,
                headers=headers,
                timeout=WEBHOOK_TIMEOUT_S,
                allow_redirects=False,  # the headers are for nobody else, and a POST would become a GET
                stream=True,
            ) as reply:
                if not reply.ok or reply.is_redirect:
                    raise NotToldError(
                        f"{self.shown}: {reply.status_code}", reply.status_code != CONTENT_TOO_LARGE
                    )
                return True
        except requests.Timeout as error:
            raise NotToldError(f"{self.shown}: no answer within {WEBHOOK_TIMEOUT_S:g}s") from error
        except (requests.RequestException, OSError, ValueError) as error:
            raise NotToldError(f"{self.shown}: {_why(error)}") from error


def webhook_of(flags: Mapping[str, Any], environ: Mapping[str, str]) -> Webhook | None:
    """Return the webhook that is asked for: --webhook, --webhook-file, OBSERVE_WEBHOOK_URL; None for none."""
    file = flags["webhook_file"]
    if flags["webhook"] is not None and file is not None:
        raise UsageError("--webhook and --webhook-file exclude each other", "leave one of them out")
    given = {
        "--webhook": flags["webhook"],
        "--webhook-file": None if file is None else _read_text("--webhook-file", file),
        "OBSERVE_WEBHOOK_URL": environ.get("OBSERVE_WEBHOOK_URL", "").strip() or None,
    }
    source, url = next(((one, text.strip()) for one, text in given.items() if text is not None), ("", ""))
    if not source:
        return None
    host = host_of(source, url)
    if source == "--webhook" and "@" in urlsplit(url).netloc:
        hint = "put the address into OBSERVE_WEBHOOK_URL, or into a file for --webhook-file"
        raise UsageError("--webhook holds a secret, which every user of this machine can read", hint)
    return Webhook(url, _headers_of(flags, environ), url.partition("?")[0] if source == "--webhook" else host)


def host_of(source: str, url: str) -> str:
    """Return scheme and host, which are no secret; UsageError where it is no address."""
    refusal = UsageError(f"{source} is no web address", "write it as https://host/path")
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError as error:
        raise refusal from error
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable() or " " in url:
        raise refusal
    return f"{parts.scheme}://{parts.hostname}{port}"


def _headers_of(flags: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    """Return what `Name: value` lines say, of --headers-file, else of OBSERVE_WEBHOOK_HEADERS."""
    file, source = flags["headers_file"], "OBSERVE_WEBHOOK_HEADERS"
    text = environ.get(source, "")
    if file is not None:
        text, source = _read_text("--headers-file", file), f"--headers-file: {file}"
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        match = _HEADER_LINE.fullmatch(line.strip())
        if match is None or not line.isascii():
            raise UsageError(f"{source}: line {number} is no header", "write it as Name: value")
        found[match[1]] = match[2].strip()
    return found


def _read_text(source: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a text file"
        raise UsageError(f"{source}: {path} cannot be read ({why})", "name a file that is there") from error


def _why(error: BaseException) -> str:
    """Return what went wrong, in the system's words: the library's own text holds the address."""
    while error.__context__ is not None:
        error = error.__context__
    return (getattr(error, "strerror", None) or type(error).__name__).lower()
