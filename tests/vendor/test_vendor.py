import shutil
import subprocess
from pathlib import Path

import pytest

from observe_lib import cli
from observe_lib.settings import VERSION
from observe_lib.vendor.command import split_header, with_header
from tests.forms import ROOT, SINGLE_FILE

pytestmark = pytest.mark.skipif(bool(SINGLE_FILE), reason="the one file gives only itself")


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """A directory that the package was put into."""
    assert cli.main(["vendor", "-q", str(tmp_path / "given")]) == 0
    return tmp_path / "given"


def tree(directory: Path) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    "body", ["x = 1\n", "#!/usr/bin/env python3\n# /// script\nx = 1\n", "", "#!x\n", "a\r\nb\n"]
)
def test_a_header_comes_off_again(body):
    text = with_header(body, "commit abc")
    found = split_header(text)
    assert (found.body, found.version, found.origin) == (body.replace("\r\n", "\n"), VERSION, "commit abc")
    assert found.intact == ("\r" not in body)
    assert text.splitlines()[0].startswith("#!") == body.startswith("#!")
    assert not split_header(text + "y = 2\n").intact
    assert split_header(body).origin == ""


def test_every_file_says_what_it_is(given):
    files = tree(given)
    package = {f"observe_lib/{path.name}" for path in (ROOT / "observe_lib").glob("*.py")}
    assert set(files) == {"observe.py", "observe_lib/py.typed", *package}
    for name, content in files.items():
        if not name.endswith("py.typed"):
            header = split_header(content.decode())
            assert (header.version, header.intact) == (VERSION, True)
            assert header.origin.startswith("commit ")
            assert header.body == (ROOT / name).read_text()
    assert (given / "observe.py").stat().st_mode & 0o111


def test_putting_it_there_again_changes_nothing(given, capsys):
    before = tree(given)
    assert cli.main(["vendor", str(given)]) == 0
    assert tree(given) == before
    assert cli.main(["vendor", str(given), "--check"]) == 0
    assert f"the same as observe {VERSION}" in capsys.readouterr().out


def test_what_was_changed_there_is_kept(given, capsys):
    path = given / "observe_lib/text/output.py"
    path.write_text(path.read_text() + "# mine\n")
    assert cli.main(["vendor", str(given), "--check"]) == 1
    assert "differs  observe_lib/text/output.py: observe " in (told := capsys.readouterr().out)
    assert told.strip().endswith("changed there")
    assert cli.main(["vendor", str(given)]) == 1
    happened, do = capsys.readouterr().err.splitlines()
    assert "observe_lib/text/output.py was changed there" in happened
    assert "--force" in do
    assert path.read_text().endswith("# mine\n")
    assert cli.main(["vendor", "-q", str(given), "--force"]) == 0
    assert cli.main(["vendor", str(given), "--check"]) == 0


def test_an_older_one_is_replaced_and_its_leftovers_go(given, capsys):
    path = given / "observe_lib/text/output.py"
    path.write_text(with_header("old = 1\n", "commit 0ld"))
    (given / "observe_lib/gone.py").write_text(with_header("gone = 1\n", "commit 0ld"))
    (given / "observe_lib/theirs.py").write_text("theirs = 1\n")
    assert cli.main(["vendor", str(given), "--check"]) == 1
    told = capsys.readouterr().out
    assert "commit 0ld" in told
    assert "surplus  observe_lib/gone.py" in told
    assert cli.main(["vendor", "-q", str(given)]) == 0
    assert not (given / "observe_lib/gone.py").exists()
    assert (given / "observe_lib/theirs.py").read_text() == "theirs = 1\n"
    assert "old = 1" not in path.read_text()


def test_somebody_elses_observe_py_is_kept(tmp_path, capsys):
    (tmp_path / "observe.py").write_text("print('mine')\n")
    assert cli.main(["vendor", str(tmp_path)]) == 1
    assert "observe.py was changed there, or not put there by vendor" in capsys.readouterr().err
    assert tree(tmp_path) == {"observe.py": b"print('mine')\n"}


def test_one_form_replaces_the_other(given, capsys):
    assert cli.main(["vendor", str(given), "--single-file"]) == 0
    assert set(tree(given)) == {"observe.py"}
    assert not (given / "observe_lib").exists()
    assert cli.main(["vendor", str(given), "--single-file", "--check"]) == 0
    assert cli.main(["vendor", str(given)]) == 0
    assert "observe_lib/cli.py" in tree(given)


def test_where_it_cannot_go(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert cli.main(["vendor", str(tmp_path / "file")]) == 2
    assert cli.main(["vendor", str(ROOT)]) == 2
    assert cli.main(["vendor", "/proc/no/such"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 6


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_is_told_only_of_a_repository_that_has_it(given, tmp_path):
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@y", "-C", str(tmp_path)]
    other = tmp_path / "other"
    shutil.copytree(ROOT / "observe_lib", other / "observe_lib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "observe.py", other)

    def origin() -> str:
        words = [str(other / "observe.py"), "vendor", "-q", str(tmp_path / "out"), "--force"]
        subprocess.run([cli.sys.executable, *words], check=True, timeout=60)
        return split_header((tmp_path / "out/observe.py").read_text()).origin

    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run([*git, *words], check=True)
    assert origin() == "commit unknown"
    for words in (["add", "other"], ["commit", "-q", "-m", "y"]):
        subprocess.run([*git, *words], check=True)
    head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True).stdout
    assert origin() == f"commit {head.strip()}"
    (other / "observe.py").write_text((other / "observe.py").read_text() + "\n")
    assert origin() == f"commit {head.strip()} with changes"
