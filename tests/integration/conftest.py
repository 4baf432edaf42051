"""Fixtures that more than one of these modules uses."""

from collections.abc import Iterator

import pytest

from tests.integration.test_consumer import Writer
from tests.nats_server import RealNats


@pytest.fixture
def writer(nats_server: RealNats) -> Iterator[Writer]:
    """Who stores events, in a stream that is there."""
    found = Writer(nats_server.url)
    found.ensure()
    yield found
    found.close()
