"""The publisher over a real outbox and a real nats-server: order, window, resends, refusals, rows."""

import asyncio
import json
import os
import signal
import threading
import tracemalloc
from collections import Counter, defaultdict

import nats
import pytest
from nats.js.api import DiscardPolicy, StreamConfig

from observe_lib.adapter import publisher as publisher_module
from observe_lib.adapter import row_publisher as row_module
from observe_lib.adapter.outbox import Outbox, Record
from observe_lib.adapter.publisher import WINDOW, WINDOW_BYTES, Publisher
from observe_lib.adapter.seal import Sealed
from observe_lib.broker.loop import Bridge
from observe_lib.broker.session import Session
from observe_lib.broker.stream import BUCKET, STREAM, StreamOptions, ensure
from observe_lib.errors import OutboxError
from observe_lib.settings import NatsSettings
from observe_lib.times import now_utc
from tests.integration.faults import ALL, ALL_BUT, Config, read_stream, wait_until
from tests.nats_server import RealNats

STACK = "bench"


def sealed(process: str, seq: int, size: int = 100, kind: str = "started") -> Sealed:
    """Return an event as sealing makes it, of about so many bytes."""
    millis = int(now_utc().timestamp() * 1000)
    subject = f"core.process.default.{process}.{kind}"
    told = {"process": process, "seq": seq, "state": {"name": process, "pad": "x" * size}}
    return Sealed(
        f"default.{process}", subject, f"{STACK}.default.{process}.{seq}.{millis}", json.dumps(told).encode()
    )


class Running:
    """A publisher on its loop, with what it publishes from; `may` is the lease."""

    def __init__(self, url: str, directory=None, **rows: dict) -> None:
        self.said: list[str] = []
        self.may, self.rows, self.seqs = True, rows, Counter[str]()
        self.outbox = Outbox.open(directory, STACK, takeover=False, say=lambda *_: None)
        self.loop = Bridge()
        settings = NatsSettings(url, url_given=True)
        if "@" in url:
            user, _, rest = url.removeprefix("nats://").partition("@")
            name, _, password = user.partition(":")
            settings = NatsSettings(f"nats://{rest}", url_given=True, user=name, password=password)
        self.session = Session(
            settings,
            "bench",
            say=lambda _, text: self.said.append(text),
            on_up=lambda: self.publisher.wake(),
            on_denied=lambda subject: self.publisher.deny(subject),
        )
        self.publisher = Publisher(
            self.outbox,
            self.loop,
            self.session,
            rows=self._rows,
            may_send=lambda: self.may,
            until_may_send=self._until_may_send,
            missing=lambda: self.loop.spawn(self._ensure()),
            stuck=lambda: self.stuck.append(True),
        )
        self.stuck = list[bool]()

    def _rows(self, process: str) -> list[tuple[str, bytes]]:
        return [(f"{STACK}.{process}", json.dumps(self.rows.get(process, {})).encode())]

    async def _ensure(self) -> None:
        await self.session.until_done(lambda _: ensure(self.session.js, StreamOptions()))

    async def _until_may_send(self) -> None:
        while not self.may:
            await asyncio.sleep(0.02)

    async def _main(self) -> None:
        await self.session.open()
        await self._ensure()
        await self.publisher.run()

    def __enter__(self) -> "Running":
        self.loop.start()
        self.main = self.loop.spawn(self._main())
        return self

    def __exit__(self, *_: object) -> None:
        self.main.cancel()
        self.loop.run(self.session.close(), 10)
        self.loop.stop()
        self.publisher.close()
        self.outbox.close()

    def put(self, *processes: str, size: int = 100, wake: bool = True) -> None:
        """Commit the next event of each."""
        events = []
        for process in processes:
            self.seqs[process] += 1
            events.append(sealed(process, self.seqs[process], size))
        self.outbox.commit([Record(one.process, 1, b"{}") for one in events], events, None)
        if wake:
            self.publisher.wake(())

    def is_done(self, timeout_s: float = 40.0) -> "Running":
        wait_until(lambda: self.publisher.is_idle, self.said, timeout_s)
        assert self.outbox.waiting() == 0
        return self


def stored(url: str) -> list[tuple[str, int]]:
    """Return process and seq of each event in the stream, from the first to the last."""
    return [
        (one["process"], one["seq"]) for one in (json.loads(m.data) for m in asyncio.run(read_stream(url)))
    ]


