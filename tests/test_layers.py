"""The package's shape: layers, module sizes, and what the single-file build and a quick start rely on."""

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import observe_lib
from observe_lib.cli import VERBS

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "observe_lib"
MAX_LINES = 400

#: from the lowest to the highest; a module imports only from rows above its own, `errors` from anywhere
LAYERS = (
    ("errors", "times", "single_file", "findings", "web_script", "web_drawing", "nats_context"),
    (
        "events",
        "config",
        "process_compose",
        "bridge",
        "nats_server",
        "lease",
        "signals",
        "stand_in",
        "systemd",
        "web_page",
    ),
    ("runs", "detail", "doorbell", "states", "gaps"),
    ("endings", "records", "vigil", "facts", "stream", "output"),
    ("transitions", "accounts", "nats_client", "tables"),
    ("observer", "bucket", "connection", "link", "lanes", "board"),
    ("nats_checks", "feed", "ledger", "tails", "figures", "metrics", "web_lines"),
    ("tenure", "subscription", "past"),
    ("tracker", "poller", "publisher"),
    ("consumer", "web_live"),
    ("adapter", "watch", "ps", "wait", "show", "forget", "report", "doctor", "vendor", "web_server"),
    ("view", "adapter_flags"),
    ("columns",),
    ("screen", "terminal"),
    ("demo", "web", "top", "service"),
    ("cli",),
)
LAYER_OF = {name: number for number, row in enumerate(LAYERS) for name in row}
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")


def tree_of(module: str) -> ast.Module:
    return ast.parse((PACKAGE / f"{module}.py").read_text())


def own_imports(module: str) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield every import of the package itself, at the top or inside a function."""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.ImportFrom):
            own = bool(node.level) or (node.module or "").startswith("observe_lib")
        else:
            own = isinstance(node, ast.Import) and any("observe_lib" in one.name for one in node.names)
        if own:
            yield node


def top_level(statements: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that run on import, those in `if`, `try` and `with` too."""
    for node in statements:
        yield node
        if isinstance(node, (ast.If, ast.Try, ast.With)):
            for part in ("body", "orelse", "finalbody"):
                yield from top_level(getattr(node, part, ()))
            for handler in getattr(node, "handlers", ()):
                yield from top_level(handler.body)


def defined_names(module: str) -> Iterator[str]:
    for node in top_level(tree_of(module).body):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                yield from (name.id for name in ast.walk(target) if isinstance(name, ast.Name))


def foreign_names(module: str) -> Iterator[tuple[str, str]]:
    """Yield (name bound, what it is) for every import from outside the package at the top of a module."""
    for node in top_level(tree_of(module).body):
        if isinstance(node, ast.Import):
            for one in node.names:
                bound = one.asname or one.name.partition(".")[0]
                yield bound, one.name if one.asname else bound
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from ((one.asname or one.name, f"{node.module}.{one.name}") for one in node.names)


def loaded_by(*arguments: str) -> set[str]:
    """Return the top-level packages in sys.modules after running Python with these arguments."""
    found = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    imports, others = [], []
    for line in found.stderr.splitlines():
        (imports if line.startswith("import time:") else others).append(line)
    assert found.returncode == 0, "\n".join(others)
    lines = [line.rpartition("|")[2].strip() for line in imports]
    assert "observe_lib" in lines
    return {line.partition(".")[0] for line in lines}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_a_place_and_imports_only_from_below(module):
    assert module in LAYER_OF, f"{module} has no layer yet: give it one in LAYERS (and in DESIGN's table)"
    for node in own_imports(module):
        assert isinstance(node, ast.ImportFrom), f"{module}:{node.lineno}: not `from .module import Name`"
        other = node.module or ""
        assert node.level == 1 and other in LAYER_OF, (
            f"{module}:{node.lineno}: not `from .module import Name`"
        )
        assert not any(one.asname or one.name == "*" for one in node.names), (
            f"{module}:{node.lineno}: renames"
        )
        assert other == "errors" or LAYER_OF[other] < LAYER_OF[module], f"{module}:{node.lineno}: {other}"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_can_be_read_in_one_go(module):
    source = (PACKAGE / f"{module}.py").read_text()
    assert len(source.splitlines()) <= MAX_LINES
    assert ast.get_docstring(ast.parse(source))


def test_a_name_is_defined_once_in_the_package():
    """The single-file build puts all modules into one namespace."""
    places = defaultdict(set)
    for module in MODULES:
        for name in defined_names(module):
            if not name.startswith("__"):
                places[name].add(module)
    assert {name: modules for name, modules in places.items() if len(modules) > 1} == {}


def test_an_imported_name_means_the_same_in_every_module():
    meanings = defaultdict(set)
    for module in MODULES:
        for name, meaning in foreign_names(module):
            meanings[name].add(meaning)
        for name in defined_names(module):
            meanings[name].add("defined here")
    assert {name: found for name, found in meanings.items() if len(found) > 1} == {}


def test_the_public_names_are_there():
    assert all(getattr(observe_lib, name) for name in observe_lib.__all__)
    assert "NatsSettings" in observe_lib.__all__


def test_importing_the_package_imports_nothing_heavy():
    assert not loaded_by("-c", "import observe_lib") & {
        "nats",
        "requests",
        "tabulate",
        "websocket",
        "asyncio",
    }


@pytest.mark.parametrize("verb", [(), *((verb,) for verb in VERBS)], ids=" ".join)
def test_help_imports_nothing_heavy(verb):
    assert not loaded_by("observe.py", *verb, "--help") & {"nats", "requests", "tabulate", "websocket"}


def test_observe_py_parses_on_older_pythons():
    """Whoever runs it on Python 3.6 is told which one it needs, so the file has to parse there."""
    ast.parse((ROOT / "observe.py").read_text(), feature_version=(3, 6))
