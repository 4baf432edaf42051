"""The header of a vendored file: which version and commit it is, and a checksum of the rest.
Pure: texts in, texts out.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from ..settings import VERSION

#: how a comment begins and ends, by the ending of a file's name; else as in Python
_COMMENTS = {".html": ("<!--", " -->"), ".css": ("/*", " */"), ".js": ("//", "")}
_HEADER = """\
{begin} Vendored: observe {version}, {origin}. Not to be changed here: `vendor` brings a newer one.{end}
{begin} sha256 of the rest: {digest}{end}
"""
_FOUND = re.compile(
    r"\S+ Vendored: observe (?P<version>\S+), (?P<origin>[^\n]*?)\. Not to be [^\n]*\n"
    r"\S+ sha256 of the rest: (?P<digest>[0-9a-f]{64})[^\n]*\n"
)


@dataclass(frozen=True)
class VendoredFile:
    """One file's text without its header, which version it is said to be, and whether that is still true."""

    body: str
    version: str = ""
    origin: str = ""
    intact: bool = False


def with_header(body: str, origin: str, name: str = "") -> str:
    """Return the text of a file with its header, below a first line that begins with `#!`."""
    first = re.match(r"(#![^\n]*\n)?", body)[0]  # type: ignore[index]
    begin, end = _COMMENTS.get(PurePosixPath(name).suffix, ("#", ""))
    digest = _digest(body)
    header = _HEADER.format(version=VERSION, origin=origin, digest=digest, begin=begin, end=end)
    return first + header + body[len(first) :]


def split_header(text: str) -> VendoredFile:
    """Return what a file holds; one without a header is not known, and not intact."""
    text = text.replace("\r\n", "\n")  # git may have turned it for Windows
    match = _FOUND.search(text)
    if not match or text[: match.start()].count("\n") > 1:
        return VendoredFile(text)
    body = text[: match.start()] + text[match.end() :]
    intact = _digest(body) == match["digest"]
    return VendoredFile(body, match["version"], match["origin"], intact)


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()
