import ast
import builtins
import re
import subprocess
import sys
from pathlib import Path

import pytest

from observe_lib.vendor.single_file import build_single_file, verbs_in
from observe_lib.vendor.verb_table import PER_VERB, VERBS_PATH, name_for, verb_paths
from tests.forms import ROOT

SCRIPT = "#!/usr/bin/env python3\n# /// script\n# ///\n'''doc'''\nimport sys\n"


def module(docstring: str, *lines: str) -> str:
    return "\n".join([f'"""{docstring}"""', "", *lines, ""])


VERB_CLASS = """
class Verb(NamedTuple):
    sentence: str
    arguments: str
    examples: tuple
    add_flags: object
    run: object
"""

#: a package of four modules in three layers and two verbs, with every way of importing that the real one has
SOURCES = {
    "__init__.py": module("The package.", "__version__ = '1'", "__all__ = ['greet']"),
    "low/__init__.py": module("The lowest."),
    "low/hello.py": module(
        "Says hello.\nSecond line.", "import os", "", "# a comment", "def greet():", "    return os.sep"
    ),
    "packed.py": module(
        "Needs a package.",
        "import os, nowhere_at_all.errors",
        "from nowhere_at_all import Base, thing",
        "from .low.hello import greet",
        "class Derived(Base): pass",
        "KINDS = (nowhere_at_all.errors.Error, OSError)",
        "def use(one: thing | None = thing.DEFAULT): return greet(), one",
    ),
    "left_out.py": module("Nothing needs it."),
    "page/data.py": module("Has texts beside it.", "#: texts", "PAGE_FILES: dict[str, str] = {}", "A = 1"),
    "page/page.js": 'const pattern = /\\d"/;\n',
    "commands/adapter.py": module(
        "Be the first.\nMore of it.",
        "from typing import TYPE_CHECKING",
        "from ..low.hello import greet",
        "if TYPE_CHECKING:",
        "    import json",
        "    from ..packed import Derived",
        "ORDER = 1",
        "ARGUMENTS, EXAMPLES = '', ('…', greet())",
        "def add_flags(parser): parser.note(EXAMPLES, '…', ARGUMENTS)",
        "def run(args):",
        "    from ..packed import use, Derived",
        "",
        "    return use()",
        "def plain():",
        "    from ..low.hello import greet",
        "",
        "    return greet()",
        "def nothing():",
        "    from ..low.hello import greet",
    ),
    "zebra/command.py": module(
        "Be the 'last'; say \"no\" more.",
        "from ..page.data import PAGE_FILES",
        "ARGUMENTS = ' NAME'",
        "EXAMPLES = ()",
        "def add_flags(parser): pass",
        "def run(args): return PAGE_FILES['page.js']",
    ),
    "verbs.py": module(
        "The verbs.", "from importlib import import_module", VERB_CLASS, "def load_verb(name): return None"
    ),
    "cli.py": module(
        "The top.",
        "import sys",
        "from .verbs import load_verb, verb_sentences",
        "def main():",
        "    print(verb_sentences(), __version__)",
        "    print(load_verb(sys.argv[1]).run(None) if sys.argv[1:] else '')",
    ),
}
EVERYTHING = ["adapter", "zebra"]


def run(path: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, str(path), *words], capture_output=True, text=True, timeout=30)


def test_the_file_runs_without_the_package_until_it_is_needed(tmp_path):
    path = tmp_path / "observe.py"
    path.write_text(build_single_file(SCRIPT, SOURCES))
    done = run(path)
    assert (done.returncode, done.stdout) == (0, "{'adapter': 'Be the first.'} 1\n\n"), done.stderr
    done = run(path, "adapter")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'nowhere_at_all'"


