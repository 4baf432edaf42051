"""The verb `vendor`: puts observe into another repository, as a package or as one file, or compares it.
Each file says in its header which version it is, and whether somebody changed it since; those are left alone.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .config import VERSION
from .errors import EXIT_FAILED, EXIT_OK, ObserveError, UsageError
from .single_file import build_single_file

OBSERVE_PY = "observe.py"
PACKAGE_NAME = "observe_lib"

_VENDOR_HEADER = (
    "# Vendored: observe {version}, {origin}. Not to be changed here: `vendor` brings a newer one.\n"
)
_DIGEST_LINE = "# sha256 of the rest: {digest}\n"
_FOUND = re.compile(
    r"# Vendored: observe (?P<version>\S+), (?P<origin>[^\n]*?)\. Not to be [^\n]*\n"
    r"# sha256 of the rest: (?P<digest>[0-9a-f]{64})\n"
)
#: files that have no place for a header: they are empty
_TYPED_MARK = "py.typed"


@dataclass(frozen=True)
class VendoredFile:
    """One file's text without its header, which version it is said to be, and whether that is still true."""

    body: str
    version: str = ""
    origin: str = ""
    intact: bool = False


def add_vendor_flags(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `vendor`."""
    parser.add_argument("directory", metavar="DIR", help="where to put it: observe.py and observe_lib/")
    parser.add_argument("--single-file", action="store_true", help="all of it as one observe.py")
    parser.add_argument("--check", action="store_true", help="only compare; exit 1 if it is not the same")
    parser.add_argument(
        "--force", action="store_true", help="overwrite what was changed there, or is not ours"
    )


def run_vendor(args: argparse.Namespace) -> int:
    """Run the verb: bring DIR up to date, or say what differs there."""
    if not args.directory.strip():
        raise UsageError("DIR is empty", "name the directory that is to hold observe.py")
    target, own = Path(args.directory), Path(__file__).resolve()
    wanted, origin = _wanted(own, args.single_file)
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is no directory", "name the directory that is to hold observe.py")
    if (target / OBSERVE_PY).resolve() == _root(own) / OBSERVE_PY:
        raise UsageError(
            f"{target} is where this observe itself is", "name the directory of another repository"
        )
    try:
        here = read_vendored(target)
        if args.check:
            return _compare_vendored(target, wanted, here)
        _refuse_changed(target, wanted, here, args.force)
        _put(target, wanted, here, origin)
    except OSError as error:
        raise ObserveError(
            f"{error.filename or target}: {error.strerror}", "see who may write there"
        ) from error
    if not args.quiet:
        what = (
            f"{OBSERVE_PY}"
            if len(wanted) == 1
            else f"{OBSERVE_PY} and {PACKAGE_NAME}/ ({len(wanted) - 1} files)"
        )
        print(f"{target}: observe {VERSION}, {origin}: {what}")
    return EXIT_OK


# --- what there is to give ---


def _root(own: Path) -> Path:
    """Return the directory that holds observe.py, of a package or of the one file."""
    return own.parent.parent if _is_package(own) else own.parent


def _is_package(own: Path) -> bool:
    return own.stem == "vendor"


def _wanted(own: Path, single: bool) -> tuple[dict[str, str], str]:
    """Return the files to put there, by path and without headers, and which commit they are."""
    if not _is_package(own):  # the one file can only give itself
        found = split_header(own.read_text(encoding="utf-8"))
        changed = "" if found.intact else " with changes"
        return {OBSERVE_PY: found.body}, (found.origin or "commit unknown") + changed
    root = _root(own)
    files = {path.name: split_header(path.read_text(encoding="utf-8")) for path in own.parent.glob("*.py")}
    files = dict(sorted(files.items()))
    script = split_header((root / OBSERVE_PY).read_text(encoding="utf-8"))
    origin = _origin(root, [script, *files.values()])
    if single:
        sources = {name.removesuffix(".py"): found.body for name, found in files.items()}
        return {OBSERVE_PY: build_single_file(script.body, sources)}, origin
    wanted = {OBSERVE_PY: script.body, f"{PACKAGE_NAME}/{_TYPED_MARK}": ""}
    return {**wanted, **{f"{PACKAGE_NAME}/{name}": found.body for name, found in files.items()}}, origin


def _origin(root: Path, files: list[VendoredFile]) -> str:
    """Return the commit that these files are, from their headers or from git, and whether they differ."""
    if vendored := [found for found in files if found.origin]:
        same = len({found.origin for found in files}) == 1 and all(found.intact for found in files)
        return vendored[0].origin + ("" if same or "with changes" in vendored[0].origin else " with changes")
    commit = _git(root, "rev-parse", "--short=12", "HEAD")
    if not commit or not _git(root, "ls-files", OBSERVE_PY):  # installed, perhaps below somebody's repository
        return "commit unknown"
    changed = _git(root, "status", "--porcelain", "--", OBSERVE_PY, f"{PACKAGE_NAME}/*.py")
    return f"commit {commit}" + (" with changes" if changed else "")


def _git(root: Path, *words: str) -> str:
    command = ["git", "-C", str(root), *words]
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    return ""


# --- headers ---


def with_header(body: str, origin: str) -> str:
    """Return the text with its header, below a first line that begins with `#!`."""
    first, rest = re.fullmatch(r"(#![^\n]*\n)?(.*)", body, re.DOTALL).groups("")  # type: ignore[union-attr]
    return (
        first
        + _VENDOR_HEADER.format(version=VERSION, origin=origin)
        + _DIGEST_LINE.format(digest=_digest(body))
        + rest
    )


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


# --- what is there ---


def read_vendored(target: Path) -> dict[str, VendoredFile]:
    """Return the files in DIR that are ours, or where ours belong, by path."""
    paths = [
        target / OBSERVE_PY,
        *sorted((target / PACKAGE_NAME).glob("*.py")),
        target / PACKAGE_NAME / _TYPED_MARK,
    ]
    found = {}
    for path in paths:
        if path.exists():
            text = path.read_bytes().decode("utf-8", "replace")
            name = PurePosixPath(path.relative_to(target)).as_posix()
            empty = path.name == _TYPED_MARK and not text
            found[name] = VendoredFile("", intact=True) if empty else split_header(text)
    return found


def _compare_vendored(target: Path, wanted: Mapping[str, str], here: Mapping[str, VendoredFile]) -> int:
    """Print a line per file that is not as it would be put there."""
    lines = []
    for name in sorted({*wanted, *here}):
        found = here.get(name)
        if found is None:
            lines.append(f"missing  {name}")
        elif name not in wanted:
            lines.append(f"surplus  {name}: {_said_of(found)}")
        elif found.body != wanted[name]:
            lines.append(f"differs  {name}: {_said_of(found)}")
    print("\n".join(lines) or f"{target}: the same as observe {VERSION} here")
    return EXIT_FAILED if lines else EXIT_OK


def _said_of(found: VendoredFile) -> str:
    if not found.origin:
        return "not put there by vendor" if not found.intact else "observe"
    return f"observe {found.version}, {found.origin}" + ("" if found.intact else ", changed there")


def _refuse_changed(
    target: Path, wanted: Mapping[str, str], here: Mapping[str, VendoredFile], force: bool
) -> None:
    """Leave alone what somebody changed, and what is not ours but has the name of ours."""
    changed = [name for name, found in here.items() if not found.intact and found.body != wanted.get(name)]
    ours = [name for name in changed if name in wanted or here[name].origin]
    if ours and not force:
        listed = ", ".join(ours[:3]) + (f" and {len(ours) - 3} more" if len(ours) > 3 else "")
        verb = "was" if len(ours) == 1 else "were"
        raise ObserveError(
            f"{target}: {listed} {verb} changed there, or not put there by vendor",
            "see what differs with --check; overwrite with --force",
        )


def _put(target: Path, wanted: Mapping[str, str], here: Mapping[str, VendoredFile], origin: str) -> None:
    """Write what is wanted, then take away what an older version or the other form left behind."""
    for name, body in wanted.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = body if path.name == _TYPED_MARK else with_header(body, origin)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.write_bytes(text.encode())
        draft.chmod(0o755 if name == OBSERVE_PY else 0o644)
        draft.replace(path)
    removed = []
    for name in sorted(here.keys() - wanted.keys()):
        if here[name].origin or PurePosixPath(name).name == _TYPED_MARK:
            (target / name).unlink()
            removed.append(name)
    if removed:
        print(f"removed there: {', '.join(removed[:3])}{' …' if len(removed) > 3 else ''}", file=sys.stderr)
    if not list((target / PACKAGE_NAME).glob("*.*")):
        shutil.rmtree(target / PACKAGE_NAME / "__pycache__", ignore_errors=True)
        with suppress(OSError):  # it holds something else, or is not there
            (target / PACKAGE_NAME).rmdir()
