from pathlib import Path

import pytest

from observe_lib.errors import UsageError
from observe_lib.settings import (
    ComposeSettings,
    choice,
    choices,
    compose_settings,
    duration_of,
    is_container_id,
    names,
    nats_settings,
    stack_name,
    state_directory,
    whole_number,
)


@pytest.mark.parametrize(
    ("flags", "environ", "url", "port_from"),
    [
        ({}, {}, "http://127.0.0.1:28081", "default"),
        ({}, {"PC_PORT_NUM": "", "PC_ADDRESS": ""}, "http://127.0.0.1:28081", "default"),
        ({}, {"PC_PORT_NUM": "8080", "PC_ADDRESS": "pc.lan"}, "http://pc.lan:8080", "PC_PORT_NUM"),
        ({"compose_port": "9"}, {"PC_PORT_NUM": "8080"}, "http://127.0.0.1:9", "--compose-port"),
        ({"compose_address": "::1"}, {}, "http://[::1]:28081", "default"),
        ({"compose_address": "[::1]"}, {}, "http://[::1]:28081", "default"),
        ({"compose_socket": "/s"}, {"PC_PORT_NUM": "1"}, "unix:/s", "PC_PORT_NUM"),
        ({}, {"PC_SOCKET_PATH": "/s", "PC_PORT_NUM": "1"}, "unix:/s", "PC_PORT_NUM"),
        ({"compose_port": "9"}, {"PC_SOCKET_PATH": "/s"}, "http://127.0.0.1:9", "--compose-port"),
    ],
)
def test_where_process_compose_is(flags, environ, url, port_from):
    found = compose_settings(flags, environ)
    assert (found.url, found.port_from) == (url, port_from)


def test_token_comes_from_flag_then_variable_then_file(tmp_path):
    path = tmp_path / "token"
    path.write_text(" filed \n")
    assert compose_settings({"token_file": str(path)}, {"PC_API_TOKEN": "set"}).token == "filed"
    assert compose_settings({}, {"PC_API_TOKEN": "set", "PC_API_TOKEN_PATH": str(path)}).token == "set"
    assert compose_settings({}, {"PC_API_TOKEN_PATH": str(path)}).token == "filed"
    assert "filed" not in repr(ComposeSettings(token="filed"))
    path.write_text("\n")
    with pytest.raises(UsageError, match="holds no token"):
        compose_settings({"token_file": str(path)}, {})


@pytest.mark.parametrize(
    ("flags", "environ", "expected"),
    [
        ({}, {}, {"url": "nats://127.0.0.1:4222", "url_given": False}),
        ({}, {"NATS_URL": "nats://a"}, {"url": "nats://a", "url_given": True}),
        ({"nats_url": "tls://a:1, nats://b"}, {"NATS_URL": "nats://c"}, {"url": "tls://a:1,nats://b"}),
        ({"nats_url": "nats://[::1]:4222"}, {}, {"url": "nats://[::1]:4222"}),
        (
            {"nats_url": "nats://bob:p%40ss@a:1"},
            {},
            {"url": "nats://a:1", "user": "bob", "password": "p@ss", "token": None},
        ),
        ({"nats_url": "nats://s3cret@a"}, {}, {"url": "nats://a", "user": None, "token": "s3cret"}),
        ({}, {"NATS_USER": "u", "NATS_PASSWORD": "p"}, {"user": "u", "password": "p"}),
        ({}, {"NATS_TOKEN": "t", "NATS_CA": ""}, {"token": "t", "ca": None}),
    ],
)
def test_where_nats_is(flags, environ, expected):
    found = nats_settings(flags, environ)
    assert {name: getattr(found, name) for name in expected} == expected
    assert not any(secret in repr(found) for secret in ("p@ss", "s3cret"))


def test_files_are_looked_at_before_anything_starts(tmp_path):
    path = tmp_path / "user.creds"
    path.write_text("-----BEGIN")
    assert nats_settings({}, {"NATS_CREDS": str(path)}).creds == str(path)
    with pytest.raises(UsageError, match=r"NATS_CA: /nowhere cannot be read \(No such file"):
        nats_settings({}, {"NATS_CA": "/nowhere"})


