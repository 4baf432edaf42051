"""How a message says what to call next, for every way in which this may have been called."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from observe_lib.calling import how_to_call, program_words
from observe_lib.settings import NatsSettings


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A directory with an environment in it, that is the present one; PATH has an interpreter of its own."""
    for name in (".venv/bin/python", ".venv/bin/observe", "bin/python3", "bin/observe"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("script", "python", "path", "words"),
    [
        ("observe.py", "{}/.venv/bin/python", "{}/bin", ".venv/bin/python observe.py"),
        ("observe.py", "{}/.venv/bin/python", "{}/.venv/bin:{}/bin", "python observe.py"),  # activated
        ("observe.py", "{}/bin/python3", "{}/bin", "python3 observe.py"),
        ("./tools/observe.py", "{}/bin/python3", "{}/bin", "python3 ./tools/observe.py"),
        ("observe.py", "{}/else/python3.12", "{}/bin", "else/python3.12 observe.py"),
        ("observe.py", "/elsewhere/bin/python", "{}/bin", "/elsewhere/bin/python observe.py"),
        ("{}/.venv/bin/observe", "{}/.venv/bin/python", "{}/.venv/bin", "observe"),
        ("{}/.venv/bin/observe", "{}/.venv/bin/python", "{}/bin", ".venv/bin/observe"),
        ("my dir/observe.py", "{}/bin/python3", "{}/bin", "python3 'my dir/observe.py'"),
        ("pager.py", "{}/.venv/bin/python", "{}/bin", "python observe.py"),  # a program of somebody's
        ("-c", "{}/.venv/bin/python", "{}/bin", "python observe.py"),
    ],
)
def test_the_program_that_was_really_used(place, script, python, path, words):
    script, python, path = (text.replace("{}", str(place)) for text in (script, python, path))
    assert program_words(script, python, {"PATH": path}) == words


def test_uv(place):
    environ = {"PATH": "", "UV_RUN_RECURSION_DEPTH": "1"}
    assert program_words("observe.py", "/home/me/.cache/uv/x/bin/python", environ) == "uv run observe.py"


def test_words_that_do_not_apply_are_left_out(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pager.py"])
    assert how_to_call("show", "a/b", "", NatsSettings().as_flag) == "python observe.py show a/b"
    flag = NatsSettings("nats://h:1,nats://i:2").as_flag
    assert how_to_call("watch", flag) == "python observe.py watch --nats-url nats://h:1,nats://i:2"


def test_a_hint_works_as_printed(tmp_path):
    """Called by another interpreter than the one on PATH, from another directory."""
    script = os.path.relpath(Path(__file__).parent.parent / "observe.py", tmp_path)
    environ = {**os.environ, "PATH": "/usr/bin:/bin"}
    words = [sys.executable, script, "show"]
    done = subprocess.run(words, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=30)
    hint = done.stderr.splitlines()[1].removeprefix("name a process: ").removesuffix("default/caddy")
    again = subprocess.run(
        hint + "--help", shell=True, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=30
    )
    assert (again.returncode, again.stdout.split()[0]) == (0, "usage:"), again.stderr


def test_no_hint_spells_out_how_to_call_it():
    """Whatever says what to do next asks how this was called; docstrings are for who reads the code."""
    package, spelt = Path(__file__).parent.parent / "observe_lib", set[str]()
    for path in package.rglob("*.py"):
        tree = ast.parse(path.read_text())
        documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        texts = [one for one in ast.walk(tree) if isinstance(one, ast.Constant) and id(one) not in documents]
        if any("python observe.py " in str(one.value) for one in texts):
            spelt.add(path.relative_to(package).as_posix())
    assert spelt == {"vendor/single_file.py", "web/page.py"}  # the opening of a file; what the page replaces
