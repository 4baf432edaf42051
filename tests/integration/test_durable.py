"""A durable reader that ends and begins again: nothing late, nothing out of order; and what it may not do."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from observe_lib import Consumer, NatsError
from observe_lib.broker.stream import STREAM
from observe_lib.settings import NatsSettings
from tests.integration.test_consumer import ROOT, Seen, Writer, event, wait_until
from tests.nats_server import RealNats


def test_ended_and_begun_again_it_gets_everything_once_and_in_order(nats_server, writer):
    """There is always more to read, so that each program has one pulled ahead when it ends."""
    total, seen = 1000, Seen()
    writer.put_many([event(f"p{number}", seq=number) for number in range(1, total + 1)])
    for turn in range(20):
        with Consumer(nats_server.url) as consumer:
            consumer.subscribe(seen, durable="pager")
            seen.until_count(min(len(seen) + 1 + turn, total))
    assert len(seen) < total, "the last program has something left to read"
    with Consumer(nats_server.url) as consumer:
        consumer.subscribe(seen, durable="pager")
        seen.until_count(total)
    assert [one.seq for one in seen] == list(range(1, total + 1))


def test_what_a_killed_program_had_comes_before_all_that_is_new(nats_server, writer):
    code = f"""
        import time
        from observe_lib import Consumer
        from observe_lib.reader.connection import Pace
        with Consumer({nats_server.url!r}, pace=Pace(ack_wait_s=2.0)) as consumer:
            consumer.subscribe(lambda event: (print(event.seq, flush=True), time.sleep(60)), durable="pager")
            consumer.wait()
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout
        wait_until(lambda: writer.bridge.run(writer.js.consumers_info(STREAM)))
        writer.put(event("a", seq=1), event("a", seq=2), event("a", seq=3))
        assert program.stdout.readline() == "1\n"
        os.kill(program.pid, signal.SIGKILL)
    seen = Seen()
    with Consumer(nats_server.url) as consumer:
        consumer.subscribe(seen, durable="pager")
        writer.put(event("a", seq=4))
        assert [one.seq for one in seen.until_count(4)] == [1, 2, 3, 4]


def test_a_reader_that_may_not_acknowledge_is_told_so_at_once(tmp_path: Path):
    config = tmp_path / "nats.conf"
    config.write_text(
        """
        authorization: {users: [
            {user: writer, password: p},
            {user: reader, password: p,
             permissions: {publish: {allow: ["$JS.API.>"]}, subscribe: {allow: ["_INBOX.>"]}}},
        ]}
        """
    )
    with RealNats(tmp_path / "nats", None, "-c", str(config)) as server:
        writer = Writer(server.url.replace("//", "//writer:p@"))
        writer.ensure()
        writer.put(event("a", seq=1))
        with Consumer(NatsSettings(server.url, user="reader", password="p")) as consumer:
            with pytest.raises(NatsError, match="nothing can be acknowledged") as caught:
                consumer.subscribe(print, durable="pager")
            assert caught.value.hint == "grant publish on $JS.ACK.>"
            seen = Seen()
            consumer.subscribe(seen)
            seen.until_count(1)
        writer.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_forever_is_a_programs_last_line(nats_server, writer, number):
    code = f"""
        import os, signal, threading, time
        from observe_lib import Consumer

        def say_when_it_is_caught(before):
            end = time.monotonic() + 15
            while signal.getsignal({int(number)}) is before:
                if time.monotonic() > end:
                    os._exit(3)
                time.sleep(0.01)
            print("caught", flush=True)

        with Consumer({nats_server.url!r}) as consumer:
            consumer.subscribe(lambda event: print(event.process, flush=True), process=None)
            before = signal.getsignal({int(number)})
            threading.Thread(target=say_when_it_is_caught, args=(before,), daemon=True).start()
            consumer.run_forever()
    """
    writer.put(event("a", seq=1))
    program = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(
        program, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout and {child.stdout.readline() for _ in "12"} == {"a\n", "caught\n"}
        child.send_signal(number)
        try:
            assert child.communicate(timeout=15) == ("", "")
        finally:
            child.kill()
        assert child.returncode == 0


def test_run_forever_ends_at_close_in_any_thread(nats_server, writer):
    consumer = Consumer(nats_server.url)
    consumer.subscribe(lambda _: consumer.close())
    writer.put(event("a", seq=1))
    consumer.run_forever()
    waiting = threading.Thread(target=consumer.run_forever)
    waiting.start()
    waiting.join(10)
    assert not waiting.is_alive()