def faults(found: list[tuple[str, int]]) -> list[str]:
    """Return where a process's events are not 1, 2, 3 …"""
    by_process = defaultdict(list)
    for process, seq in found:
        by_process[process].append(seq)
    return [f"{name}: {seqs}" for name, seqs in by_process.items() if seqs != list(range(1, len(seqs) + 1))]


def admin(url: str, *what: str, **config) -> None:
    async def work() -> None:
        client = await nats.connect(url, allow_reconnect=False)
        js = client.jetstream()
        await getattr(js, what[0])(*what[1:], **config)
        await client.close()

    asyncio.run(work())


def stream_with(**settings) -> StreamConfig:
    return StreamConfig(name=STREAM, subjects=["core.process.>"], **settings)


def kill_frozen(server: RealNats) -> None:
    """Kill it without letting it read what was sent to it meanwhile."""
    os.kill(server.pid, signal.SIGKILL)
    server.kill()


class Tap:
    """What is published on the wire, told by a second connection: process and message id, in order."""

    def __init__(self, url: str) -> None:
        self.seen: list[tuple[str, str]] = []
        self._url, self._loop = url, Bridge()

    def __enter__(self) -> "Tap":
        async def listen() -> None:
            self._client = await nats.connect(self._url)
            await self._client.subscribe("core.process.>", cb=self._note)
            await self._client.flush()

        self._loop.start()
        self._loop.run(listen(), 10)
        return self

    async def _note(self, message) -> None:
        self.seen.append((message.subject.split(".")[3], message.headers["Nats-Msg-Id"]))

    def __exit__(self, *_: object) -> None:
        self._loop.run(self._client.close(), 10)
        self._loop.stop()


# --- order and window ---


def test_each_process_in_order_one_in_flight(nats_server):
    names = [f"p{number}" for number in range(20)]
    with Running(nats_server.url) as running:
        flying: list[int] = []
        take = running.outbox.take

        def taking(*arguments):
            events = take(*arguments)
            processes = Counter(flight.event.process for flight in running.publisher._flying.values())
            processes.update(one.process for one in events)
            flying.append(max(processes.values(), default=0))
            return events

        running.outbox.take = taking
        for _ in range(50):
            running.put(*names)
        running.is_done()
    found = stored(nats_server.url)
    assert len(found) == 1000 and faults(found) == []
    assert max(flying) == 1


def test_the_oldest_processes_come_first(nats_server):
    with Running(nats_server.url) as running:
        running.may = False
        for name in ("c", "a", "b"):
            running.put(name)
        running.put("c")
        running.may = True
        running.publisher.wake(())
        running.is_done()
    assert stored(nats_server.url)[:3] == [("c", 1), ("a", 1), ("b", 1)]


