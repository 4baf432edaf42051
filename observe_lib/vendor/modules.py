"""The package's files as the one-file build sees them: its modules by their paths, and what each imports.
Pure: texts in, syntax trees out.
"""

import ast
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

_PLAIN_IMPORTS = (ast.Import, ast.ImportFrom)


@dataclass(frozen=True)
class Module:
    """One module: its tree and lines, the imports at its top, and the own modules there and anywhere.

    A module's name is its path in the package: `cli.py`, `commands/watch.py`.
    """

    path: str
    tree: ast.Module
    lines: list[str]
    imports: list[ast.Import | ast.ImportFrom]
    above: frozenset[str]
    anywhere: frozenset[str]


def read_module(path: str, text: str) -> Module:
    """Return the module of a text; AssertionError for an import that one file cannot have."""
    tree = ast.parse(text)
    imports = [node for node in tree.body if isinstance(node, _PLAIN_IMPORTS)]
    above = frozenset(own_path(path, node) for node in imports if is_own(node))
    anywhere = frozenset(own_path(path, node) for node in ast.walk(tree) if is_own(node))
    return Module(path, tree, text.splitlines(), imports, above, anywhere)


def is_own(node: ast.AST) -> bool:
    """Whether it is an import of the package itself."""
    return isinstance(node, ast.ImportFrom) and node.level > 0


def own_path(path: str, node: ast.AST) -> str:
    """Return the path of the module that an import in the module at `path` names."""
    assert isinstance(node, ast.ImportFrom) and node.module, "only `from .module import name`"
    assert not any(one.asname for one in node.names), f"from .{node.module} import … as …: no new names"
    folder = PurePosixPath(path).parents[node.level - 1]
    return f"{folder / node.module.replace('.', '/')}.py"


def typing_blocks(tree: ast.Module) -> list[ast.If]:
    """Return the blocks of imports that only type checkers see."""
    return [n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]


def closure_of(modules: Mapping[str, Module], roots: Iterable[str]) -> set[str]:
    """Return the paths of these modules and of all that they import, anywhere in them."""
    todo, found = list(roots), set[str]()
    while todo:
        path = todo.pop()
        if path not in found:
            found.add(path)
            todo += modules[path].anywhere
    return found


def levels_of(modules: Mapping[str, Module]) -> dict[str, int]:
    """Return for each module how many others are below it, one on top of the other."""
    levels: dict[str, int] = {}

    def level(path: str) -> int:
        if path not in levels:
            levels[path] = 1 + max(map(level, modules[path].anywhere), default=-1)
        return levels[path]

    return {path: level(path) for path in modules}


def packages_of(modules: Mapping[str, Module], path: str) -> list[str]:
    """Return the packages, not Python's own, that importing the module imports."""
    todo, seen, found = [path], {path}, set[str]()
    while todo:
        module = modules[todo.pop()]
        for node in module.imports:
            found |= {one.partition(".")[0] for one in _foreign(node)} - sys.stdlib_module_names
        todo += module.above - seen
        seen |= module.above
    return sorted(found)


def _foreign(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [one.name for one in node.names]
    return [] if node.level else [node.module or ""]
