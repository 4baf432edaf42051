"""Bucket and lease over a real nats-server: compare-and-set, two owners, a kill, a freeze, a suspension."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats
import pytest

from observe_lib.broker import lease as lease_module
from observe_lib.broker.bucket import Bucket, WrongLastError
from observe_lib.broker.lease import Lease, identity
from observe_lib.broker.session import DeniedError, Session
from observe_lib.broker.stream import StreamOptions, ensure_bucket
from observe_lib.errors import StackHeldError
from observe_lib.settings import NatsSettings
from tests.nats_server import RealNats

KEY = "host-a._observe.lease"
#: a tenth of what they are, so that nobody waits for a quarter of a minute
TIMES = {"LEASE_S": 1.5, "RENEW_S": 1.0, "VALID_S": 1.2, "LOOK_EACH_S": 0.1}

#: holds the lease in a process of its own, and prints each claim
HOLDER = f"""\
import asyncio, sys
from observe_lib.broker import lease
from observe_lib.broker.bucket import Bucket
from observe_lib.broker.session import Session
from observe_lib.settings import NatsSettings

vars(lease).update({TIMES!r})

async def main():
    session = Session(NatsSettings(sys.argv[1], url_given=True), "holder")
    await session.open()
    async def claim(found):
        print("claims", flush=True)
    held = lease.Lease(Bucket(session), {KEY!r}, "other", lease.identity, name="host-a", on_claim=claim)
    holding = asyncio.create_task(held.hold())
    await held.wait_fresh()
    print("fresh", flush=True)
    try:
        await holding
    except lease.StackHeldError as error:
        print(error, flush=True)

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    for name, seconds in TIMES.items():
        monkeypatch.setattr(lease_module, name, seconds)


@asynccontextmanager
async def connected(url: str, **options) -> AsyncIterator[Bucket]:
    """A bucket over a session, which hears what the server complains of."""
    session = Session(NatsSettings(url, url_given=True, **options), "test")
    await session.open()
    try:
        yield Bucket(session)
    finally:
        await session.close()


async def made(url: str, **options) -> None:
    """Make the bucket."""
    client = await nats.connect(url, **options)
    await ensure_bucket(client.jetstream(), StreamOptions())
    await client.close()


def lease_of(bucket: Bucket, owner: str = "me", **options) -> Lease:
    return Lease(bucket, KEY, owner, options.pop("about", identity), name="host-a", **options)


async def when_fresh(lease: Lease) -> "asyncio.Task[None]":
    """Hold it in a task, and return that when something may be sent."""
    holding = asyncio.ensure_future(lease.hold())
    fresh = asyncio.ensure_future(lease.wait_fresh())
    await asyncio.wait((holding, fresh), timeout=30, return_when=asyncio.FIRST_COMPLETED)
    fresh.cancel()
    if holding.done():
        await holding
    assert lease.is_fresh
    return holding


async def found_in(bucket: Bucket) -> dict[str, object]:
    return json.loads((await bucket.get(KEY))[1])


def test_a_bucket_takes_what_is_expected(nats_server):
    async def scenario() -> None:
        await made(nats_server.url)
        async with connected(nats_server.url) as bucket:
            assert await bucket.get("a.b.c") == (0, b"") and await bucket.keys() == []
            first = await bucket.put("a.b.c", b"1", 0)
            with pytest.raises(WrongLastError):
                await bucket.put("a.b.c", b"2", 0)
            second = await bucket.put("a.b.c", b"2", first)
            assert await bucket.get("a.b.c") == (second, b"2")
            await bucket.put("a.b.d", b"x" * 1000)
            await bucket.put("b.b.d", b"3")
            assert sorted(await bucket.keys("a.>")) == ["a.b.c", "a.b.d"]
            mark = await bucket.delete("a.b.c", second)
            assert await bucket.get("a.b.c") == (mark, b"") and await bucket.keys("a.>") == ["a.b.d"]
            with pytest.raises(WrongLastError):
                await bucket.put("a.b.c", b"4", 0)
            await bucket.put("a.b.c", b"4", mark)
            assert sorted(await bucket.keys()) == ["a.b.c", "a.b.d", "b.b.d"]

    asyncio.run(scenario())


def test_without_a_bucket_nothing_is_found(nats_server):
    async def scenario() -> None:
        async with connected(nats_server.url) as bucket:
            assert await bucket.get("a.b.c") == (0, b"") and await bucket.keys() == []

    asyncio.run(scenario())


