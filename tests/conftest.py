"""Fixtures that more than one test module uses."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.forms import stand_in_for_package
from tests.nats_server import RealNats

stand_in_for_package()  # before anything imports the package


@pytest.fixture(scope="session", autouse=True)
def _state_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what fixtures of a module start away from the user's own files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OBSERVE_STATE_DIR", raising=False)
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True)
def _state_of_the_test(
    _state_of_the_session: None, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Have no adapter of a test find what another test left."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[RealNats]:
    """A nats-server of this test's own, with an empty store."""
    with RealNats(tmp_path / "nats") as server:
        yield server


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also run what takes long (marked `long`)")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: takes long, runs only with --long")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # begun with `&`: what we start inherits that
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--long"):
        return
    for item in items:
        if "long" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="takes long: --long runs it"))
