"""What tests take out of README.md and docs/*.md: fenced blocks, and the files among them."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

_BLOCK = re.compile(
    r"(?:<!-- (?P<mark>[^\n]*?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)


class Block(NamedTuple):
    """One fenced block: where it is, its language, what a comment right above says of it, its text."""

    where: str
    language: str
    mark: str
    text: str


def blocks(path: Path) -> list[Block]:
    """Return the fenced blocks of one document, in order."""
    text = path.read_text()
    return [
        Block(
            f"{path.name}:{text.count(chr(10), 0, match.start()) + 1}",
            match["language"],
            match["mark"] or "",
            match["text"],
        )
        for match in _BLOCK.finditer(text)
    ]


def file_in_docs(name: str) -> str:
    """Return the text of a file that a document shows, marked `<!-- file: NAME -->`."""
    (found,) = (block for path in DOCUMENTS for block in blocks(path) if block.mark == f"file: {name}")
    return found.text
