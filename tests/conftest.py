"""Fixtures that more than one test module uses."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nats_server import RealNats


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[RealNats]:
    """A nats-server of this test's own, with an empty store."""
    with RealNats(tmp_path / "nats") as server:
        yield server
