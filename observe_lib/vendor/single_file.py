"""The builder of the one-file form: all modules in layer order as sections of one readable `observe.py`.
Pure: sources in, a source out. The sections are the modules' own lines, only the imports are moved.
"""

import ast
import sys
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Mapping
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
    """One module: its tree and lines, the imports at its top, and the own modules there and anywhere."""

    name: str
    tree: ast.Module
    lines: list[str]
    imports: list[ast.Import | ast.ImportFrom]
    above: frozenset[str]
    anywhere: frozenset[str]


def build_single_file(script: str, sources: Mapping[str, str]) -> str:
    """Return the one file; `script` is observe.py, `sources` the modules by name, `__init__` among them.

    No two modules may define one name.
    """
    modules = {name: _read_module(name, text) for name, text in sources.items() if name != "__init__"}
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
    imports = [node for node in tree.body if isinstance(node, _PLAIN_IMPORTS)]
    above = frozenset(_own(node) for node in imports if _is_own(node))
    anywhere = frozenset(_own(node) for node in ast.walk(tree) if _is_own(node))
    return _Module(name, tree, text.splitlines(), imports, above, anywhere)


def _is_own(node: ast.AST) -> bool:
    return isinstance(node, ast.ImportFrom) and node.level > 0


def _own(node: ast.AST) -> str:
    assert isinstance(node, ast.ImportFrom) and node.module, "only `from .module import name`"
    assert not any(one.asname for one in node.names), f"from .{node.module} import … as …: no new names"
    return node.module


def _typing_blocks(tree: ast.Module) -> list[ast.If]:
    return [n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]


def _levels(modules: Mapping[str, _Module]) -> dict[str, int]:
    """Return for each module how many others are below it, one on top of the other."""
    levels: dict[str, int] = {}

    def level(name: str) -> int:
        if name not in levels:
            levels[name] = 1 + max(map(level, modules[name].anywhere), default=-1)
        return levels[name]

    return {name: level(name) for name in modules}


def _packages(modules: Mapping[str, _Module], name: str) -> list[str]:
    """Return the packages, not Python's own, that importing the module imports."""
    todo, seen, found = [name], {name}, set[str]()
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


# --- imports ---


def _merged_imports(modules: Iterable[_Module]) -> str:
    """Return every import of the modules once: Python's own, then the packages, which may be missing."""
    whole: set[str] = set()
    names: dict[str, set[str]] = defaultdict(set)
    for module in modules:
        inside = (node for block in _typing_blocks(module.tree) for node in block.body)
        for node in (*module.imports, *inside):
            if isinstance(node, ast.Import):
                whole |= {ast.unparse(one) for one in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names[node.module or ""] |= {ast.unparse(one) for one in node.names}
    names["typing"] = names["typing"] - {"TYPE_CHECKING"} | {"Any"}
    statements = [f"import {name}" for name in sorted(whole - {"sys"})]  # sys is there already
    statements += [_from_statement(module, sorted(found)) for module, found in sorted(names.items())]
    packages = {one: one.split()[1].partition(".")[0] for one in statements}
    others = [one for one in statements if packages[one] not in sys.stdlib_module_names]
    guard = _GUARD.strip("\n").format(
        packages=", ".join(f'"{name}"' for name in sorted({packages[one] for one in others})),
        imports=textwrap.indent("\n".join(others), "    "),
        names="\n".join(
            f"    {row.replace(' ', ' = ')} = _Missing"
            for row in textwrap.wrap(" ".join(_bound_names(others)), WIDTH - 40)
        ),
    )
    return "\n".join(one for one in statements if one not in others) + f"\n\n\n{guard}"


def _from_statement(module: str, names: list[str]) -> str:
    line = f"from {module} import {', '.join(names)}"
    listed = "".join(f"    {name},\n" for name in names)
    return line if len(line) <= WIDTH - 4 else f"from {module} import (\n{listed})"


def _bound_names(statements: Iterable[str]) -> list[str]:
    """Return the names that imports make known, in order."""
    nodes = (node for node in ast.walk(ast.parse("\n".join(statements))) if isinstance(node, ast.alias))
    return sorted({(node.asname or node.name).partition(".")[0] for node in nodes})


# --- sections ---


def _script_header(script: str) -> str:
    """Return what is above observe.py's docstring: the first line, and the PEP 723 block."""
    lines = script.splitlines()
    end = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return "\n".join(lines[:end])


def _opening(modules: Iterable[_Module]) -> str:
    names = textwrap.wrap(" ".join(module.name for module in modules), WIDTH - 10)
    return _OPENING.rstrip("\n").format(contents=textwrap.indent("\n".join(names), "    "))


def _section(module: _Module, level: int, packages: Mapping[str, list[str]]) -> str:
    """Return a module's own lines under a banner that holds its docstring."""
    lines: list[str | None] = list(module.lines)
    for node in [module.tree.body[0], *module.imports, *_typing_blocks(module.tree)]:
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
