"""Put observe into another repository: observe.py and observe_lib/, or one file.
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
from pathlib import Path

from ..errors import EXIT_FAILED, EXIT_OK, ObserveError, UsageError
from ..settings import VERSION
from .single_file import build_single_file

ORDER = 12
ARGUMENTS = " DIR"
EXAMPLES = (
    "vendor ../shop/tools",
    "vendor ../shop/tools --single-file",
    "vendor ../shop/tools --check",
)

OBSERVE_PY = "observe.py"
PACKAGE_NAME = "observe_lib"

_VENDOR_HEADER = """\
# Vendored: observe {version}, {origin}. Not to be changed here: `vendor` brings a newer one.
# sha256 of the rest: {digest}
"""
_FOUND = re.compile(
    r"# Vendored: observe (?P<version>\S+), (?P<origin>[^\n]*?)\. Not to be [^\n]*\n"
    r"# sha256 of the rest: (?P<digest>[0-9a-f]{64})\n"
)
#: what of the package is given
_GIVEN = ("*.py", "py.typed")


@dataclass(frozen=True)
class VendoredFile:
    """One file's text without its header, which version it is said to be, and whether that is still true."""

    body: str
    version: str = ""
    origin: str = ""
    intact: bool = False


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `vendor`."""
    parser.add_argument("directory", metavar="DIR", help="where to put it: observe.py and observe_lib/")
    parser.add_argument("--single-file", action="store_true", help="all of it as one observe.py")
    parser.add_argument("--check", action="store_true", help="only compare; exit 1 if it is not the same")
    parser.add_argument(
        "--force", action="store_true", help="overwrite what was changed there, or is not ours"
    )


def run(args: argparse.Namespace) -> int:
    """Run the verb: bring DIR up to date, or say what differs there."""
    if not args.directory.strip():
        raise UsageError("DIR is empty", "name the directory that is to hold observe.py")
    target, own = Path(args.directory), Path(__file__).resolve()
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is no directory", "name the directory that is to hold observe.py")
    if (target / OBSERVE_PY).resolve() == _root(own) / OBSERVE_PY:
        told = f"{target} is where this observe itself is"
        raise UsageError(told, "name the directory of another repository")
    wanted, origin = _wanted(own, args.single_file)
    try:
        here = _read_all(target)
        if args.check:
            return _compare_vendored(target, wanted, here)
        if not args.force:
            _refuse_changed(target, wanted, here)
        _put(target, wanted, here, origin)
    except OSError as error:
        told = f"{error.filename or target}: {error.strerror}"
        raise ObserveError(told, "see who may write there") from error
    if not args.quiet:
        package = f" and {PACKAGE_NAME}/ ({len(wanted) - 1} files)" if len(wanted) > 1 else ""
        print(f"{target}: observe {VERSION}, {origin}: {OBSERVE_PY}{package}")
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
        this = split_header(own.read_text(encoding="utf-8"))
        changed = "" if this.intact else " with changes"
        return {OBSERVE_PY: this.body}, (this.origin or "commit unknown") + changed
    root = _root(own)
    script = split_header((root / OBSERVE_PY).read_text(encoding="utf-8"))
    found = {OBSERVE_PY: script, **_read_all(root)}
    origin = _origin(root, list(found.values()))
    if single:
        package = [(Path(name), one.body) for name, one in found.items()]
        modules = {path.stem: body for path, body in package if path.match(f"{PACKAGE_NAME}/*.py")}
        return {OBSERVE_PY: build_single_file(script.body, modules)}, origin
    return {name: one.body for name, one in found.items()}, origin


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
    first = re.match(r"(#![^\n]*\n)?", body)[0]  # type: ignore[index]
    header = _VENDOR_HEADER.format(version=VERSION, origin=origin, digest=_digest(body))
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


# --- what is there ---


def _read_all(root: Path) -> dict[str, VendoredFile]:
    """Return the files below a directory that are ours, or where ours belong, by path."""
    package = (path for pattern in _GIVEN for path in sorted((root / PACKAGE_NAME).glob(pattern)))
    paths = (path for path in (root / OBSERVE_PY, *package) if path.exists())
    texts = {path: path.read_bytes().decode("utf-8", "replace") for path in paths}
    return {path.relative_to(root).as_posix(): split_header(text) for path, text in texts.items()}


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
        return "not put there by vendor"
    return f"observe {found.version}, {found.origin}" + ("" if found.intact else ", changed there")


def _refuse_changed(target: Path, wanted: Mapping[str, str], here: Mapping[str, VendoredFile]) -> None:
    """Leave alone what somebody changed, and what is not ours but has the name of ours."""
    changed = [name for name, found in here.items() if not found.intact and found.body != wanted.get(name)]
    if ours := [name for name in changed if name in wanted or here[name].origin]:
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
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.write_bytes(with_header(body, origin).encode())
        draft.chmod(0o755 if name == OBSERVE_PY else 0o644)
        draft.replace(path)
    if removed := sorted(name for name in here.keys() - wanted.keys() if here[name].origin):
        for name in removed:
            (target / name).unlink()
        print(f"removed there: {', '.join(removed[:3])}{' …' if len(removed) > 3 else ''}", file=sys.stderr)
    if not list((target / PACKAGE_NAME).glob("*.*")):
        shutil.rmtree(target / PACKAGE_NAME / "__pycache__", ignore_errors=True)
        with suppress(OSError):  # it holds something else, or is not there
            (target / PACKAGE_NAME).rmdir()
