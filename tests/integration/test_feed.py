"""A feed of the bucket against a real nats-server: last per key, then live, deletions, wiped stores."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from observe_lib.broker.bucket import Bucket
from observe_lib.broker.stream import BUCKET, StreamOptions, ensure_bucket
from observe_lib.reader.connection import Connection, Pace
from observe_lib.reader.feed import Feed, Item, Mark
from observe_lib.reader.message import Message
from observe_lib.settings import NatsSettings
from observe_lib.times import now_utc
from tests.nats_server import RealNats

QUICK = Pace(heartbeat_s=0.5, expires_s=2.0)
STREAM = f"KV_{BUCKET}"


class Reading:
    """A feed of the bucket and what it said, in a thread; and the bucket to write to."""

    def __init__(self, url: str, keys: str = ">") -> None:
        self.connection = Connection(NatsSettings(url), "reading", 5.0, QUICK).open()
        self.bucket = Bucket(self.connection.session)
        self.found: list[Item] = []
        self._changed = threading.Condition()
        self.ensure()
        self.feed = Feed(self.connection, [f"$KV.{BUCKET}.{keys}"], stream=STREAM)

    def start(self) -> "Reading":
        self.feed.open()
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def _read(self) -> None:
        for item in self.feed.items():
            with self._changed:
                self.found.append(item)
                self._changed.notify_all()

    def until(self, count: int) -> list[str]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.found) >= count, 10), self.texts()
        return self.texts()

    def texts(self) -> list[str]:
        return [text_of(one) for one in self.found]

    def ensure(self) -> None:
        self.connection.ask(lambda js: ensure_bucket(js, StreamOptions()))

    def put(self, **values: int) -> None:
        for key, value in values.items():
            self.connection.bridge.run(self.bucket.put(key, json.dumps(value).encode()), 5)

    def delete(self, key: str) -> None:
        self.connection.bridge.run(self.bucket.delete(key), 5)


def text_of(item: Item) -> str:
    if not isinstance(item, Message):
        return item.name if isinstance(item, Mark) else item
    return f"{item.subject.split('.')[-1]} {'deleted' if item.is_deletion else item.data.decode()}"


@pytest.fixture
def reading(nats_server: RealNats) -> Iterator[Callable[..., Reading]]:
    found: list[Reading] = []

    def make(keys: str = ">") -> Reading:
        found.append(Reading(nats_server.url, keys))
        return found[-1]

    yield make
    for one in found:
        one.feed.close()
        one.connection.close()


def test_the_last_per_key_then_live_with_deletions(reading):
    one = reading()
    one.put(a=1, b=2, c=3)
    one.delete("b")
    one.start()
    assert one.until(4) == ["a 1", "c 3", "b deleted", "LIVE"]
    one.put(a=4)
    one.delete("c")
    assert one.until(6)[4:] == ["a 4", "c deleted"]
    assert all(abs(message.stored_at - now_utc()) < timedelta(seconds=60) for message in one.found[:3])


def test_only_some_keys(reading):
    one = reading("a")
    one.put(a=1, b=2)
    one.start()
    one.put(b=3, a=2)
    assert one.until(3) == ["a 1", "LIVE", "a 2"]


def test_an_empty_bucket_is_live_at_once(reading):
    assert reading().start().until(1) == ["LIVE"]


def test_it_goes_on_after_the_server_was_away(reading, nats_server):
    one = reading()
    one.put(a=1)
    one.start().until(2)
    nats_server.restart()
    one.connection.bridge.run(one.connection.session.until_up(), 10)
    one.put(a=2)
    assert one.until(3) == ["a 1", "LIVE", "a 2"]


def test_a_bucket_made_anew_is_said_before_what_it_holds(reading, nats_server):
    one = reading()
    one.put(a=1, b=1)
    one.start().until(3)
    one.connection.ask(lambda js: js.delete_stream(STREAM))
    one.ensure()
    one.put(b=5)
    assert one.until(5) == ["a 1", "b 1", "LIVE", "WIPED", "b 5"]


def test_no_bucket_at_first(reading, nats_server):
    one = reading()
    one.connection.ask(lambda js: js.delete_stream(STREAM))
    one.start()
    assert one.until(2) == [f"no {STREAM} on {nats_server.url} yet", "LIVE"]
    one.ensure()
    one.put(a=1)
    assert one.until(3)[2:] == ["a 1"]


def test_what_many_messages_at_once_come_as(reading):
    one = reading()

    async def write() -> None:
        client = one.connection.session.client
        assert client is not None
        for number in range(1000):
            await client.publish(f"$KV.{BUCKET}.k{number}", b"1")
        await client.flush()
        await asyncio.sleep(0)

    one.connection.bridge.run(write(), 10)
    one.put(last=2)  # is stored after all of them
    one.start()
    assert one.until(1002) == [*(f"k{number} 1" for number in range(1000)), "last 2", "LIVE"]
