"""The completion script, sourced by a real shell."""

import shutil
import subprocess

import pytest

from observe_lib import cli
from observe_lib.verbs import verb_sentences

ASK = """
. {script}
COMP_WORDS=({words})
COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
_observe
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def script(tmp_path, capsys):
    assert cli.main(["completion", "bash"]) == 0
    path = tmp_path / "completion"
    path.write_text(capsys.readouterr().out)
    return path


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("observe w", ["watch", "wait", "web"]),
        ("observe ''", list(verb_sentences())),
        ("observe.py watch --ex", ["--exclude-type"]),
        ("observe watch --color ''", ["auto", "always", "never"]),
        ("observe watch --type cr", ["crashed"]),
        ("observe wait --fail-on he", ["healthy"]),
        ("observe service s", ["systemd"]),
        ("observe completion ''", ["bash", "zsh"]),
        ("observe adapter --end", ["--end-with-project"]),
        ("observe watch --no-such", []),
        ("observe ps api", []),  # then names of files
        ("observe nonsense --", []),
    ],
)
def test_bash_completes(script, words, found):
    done = subprocess.run(
        ["bash", "--norc", "-euc", ASK.format(script=script, words=words)], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "") and sorted(done.stdout.split()) == sorted(found)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_knows_for_whom(script):
    command = f". {script}; complete -p observe observe.py"
    done = subprocess.run(["bash", "--norc", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.count("-o default -F _observe") == 2


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh_takes_it(tmp_path, capsys):
    assert cli.main(["completion", "zsh"]) == 0
    path = tmp_path / "completion"
    path.write_text(capsys.readouterr().out)
    command = f". {path}; print $_comps[observe]"
    done = subprocess.run(["zsh", "-fc", command], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "") and "observe" in done.stdout


def test_another_shell_is_refused(capsys):
    assert cli.main(["completion", "fish"]) == 2
    assert "bash" in capsys.readouterr().err
