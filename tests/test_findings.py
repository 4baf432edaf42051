"""findings/README.md names every finding, and no other; none is run here."""

import re
from pathlib import Path

FINDINGS = Path(__file__).parent.parent / "findings"


def test_the_table_names_every_script_and_no_other():
    named = re.findall(r"^\| `([\w.-]+)` \|", (FINDINGS / "README.md").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(path.stem for path in FINDINGS.glob("*.sh"))


def test_every_script_pins_what_it_installs():
    for path in FINDINGS.glob("*.sh"):
        installed = re.findall(r"^ *(?:pip|npm)_install (.+)$", path.read_text(), re.MULTILINE)
        assert installed, path
        assert all(re.search(r"(==|.@)\d", package) for line in installed for package in line.split()), path


def test_every_script_fails_when_something_changes():
    for path in FINDINGS.glob("*.sh"):
        text = path.read_text()
        assert 'dirname "$0")/common.bash"' in text and "<<'EXPECTED'" in text, path
        assert path.stat().st_mode & 0o111, path
