import json

import pytest

from observe_lib.contexts import with_context
from observe_lib.errors import UsageError
from observe_lib.settings import nats_settings

FULL = {
    "description": "everything",
    "url": "nats://a:4222,nats://b:4222",
    "user": "u",
    "password": "p",
    "token": "",
    "color_scheme": "",
}


@pytest.fixture
def contexts(tmp_path):
    """Write contexts where the nats command line has them; give the environment that finds them."""

    def write(name, content):
        path = tmp_path / "nats/context" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return {"XDG_CONFIG_HOME": str(tmp_path), "NATS_CONTEXT": name}

    return write


def test_a_context_says_where_and_who(contexts):
    settings = nats_settings({}, contexts("full", FULL))
    assert (settings.url, settings.url_given) == (FULL["url"], True)
    assert (settings.user, settings.password, settings.token) == ("u", "p", None)


def test_flags_and_variables_win_over_it(contexts):
    environ = {**contexts("full", FULL), "NATS_USER": "other", "NATS_PASSWORD": ""}
    settings = nats_settings({"nats_url": "nats://c:4222"}, environ)
    assert (settings.url, settings.user, settings.password) == ("nats://c:4222", "other", "p")


def test_files_may_be_below_the_home_directory(contexts, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "u.creds").write_text("secret")
    environ = contexts("files", {"url": "nats://a:4222", "creds": "~/u.creds"})
    assert nats_settings({}, environ).creds == str(tmp_path / "u.creds")


def test_without_a_name_there_is_none():
    assert with_context({"A": "b", "C": "", "NATS_CONTEXT": ""}) == {"A": "b"}


@pytest.mark.parametrize("name", ["../full", "a/b", ".hidden", "nowhere"])
def test_a_name_that_is_none(contexts, name):
    environ = {**contexts("full", FULL), "NATS_CONTEXT": name}
    with pytest.raises(UsageError, match="NATS_CONTEXT") as caught:
        nats_settings({}, environ)
    assert caught.value.hint


@pytest.mark.parametrize("content", ["no json: sesame", "[]", "{"])
def test_a_file_that_is_none_is_not_shown(contexts, content):
    with pytest.raises(UsageError) as caught:
        nats_settings({}, contexts("bad", content))
    assert "sesame" not in str(caught.value)
