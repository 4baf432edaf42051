"""The verbs in the one-file form: what each of them defines gets its name, and a table says which there are.
Pure: texts in, texts out.
"""

import ast
import json
import re
from collections.abc import Iterable, Mapping

#: what each verb defines, and the order of the help, which the table has
PER_VERB = ("add_flags", "run", "ARGUMENTS", "EXAMPLES")
ORDER_NAME = "ORDER"
#: the module that the table stands for
VERBS_PATH = "verbs.py"

_PATH = re.compile(r"commands/([a-z]\w*)\.py|([a-z]\w*)/command\.py")

_TABLE = '''\
"""The verbs that this file has, each a pair of functions that begin with its name."""

import argparse
from collections.abc import Callable
from typing import NamedTuple

{imports}


{verb_class}


#: in the order of the help
VERBS = {{
{rows}
}}


def verb_sentences() -> dict[str, str]:
    """Return what each verb does, by its name, in the order of the help."""
    return {{name: verb.sentence for name, verb in VERBS.items()}}


def load_verb(name: str) -> Verb:
    """Return a verb; KeyError where there is none."""
    return VERBS[name]
'''


def verb_paths(files: Mapping[str, str]) -> dict[str, str]:
    """Return the path of each verb's module by the verb's name, in the order of the help."""
    found = {(match[1] or match[2]): path for path in files if (match := _PATH.fullmatch(path))}
    return dict(sorted(found.items(), key=lambda item: (_order(files[item[1]]), item[0])))


def name_for(verb: str, name: str) -> str:
    """Return what a verb's `add_flags`, `EXAMPLES` and so on are called in one file with other verbs."""
    return f"{verb}_{name}" if name.islower() else f"{verb.upper()}_{name}"


def with_own_names(verb: str, text: str) -> str:
    """Return a verb's text with its own names for what every verb defines."""
    lines = text.splitlines()
    tree = ast.parse(text)
    for node in tree.body:
        if _assigned(node) == ORDER_NAME:
            lines[node.lineno - 1 : node.end_lineno] = [""] * ((node.end_lineno or 0) - node.lineno + 1)
    for line, column, name in sorted(_places(tree, lines), reverse=True):
        raw = lines[line].encode()
        assert raw[column:].startswith(name.encode()), f"{verb}: {name} in an f-string: {lines[line]}"
        lines[line] = (raw[:column] + name_for(verb, name).encode() + raw[column + len(name) :]).decode()
    return "\n".join(lines) + "\n"


def _places(tree: ast.Module, lines: list[str]) -> Iterable[tuple[int, int, str]]:
    """Yield line, column in bytes and name wherever one of these names stands for the verb's own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in PER_VERB:
            yield node.lineno - 1, node.col_offset, node.id
        elif isinstance(node, ast.FunctionDef) and node in tree.body and node.name in PER_VERB:
            yield node.lineno - 1, node.col_offset + len("def "), node.name
        else:
            assert not (isinstance(node, ast.arg) and node.arg in PER_VERB), (
                f"an argument {ast.unparse(node)}"
            )


def verb_table(sources: Mapping[str, str], verbs: Mapping[str, str], verbs_module: str) -> str:
    """Return the text of the module that stands for `verbs`; its imports are of the renamed names."""
    imports, rows = [], []
    for verb, path in verbs.items():
        names = [name_for(verb, name) for name in ("ARGUMENTS", "EXAMPLES", "add_flags", "run")]
        sentence = (ast.get_docstring(ast.parse(sources[path])) or "").partition("\n")[0]
        module = path.removesuffix(".py").replace("/", ".")
        imports.append(f"from .{module} import {', '.join(names)}")
        fields = (json.dumps(sentence, ensure_ascii=False), *names)
        rows.append(f'    "{verb}": Verb(\n' + "".join(f"        {one},\n" for one in fields) + "    ),")
    (found,) = (node for node in ast.parse(verbs_module).body if isinstance(node, ast.ClassDef))
    verb_class = ast.get_source_segment(verbs_module, found)
    return _TABLE.format(imports="\n".join(imports), verb_class=verb_class, rows="\n".join(rows))


def _order(text: str) -> int:
    """Return a verb's place in the help; without one it comes last."""
    found = (node for node in ast.parse(text).body if _assigned(node) == ORDER_NAME)
    return next((ast.literal_eval(node.value) for node in found if isinstance(node, ast.Assign)), 99)


def _assigned(node: ast.stmt) -> str:
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return ""
