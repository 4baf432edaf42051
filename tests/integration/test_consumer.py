"""Consumer against a real nats-server: delivery, filters, every way in which things break, durables."""

import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType

import pytest
from nats.js import api

from observe_lib import Consumer, Event, EventType, NatsError, ObserveError, UsageError
from observe_lib.broker.connect import connect
from observe_lib.broker.loop import Bridge
from observe_lib.broker.stream import KV_STREAM, STREAM, StreamOptions, ensure_bucket, ensure_stream
from observe_lib.reader.connection import Pace
from observe_lib.settings import NatsSettings
from observe_lib.subjects import observer_subject
from tests.fleet import bucket_of
from tests.nats_server import RealNats, free_port

ROOT = Path(__file__).resolve().parents[2]
MOMENT = "2025-10-16T16:26:%02d.123Z"
QUICK = Pace(heartbeat_s=0.5, expires_s=2.0, ack_wait_s=0.6, retry_s=(0.1, 0.2, 0.3))


def event(process: str, kind: str = "started", seq: int | None = None, **fields: object) -> Event:
    at = MOMENT % (min(seq or 0, 59))
    return Event(kind, process, "default", at, stack="host", seq=seq, observed_at=at, **fields)


class Writer:
    """Publishes as the adapter does, in blocking calls."""

    def __init__(self, url: str) -> None:
        self.bridge = Bridge("writer")
        self.bridge.start()
        self.nc = self.bridge.run(connect(NatsSettings(url), "writer"), 10)
        self.js = self.nc.jetstream(timeout=2)

    def ensure(self, **options: float) -> None:
        self.retry(lambda: ensure_stream(self.js, StreamOptions(**options)))

    def retry(self, make: Callable[[], object]) -> None:
        deadline = time.monotonic() + 10
        while True:
            try:
                self.bridge.run(make(), 5)
                return
            except Exception:
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def put(self, *events: Event) -> None:
        for one in events:
            self.raw(one.subject, one.to_json())

    def raw(self, subject: str, payload: bytes) -> None:
        self.retry(lambda: self.js.publish(subject, payload))

    def show(self, one: Event) -> None:
        """Write the row that an event makes of its process."""
        self.retry(lambda: ensure_bucket(self.js, StreamOptions()))
        for subject, payload in bucket_of(one).items():
            self.raw(subject, payload)

    def put_many(self, events: list[Event]) -> None:
        async def send() -> None:
            for one in events:
                await self.js.publish_async(one.subject, one.to_json())
            await self.js.publish_async_completed()

        self.bridge.run(send(), 30)

    def close(self) -> None:
        self.bridge.run(self.nc.close(), 5)
        self.bridge.stop()


