import ast
import builtins
import subprocess
import sys
from pathlib import Path

import pytest

from observe_lib.vendor.single_file import build_single_file
from tests.forms import ROOT

SCRIPT = "#!/usr/bin/env python3\n# /// script\n# ///\n'''doc'''\nimport sys\n"


def module(docstring: str, *lines: str) -> str:
    return "\n".join([f'"""{docstring}"""', "", *lines, ""])


#: a package of four modules in three layers, with every way of importing that the real one has
SOURCES = {
    "__init__": module("The package.", "from .low import greet", "__version__ = '1'", "__all__ = ['greet']"),
    "low": module(
        "Says hello.\nSecond line.", "import os", "", "# a comment", "def greet():", "    return os.sep"
    ),
    "packed": module(
        "Needs a package.",
        "import os, nowhere_at_all.errors",
        "from nowhere_at_all import Base, thing",
        "from .low import greet",
        "class Derived(Base): pass",
        "KINDS = (nowhere_at_all.errors.Error, OSError)",
        "def use(one: thing | None = thing.DEFAULT): return greet(), one",
    ),
    "top": module(
        "The top.",
        "import sys",
        "from typing import TYPE_CHECKING",
        "if TYPE_CHECKING:",
        "    import json",
        "    from .packed import Derived",
        "def plain():",
        "    from .low import greet",
        "",
        "    return greet()",
        "def packed():",
        "    from .packed import use, Derived",
        "",
        "    return use()",
        "def nothing():",
        "    from .low import greet",
        "def main():",
        "    print(plain(), nothing(), __version__)",
        "    return packed() if sys.argv[1:] else 0",
    ),
}


def run(path: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, str(path), *words], capture_output=True, text=True, timeout=30)


def test_the_file_runs_without_the_package_until_it_is_needed(tmp_path):
    path = tmp_path / "observe.py"
    path.write_text(build_single_file(SCRIPT, SOURCES))
    done = run(path)
    assert (done.returncode, done.stdout) == (0, "/ None 1\n"), done.stderr
    done = run(path, "packed")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'nowhere_at_all'"


def test_the_file_can_be_read():
    text = build_single_file(SCRIPT, SOURCES)
    assert text.startswith("#!/usr/bin/env python3\n# /// script\n# ///\n")
    assert text.count("import os\n") == 1
    assert "# low (level 0)\n#\n# Says hello.\n# Second line.\n" in text
    assert text.index("# low (") < text.index("# packed (") < text.index("# top (")
    assert "# a comment\ndef greet():" in text
    assert 'def packed():\n    need("nowhere_at_all")\n\n    return use()' in text
    assert "def plain():\n    return greet()" in text
    assert "def nothing():\n    pass" in text
    assert "TYPE_CHECKING" not in text
    assert "from ." not in text


@pytest.mark.parametrize(
    "line", ["from .low import greet as other", "from . import low"], ids=["renamed", "module"]
)
def test_an_import_that_cannot_be_resolved_is_refused(line):
    with pytest.raises(AssertionError):
        build_single_file(SCRIPT, {**SOURCES, "top": module("x", line)})


# --- the real one ---


@pytest.fixture(scope="module")
def real() -> ast.Module:
    sources = {path.stem: path.read_text() for path in (ROOT / "observe_lib").glob("*.py")}
    return ast.parse(build_single_file((ROOT / "observe.py").read_text(), sources))


def test_all_of_the_package_is_in_it_once(real):
    names = [
        node.name
        for node in real.body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    ]
    assert len(names) == len(set(names))
    expected = set()
    for path in (ROOT / "observe_lib").glob("*.py"):
        if path.stem != "__init__":
            found = ast.parse(path.read_text()).body
            expected |= {node.name for node in found if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    assert expected <= set(names)


def test_nothing_in_it_hides_what_python_brings(real):
    bound = {node.name for node in real.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    for node in real.body:
        if isinstance(node, ast.Assign):
            bound |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    assert not bound & {name for name in vars(builtins) if not name.startswith("__")}


def test_no_import_is_left_that_reaches_into_the_package(real):
    for node in ast.walk(real):
        assert not (isinstance(node, ast.ImportFrom) and node.level), ast.unparse(node)
        assert "observe_lib" not in (ast.unparse(node) if isinstance(node, ast.Import) else "")
