"""Fixtures that more than one test module uses."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.forms import stand_in_for_package
from tests.nats_server import RealNats

stand_in_for_package()  # before anything imports the package


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
