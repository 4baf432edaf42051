"""The forms that observe comes in: tests run against the package, or against the one file that
`$OBSERVE_SINGLE_FILE` names, as if that were the package.
"""

import importlib.util
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SINGLE_FILE = os.environ.get("OBSERVE_SINGLE_FILE", "")
#: what the command line is, of the form that is tested
SCRIPT = Path(SINGLE_FILE).resolve() if SINGLE_FILE else ROOT / "observe.py"
#: which module of it holds `main`, for a Python that runs in SCRIPT's directory
CLI_MODULE = "observe" if SINGLE_FILE else "observe_lib.cli"


def stand_in_for_package() -> None:
    """Have every module of observe_lib be the one file, where that is what is to be tested."""
    if not SINGLE_FILE:
        return
    spec = importlib.util.spec_from_file_location("observe_lib", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    paths = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / "observe_lib").rglob("*.py")]
    names = {".".join(part) for path in paths for part in (path.parts, path.parts[:-1])}
    sys.modules.update(dict.fromkeys(names, module))
    spec.loader.exec_module(module)
    for name in names:  # unless a function in it has the name
        vars(module).setdefault(name.rpartition(".")[2], module)