def test_the_file_can_be_read():
    text = build_single_file(SCRIPT, SOURCES)
    assert text.startswith("#!/usr/bin/env python3\n# /// script\n# ///\n")
    assert text.count("import os\n") == 1
    assert "# observe_lib/low/hello.py (level 0)\n#\n# Says hello.\n# Second line.\n" in text
    order = ["low/hello.py", "packed.py", "commands/adapter.py", "verbs.py", "cli.py"]
    assert re.findall(r"^# observe_lib/(\S+) \(level", text, re.M) == order
    assert "# a comment\ndef greet():" in text
    assert 'def adapter_run(args):\n    need("nowhere_at_all")\n\n    return use()' in text
    assert "def plain():\n    return greet()" in text
    assert "def nothing():\n    pass" in text
    assert "TYPE_CHECKING" not in text
    assert "from ." not in text
    assert "import_module" not in text


def test_what_every_verb_defines_has_the_verbs_name():
    text = build_single_file(SCRIPT, SOURCES, EVERYTHING)
    assert "ADAPTER_ARGUMENTS, ADAPTER_EXAMPLES = '', ('…', greet())" in text
    assert "def adapter_add_flags(parser): parser.note(ADAPTER_EXAMPLES, '…', ADAPTER_ARGUMENTS)" in text
    assert "def zebra_run(args):" in text
    assert "ORDER" not in text
    table = """
    "zebra": Verb(
        "Be the 'last'; say \\"no\\" more.",
        ZEBRA_ARGUMENTS,
        ZEBRA_EXAMPLES,
        zebra_add_flags,
        zebra_run,
    ),
}
"""
    assert table in text


def test_a_verb_that_is_added_brings_what_it_needs(tmp_path):
    assert "PAGE_FILES" not in build_single_file(SCRIPT, SOURCES)
    path = tmp_path / "observe.py"
    path.write_text(build_single_file(SCRIPT, SOURCES, ["zebra"]))
    done = run(path, "zebra")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f" 1\n{SOURCES['page/page.js']}\n")
    assert "'zebra': 'Be the \\'last\\'; say \"no\" more.'" in done.stdout


@pytest.mark.parametrize("verbs", [(), EVERYTHING], ids=["core", "everything"])
def test_the_file_says_which_verbs_it_has(verbs):
    assert verbs_in(build_single_file(SCRIPT, SOURCES, verbs)) == list(verbs or ["adapter"])


def test_a_file_of_something_else_has_no_verbs():
    assert verbs_in(SCRIPT) == []


@pytest.mark.parametrize(
    "line", ["from .low.hello import greet as other", "from . import low"], ids=["renamed", "module"]
)
def test_an_import_that_cannot_be_resolved_is_refused(line):
    with pytest.raises(AssertionError):
        build_single_file(SCRIPT, {**SOURCES, "cli.py": module("x", line)})


# --- the real one ---

FILES = {
    path.relative_to(ROOT / "observe_lib").as_posix(): path.read_text()
    for path in (ROOT / "observe_lib").rglob("*.*")
    if path.suffix != ".pyc"
}
MODULES = {name: text for name, text in FILES.items() if name.endswith(".py") and "__init__" not in name}


def built(verbs: list[str]) -> str:
    return build_single_file((ROOT / "observe.py").read_text(), FILES, verbs)


@pytest.fixture(scope="module")
def real() -> ast.Module:
    return ast.parse(built(list(verb_paths(FILES))))


def test_all_of_the_package_is_in_it_once(real):
    names = [
        node.name
        for node in real.body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    ]
    assert len(names) == len(set(names))
    verbs = {path: verb for verb, path in verb_paths(FILES).items()}
    expected = set()
    for path, text in MODULES.items():
        found = ast.parse(text).body
        defined = {node.name for node in found if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
        if path in verbs:
            defined = {name_for(verbs[path], name) if name in PER_VERB else name for name in defined}
        if path != VERBS_PATH:  # a table stands for it
            expected |= defined
    assert expected <= set(names)


def test_the_core_has_neither_screens_nor_pages():
    text = built([])
    assert verbs_in(text) == ["adapter", "watch"]
    folders = set(re.findall(r"^# observe_lib/(\w+)/\S+ \(level", text, re.M))
    assert folders == {"adapter", "broker", "commands", "compose", "detect", "reader", "text"}


@pytest.mark.parametrize("verb", verb_paths(FILES))
def test_each_verb_can_be_added_alone(verb):
    text = built([verb])
    ast.parse(text)
    assert verb in verbs_in(text)


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
