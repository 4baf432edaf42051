"""The builder of the one-file form: all modules in layer order as sections of one readable `observe.py`.
Pure: sources in, a source out. The sections are the modules' own lines, only the imports are moved.
"""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

#: as wide as the modules' own lines
WIDTH = 110

_PLAIN_IMPORTS = (ast.Import, ast.ImportFrom)

_OPENING = '''
"""observe in one file: the modules of observe_lib, put together by `observe.py vendor --single-file`:

{contents}

Says what happens to the processes that process-compose supervises, and keeps it in NATS JetStream.
On the command line: `python observe.py --help`; in a program: `from observe import Consumer, EventType`.
"""

import sys

if sys.version_info < (3, 10):
    sys.exit(
        "observe: this needs Python 3.10 or later, and " + sys.executable + " is an older one\\n"
        "use a newer one (python3.12 observe.py ...), or let uv bring it: uv run observe.py ..."
    )
'''

_GUARD = '''
class _MissingType(type):
    """Whatever a package that is not here would give: enough for --help, `need` comes before more."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return cls

    def __call__(cls, *_: Any, **__: Any) -> Any:
        need({packages})


class _Missing(Exception, metaclass=_MissingType):
    pass


def need(*packages: str) -> None:
    """Import the packages that what comes next works with; ModuleNotFoundError names one that is missing."""
    for package in packages:
        __import__(package)


try:
{imports}
except ModuleNotFoundError:
{names}
'''

_CLOSING = """
if __name__ == "__main__":
    sys.exit(main())
"""


@dataclass(frozen=True)
class _Module:
    """One module: its tree, its lines, and the modules that it imports at its top, and anywhere."""

    name: str
    tree: ast.Module
    lines: list[str]
    above: frozenset[str]
    anywhere: frozenset[str]


def build_single_file(script: str, sources: Mapping[str, str]) -> str:
    """Return the one file; `script` is observe.py, `sources` the modules by name, `__init__` among them."""
    modules = {name: _read_module(name, text) for name, text in sources.items() if name != "__init__"}
    _refuse_same_names(modules.values())
    levels = _levels(modules)
    ordered = sorted(modules.values(), key=lambda module: (levels[module.name], module.name))
    packages = {name: _packages(modules, name) for name in modules}
    sections = [_section(module, levels[module.name], packages) for module in ordered]
    init = [node for node in ast.parse(sources["__init__"]).body if isinstance(node, ast.Assign)]
    parts = [
        _script_header(script) + _opening(ordered),
        _merged_imports(ordered),
        *sections,
        "\n".join(ast.get_source_segment(sources["__init__"], node) or "" for node in init),
        _CLOSING.strip(),
    ]
    return "\n\n\n".join(parts) + "\n"


def _read_module(name: str, text: str) -> _Module:
    tree = ast.parse(text)
    above = frozenset(_own(node) for node in _top_imports(tree) if _is_own(node))
    found = (node for node in ast.walk(tree) if isinstance(node, _PLAIN_IMPORTS))
    return _Module(
        name, tree, text.splitlines(), above, frozenset(_own(node) for node in found if _is_own(node))
    )


def _refuse_same_names(modules: Iterable[_Module]) -> None:
    """Raise ValueError where two modules define one name: in one file the later would win."""
    places: dict[str, str] = {}
    for module in modules:
        for name in sorted(_defined(module.tree)):
            if name in places:
                raise ValueError(f"{name} is defined in {places[name]} and in {module.name}")
            places[name] = module.name


def _defined(tree: ast.Module) -> set[str]:
    found = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    found |= {node.name for node in tree.body if isinstance(node, ast.AsyncFunctionDef)}
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets += [node.target] if isinstance(node, ast.AnnAssign) else []
        found |= {one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)}
    return found