class Seen(list):
    """A handler that keeps what it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = threading.Condition()

    def __call__(self, one: object) -> None:
        with self.changed:
            self.append(one)
            self.changed.notify_all()

    def until(self, condition: Callable[[list], object], timeout_s: float = 10) -> list:
        with self.changed:
            assert self.changed.wait_for(lambda: condition(self), timeout_s), names(self[-20:])
        return self

    def until_count(self, count: int, timeout_s: float = 10) -> list:
        return self.until(lambda seen: len(seen) >= count, timeout_s)


def names(events: list) -> list:
    return [f"{one.process}:{one.type}" if isinstance(one, Event) else one for one in events]


@pytest.fixture
def consumer(nats_server: RealNats) -> Iterator[Consumer]:
    with Consumer(nats_server.url, pace=QUICK) as found:
        yield found


class TestDelivery:
    def test_the_last_per_subject_then_live(self, writer, consumer):
        writer.put(event("a", seq=1), event("b", seq=1), event("a", "crashed", seq=2), event("a", seq=3))
        seen = Seen()
        consumer.subscribe(seen, on_live=lambda: seen("live"))
        seen.until_count(4)
        writer.put(event("b", "stopped", seq=2), event("b", seq=3))
        seen.until_count(6)
        assert names(seen) == ["b:started", "a:crashed", "a:started", "live", "b:stopped", "b:started"]

    def test_new_is_only_what_happens_from_now_on(self, writer, consumer):
        writer.put(event("a", seq=1))
        seen = Seen()
        consumer.subscribe(seen, new=True, on_live=lambda: seen("live"))
        writer.put(event("a", "crashed", seq=2))
        assert names(seen.until_count(2)) == ["live", "a:crashed"]

    def test_an_empty_stream_is_live_at_once(self, writer, consumer):
        seen = Seen()
        consumer.subscribe(seen, on_live=lambda: seen("live"))
        seen.until_count(1, 1)

    def test_a_live_event_is_there_in_milliseconds(self, writer, consumer):
        arrived = Seen()
        consumer.subscribe(lambda _: arrived(time.perf_counter()), new=True)
        delays = []
        for number in range(1, 51):
            sent = time.perf_counter()
            writer.put(event("a", seq=number))
            delays.append(arrived.until_count(number)[-1] - sent)
        assert sorted(delays)[25] < 0.02

    def test_what_the_subscriptions_filter(self, writer, consumer):
        cases: dict[str, tuple[dict, list[str]]] = {
            "all": ({}, ["a:started", "b:crashed", "c:status_changed", "adapter:started"]),
            "process": ({"process": "default/a"}, ["a:started"]),
            "bare": ({"process": ["b", "a"]}, ["a:started", "b:crashed"]),
            "overlapping": ({"process": ["b", "default/*"], "types": ["crashed"]}, ["b:crashed"]),
            "glob": ({"process": "[ab]"}, ["a:started", "b:crashed"]),
            "types": ({"types": [EventType.STARTED, "crashed"]}, ["a:started", "b:crashed"]),
            "observer": ({"types": "started", "process": "_observe/*"}, ["adapter:started"]),
            "excluded": (
                {"exclude_types": "started", "companions": False},
                ["b:crashed"],
            ),
            "stack": ({"stack": "other"}, []),
            "many": ({"process": [f"default/p{n}" for n in range(150)] + ["default/a"]}, ["a:started"]),
        }
        seen = {name: Seen() for name in cases}
        for name, (filters, _) in cases.items():
            consumer.subscribe(seen[name], **filters, on_live=lambda name=name: seen[name]("live"))
        writer.put(
            event("a", seq=1), event("b", "crashed", seq=1), event("c", "status_changed", companion=True)
        )
        own = observer_subject("adapter", "started")
        writer.put(Event("started", "adapter", "_observe", MOMENT % 1, subject=own))
        seen["all"].until_count(5)
        for name, (_, expected) in cases.items():
            seen[name].until_count(len(expected) + 1)
            assert names(seen[name]) == ["live", *expected], name

    def test_one_process_one_type_or_all(self, writer, consumer):
        by_process, by_type, everything = Seen(), Seen(), Seen()
        consumer.subscribe_process("default/a", by_process)
        consumer.subscribe_event_type(EventType.CRASHED, by_type)
        consumer.subscribe_all(everything)
        writer.put(event("a", seq=1), event("b", "crashed", seq=1))
        assert names(everything.until_count(2)) == ["a:started", "b:crashed"]
        assert names(by_process.until_count(1)) == ["a:started"]
        assert names(by_type.until_count(1)) == ["b:crashed"]

    def test_iterating(self, nats_server, writer):
        writer.put(event("a", seq=1), event("b", seq=1))
        once = Consumer(nats_server.url)
        for _ in range(2):
            assert names(list(once.events(follow=False))) == ["a:started", "b:started"]
        found = []
        for one in Consumer(nats_server.url).events(process="a", types=["started", "crashed"]):
            found.append(one)
            if len(found) == 2:
                break
            writer.put(event("a", "crashed", seq=2))
        assert names(found) == ["a:started", "a:crashed"]
        wait_until(lambda: not threads("observe-"))

    def test_an_event_that_is_in_the_stream_twice_is_handed_over_once(self, writer, consumer):
        """A new memory begins at 1 again, and its host's clock may be behind the last one's."""
        seen = Seen()
        consumer.subscribe(seen)
        new, behind = (replace(event("a", seq=1), observed_at=MOMENT % number) for number in (9, 1))
        writer.put(event("a", seq=1), event("a", seq=2), event("a", seq=2), new, new, behind, behind)
        writer.put(event("b"), event("b"))
        seen.until_count(6)
        assert [one.seq for one in seen] == [1, 2, 1, 1, None, None]
        assert [one.observed_at for one in seen[2:4]] == [MOMENT % 9, MOMENT % 1]


class TestBadInput:
    def test_malformed_payloads_are_counted_and_skipped(self, writer, consumer):
        seen = Seen()
        subscription = consumer.subscribe(seen, new=True)
        for payload in (b"", b"{", b"[]", b"\xff\xfe", b'{"type": 1}', b"[" * 200_000):
            writer.raw("core.process.default.a.started", payload)
        writer.put(event("a", seq=1))
        seen.until_count(1)
        assert subscription.malformed == 6

    def test_a_seq_that_no_adapter_gives_harms_nothing(self, writer, consumer):
        seen = Seen()
        subscription = consumer.subscribe(seen, new=True)
        writer.put(event("a", seq=0), replace(event("b"), seq=-1), event("b", seq=1), event("c", seq=1))
        assert [one.seq for one in seen.until_count(4)] == [0, -1, 1, 1]
        assert subscription.malformed == 0

    def test_events_of_a_megabyte(self, writer, consumer):
        seen = Seen()
        consumer.subscribe(seen, new=True)
        writer.put(*(event("a", seq=n, log_tail=["x" * 1_040_000]) for n in range(1, 31)))
        assert [one.seq for one in seen.until_count(30)] == list(range(1, 31))

    @pytest.mark.parametrize("name", ["", "a b", "a.b", "*", "x" * 65])
    def test_a_durable_needs_a_plain_name(self, consumer, name):
        with pytest.raises(UsageError):
            consumer.subscribe(print, durable=name)

    def test_an_empty_process_name(self, consumer):
        with pytest.raises(UsageError):
            consumer.subscribe(print, process="")

    def test_nobody_there(self):
        url = f"nats://127.0.0.1:{free_port()}"
        with pytest.raises(NatsError, match=f"{url}: connection refused") as caught:
            Consumer(url, timeout_s=1).connect()
        assert caught.value.hint
        assert not threads("observe-")

    def test_no_jetstream(self, tmp_path):
        with (
            RealNats(tmp_path / "plain", jetstream=False) as server,
            Consumer(server.url) as consumer,
            pytest.raises(NatsError, match="has no JetStream"),
        ):
            consumer.subscribe(print)

    def test_reading_is_not_permitted(self, tmp_path):
        config = tmp_path / "nats.conf"
        config.write_text('authorization: {users: [{user: u, password: p, permissions: {publish: "x"}}]}')
        with RealNats(tmp_path / "nats", None, "-c", str(config)) as server:
            settings = NatsSettings(server.url, user="u", password="p")
            with Consumer(settings) as consumer, pytest.raises(NatsError, match="(?i)permissions violation"):
                consumer.subscribe(print)


class TestHandlers:
    def test_a_slow_one_harms_no_other_and_memory_stays_bounded(self, nats_server, writer):
        slow, fast, go = Seen(), Seen(), threading.Event()

        def wait_first(one: Event) -> None:
            go.wait(20)
            slow(one)

        with Consumer(nats_server.url) as consumer:
            first = consumer.subscribe(wait_first, new=True)
            consumer.subscribe(fast, new=True)
            writer.put_many([event(f"p{n % 50}", seq=n // 50 + 1) for n in range(20_000)])
            fast.until_count(20_000, 20)
            assert not slow and first.feed._items.qsize() <= 600
            go.set()
            slow.until_count(20_000, 20)
        assert names(slow) == names(fast)
        assert [one.seq for one in slow if one.process == "p7"] == list(range(1, 401))

    def test_a_raising_one_goes_on(self, writer, consumer, caplog):
        seen = Seen()

        def fail(one: Event) -> None:
            seen(one)
            raise RuntimeError("a word\nabout it")

        subscription = consumer.subscribe(fail, new=True)
        writer.put(event("a", seq=1), event("a", seq=2))
        seen.until_count(2)
        consumer.close()
        assert subscription.failed == 2
        assert "RuntimeError" in caplog.text and "Traceback" not in caplog.text

    def test_stop_one(self, writer, consumer):
        stopped, other = Seen(), Seen()
        subscription = consumer.subscribe(stopped, new=True)
        consumer.subscribe(other, new=True)
        writer.put(event("a", seq=1))
        stopped.until_count(1)
        subscription.stop()
        subscription.thread.join(5)
        writer.put(event("a", seq=2))
        other.until_count(2)
        assert len(stopped) == 1 and not subscription.thread.is_alive()


class TestEnding:
    def test_close_from_another_thread_ends_wait(self, consumer, writer):
        consumer.subscribe(print)
        assert consumer.wait(0.05) is False
        threading.Timer(0.1, consumer.close).start()
        assert consumer.wait(10) is True

    @pytest.mark.parametrize("step", range(1, 20))
    def test_ctrl_c_as_it_begins_to_wait(self, step):
        """It is raised at one step after the other of `threading`'s code: close() works all the same."""
        consumer, left = Consumer(), iter(range(step, -1, -1))

        def interrupt(frame: FrameType, *_: object) -> object:
            if frame.f_code.co_filename == threading.__file__ and not next(left, -1):
                sys.settrace(None)
                raise KeyboardInterrupt
            return interrupt

        def wait_and_close() -> None:
            sys.settrace(interrupt)
            with suppress(KeyboardInterrupt, RuntimeError):  # the latter: Python's own, on its way out
                consumer.wait(0.01)
            sys.settrace(None)
            consumer.close()

        waiting = threading.Thread(target=wait_and_close, daemon=True)
        waiting.start()
        waiting.join(10)
        assert not waiting.is_alive()

    def test_close_within_a_handler(self, nats_server, writer):
        consumer = Consumer(nats_server.url)
        consumer.subscribe(lambda _: consumer.close(), durable="once")
        writer.put(event("a", seq=1))
        assert consumer.wait(10)
        wait_until(lambda: not threads("observe-"))
        info = writer.bridge.run(writer.js.consumer_info(STREAM, "once"))
        assert info.num_ack_pending == 0  # what the handler had was acknowledged all the same

    def test_nothing_is_left_on_the_server(self, nats_server, writer):
        with Consumer(nats_server.url) as consumer:
            consumer.subscribe(print)
            assert len(writer.bridge.run(writer.js.consumers_info(STREAM))) == 1
        wait_until(lambda: not writer.bridge.run(writer.js.consumers_info(STREAM)))

    @pytest.mark.parametrize("durable", [None, "pager"])
    def test_close_is_quick(self, nats_server, writer, durable):
        for number in range(1, 6):
            seen, consumer = Seen(), Consumer(nats_server.url)
            consumer.subscribe(seen, durable=durable)
            writer.put(event("a", seq=number))
            seen.until_count(1)
            began = time.monotonic()
            consumer.close()
            assert time.monotonic() - began < 0.5

    def test_the_end_of_a_loop_leaves_the_rest_connected(self, nats_server, writer):
        def others(consumer: Consumer) -> list[Callable[[], object]]:
            return [consumer.connect, consumer.states, lambda: consumer.subscribe(print), consumer.retained]

        writer.put(event("a", seq=1))
        for number in range(4):
            consumer = Consumer(nats_server.url)
            loop = consumer.events()
            next(loop)
            others(consumer)[number]()
            loop.close()
            assert consumer.connected
            consumer.close()

    def test_the_states_go_on_after_a_loop(self, nats_server, writer):
        consumer = Consumer(nats_server.url)
        writer.put(event("a", seq=1))
        writer.show(event("a", seq=1))
        loop = consumer.events()
        next(loop)
        consumer.states()
        loop.close()
        writer.show(event("b", seq=1, state={"name": "b", "status": "Running", "is_running": True, "pid": 5}))
        wait_until(lambda: "b" in [place.process for place in consumer.states().rows])
        consumer.close()

    def test_the_end_of_a_loop_ends_no_waiting(self, nats_server, writer):
        consumer, reached = Consumer(nats_server.url), Seen()
        writer.put(event("a", seq=1))
        writer.show(event("a", seq=1))
        loop = consumer.events()
        next(loop)
        waiting = threading.Thread(target=lambda: reached(consumer.wait_for("b", "running", timeout_s=20)))
        waiting.start()
        wait_until(lambda: consumers(writer, KV_STREAM))
        loop.close()
        writer.show(event("b", seq=1, state={"name": "b", "status": "Running", "is_running": True, "pid": 5}))
        waiting.join(30)
        consumer.close()
        assert [one.place.process for one in reached[0]] == ["b"]

    def test_loops_side_by_side_disconnect_once_both_have_ended(self, nats_server, writer):
        consumer = Consumer(nats_server.url)
        writer.put(event("a", seq=1))
        first, second = consumer.events(), consumer.events()
        next(first), next(second)
        first.close()
        assert consumer.connected
        second.close()
        assert not consumer.connected and not threads("observe-loop")

    def test_a_closed_one_says_so(self, consumer):
        consumer.close()
        with pytest.raises(ObserveError, match="closed"):
            consumer.subscribe(print)

    def test_a_program_that_leaves_a_loop_open_ends_at_once(self, nats_server, writer):
        code = f"""
            import functools, os
            from observe_lib import Consumer
            from observe_lib.broker.loop import Bridge
            loop = Consumer({nats_server.url!r}).events()
            print(next(loop).process, flush=True)
            Bridge.stop = functools.partial(os.write, 1, b"waits for a thread that runs no more")
        """
        writer.put(event("a", seq=1))
        program = [sys.executable, "-c", textwrap.dedent(code)]
        ended = subprocess.run(program, cwd=ROOT, text=True, capture_output=True, timeout=30)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "a\n", "")

    @pytest.mark.parametrize("blocked", ["consumer.wait()", "list(consumer.events())"])
    def test_ctrl_c(self, nats_server, writer, blocked):
        code = f"""
            from observe_lib import Consumer
            with Consumer({nats_server.url!r}) as consumer:
                consumer.subscribe(lambda event: print(event.process, flush=True))
                try:
                    {blocked}
                except KeyboardInterrupt:
                    print("interrupted", flush=True)
        """
        writer.put(event("a", seq=1))
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, text=True, stdout=subprocess.PIPE
        ) as program:
            assert program.stdout and program.stdout.readline() == "a\n"
            time.sleep(0.1)  # whether it blocks by now or a little later: it has to end
            program.send_signal(signal.SIGINT)
            try:
                assert program.communicate(timeout=15)[0] == "interrupted\n"
            finally:
                program.kill()
            assert program.returncode == 0