@pytest.mark.parametrize("size, count", [(100, WINDOW), (20_000, WINDOW_BYTES // 20_000)])
def test_no_more_than_a_window_is_in_flight(nats_server, size, count):
    with Running(nats_server.url) as running:
        wait_until(lambda: running.publisher._client, "it sends")
        nats_server.pause()
        running.put(*(f"p{number}" for number in range(1500)), size=size)
        wait_until(lambda: len(running.publisher._flying) >= count, "a full window")
        assert len(running.publisher._flying) <= count + 1
        assert running.publisher._flying_bytes <= WINDOW_BYTES + 2 * size
        nats_server.resume()
        running.is_done()
    assert len(stored(nats_server.url)) == 1500


def test_memory_is_flat_with_many_waiting(nats_server):
    with Running(nats_server.url) as running:
        running.may = False
        for _ in range(40):
            running.put(*(f"p{number}" for number in range(500)), size=400, wake=False)
        running.publisher.wake(())
        tracemalloc.start()
        running.may = True
        running.publisher.wake(())
        running.is_done()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert len(stored(nats_server.url)) == 20_000
    assert peak < 6_000_000  # all of them are 10 MB of JSON alone


# --- resends ---


def test_after_a_reconnection_at_once_under_the_same_id(nats_server):
    with Running(nats_server.url) as running:
        running.put("web")
        running.is_done()
        nats_server.pause()  # what is sent now is lost with the connection
        running.put(*(f"p{number}" for number in range(30)))
        wait_until(lambda: len(running.publisher._flying) == 30, "in flight")
        ids = {flight.event.message_id for flight in running.publisher._flying.values()}
        kill_frozen(nats_server)
        nats_server.start()
        running.is_done()
        told = Counter(m.headers["Nats-Msg-Id"] for m in asyncio.run(read_stream(nats_server.url)))
    assert max(told.values()) == 1 and ids <= set(told)


def test_unanswered_it_is_sent_again_after_a_while(nats_server, monkeypatch):
    monkeypatch.setattr(publisher_module, "UNANSWERED_S", (1.0, 2.0))
    with Running(nats_server.url) as running:
        running.put("web")
        running.is_done()
        nats_server.pause()
        running.put("web")
        wait_until(lambda: [f for f in running.publisher._flying.values() if f.sends > 1], "sent again")
        wait_until(lambda: running.stuck, "a server that takes no writes is told of")
        assert running.said.count("no answer in time, sending again") == 1
        nats_server.resume()
        running.is_done()
        wait_until(lambda: "takes events again" in running.said, running.said)
    assert stored(nats_server.url) == [("web", 1), ("web", 2)]


def test_nothing_is_sent_without_a_lease(nats_server):
    with Running(nats_server.url) as running, Tap(nats_server.url) as tap:
        wait_until(lambda: running.publisher._client, "it sends")
        running.may = False
        running.put("web")
        running.publisher.wake(["default.web"])
        running.loop.run(asyncio.sleep(1.5), 5)
        assert tap.seen == [] and running.outbox.waiting() == 1
        running.may = True
        running.is_done()


def test_what_was_in_flight_when_the_lease_went_is_sent_when_it_is_back(nats_server):
    with Running(nats_server.url) as running:
        running.put("web")
        running.is_done()
        nats_server.pause()
        running.put("web")
        wait_until(lambda: running.publisher._flying, "in flight")
        running.may = False
        kill_frozen(nats_server)
        nats_server.start()
        wait_until(lambda: running.session.is_up, "connected again")
        running.loop.run(asyncio.sleep(1.5), 5)
        assert running.outbox.waiting() == 1
        running.may = True
        running.is_done()
    assert stored(nats_server.url) == [("web", 1), ("web", 2)]


# --- refusals ---


def test_a_full_stream(nats_server):
    """It waits, is said once, and goes on; nothing is skipped."""
    small = StreamConfig(
        name=STREAM, subjects=["core.process.>"], max_bytes=20_000, discard=DiscardPolicy.NEW
    )
    admin(nats_server.url, "add_stream", small)
    with Running(nats_server.url) as running:
        for _ in range(20):
            running.put(*(f"p{number}" for number in range(10)))
        wait_until(lambda: any("maximum bytes exceeded" in text for text in running.said), running.said)
        running.loop.run(asyncio.sleep(1), 5)
        admin(nats_server.url, "update_stream", small.evolve(max_bytes=10_000_000))
        running.is_done()
        wait_until(lambda: "takes events again" in running.said, running.said)
    found = stored(nats_server.url)
    assert len(found) == 200 and faults(found) == []
    assert len(running.said) == 2, running.said


def test_a_stream_that_is_missing_is_made(nats_server):
    with Running(nats_server.url) as running:
        running.put("web")
        running.is_done()
        admin(nats_server.url, "delete_stream", STREAM)
        running.put("web", "db")
        running.is_done()
    assert sorted(stored(nats_server.url)) == [("db", 1), ("web", 2)]


@pytest.fixture
def configured(tmp_path):
    config = Config(tmp_path)
    config.write("")
    server = RealNats(tmp_path / "nats", None, "-c", str(config.path))
    yield config, server
    server.kill()


def test_a_denied_subject_waits_while_others_go_on(configured, monkeypatch):
    monkeypatch.setattr(publisher_module, "HELD_S", 2.0)
    monkeypatch.setattr(publisher_module, "WINDOW", 3)  # those that are held take no room in it
    config, server = configured
    config.write(ALL_BUT % ", ".join(f'"core.process.default.denied-{number}.>"' for number in range(5)))
    server.start()
    url = server.url.replace("//", "//u:p@")
    denied = [f"denied-{number}" for number in range(5)]
    with Running(url) as running:
        for _ in range(3):
            running.put(*denied, "web", "db")
        wait_until(lambda: running.outbox.waiting() == 15, "the others")
        assert sorted(stored(url)) == sorted((name, seq) for name in ("web", "db") for seq in (1, 2, 3))
        assert [text for text in running.said if "may not publish" in text] == running.said
        assert len(running.said) == 1 and "grant publish on core.process.>" in running.said[0]
        config.reload(server, ALL)
        running.is_done()
    found = stored(url)
    assert len(found) == 21 and faults(found) == []


def test_what_is_too_large_is_cut_under_its_id(configured):
    config, server = configured
    config.write("max_payload: 2000")
    server.start()
    with Running(server.url) as running:
        running.put("web", size=5000)
        running.put("web")
        running.is_done()
        first, second = asyncio.run(read_stream(server.url))
    assert first.headers["Nats-Msg-Id"].startswith(f"{STACK}.default.web.1.")
    assert json.loads(first.data) == {"process": "web", "seq": 1, "state": {"name": "web"}}
    assert "pad" in json.loads(second.data)["state"]


def test_a_stream_that_takes_only_small_messages(nats_server):
    small = stream_with(max_msg_size=500)
    admin(nats_server.url, "add_stream", small)
    with Running(nats_server.url) as running:
        running.put("web", size=5000)
        running.put("web")
        running.is_done()
    assert stored(nats_server.url) == [("web", 1), ("web", 2)]


def test_what_cannot_be_smaller_is_held_and_others_go_on(nats_server):
    small = stream_with(max_msg_size=170)
    admin(nats_server.url, "add_stream", small)
    with Running(nats_server.url) as running:
        running.put("a-name-of-so-many-letters-that-nothing-can-make-it-small-enough-for-this-stream")
        running.put("web", size=1)
        wait_until(lambda: running.outbox.waiting() == 1, "web")
        wait_until(
            lambda: any("raise max_payload, max_msg_size" in text for text in running.said), running.said
        )
        assert running.outbox.waiting() == 1, "it is held"


# --- what an earlier start may have sent ---


def test_doubts_are_looked_up_in_the_stream(nats_server, tmp_path):
    """Stored, never acknowledged, and the server has forgotten the id: it is not sent again."""
    admin(
        nats_server.url,
        "add_stream",
        stream_with(duplicate_window=0.2),
    )
    first = Running(nats_server.url, tmp_path / "state")
    for _ in range(2):
        first.put("web", "db", wake=False)
    events = first.outbox.take([], 10, 10**6)
    first.outbox.close()

    async def send() -> None:
        client = await nats.connect(nats_server.url)
        for one in events[:1]:
            js = client.jetstream()
            await js.publish(one.subject, one.payload, headers={"Nats-Msg-Id": one.message_id})
        await asyncio.sleep(0.5)
        await client.close()

    asyncio.run(send())
    with Tap(nats_server.url) as tap, Running(nats_server.url, tmp_path / "state") as second:
        second.is_done()
        wait_until(lambda: len(tap.seen) >= 3, tap.seen)
    assert events[0].message_id not in [message_id for _, message_id in tap.seen]
    found = stored(nats_server.url)
    assert len(found) == 4 and faults(found) == []


def test_what_this_start_made_is_not_looked_for(nats_server, tmp_path, monkeypatch):
    looked = []
    real = publisher_module.has_message

    async def looking(js, subject, *arguments):
        looked.append(subject)
        return await real(js, subject, *arguments)

    monkeypatch.setattr(publisher_module, "has_message", looking)
    first = Running(nats_server.url, tmp_path / "state")
    first.put("web", wake=False)
    first.put("web", wake=False)
    first.outbox.close()
    with Running(nats_server.url, tmp_path / "state") as second:
        second.seqs["web"] = 2
        second.is_done().put("web", "db")
        second.is_done()
    assert looked == ["core.process.default.web.started"]
    assert faults(stored(nats_server.url)) == []


def test_where_it_cannot_be_looked_for_it_is_asked_again(nats_server, tmp_path, monkeypatch):
    real, failures = publisher_module.has_message, 3

    async def refuse(*arguments):
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise nats.errors.TimeoutError
        return await real(*arguments)

    monkeypatch.setattr(publisher_module, "has_message", refuse)
    monkeypatch.setattr(publisher_module, "LOOK_S", 0.05)
    first = Running(nats_server.url, tmp_path / "state")
    first.put("web", wake=False)
    first.outbox.close()
    with Running(nats_server.url, tmp_path / "state") as second:
        second.is_done()
        assert len([text for text in second.said if "cannot look for" in text]) == 1
        wait_until(lambda: "takes events again" in second.said, second.said)
    assert failures == -1 and stored(nats_server.url) == [("web", 1)]


# --- rows ---


def rows(url: str) -> dict[str, dict]:
    found = asyncio.run(read_stream(url, f"KV_{BUCKET}"))
    return {one.subject.removeprefix(f"$KV.{BUCKET}."): json.loads(one.data) for one in found}


def test_the_newest_row_wins(nats_server):
    with Running(nats_server.url) as running:
        for number in range(200):
            running.rows["default.web"] = {"number": number}
            running.publisher.wake(["default.web"])
        wait_until(lambda: rows(nats_server.url) == {f"{STACK}.default.web": {"number": 199}}, "the newest")


def test_rows_come_while_events_wait(nats_server):
    """They have a tenth of the window, so that a storm does not starve them, nor they the storm."""
    crowd = [f"p{number}" for number in range(1000)]
    with Running(nats_server.url) as running:
        wait_until(lambda: running.publisher._client, "it sends")
        nats_server.pause()
        for _ in range(3):
            running.put(*crowd)
        running.publisher.wake([f"default.{name}" for name in crowd])
        wait_until(lambda: len(running.publisher._rows._flying) >= 50, "rows on their way")
        assert len(running.publisher._rows._flying) <= WINDOW // 10
        nats_server.resume()
        running.is_done()
    assert len(rows(nats_server.url)) == 1000 and len(stored(nats_server.url)) == 3000


def test_denied_rows_hold_up_nothing_and_come_when_granted(configured, monkeypatch):
    monkeypatch.setattr(row_module, "ROW_HELD_S", 2.0)
    config, server = configured
    config.write(ALL_BUT % f'"$KV.{BUCKET}.{STACK}.default.web"')
    server.start()
    url = server.url.replace("//", "//u:p@")
    with Running(url) as running:
        running.put("web", "db")
        running.publisher.wake(["default.web", "default.db"])
        wait_until(lambda: running.said, "denied")
        running.is_done()
        assert set(rows(url)) == {f"{STACK}.default.db"}
        assert len(running.said) == 1 and f"grant publish on $KV.{BUCKET}.>" in running.said[0]
        config.reload(server, ALL)
        wait_until(lambda: len(rows(url)) == 2, "the other row")
        wait_until(lambda: "takes rows again" in running.said, running.said)


# --- forgetting, a file that takes nothing, being killed ---


def test_what_is_forgotten_is_not_sent_any_more(nats_server):
    with Running(nats_server.url) as running:
        running.put("web")
        running.is_done()
        nats_server.pause()
        running.put("web", "db")
        wait_until(lambda: len(running.publisher._flying) == 2, "in flight")
        kill_frozen(nats_server)
        running.loop.run(running.publisher.on_file(running.outbox.forget), 5)
        running.loop.call(running.publisher.forget)
        nats_server.start()
        running.seqs.clear()
        running.put("other")
        running.is_done()
    assert stored(nats_server.url) == [("web", 1), ("other", 1)]


def test_a_file_that_takes_no_deletion_is_said_once_and_asked_again(nats_server, monkeypatch):
    monkeypatch.setattr(publisher_module, "FILE_AGAIN_S", 0.1)
    with Running(nats_server.url) as running:
        take, failures = running.outbox.take, 5

        def failing(done, *arguments):
            nonlocal failures
            if done and failures:
                failures -= 1
                raise OutboxError("the outbox cannot be used (full)", "free some room")
            return take(done, *arguments)

        running.outbox.take = failing
        for _ in range(3):
            running.put("web")
        running.is_done()
    assert stored(nats_server.url) == [("web", 1), ("web", 2), ("web", 3)]
    assert running.said.count("the outbox cannot be used (full); free some room") == 1


def test_all_that_waited_is_sent_or_its_trouble_said(configured, monkeypatch):
    config, server = configured
    config.write(ALL_BUT % '"core.process.default.denied.>"')
    server.start()
    with Running(server.url.replace("//", "//u:p@")) as running:
        running.put("web", "denied", "db")
        running.loop.run(running.publisher.drained(or_said=True), 20)
        assert running.outbox.queue.count_of("default.denied") == 1


def test_the_loop_does_not_touch_the_file(nats_server):
    touched = set()
    with Running(nats_server.url) as running:
        take = running.outbox.take

        def noting(*arguments):
            touched.add(threading.current_thread().name)
            return take(*arguments)

        running.outbox.take = noting
        running.put("web")
        running.is_done()
    assert {name.rpartition("_")[0] for name in touched} == {"observe-outbox"}
