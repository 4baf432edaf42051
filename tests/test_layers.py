"""The package's shape: who may import whom, module sizes, what one-file build and quick help rely on."""

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import observe_lib
from observe_lib.vendor.verb_table import ORDER_NAME, PER_VERB
from observe_lib.verbs import verb_sentences

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "observe_lib"
MAX_LINES = 400

#: files that every package may import, and that import only each other
SHARED = (
    "calling",
    "contexts",
    "crash_line",
    "errors",
    "events",
    "flags",
    "log",
    "rows",
    "settings",
    "signals",
    "subjects",
    "times",
)
BELOW = ("compose", "detect", "broker", "adapter", "reader", "text")
#: what each package may import, beside the shared files and itself; all others are verbs: BELOW
MAY_IMPORT = {
    "compose": (),
    "detect": ("compose.state",),
    "broker": (),
    "adapter": ("compose", "detect", "broker"),
    "reader": ("broker",),
    "text": ("reader",),
    "cli": ("text.output", "text.log_lines", "verbs"),
    "verbs": (),
}
#: given to the adapter by those who run it, who alone import them
HANDED_IN = ("compose.push", "compose.logs", "broker.embedded", "adapter.systemd")
#: what the core does without
BEYOND_CORE = (*HANDED_IN, "reader.states", "reader.states_reader", "reader.wait", "reader.timeline")

#: not on every machine, or slow to import and needed for one thing
OPTIONAL = {"websocket", "nkeys", "tabulate", "curses", "fcntl", "sqlite3"}


class Import(NamedTuple):
    """One import of the package itself, where it stands, and whether that is inside a function."""

    module: str
    imported: str
    line: int
    inside: bool


MODULES = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if path.stem != "__init__"
)


def source_of(module: str) -> str:
    return (PACKAGE / f"{module.replace('.', '/')}.py").read_text()


TREES = {module: ast.parse(source_of(module)) for module in MODULES}


def is_verb(module: str) -> bool:
    return module.startswith("commands.") or module.endswith(".command")


def home_of(module: str) -> str:
    return module.partition(".")[0]


def functions_nodes(tree: ast.Module) -> set[ast.AST]:
    functions = (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))
    return {node for function in functions for node in ast.walk(function)}


def own_imports(module: str) -> Iterator[Import]:
    """Yield every import of the package itself, for type checkers and inside functions too."""
    inside = functions_nodes(TREES[module])
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.ImportFrom) and node.level:
            folder = module.split(".")[: -node.level]
            yield Import(module, ".".join([*folder, node.module or ""]), node.lineno, node in inside)


IMPORTS = [one for module in MODULES for one in own_imports(module)]


def is_wrong(one: Import) -> bool:
    """Whether an import is against the table."""
    home, other = home_of(one.module), home_of(one.imported)
    if one.module in SHARED or one.imported in SHARED:
        return one.imported not in SHARED
    if one.imported in HANDED_IN:
        return home in BELOW and one.module not in HANDED_IN
    if home == other:
        return home == "commands"  # no verb imports another one
    allowed = MAY_IMPORT.get(home, BELOW)
    return other not in allowed and one.imported not in allowed


def closure_of(*roots: str) -> set[str]:
    """Return these modules and all that they import, without what the verbs hand in."""
    needs = defaultdict(set)
    for one in IMPORTS:
        if not (is_verb(one.module) and one.imported in HANDED_IN):
            needs[one.module].add(one.imported)
    todo, found = list(roots), set[str]()
    while todo:
        module = todo.pop()
        if module not in found:
            found.add(module)
            todo += needs[module]
    return found


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
    for node in top_level(TREES[module].body):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                found = (name.id for name in ast.walk(target) if isinstance(name, ast.Name))
                yield from (name for name in found if name not in OPTIONAL)  # None where it is missing


def foreign_names(module: str) -> Iterator[tuple[str, str]]:
    """Yield (name bound, what it is) for every import from outside the package at the top of a module."""
    for node in top_level(TREES[module].body):
        if isinstance(node, ast.Import):
            for one in node.names:
                bound = one.asname or one.name.partition(".")[0]
                yield bound, one.name if one.asname else bound
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from ((one.asname or one.name, f"{node.module}.{one.name}") for one in node.names)


def loaded_by(*arguments: str) -> set[str]:
    """Return the modules that Python imports with these arguments, and the packages that they are from."""
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
    return {*lines, *(line.partition(".")[0] for line in lines)}


