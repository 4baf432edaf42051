"""The builder of the one-file form: modules by their levels as sections of one readable `observe.py`.
Pure: files in, a source out. The sections are the modules' own lines, but for imports and the verbs' names.
"""

import ast
import re
import sys
import textwrap
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import PurePosixPath

from .modules import (
    Module,
    closure_of,
    is_own,
    levels_of,
    own_path,
    packages_of,
    read_module,
    typing_blocks,
)
from .verb_table import VERBS_PATH, verb_paths, verb_table, with_own_names

#: the verbs that are in every one file
CORE_VERBS = ("adapter", "watch")
#: the line of a module that gets the texts of the data files beside it
DATA_LINE = "PAGE_FILES: dict[str, str] = {}"

#: as wide as the modules' own lines
WIDTH = 110

_VERBS_TOLD = re.compile(r"^Its verbs: ([a-z_,\s]+)\.$", re.M)

_OPENING = '''
"""observe in one file, put together by `observe.py vendor --single-file`.

{verbs}

These modules of observe_lib are in it:

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

#: what of the public names only a verb brings, and what stands for it where none does
_FULL_READER, _CORE_READER = (
    "reader/consumer.py",
    "Consumer = EventConsumer  # without states() and wait_for()",
)

_CLOSING = """
if __name__ == "__main__":
    sys.exit(main())
"""


def build_single_file(script: str, files: Mapping[str, str], verbs: Collection[str] = ()) -> str:
    """Return the one file; `script` is observe.py, `files` the package's texts by their paths in it.

    It has adapter, watch, these verbs, and what they need; no two modules there may define one name.
    """
    chosen = {verb: path for verb, path in verb_paths(files).items() if verb in (*CORE_VERBS, *verbs)}
    modules = _chosen_modules(files, chosen)
    levels = levels_of(modules)
    ordered = sorted(modules.values(), key=lambda module: (levels[module.path], module.path))
    packages = {path: packages_of(modules, path) for path in modules}
    sections = [_section(module, levels[module.path], packages) for module in ordered]
    init = [node for node in ast.parse(files["__init__.py"]).body if isinstance(node, ast.Assign)]
    parts = [
        _script_header(script) + _opening(ordered, chosen),
        _merged_imports(ordered),
        *sections,
        *([] if _FULL_READER in modules or _FULL_READER not in files else [_CORE_READER]),
        "\n".join(ast.get_source_segment(files["__init__.py"], node) or "" for node in init),
        _CLOSING.strip(),
    ]
    return "\n\n\n".join(parts) + "\n"


def verbs_in(text: str) -> list[str]:
    """Return the verbs of a text that is a one file; none if it is something else."""
    match = _VERBS_TOLD.search(text)
    return match[1].replace(",", " ").split() if match else []


def _chosen_modules(files: Mapping[str, str], verbs: Mapping[str, str]) -> dict[str, Module]:
    """Return the modules that the command line with these verbs needs, and the library's public names."""
    texts = {path: text for path, text in files.items() if path.endswith(".py")}
    texts |= {path: with_own_names(verb, texts[path]) for verb, path in verbs.items()}
    if VERBS_PATH in texts:
        texts[VERBS_PATH] = verb_table(texts, verbs, texts[VERBS_PATH])
    texts |= {path: _with_data(path, text, files) for path, text in texts.items() if _has_data(text)}
    initial = {path for path in texts if PurePosixPath(path).name == "__init__.py"}
    modules = {path: read_module(path, text) for path, text in texts.items() if path not in initial}
    public = (node for block in typing_blocks(ast.parse(texts["__init__.py"])) for node in block.body)
    named = {own_path("__init__.py", node) for node in public} - {_FULL_READER}
    roots = {"cli.py", *verbs.values(), *named}
    return {path: modules[path] for path in closure_of(modules, roots)}


def _with_data(path: str, text: str, files: Mapping[str, str]) -> str:
    """Return a module's text with the data files of its folder in it, as they are."""
    folder = PurePosixPath(path).parent
    found = {PurePosixPath(name).name: data for name, data in sorted(files.items()) if _is_data(name, folder)}
    assert not any('"""' in data or not data.endswith("\n") for data in found.values()), f"{folder}: quotes"
    rows = "\n".join(f'    "{name}": r"""{data}""",' for name, data in found.items())
    return text.replace(f"\n{DATA_LINE}\n", f"\n{DATA_LINE.removesuffix('}')}\n{rows}\n}}\n")


def _has_data(text: str) -> bool:
    return f"\n{DATA_LINE}\n" in text


def _is_data(path: str, folder: PurePosixPath) -> bool:
    return PurePosixPath(path).parent == folder and not path.endswith((".py", "py.typed"))


# --- imports ---


def _merged_imports(modules: Iterable[Module]) -> str:
    """Return every import of the modules once: Python's own, then the packages, which may be missing."""
    whole: set[str] = set()
    names: dict[str, set[str]] = defaultdict(set)
    for module in modules:
        inside = (node for block in typing_blocks(module.tree) for node in block.body)
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


def _opening(modules: Iterable[Module], verbs: Iterable[str]) -> str:
    """Return the docstring, with the verbs as `verbs_in` reads them, and the check of Python's version."""
    names = textwrap.wrap(" ".join(module.path for module in modules), WIDTH - 10, break_on_hyphens=False)
    contents = textwrap.indent("\n".join(names), "    ")
    told = textwrap.fill(f"Its verbs: {', '.join(verbs)}.", WIDTH)
    return _OPENING.rstrip("\n").format(verbs=told, contents=contents)


def _section(module: Module, level: int, packages: Mapping[str, list[str]]) -> str:
    """Return a module's own lines under a banner that holds its docstring."""
    lines: list[str | None] = list(module.lines)
    for node in [module.tree.body[0], *module.imports, *typing_blocks(module.tree)]:
        _blank(lines, node)
    for parent in ast.walk(module.tree):
        for body in (getattr(parent, part, None) for part in ("body", "orelse", "finalbody")):
            if isinstance(body, list) and parent is not module.tree:
                _resolve(module.path, lines, body, packages)
    told = (ast.get_docstring(module.tree) or "").splitlines()
    rule = f"# {'-' * (WIDTH - 2)}"
    banner = "\n".join(
        [rule, f"# observe_lib/{module.path} (level {level})", "#", *(f"# {line}" for line in told), rule]
    )
    return f"{banner}\n\n\n" + "\n".join(line for line in lines if line is not None).strip("\n")


def _resolve(
    path: str, lines: list[str | None], body: list[ast.stmt], packages: Mapping[str, list[str]]
) -> None:
    """Take the package's own imports out of a block: what they name is here; what they need is asked for."""
    own = [node for node in body if is_own(node) and lines[node.lineno - 1] is not None]
    for node in own:
        needed = packages[own_path(path, node)]
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
