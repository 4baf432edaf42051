"""The records of one stack in a real bucket: what fences their writing."""

from collections.abc import Iterator

import pytest

from observe_lib.adapter.ledger import LEASE_KEY, Ledger
from observe_lib.broker.bucket import WrongLastError
from observe_lib.broker.link import Link
from observe_lib.broker.loop import Bridge
from observe_lib.broker.stream import StreamOptions, ensure_bucket
from observe_lib.settings import NatsSettings
from tests.nats_server import RealNats


class Holder:
    """One adapter's way to the records."""

    def __init__(self, bridge: Bridge, url: str) -> None:
        async def ensure(js) -> None:
            await ensure_bucket(js, StreamOptions())

        self.bridge = bridge
        self.link = Link(NatsSettings(url, url_given=True), "test", lambda *_: None, ensure)
        self.ledger = Ledger(self.link, "s", lambda: None)
        bridge.run(self.link.open(), 10)

    def write(self, *arguments) -> int:
        return self.bridge.run(self.ledger.write(*arguments), 10)

    def read_all(self) -> dict:
        return self.bridge.run(self.ledger.read_all(), 10)


@pytest.fixture
def two(nats_server: RealNats) -> Iterator[tuple[Holder, Holder]]:
    bridge = Bridge()
    bridge.start()
    holders = Holder(bridge, nats_server.url), Holder(bridge, nats_server.url)
    yield holders
    for holder in holders:
        bridge.run(holder.link.close(), 10)
    bridge.stop()


def test_a_record_is_fenced_by_its_revision(two):
    first, second = two
    revision = first.write("default.web", b'{"by": 1}', 0)
    assert second.write("default.web", b'{"by": 2}', revision) > revision
    with pytest.raises(WrongLastError):
        first.write("default.web", b'{"by": 1}', revision)


def test_a_new_record_is_fenced_by_the_lease(two):
    """Who took the lease over has read all records, and does not know of one that comes after that."""
    first, second = two
    lease = first.write(LEASE_KEY, b'{"owner": "first"}', 0)
    first.write("default.web", b"{}", 0, lease)
    second.write(LEASE_KEY, b'{"owner": "second"}', lease)
    assert set(second.read_all()) == {LEASE_KEY, "default.web"}
    with pytest.raises(WrongLastError):
        first.write("default.late", b"{}", 0, lease)
    assert "default.late" not in second.read_all()


def test_a_deleted_record_is_fenced_as_those_there_are(two):
    """A name that was gone may come back, and whoever deleted its record knows at which revision that is."""
    first, second = two
    revision = first.write("default.pool-1", b'{"by": 1}', 0)
    deleted = first.bridge.run(first.ledger.delete("default.pool-1", revision), 10)
    fenced = second.bridge.run(second.ledger.fence(second.read_all()), 10)
    assert fenced["default.pool-1"].found is None
    with pytest.raises(WrongLastError):
        first.write("default.pool-1", b'{"by": 1}', deleted)
    second.write("default.pool-1", b'{"by": 2}', fenced["default.pool-1"].revision)


def test_an_attempt_that_only_seemed_to_fail_is_recognised(two):
    first, _ = two
    revision = first.write("default.web", b'{"n": 1}', 0)
    assert first.write("default.web", b'{"n": 1}', 0) == revision
    assert first.write("default.web", b'{"n": 2}', revision) > revision
