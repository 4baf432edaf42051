"""The page's files: where their texts come from, and that they go along with the package."""

import configparser
import re
from pathlib import Path

import pytest

from observe_lib.errors import ObserveError
from observe_lib.web import page

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "observe_lib" / "web"


def inside(tag: str) -> list[str]:
    return re.findall(rf"<{tag}>(.*?)</{tag}>", page.page_html("observe adapter").decode(), re.S)


def test_style_and_script_stand_in_the_document_as_they_are_in_their_files():
    assert inside("style") == [(FOLDER / "page.css").read_text()]
    assert inside("script") == [(FOLDER / "page.js").read_text()]
    assert not re.search(r"<link rel=\"stylesheet\"|<script src", page.page_html("observe adapter").decode())


def test_how_to_start_an_adapter_is_as_this_was_called():
    html = page.page_html("uv run 'my <dir>/observe.py' adapter").decode()
    assert "<code>uv run &#x27;my &lt;dir&gt;/observe.py&#x27; adapter</code>" in html
    assert "python observe.py" not in html


def test_texts_that_the_build_put_in_are_taken_in_place_of_files(monkeypatch):
    before = page.page_policy()
    html = (FOLDER / "page.html").read_text()
    texts = {"page.html": html, "page.css": "b { color: red }", "page.js": "'ü';"}
    monkeypatch.setattr(page, "PAGE_FILES", texts)
    monkeypatch.setattr(page, "files", None)
    assert (inside("style"), inside("script")) == (["b { color: red }"], ["'ü';"])
    assert page.page_policy() != before


@pytest.mark.parametrize("name", ["page.html", "page.css", "page.js"])
def test_a_file_that_was_not_copied_along_is_named(monkeypatch, tmp_path, name):
    for path in FOLDER.glob("page.*"):
        if path.name != name:
            (tmp_path / path.name).write_text(path.read_text())
    monkeypatch.setattr(page, "files", lambda package: tmp_path)
    with pytest.raises(ObserveError, match=f"{name} is not there") as caught:
        page.page_html("observe adapter")
    assert caught.value.hint


def test_an_installed_package_has_all_of_them():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    given = setup["options.package_data"]["observe_lib.web"].replace(",", " ").split()
    assert sorted(given) == sorted(one.name for one in FOLDER.glob("page.*") if one.suffix != ".py")