@pytest.mark.parametrize(
    ("flags", "environ", "says"),
    [
        ({"compose_port": "99999"}, {}, "--compose-port '99999' is no number from 1 to 65535"),
        ({"compose_port": "-1"}, {}, "--compose-port '-1'"),
        ({"compose_port": "8_0"}, {}, "--compose-port"),
        ({"compose_port": "٣"}, {}, "--compose-port"),
        ({}, {"PC_PORT_NUM": "abc"}, "PC_PORT_NUM 'abc'"),
        ({"compose_port": ""}, {}, "--compose-port is empty"),
        ({"compose_address": "http://x:1"}, {}, "--compose-address"),
        ({"compose_address": "a b"}, {}, "--compose-address"),
        ({"compose_socket": "/s", "compose_port": "1"}, {}, "exclude each other"),
        ({"compose_socket": "/s", "compose_address": "a"}, {}, "exclude each other"),
        ({}, {"PC_API_TOKEN": "a\nb"}, "PC_API_TOKEN holds no token"),
        ({"token_file": "/nowhere"}, {}, "--token-file: /nowhere cannot be read"),
    ],
)
def test_nonsense_about_process_compose(flags, environ, says):
    with pytest.raises(UsageError, match=says.replace("(", r"\(")) as caught:
        compose_settings(flags, environ)
    assert caught.value.hint


@pytest.mark.parametrize(
    "url",
    [
        "foo", "http://a", "nats://", "nats://a:0", "nats://a:99999", "nats://a:x", "nats://a/b", "nats://[a",
        "nats://a b", "nats://u:hidden@h:99999", "nats://a,", ",",
    ],
)  # fmt: skip
def test_nonsense_about_nats(url):
    with pytest.raises(UsageError) as caught:
        nats_settings({"nats_url": url}, {})
    assert "--nats-url" in str(caught.value)
    assert "hidden" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize(
    ("url", "found", "user", "password", "token"),
    [
        ("u:SECRET@host:4222", "nats://host:4222", "u", "SECRET", None),  # as the nats command line takes it
        ("SECRET@host", "nats://host", None, None, "SECRET"),
        ("host:4222", "nats://host:4222", None, None, None),
        ("a:1,u:SECRET@b:2", "nats://a:1,nats://b:2", "u", "SECRET", None),
    ],
)
def test_a_nats_address_may_do_without_its_scheme(url, found, user, password, token):
    settings = nats_settings({}, {"NATS_URL": url})
    assert (settings.url, settings.user, settings.password, settings.token) == (found, user, password, token)
    assert "SECRET" not in repr(settings)


@pytest.mark.parametrize(
    "url",
    [
        "nats:u:SECRET@h",
        "nats:/u:SECRET@h:4222",
        "tls:SECRET@h",
        "http://u:SECRET@h",
        "nats://u:SEC,RET@h",
        "nats://u:SE@CRET@h:x",
        "u:SECRET@h:99999",
        "nats://u:SECRET@h/SECRET@",
    ],
)
def test_no_message_holds_what_may_be_a_secret_of_a_nats_address(url):
    with pytest.raises(UsageError) as caught:
        nats_settings({}, {"NATS_URL": url})
    text = f"{caught.value} {caught.value.hint} {caught.value.__cause__!r}"
    assert not any(part in text for part in ("SECRET", "SEC", "RET")), text


SEED = "SUAIBDPBAUTWCWBKIO6XHQNINK5FWJW4OHLXC3HQ2KFE4PEJUA44CNHTC4"
CREDS = f"-----BEGIN NATS USER JWT-----\neyJ0\n-----BEGIN USER NKEY SEED-----\n{SEED}\n"


@pytest.mark.parametrize(
    "secret", [SEED, f" {SEED}\n", CREDS, "eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ"]
)
@pytest.mark.parametrize("variable", ["NATS_NKEY", "NATS_CREDS", "NATS_CA", "NATS_KEY", "PC_API_TOKEN_PATH"])
def test_a_variable_that_holds_the_secret_and_not_its_files_name_is_not_shown(variable, secret):
    with pytest.raises(UsageError, match=f"^{variable} names no file") as caught:
        nats_settings({}, {variable: secret})
        compose_settings({}, {variable: secret})
    assert secret.strip()[:20] not in f"{caught.value} {caught.value.hint} {caught.value.__cause__}"


@pytest.mark.parametrize("path", ["/a/path/to/where/nothing/is", "nowhere", "secrets/of/ours/user.creds"])
def test_a_path_is_shown(path):
    with pytest.raises(UsageError, match=path):
        nats_settings({}, {"NATS_CREDS": path})


def test_stack_name():
    assert stack_name({"stack": "a"}, {"OBSERVE_STACK": "b"}, "host") == "a"
    assert stack_name({}, {"OBSERVE_STACK": "b"}, "host") == "b"
    assert stack_name({}, {}, "host") == "host"
    for wrong in ("", " ", "a\x1b[31m"):
        with pytest.raises(UsageError, match="--stack"):
            stack_name({"stack": wrong}, {}, "host")


