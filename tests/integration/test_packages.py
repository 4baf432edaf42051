"""Wheel, sdist and the PEP 723 header, by the tools people use; needs a package index: only with --long."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.forms import ROOT, SINGLE_FILE

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(bool(SINGLE_FILE), reason="the one file is no package"),
]
WITHIN_S = 180.0
SOURCES = ("observe.py", "observe_lib", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")


def run(*words: object, cwd: Path) -> str:
    command = [str(word) for word in words]
    environ = {name: text for name, text in os.environ.items() if not name.startswith(("NATS", "PC_"))}
    done = subprocess.run(
        command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=WITHIN_S, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a venv with build and uv in it."""
    home = tmp_path_factory.mktemp("tools")
    venv.create(home, with_pip=True)
    done = subprocess.run([home / "bin/pip", "install", "-q", "build", "uv"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no package index here: {done.stderr.strip()[-200:]}")
    return home / "bin"


@pytest.fixture(scope="module")
def built(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with wheel and sdist."""
    home = tmp_path_factory.mktemp("built")
    (home / "src").mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, home / "src" / name)
    run(tools / "python", "-m", "build", "-q", "src", "-o", "dist", cwd=home)
    return home / "dist"


@pytest.mark.parametrize("pattern", ["*.whl", "*.tar.gz"])
def test_it_installs_and_runs(built, tmp_path, pattern):
    (package,) = built.glob(pattern)
    venv.create(tmp_path / "venv", with_pip=True)
    programs = tmp_path / "venv/bin"
    run(programs / "pip", "install", "-q", f"{package}[embedded,push]", cwd=tmp_path)
    assert run(programs / "observe", "--version", cwd=tmp_path).startswith("observe ")
    assert "0 lost; nothing left behind" in run(programs / "observe", "demo", "--seconds", "5", cwd=tmp_path)
    run(programs / "observe", "vendor", "out", "--single-file", cwd=tmp_path)
    run(programs / "python", "out/observe.py", "--version", cwd=tmp_path)
    marks = tmp_path.glob("venv/lib/*/site-packages/observe_lib/py.typed")
    assert len(list(marks)) == 1


@pytest.mark.parametrize("form", [(), ("--all",)], ids=["package", "single file"])
def test_uv_brings_what_is_needed(tools, tmp_path, form):
    run(sys.executable, ROOT / "observe.py", "vendor", "-q", tmp_path / "given", *form, cwd=tmp_path)
    given = tmp_path / "given"
    assert run(tools / "uv", "run", "-q", "observe.py", "--version", cwd=given).startswith("observe ")
    assert "0 lost" in run(tools / "uv", "run", "-q", "observe.py", "demo", "--seconds", "5", cwd=given)