@pytest.fixture
def two_users(tmp_path: Path):
    """A server on which `all` may everything, and `some` may not write the bucket."""
    config = tmp_path / "server.conf"
    config.write_text(
        "authorization { users = [ {user: all, password: p}, {user: some, password: p, permissions: "
        '{ publish: { deny: ["$KV.>"] } } }, {user: none, password: p, permissions: '
        '{ publish: { deny: ["$KV.>", "$JS.API.>"] } } } ] }\n'
    )
    with RealNats(tmp_path / "nats", None, "-c", str(config)) as server:
        yield server


@pytest.mark.parametrize(
    "user, text, hint",
    [
        ("some", f"may not publish to $KV.PROCESS_STATES.{KEY}", "grant publish on $KV.PROCESS_STATES.>"),
        ("none", "may not publish to $JS.API.STREAM.MSG.GET.KV_PROCESS_STATES", "grant publish on $JS.API.>"),
    ],
)
def test_what_permissions_refuse(two_users, user, text, hint):
    async def scenario() -> None:
        said: list[str] = []
        await made(two_users.url, user="all", password="p")
        async with connected(two_users.url, user=user, password="p") as bucket:
            with pytest.raises(DeniedError) as caught:
                await bucket.put(KEY, b"1", 0)
            assert caught.value.hint == "grant publish on $KV.PROCESS_STATES.>"
            holding = await when_fresh(lease_of(bucket, say=said.append))
            assert said == [f"{text}: nothing guards stack host-a against a second one; {hint}"]
            holding.cancel()

    asyncio.run(scenario())


def test_two_owners_both_ways(nats_server):
    async def scenario() -> None:
        await made(nats_server.url)
        async with connected(nats_server.url) as one, connected(nats_server.url) as two:
            there = {**identity(), "host": "host-b", "boot_id": "another"}
            for first, second in ((one, two), (two, one)):
                lease = lease_of(first)
                holding = await when_fresh(lease)
                with pytest.raises(StackHeldError, match="held by pid"):
                    await when_fresh(lease_of(second, "second", about=lambda: there))
                assert not holding.done() and (await found_in(first))["owner"] == "me"
                holding.cancel()
                assert await lease.stop() and (await found_in(second))["stopped"] is True

    asyncio.run(scenario())


def test_a_takeover_ends_the_other_one(nats_server):
    async def scenario() -> None:
        await made(nats_server.url)
        async with connected(nats_server.url) as bucket:
            there = {**identity(), "host": "host-b", "boot_id": "another"}
            first = lease_of(bucket, "first", about=lambda: there)
            losing = await when_fresh(first)
            holding = await when_fresh(lease_of(bucket, takeover=True))
            assert not first.is_fresh
            with pytest.raises(StackHeldError):
                await losing
            holding.cancel()

    asyncio.run(scenario())


def test_suspended_for_longer_than_the_lease(nats_server):
    """Its clock runs on, it does not: what is due is claimed first, and lost where another one has it."""

    async def scenario() -> None:
        asleep_s = 0.0
        await made(nats_server.url)
        async with connected(nats_server.url) as one, connected(nats_server.url) as two:
            slept = lease_of(one, clock=lambda: lease_module.boot_clock() + asleep_s)
            holding = await when_fresh(slept)
            asleep_s = 3600.0
            assert not slept.is_fresh
            await asyncio.wait_for(slept.wait_fresh(), 10)
            asleep_s = 7200.0
            revision, _ = await two.get(KEY)
            there = {**identity(), "host": "host-b", "boot_id": "another"}
            await two.put(KEY, json.dumps({"owner": "second", **there, "stopped": True}).encode(), revision)
            other = await when_fresh(lease_of(two, "second", about=lambda: there))
            with pytest.raises(StackHeldError):
                await holding
            assert not slept.is_fresh and (await found_in(two))["owner"] == "second"
            other.cancel()

    asyncio.run(scenario())


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP], ids=lambda one: one.name)
def test_the_process_that_held_it(nats_server, end):
    async def scenario() -> None:
        claims: list[object] = []
        said: list[str] = []

        async def claim(found) -> None:
            claims.append(found and found["owner"])

        await made(nats_server.url)
        command = [sys.executable, "-c", HOLDER, nats_server.url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout and [other.stdout.readline() for _ in "12"] == ["claims\n", "fresh\n"]
            other.send_signal(end)
            if end == signal.SIGKILL:
                other.wait()
            async with connected(nats_server.url) as bucket:
                holding = await when_fresh(lease_of(bucket, on_claim=claim, say=said.append))
                assert claims == ["other"] and len(said) == (end == signal.SIGSTOP)
                if end == signal.SIGSTOP:
                    other.send_signal(signal.SIGCONT)
                    told = await asyncio.to_thread(other.stdout.readline)
                    assert told.startswith("stack host-a is held by pid") and not holding.done()
                    assert other.wait(20) == 0
                holding.cancel()

    asyncio.run(scenario())