def _is_own(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.level > 0


def _own(node: ast.stmt) -> str:
    assert isinstance(node, ast.ImportFrom) and node.module, "only `from .module import name`"
    assert not any(one.asname for one in node.names), f"from .{node.module} import … as …: no new names"
    return node.module


def _top_imports(tree: ast.Module) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield what a module imports when it is imported itself."""
    yield from (node for node in tree.body if isinstance(node, _PLAIN_IMPORTS))


def _typing_blocks(tree: ast.Module) -> list[ast.If]:
    return [n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]


def _levels(modules: Mapping[str, _Module]) -> dict[str, int]:
    """Return for each module how many others are below it, one on top of the other."""
    levels: dict[str, int] = {}

    def level(name: str) -> int:
        if name not in levels:
            levels[name] = 1 + max(map(level, modules[name].anywhere), default=-1)
        return levels[name]

    for name in modules:
        level(name)
    return levels


def _packages(modules: Mapping[str, _Module], name: str) -> list[str]:
    """Return the packages, not Python's own, that importing the module imports."""
    todo, seen, found = [name], {name}, set[str]()
    while todo:
        module = modules[todo.pop()]
        for node in _top_imports(module.tree):
            found |= {one.partition(".")[0] for one in _foreign(node) if not _is_standard(one)}
        todo += module.above - seen
        seen |= module.above
    return sorted(found)


def _foreign(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [one.name for one in node.names]
    return [] if node.level else [node.module or ""]


def _is_standard(name: str) -> bool:
    return name.partition(".")[0] in sys.stdlib_module_names


# --- imports ---


def _merged_imports(modules: Iterable[_Module]) -> str:
    """Return every import of the modules once: Python's own, then the packages, which may be missing."""
    nodes = [node for module in modules for node in _top_imports(module.tree)]
    for module in modules:
        inside = (node for block in _typing_blocks(module.tree) for node in block.body)
        nodes += (node for node in inside if isinstance(node, _PLAIN_IMPORTS))
    standard, others = _Imports(), _Imports()
    for node in nodes:
        for name in _foreign(node):
            (standard if _is_standard(name) else others).add(node, name)
    standard.names["typing"].discard("TYPE_CHECKING")
    standard.names["typing"].add("Any")
    standard.plain.discard("sys")  # it is there already
    guard = _GUARD.strip("\n").format(
        packages=", ".join(f'"{name}"' for name in sorted(others.packages())),
        imports="\n".join(f"    {line}" for line in others.lines()),
        names="\n".join(f"    {' = '.join(row)} = _Missing" for row in _rows(others.bound(), WIDTH - 20, 3)),
    )
    return "\n".join(standard.lines()) + f"\n\n\n{guard}"


class _Imports:
    """Imports, merged: `import …` by what stands there, `from …` by module."""

    def __init__(self) -> None:
        self.plain: set[str] = set()
        self.names: dict[str, set[str]] = defaultdict(set)

    def add(self, node: ast.Import | ast.ImportFrom, name: str) -> None:
        """Take one name of an import statement over."""
        if isinstance(node, ast.ImportFrom):
            self.names[name] |= {ast.unparse(one) for one in node.names}
        else:
            self.plain |= {ast.unparse(one) for one in node.names if one.name == name}

    def packages(self) -> set[str]:
        """Return the packages that all of it is from."""
        return {name.split()[0].partition(".")[0] for name in (*self.plain, *self.names)}

    def bound(self) -> list[str]:
        """Return the names that it makes known, in order."""
        plain = {name.split()[-1].partition(".")[0] for name in self.plain}
        return sorted(plain | {name.split()[-1] for names in self.names.values() for name in names})

    def lines(self) -> list[str]:
        """Return the statements, in order; a long one is several lines."""
        lines = [f"import {name}" for name in sorted(self.plain)]
        for module, names in sorted(self.names.items()):
            words, line = sorted(names), f"from {module} import {', '.join(sorted(names))}"
            if len(line) > WIDTH - 4:
                lines += [f"from {module} import (", *(f"    {word}," for word in words), ")"]
            elif words:
                lines.append(line)
        return lines


# --- sections ---


def _script_header(script: str) -> str:
    """Return what is above observe.py's docstring: the first line, and the PEP 723 block."""
    lines = script.splitlines()
    end = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return "\n".join(lines[:end])


def _opening(modules: Iterable[_Module]) -> str:
    rows = _rows((module.name for module in modules), WIDTH - 10, 1)
    return _OPENING.rstrip("\n").format(contents="\n".join(f"    {' '.join(row)}" for row in rows))


def _rows(words: Iterable[str], width: int, gap: int) -> list[list[str]]:
    """Return the words in rows that are no wider, with so much between two words."""
    rows: list[list[str]] = [[]]
    for word in words:
        if rows[-1] and sum(len(one) + gap for one in rows[-1]) + len(word) > width:
            rows.append([])
        rows[-1].append(word)
    return rows


def _section(module: _Module, level: int, packages: Mapping[str, list[str]]) -> str:
    """Return a module's own lines under a banner that holds its docstring."""
    lines: list[str | None] = list(module.lines)
    for node in [module.tree.body[0], *_top_imports(module.tree), *_typing_blocks(module.tree)]:
        _blank(lines, node)
    for parent in ast.walk(module.tree):
        for body in (getattr(parent, part, None) for part in ("body", "orelse", "finalbody")):
            if isinstance(body, list) and parent is not module.tree:
                _resolve(lines, body, packages)
    told = (ast.get_docstring(module.tree) or "").splitlines()
    rule = f"# {'-' * (WIDTH - 2)}"
    banner = "\n".join([rule, f"# {module.name} (level {level})", "#", *(f"# {line}" for line in told), rule])
    return f"{banner}\n\n\n" + "\n".join(line for line in lines if line is not None).strip("\n")


def _resolve(lines: list[str | None], body: list[ast.stmt], packages: Mapping[str, list[str]]) -> None:
    """Take the package's own imports out of a block: what they name is here; what they need is asked for."""
    own = [node for node in body if _is_own(node) and lines[node.lineno - 1] is not None]
    for node in own:
        needed = packages[_own(node)]
        instead = f"need({', '.join(f'{name!r}' for name in needed)})".replace("'", '"') if needed else ""
        if not instead and len(own) == len(body) and node is own[-1]:
            instead = "pass"
        _blank(lines, node)
        start, end = node.lineno - 1, node.end_lineno or node.lineno
        if instead and instead not in {(line or "").strip() for line in lines[max(0, start - 1) : start]}:
            lines[start] = " " * node.col_offset + instead
        elif end < len(lines) and lines[end] == "":
            lines[end] = None


def _blank(lines: list[str | None], node: ast.stmt) -> None:
    """Take the statement's lines out."""
    for number in range(node.lineno - 1, node.end_lineno or node.lineno):
        lines[number] = None
