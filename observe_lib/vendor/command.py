"""Put observe into another repository: observe.py and observe_lib/, or one file.
Each file says in its header which version it is, and whether somebody changed it since; those are left alone.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ..errors import EXIT_FAILED, EXIT_OK, ObserveError, UsageError
from ..settings import VERSION, choices
from .headers import VendoredFile, split_header, with_header
from .single_file import CORE_VERBS, build_single_file, verbs_in
from .verb_table import verb_paths

ORDER = 13
ARGUMENTS = " DIR"
EXAMPLES = (
    "vendor ../shop/tools",
    "vendor ../shop/tools --single-file",
    "vendor ../shop/tools --with ps,wait",
    "vendor ../shop/tools --check",
)

OBSERVE_PY = "observe.py"
PACKAGE_NAME = "observe_lib"

#: what of the package is given
_GIVEN = ("*.py", "*.html", "*.css", "*.js", "py.typed")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `vendor`."""
    parser.add_argument("directory", metavar="DIR", help="where to put it: observe.py and observe_lib/")
    add = parser.add_argument_group("vendor").add_argument
    core = " and ".join(CORE_VERBS)
    add("--single-file", action="store_true", help=f"one observe.py instead, with {core}")
    more = "one observe.py with this verb too; repeatable or with commas"
    add("--with", dest="more_verbs", metavar="VERB", action="append", help=more)
    add("--all", action="store_true", help="one observe.py with every verb")
    add(
        "--check", action="store_true", help="only compare with what lies there; exit 1 if it is not the same"
    )
    add("--force", action="store_true", help="overwrite what was changed there, or is not ours")


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
    if not args.check:
        _refuse_links(target)
    try:
        here = _read_all(target)
        wanted, origin = _wanted(own, args, here)
        if args.check:
            return _compare_vendored(target, wanted, here)
        if not args.force:
            _refuse_changed(target, wanted, here)
        _put(target, wanted, here, origin)
    except OSError as error:
        told = f"{error.filename or target}: {error.strerror}"
        raise ObserveError(told, "see who may write there") from error
    if not args.quiet:
        print(f"{target}: observe {VERSION}, {origin}: {OBSERVE_PY}{_more_words(wanted)}")
    return EXIT_OK


def _refuse_links(target: Path) -> None:
    """Leave alone what leads out of DIR, or to another of its files: a link in the place of ours."""
    package = target / PACKAGE_NAME
    below = (Path(folder, name) for folder, *names in os.walk(package) for name in (*names[0], *names[1]))
    for path in (target / OBSERVE_PY, package, *below):
        if path.is_symlink():
            hint = "remove the link, or name the directory that it leads to"
            raise ObserveError(f"{path} is a link: what it leads to is left alone", hint)


def _more_words(wanted: Mapping[str, str]) -> str:
    if len(wanted) > 1:
        return f" and {PACKAGE_NAME}/ ({len(wanted) - 1} files)"
    return f" with {', '.join(verbs_in(wanted[OBSERVE_PY]))}"


# --- what there is to give ---


def _root(own: Path) -> Path:
    """Return the directory that holds observe.py, of a package or of the one file."""
    return own.parent.parent.parent if _is_package(own) else own.parent


def _is_package(own: Path) -> bool:
    return own.parent.name == "vendor" and own.parent.parent.name == PACKAGE_NAME


def _wanted(
    own: Path, args: argparse.Namespace, here: Mapping[str, VendoredFile]
) -> tuple[dict[str, str], str]:
    """Return the files to put there, by path and without headers, and which commit they are."""
    if not _is_package(own):  # the one file can only give itself
        this = split_header(own.read_text(encoding="utf-8"))
        choices("--with", args.more_verbs, verbs_in(this.body))
        changed = "" if this.intact else " with changes"
        return {OBSERVE_PY: this.body}, (this.origin or "commit unknown") + changed
    root = _root(own)
    found = _read_all(root)
    files = {name: one.body for name, one in found.items()}
    origin = _origin(root, list(found.values()))
    package = {name.removeprefix(f"{PACKAGE_NAME}/"): body for name, body in files.items() if "/" in name}
    verbs = _verbs_wanted(args, list(verb_paths(package)), here)
    if verbs is None:
        return files, origin
    return {OBSERVE_PY: build_single_file(files[OBSERVE_PY], package, verbs)}, origin


def _verbs_wanted(
    args: argparse.Namespace, known: list[str], here: Mapping[str, VendoredFile]
) -> list[str] | None:
    """Return the verbs that one file is to have, None for the package; --check takes the form there."""
    there = verbs_in(here[OBSERVE_PY].body) if OBSERVE_PY in here else []
    if args.all:
        return known
    if args.more_verbs:
        return choices("--with", args.more_verbs, known)
    if args.single_file:
        return there if args.check else []
    return there if there and args.check else None


def _origin(root: Path, files: list[VendoredFile]) -> str:
    """Return the commit that these files are, from their headers or from git, and whether they differ."""
    if vendored := [found for found in files if found.origin]:
        same = len({found.origin for found in files}) == 1 and all(found.intact for found in files)
        return vendored[0].origin + ("" if same or "with changes" in vendored[0].origin else " with changes")
    commit = _git(root, "rev-parse", "--short=12", "HEAD")
    if not commit or not _git(root, "ls-files", OBSERVE_PY):  # installed, perhaps below somebody's repository
        return "commit unknown"
    given = (f"{PACKAGE_NAME}/{pattern}" for pattern in _GIVEN)
    changed = _git(root, "status", "--porcelain", "--", OBSERVE_PY, *given)
    return f"commit {commit}" + (" with changes" if changed else "")


def _git(root: Path, *words: str) -> str:
    command = ["git", "-C", str(root), *words]
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    return ""


# --- what is there ---


def _read_all(root: Path) -> dict[str, VendoredFile]:
    """Return the files below a directory that are ours, or where ours belong, by path."""
    package = (path for pattern in _GIVEN for path in sorted((root / PACKAGE_NAME).rglob(pattern)))
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
        draft.write_bytes(with_header(body, origin, name).encode())
        draft.chmod(0o755 if name == OBSERVE_PY else 0o644)
        draft.replace(path)
    if removed := sorted(name for name in here.keys() - wanted.keys() if here[name].origin):
        for name in removed:
            (target / name).unlink()
        print(f"removed there: {', '.join(removed[:3])}{' …' if len(removed) > 3 else ''}", file=sys.stderr)
        folders = {folder for name in removed for folder in Path(name).parents if folder.name}
        for folder in sorted(folders, reverse=True):
            _remove_empty(target / folder)


def _remove_empty(folder: Path) -> None:
    """Take away a folder that holds nothing any more but what Python compiled."""
    if all(path.name == "__pycache__" for path in folder.iterdir()):
        shutil.rmtree(folder, ignore_errors=True)
