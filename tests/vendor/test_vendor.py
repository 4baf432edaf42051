import re
import shutil
import subprocess
from pathlib import Path

import pytest

from observe_lib import cli
from observe_lib.settings import VERSION
from observe_lib.vendor.headers import split_header, with_header
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


@pytest.mark.parametrize(
    "name, line",
    [
        ("page.html", "<!-- Vendored: {} -->"),
        ("page.css", "/* Vendored: {} */"),
        ("page.js", "// Vendored: {}"),
        ("py.typed", "# Vendored: {}"),
    ],
)
def test_a_header_is_a_comment_in_the_files_own_language(name, line):
    text = with_header("body {}\n", "commit abc", name)
    told = f"observe {VERSION}, commit abc. Not to be changed here: `vendor` brings a newer one."
    assert text.splitlines()[0] == line.format(told)
    assert text.splitlines()[2:] == ["body {}"]
    assert (split_header(text).body, split_header(text).intact) == ("body {}\n", True)


def test_every_file_says_what_it_is(given):
    files = tree(given)
    package = (path for path in (ROOT / "observe_lib").rglob("*.*") if path.suffix != ".pyc")
    assert set(files) == {"observe.py", *(path.relative_to(ROOT).as_posix() for path in package)}
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
    (given / "observe_lib/old").mkdir()
    (given / "observe_lib/old/gone.py").write_text(with_header("gone = 1\n", "commit 0ld"))
    (given / "observe_lib/theirs.py").write_text("theirs = 1\n")
    assert cli.main(["vendor", str(given), "--check"]) == 1
    told = capsys.readouterr().out
    assert "commit 0ld" in told
    assert "surplus  observe_lib/gone.py" in told
    assert cli.main(["vendor", "-q", str(given)]) == 0
    assert not (given / "observe_lib/gone.py").exists()
    assert not (given / "observe_lib/old").exists()
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


#: how it is put there, and the verbs that the help there lists
FORMS = [
    (
        (),
        "adapter watch ps wait show report top forget web alert silence demo doctor vendor service"
        " completion",
    ),
    (("--single-file",), "adapter watch"),
    (("--with", "ps,forget", "--with", "wait"), "adapter watch ps wait forget"),
    (
        ("--all",),
        "adapter watch ps wait show report top forget web alert silence demo doctor vendor service"
        " completion",
    ),
]


@pytest.mark.parametrize("flags, verbs", FORMS, ids=["package", "core", "with", "all"])
def test_check_compares_with_the_form_that_lies_there(tmp_path, capsys, flags, verbs):
    assert cli.main(["vendor", str(tmp_path), *flags]) == 0
    assert (len(tree(tmp_path)) == 1) == bool(flags)
    if flags:
        assert capsys.readouterr().out.strip().endswith(f"observe.py with {verbs.replace(' ', ', ')}")
    words = [cli.sys.executable, str(tmp_path / "observe.py"), "--help"]
    shown = subprocess.run(words, capture_output=True, text=True, timeout=60).stdout
    assert re.findall(r"^  (\w+) ", shown, re.M) == verbs.split()
    assert cli.main(["vendor", str(tmp_path), "--check"]) == 0
    with (tmp_path / "observe.py").open("a") as file:
        file.write("# mine\n")
    capsys.readouterr()
    assert cli.main(["vendor", str(tmp_path), "--check"]) == 1
    (told,) = capsys.readouterr().out.splitlines()
    assert told.startswith("differs  observe.py: observe ") and told.endswith("changed there")


def test_check_says_that_the_other_form_lies_there(given, capsys):
    assert cli.main(["vendor", str(given), "--check", "--single-file"]) == 1
    differs, *surplus = capsys.readouterr().out.splitlines()
    assert differs.startswith("differs  observe.py")
    assert all(line.startswith("surplus  observe_lib/") for line in surplus)
    assert cli.main(["vendor", "-q", str(given), "--with", "ps"]) == 0
    assert cli.main(["vendor", str(given), "--check", "--single-file"]) == 0
    assert cli.main(["vendor", str(given), "--check", "--with", "show"]) == 1


def test_a_verb_that_there_is_not_cannot_be_added(tmp_path, capsys):
    assert cli.main(["vendor", str(tmp_path), "--with", "pss"]) == 2
    assert capsys.readouterr().err.startswith("observe: --with 'pss' is unknown\none of: adapter, watch")
    assert tree(tmp_path) == {}


def test_a_verb_that_is_deleted_is_not_missed(given):
    """Nothing knows a verb but its own file."""
    for name in ("report", "top", "web", "alert", "silence", "demo", "doctor", "service"):
        shutil.rmtree(given / "observe_lib" / name, ignore_errors=True)
        (given / f"observe_lib/commands/{name}.py").unlink(missing_ok=True)
    for words in (["--help"], *([verb, "--help"] for verb in ("adapter", "watch", "ps", "show", "vendor"))):
        command = [cli.sys.executable, str(given / "observe.py"), *words]
        shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
        assert not re.search(r"^  (report|top|web|alert|silence|demo|doctor|service) ", shown, re.M)


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


@pytest.mark.parametrize("link", ["observe_lib", "observe.py", "observe_lib/web", "observe_lib/cli.py"])
@pytest.mark.parametrize("flags", [(), ("--force",), ("--single-file", "--force")])
def test_nothing_is_written_or_removed_through_a_link(given, tmp_path, capsys, link, flags):
    """What the link leads to is outside of DIR, and may be anybody's."""
    outside = tmp_path / "outside"
    (given / link).rename(outside)
    (given / link).symlink_to(outside)
    before = tree(tmp_path)
    assert cli.main(["vendor", str(given), *flags]) == 1
    happened, do = capsys.readouterr().err.splitlines()
    assert happened == f"observe: {given / link} is a link: what it leads to is left alone"
    assert do == "remove the link, or name the directory that it leads to"
    assert tree(tmp_path) == before


def test_a_directory_that_is_itself_a_link_is_what_was_named(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert cli.main(["vendor", "-q", str(tmp_path / "link")]) == 0
    assert (tmp_path / "real" / "observe.py").exists()
