"""A verb is a file: what is there is found, in the package and in what is vendored of it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from observe_lib.verbs import load_verb, verb_sentences
from tests.forms import ROOT, SINGLE_FILE

pytestmark = pytest.mark.skipif(bool(SINGLE_FILE), reason="one file has a table")

#: all that a new verb needs
EXTRA = '''"""Say something more."""

import argparse

ARGUMENTS = ""
EXAMPLES = ("extra", "extra --loud")


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--loud", action="store_true")


def run(args: argparse.Namespace) -> int:
    print("MORE" if args.loud else "more")
    return 0
'''


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A checkout with two more verbs, in a folder whose name has what a pattern would have."""
    copy = tmp_path / "a [1]*"
    shutil.copytree(ROOT / "observe_lib", copy / "observe_lib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "observe.py", copy)
    (copy / "observe_lib/commands/extra.py").write_text(EXTRA)
    (copy / "observe_lib/large").mkdir()
    (copy / "observe_lib/large/__init__.py").write_text('"""Another one."""\n')
    (copy / "observe_lib/large/command.py").write_text(EXTRA.replace("something", "much"))
    return copy


def observe(directory: Path, *words: str) -> str:
    command = [sys.executable, str(directory / "observe.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_verb_that_is_put_there_is_found(copy):
    *_, extra, large = observe(copy, "--help").split("\n\n")[2].splitlines()
    assert (extra, large) == ("  extra      Say something more.", "  large      Say much more.")
    assert "Say something more." in observe(copy, "extra", "--help")
    assert observe(copy, "extra", "--loud") + observe(copy, "large") == "MORE\nmore\n"


@pytest.mark.parametrize("flags", [(), ("--with", "extra,large")], ids=["package", "one file"])
def test_it_is_vendored_like_the_others(copy, tmp_path, flags):
    out = tmp_path / "out"
    observe(copy, "vendor", "-q", str(out), *flags)
    assert "  extra      Say something more.\n  large      Say much more." in observe(out, "--help")
    assert observe(out, "extra") + observe(out, "large", "--loud") == "more\nMORE\n"


def test_what_the_help_says_is_what_the_verb_says():
    assert {name: load_verb(name).sentence for name in verb_sentences()} == verb_sentences()
