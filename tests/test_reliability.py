"""docs/reliability.md names a test for each promise: those tests are there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_every_test_that_the_page_names_is_there():
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "reliability.md").read_text()))
    written = "\n".join(path.read_text() for path in ROOT.glob("tests/**/test_*.py"))
    assert named and {name for name in named if not re.search(rf"def {name}\b", written)} == set()