@pytest.mark.parametrize("home", sorted({home_of(module) for module in MODULES}))
def test_a_package_imports_only_what_the_table_says(home):
    wrong = {(one.module, one.imported) for one in IMPORTS if home_of(one.module) == home and is_wrong(one)}
    assert wrong == set()


def test_no_module_imports_itself_in_a_circle():
    needs, done = {module: {one.imported for one in own_imports(module)} for module in MODULES}, set()
    while free := {module for module in needs if module not in done and needs[module] <= done}:
        done |= free
    assert sorted(set(MODULES) - done) == [], "these wait for each other"


@pytest.mark.parametrize("module", MODULES)
def test_imports_are_at_the_top_and_rename_nothing(module):
    inside = functions_nodes(TREES[module])
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.ImportFrom) and node.level:
            assert node.module and not any(one.asname or one.name == "*" for one in node.names), node.lineno
            assert node not in inside or module == "cli" or is_verb(module), f"{module}:{node.lineno}"
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            assert not any(name.startswith("observe_lib") for name in names), f"{module}:{node.lineno}"
            optional = {name.partition(".")[0] for name in names} <= OPTIONAL
            assert node not in inside or module == "cli" or optional, f"{module}:{node.lineno}"


def test_the_command_line_lists_no_verbs():
    assert len(source_of("cli").splitlines()) < 200
    assert not [verb for verb in verb_sentences() if f".{verb}" in source_of("cli") + source_of("verbs")]


def test_only_the_command_line_knows_argparse():
    users = {module for module in MODULES if "argparse" in dict(foreign_names(module))}
    assert {module for module in users if not is_verb(module)} == {"cli", "flags", "verbs"}


def test_the_core_is_what_one_vendors(capsys):
    core = closure_of("cli", "commands.adapter", "commands.watch")
    lines = sum(len(source_of(module).splitlines()) for module in core)
    with capsys.disabled():
        print(f"\nthe core: {len(core)} modules of {len(MODULES)}, {lines} lines")
    assert {"cli", "adapter.adapter", "reader.event_consumer"} < core and lines > 0
    assert {home_of(module) for module in core} <= {*SHARED, *BELOW, "cli", "verbs", "commands"}
    assert core & set(BEYOND_CORE) == set()


@pytest.mark.parametrize("module", MODULES)
def test_a_module_can_be_read_in_one_go(module):
    assert len(source_of(module).splitlines()) <= MAX_LINES
    assert ast.get_docstring(TREES[module])


def test_a_name_is_defined_once_in_the_package():
    """The one-file build puts all modules into one namespace; what every verb has gets the verb's name."""
    places = defaultdict(set)
    for module in MODULES:
        for name in defined_names(module):
            if not name.startswith("__") and not (is_verb(module) and name in (*PER_VERB, ORDER_NAME)):
                places[name].add(module)
    assert {name: modules for name, modules in places.items() if len(modules) > 1} == {}


def test_an_imported_name_means_the_same_in_every_module():
    meanings = defaultdict(set)
    for module in MODULES:
        for name, meaning in foreign_names(module):
            meanings[name].add(meaning)
        for name in defined_names(module):
            meanings[name].add("defined here")
    for name in PER_VERB:
        assert meanings.pop(name) == {"defined here"}
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


def test_a_verb_says_what_it_does():
    """The help reads it from the verb's file; the order there is that of the first minutes."""
    assert list(verb_sentences())[:2] == ["adapter", "watch"]
    assert all(sentence.endswith(".") for sentence in verb_sentences().values())


def test_the_help_imports_nothing_that_it_does_not_need():
    own = {name for name in loaded_by("observe.py", "--help") if name.startswith("observe_lib")}
    assert own == {"observe_lib", *(f"observe_lib.{one}" for one in ("calling", "cli", "errors", "verbs"))}


@pytest.mark.parametrize("verb", [(), *((verb,) for verb in verb_sentences())], ids=" ".join)
def test_help_imports_nothing_heavy(verb):
    assert not loaded_by("observe.py", *verb, "--help") & {"nats", "requests", "tabulate", "websocket"}


def test_observe_py_parses_on_older_pythons():
    """Whoever runs it on Python 3.6 is told which one it needs, so the file has to parse there."""
    ast.parse((ROOT / "observe.py").read_text(), feature_version=(3, 6))