@pytest.mark.parametrize(
    ("flags", "environ", "hostname"),
    [({"stack": "_observe"}, {}, "host"), ({}, {"OBSERVE_STACK": "_observe"}, "host"), ({}, {}, "_observe")],
)
def test_no_stack_has_the_name_under_which_observe_keeps_its_own(flags, environ, hostname):
    with pytest.raises(UsageError, match="no stack can have the name _observe") as told:
        stack_name(flags, environ, hostname)
    assert told.value.hint == "name it: --stack NAME"
    assert stack_name({"stack": "_observe2"}, {}, "") == "_observe2"


@pytest.mark.parametrize(
    ("flags", "environ", "expected"),
    [
        ({"state_dir": "/flag"}, {"OBSERVE_STATE_DIR": "/variable"}, "/flag"),
        ({}, {"OBSERVE_STATE_DIR": "/variable", "STATE_DIRECTORY": "/unit"}, "/variable"),
        ({}, {"STATE_DIRECTORY": "/unit", "XDG_STATE_HOME": "/xdg", "HOME": "/home/a"}, "/unit"),
        ({}, {"STATE_DIRECTORY": "/unit:/unit/more"}, "/unit"),
        ({}, {"XDG_STATE_HOME": "/xdg", "HOME": "/home/a"}, "/xdg/observe"),
        ({}, {"XDG_STATE_HOME": "relative", "HOME": "/home/a"}, "/home/a/.local/state/observe"),
        ({}, {"OBSERVE_STATE_DIR": "", "HOME": "/home/a"}, "/home/a/.local/state/observe"),
    ],
)
def test_where_the_state_is(flags, environ, expected):
    assert state_directory(flags, environ) == Path(expected)


def test_where_no_state_can_be(monkeypatch):
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    assert state_directory({}, {}) is None
    assert state_directory({"state_dir": "here"}, {}) == Path.cwd() / "here"
    with pytest.raises(UsageError, match="--state-dir is empty"):
        state_directory({"state_dir": " "}, {})


def test_container_ids():
    assert is_container_id("3f2a9c01de45")
    assert not any(map(is_container_id, ("host-a", "cafe", "3F2A9C01DE45")))


@pytest.mark.parametrize("text", ["", "1.5", "-1", "1e3", "x", "101", "9" * 400])
def test_not_such_a_number(text):
    with pytest.raises(UsageError, match="--n .* is no number from 0 to 100"):
        whole_number("--n", text, 0, 100)


def test_numbers_and_durations():
    assert whole_number("--n", "0", 0, 100) == 0
    assert duration_of("--t", "1m30s", 1, 100) == 90
    for text in ("0", "0s", "2 parsecs", "-2s", "", "5", "101s", "1ms"):
        with pytest.raises(UsageError, match="--t"):
            duration_of("--t", text, 1, 100)


def test_names_and_choices():
    assert names("NAME", ["a", "b/c", "*"]) == ["a", "b/c", "*"]
    assert choices("--type", ["x,y", " x", "z"], "xyz") == ["x", "y", "z"]
    for wrong in ("", "/"):
        with pytest.raises(UsageError, match="NAME is empty"):
            names("NAME", [wrong])
    assert choice("--sort", "x", "xyz") == "x"
    for wrong in ("", "x,y", "exploded"):
        with pytest.raises(UsageError, match="--sort .* is unknown"):
            choice("--sort", wrong, "xyz")
    for wrong in ("", "x,", "exploded"):
        with pytest.raises(UsageError, match="--type .* is unknown"):
            choices("--type", [wrong], "xyz")


@pytest.mark.parametrize(
    ("flags", "environ", "expected"),
    [
        ({}, {"XDG_STATE_HOME": "/var/state"}, "/var/state/observe"),
        ({}, {"XDG_STATE_HOME": ""}, "HOME/.local/state/observe"),
        ({}, {"XDG_STATE_HOME": "not/absolute"}, "HOME/.local/state/observe"),
        ({}, {"XDG_STATE_HOME": "/var/state", "OBSERVE_STATE_DIR": "/data"}, "/data"),
        ({"state_dir": "/other"}, {"OBSERVE_STATE_DIR": "/data"}, "/other"),
        ({"state_dir": "here"}, {}, "HOME/here"),
    ],
)
def test_files_are_kept_in_the_users_state_directory(flags, environ, expected, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert str(state_directory(flags, environ)) == expected.replace("HOME", str(tmp_path))