class TestTrouble:
    def test_server_killed_and_back(self, nats_server, writer, consumer):
        seen, second = Seen(), Seen()
        consumer.subscribe(seen, on_live=lambda: seen("live"))
        consumer.subscribe(second, process="default/a", new=True)
        for number in (1, 4, 7):
            writer.put(*(event("a", seq=number + k) for k in range(3)))
            nats_server.restart()
            writer.put(event("again", seq=number))
            seen.until_count(1 + (number + 2) // 3 * 4)
        assert [one.seq for one in seen if one != "live" and one.process == "a"] == list(range(1, 10))
        assert [one.seq for one in second.until_count(9)] == list(range(1, 10))
        assert seen[0] == "live" and len(seen) == 13

    def test_killed_in_the_middle_of_20000(self, nats_server, writer):
        writer.put_many([event(f"p{n}", seq=1) for n in range(10_000)])
        seen = Seen()

        def kill_once(one: object) -> None:
            seen(one)
            if len(seen) in (50, 5000):
                nats_server.restart()

        with Consumer(nats_server.url) as consumer:
            consumer.subscribe(kill_once, on_live=lambda: seen("live"))
            seen.until_count(10_001, 20)
            writer.put(event("p1", seq=2))
            seen.until_count(10_002)
        assert names(seen) == [*(f"p{n}:started" for n in range(10_000)), "live", "p1:started"]

    def test_connection_broken_while_the_server_lives(self, nats_server, writer, consumer):
        seen = Seen()
        consumer.subscribe(seen)
        writer.put(event("a", seq=1))
        seen.until_count(1)
        client = consumer._connection.session.client
        consumer._connection.bridge.call(client._transport.close)
        writer.put(event("a", seq=2))
        seen.until_count(2)
        consumer._connection.bridge.run(client.close())  # as the library does after an -ERR of the server's
        writer.put(event("a", seq=3))
        assert [one.seq for one in seen.until_count(3)] == [1, 2, 3]

    def test_the_server_forgets_the_reader(self, writer, consumer):
        seen = Seen()
        consumer.subscribe(seen)
        writer.put(event("a", seq=1))
        seen.until_count(1)
        for one in writer.bridge.run(writer.js.consumers_info(STREAM)):
            writer.bridge.run(writer.js.delete_consumer(STREAM, one.name))
        writer.put(event("a", seq=2))
        assert [one.seq for one in seen.until_count(2)] == [1, 2]

    def test_frozen_server(self, nats_server, writer, consumer):
        seen = Seen()
        consumer.subscribe(seen)
        nats_server.pause()
        time.sleep(1.5)  # longer than the signs of life may be missing
        nats_server.resume()
        writer.put(event("a", seq=1))
        assert len(seen.until_count(1)) == 1

    def test_store_wiped(self, nats_server, writer, consumer, caplog):
        seen = Seen()
        consumer.subscribe(seen)
        writer.put(event("a", seq=1), event("a", seq=2))
        seen.until_count(2)
        nats_server.kill()
        nats_server.wipe()
        nats_server.start()
        writer.ensure()
        writer.put(event("a", seq=3), event("b", seq=1))
        assert names(seen.until_count(4)) == ["a:started"] * 3 + ["b:started"]
        assert "PROCESS_EVENTS" in caplog.text

    def test_stream_deleted_and_made_anew(self, writer, consumer, caplog):
        seen, waits = Seen(), Seen()
        consumer.subscribe(seen, on_wait=waits)
        writer.put(event("a", seq=1))
        seen.until_count(1)
        writer.bridge.run(writer.js.delete_stream(STREAM))
        wait_until(lambda: "is gone" in caplog.text)
        writer.ensure()
        writer.put(event("a", seq=2))
        seen.until_count(2)
        writer.bridge.run(writer.js.delete_stream(STREAM))
        writer.ensure()  # faster than anybody can notice that it was gone
        writer.put(event("a", seq=3), event("a", seq=4))
        assert [one.seq for one in seen.until_count(4)] == [1, 2, 3, 4]
        assert not waits

    def test_no_stream_at_first(self, nats_server):
        seen = Seen()
        with Consumer(nats_server.url) as consumer:
            consumer.subscribe(seen, on_wait=seen, on_live=lambda: seen("live"), new=True)
            seen.until_count(2)
            writer = Writer(nats_server.url)
            writer.ensure()
            writer.put(event("a", seq=1), event("a", seq=2))
            seen.until_count(4)
            writer.close()
        said = f"no PROCESS_EVENTS on {nats_server.url} yet"
        assert names(seen) == [said, "live", "a:started", "a:started"]

    def test_iterating_over_no_stream_ends(self, nats_server):
        assert list(Consumer(nats_server.url).events(follow=False)) == []

    def test_purged(self, writer, consumer):
        seen = Seen()
        consumer.subscribe(seen)
        writer.put(event("a", seq=1))
        seen.until_count(1)
        writer.bridge.run(writer.js.purge_stream(STREAM))
        writer.put(event("a", seq=2))
        assert [one.seq for one in seen.until_count(2)] == [1, 2]


class TestDurable:
    def test_goes_on_where_the_last_program_was(self, nats_server, writer):
        for count in (1, 3):
            seen = Seen()
            with Consumer(nats_server.url) as consumer:
                consumer.subscribe(seen, durable="pager")
                writer.put(event("a", seq=count))
                seen.until(lambda seen, count=count: seen and seen[-1].seq == count)
            writer.put(event("a", seq=count + 1))
        assert [one.seq for one in seen] == [2, 3]

    def test_other_filters_are_taken_over(self, nats_server, writer):
        for process in ("a", "b"):
            seen = Seen()
            with Consumer(nats_server.url) as consumer:
                consumer.subscribe(seen, durable="pager", process=process, types=["started", "crashed"])
                writer.put(event("a"), event("b"))
                seen.until_count(1)
            assert set(names(seen)) == {f"{process}:started"}

    def test_other_filters_in_one_program_are_refused(self, writer, consumer):
        seen = Seen()
        first = consumer.subscribe(seen, durable="pager", process=["a", "b"])
        for others in ({"process": "b"}, {}, {"process": ["a", "b"], "stack": "other"}):
            with pytest.raises(UsageError, match="the durable pager is open under other filters"):
                consumer.subscribe(print, durable="pager", **others)
        consumer.subscribe(seen, durable="pager", process=["b", "a"])
        writer.put(event("a", seq=1), event("b", seq=1), event("c", seq=1))
        assert set(names(seen.until_count(2))) == {"a:started", "b:started"}
        first.stop()

    def test_other_filters_are_refused_while_another_program_reads(self, nats_server, writer, consumer):
        seen = Seen()
        consumer.subscribe(seen, durable="pager", process="a")
        wait_until(lambda: consumers(writer)[0].num_waiting)
        with Consumer(nats_server.url, timeout_s=0.4) as other:
            with pytest.raises(NatsError, match=f"pager on {nats_server.url} is in use with other filters"):
                other.subscribe(print, durable="pager", process="b")
            writer.put(event("b", seq=1), event("a", seq=1))
            assert names(seen.until_count(1)) == ["a:started"]
            consumer.close()
            other.subscribe(seen, durable="pager", process="b")
            writer.put(event("b", seq=2))
            assert seen.until_count(2)[-1].process == "b"

    def test_other_filters_at_once_after_the_first_ones_end(self, writer, consumer):
        seen = Seen()
        for process in ("a", "b", "a"):
            subscription = consumer.subscribe(seen, durable="pager", process=process)
            wait_until(lambda: consumers(writer)[0].num_waiting)
            subscription.stop()

    def test_one_that_is_not_ours(self, writer, consumer):
        config = api.ConsumerConfig(durable_name="pager", deliver_subject="elsewhere")
        writer.bridge.run(writer.js.add_consumer(STREAM, config))
        with pytest.raises(NatsError, match="pager"):
            consumer.subscribe(print, durable="pager")

    def test_a_raising_handler_gets_it_again_then_it_is_skipped(self, writer, consumer, caplog):
        tries = Seen()

        def fail(one: Event) -> None:
            tries((one.seq, time.monotonic()))
            if one.seq == 1:
                raise RuntimeError("no")

        subscription = consumer.subscribe(fail, durable="pager")
        writer.put(event("a", seq=1), event("a", seq=2))
        tries.until_count(5)
        wait_until(lambda: subscription.skipped == 1)
        assert subscription.failed == 4
        assert "skipped for good" in caplog.text
        times = [at for seq, at in tries if seq == 1]
        waits = [after - before for before, after in zip(times, times[1:], strict=False)]
        assert all(least <= wait < least + 0.5 for least, wait in zip(QUICK.retry_s, waits, strict=True))
        wait_until(lambda: consumers(writer)[0].num_ack_pending == 0)

    def test_a_slow_handler_gets_it_once(self, writer, consumer):
        seen = Seen()

        def slow(one: Event) -> None:
            time.sleep(1.5)  # more than twice what an acknowledgement may take
            seen(one)

        consumer.subscribe(slow, durable="pager")
        writer.put(event("a", seq=1), event("a", seq=2))
        assert [one.seq for one in seen.until_count(2)] == [1, 2]

    def test_server_killed_while_a_handler_works(self, nats_server, writer, consumer):
        seen = Seen()

        def restart_once(one: Event) -> None:
            if one.seq == 2 and len(seen) == 1:
                nats_server.restart()
            seen(one)

        consumer.subscribe(restart_once, durable="pager")
        writer.put(*(event("a", seq=n) for n in range(1, 6)))
        seen.until(lambda seen: seen and seen[-1].seq == 5)
        assert [one.seq for one in seen] == [1, 2, 3, 4, 5]

    def test_store_wiped(self, nats_server, writer, consumer):
        seen = Seen()
        consumer.subscribe(seen, durable="pager")
        writer.put(event("a", seq=1))
        seen.until_count(1)
        nats_server.kill()
        nats_server.wipe()
        nats_server.start()
        writer.ensure()
        writer.put(event("a", seq=2), event("a", seq=3))
        assert [one.seq for one in seen.until_count(3)] == [1, 2, 3]

    def test_killed_itself_midway_loses_nothing(self, nats_server, writer, tmp_path):
        code = f"""
            import sys, time
            from observe_lib import Consumer
            from observe_lib.reader.connection import Pace
            log = open({str(tmp_path / "log")!r}, "a", buffering=1)
            def handle(event):
                log.write(f"{{event.seq}}\\n")
                time.sleep(0.002)
            with Consumer({nats_server.url!r}, pace=Pace(ack_wait_s=0.6)) as consumer:
                consumer.subscribe(handle, durable="pager")
                consumer.wait()
        """
        command = [sys.executable, "-c", textwrap.dedent(code)]

        def lines() -> list[str]:
            return (tmp_path / "log").read_text().split() if (tmp_path / "log").exists() else []

        programs = [subprocess.Popen(command, cwd=ROOT)]
        wait_until(lambda: consumers(writer))
        writer.put_many([event("a", seq=n) for n in range(1, 501)])
        for least in (50, 200):
            wait_until(lambda least=least: len(lines()) >= least)
            os.kill(programs[-1].pid, signal.SIGKILL)
            programs[-1].wait()
            programs.append(subprocess.Popen(command, cwd=ROOT))
        wait_until(lambda: len(set(lines())) == 500, 15)
        programs[-1].kill()
        programs[-1].wait()
        assert len(lines()) <= 502  # at most what each killed one was at

    def test_three_consumers_share_one(self, nats_server, writer):
        seen = [Seen(), Seen(), Seen()]
        consumers_ = [Consumer(nats_server.url, pace=QUICK) for _ in seen]
        for consumer, handler in zip(consumers_, seen, strict=True):
            consumer.subscribe(handler, durable="pager")
        writer.put_many([event(f"p{n}", seq=1) for n in range(600)])
        wait_until(lambda: sum(map(len, seen)) >= 600)
        for consumer in consumers_:
            consumer.close()
        assert sorted(one.process for each in seen for one in each) == sorted(f"p{n}" for n in range(600))
        assert all(each for each in seen)


def threads(prefix: str) -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name.startswith(prefix)]


def consumers(writer: Writer, stream: str = STREAM) -> list:
    return writer.bridge.run(writer.js.consumers_info(stream))


def wait_until(condition: Callable[[], object], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def _log_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
