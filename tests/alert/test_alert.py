"""The verb as its users run it, on a real nats-server, against a webhook of the test's own."""

import json
import signal
import time
from collections.abc import Iterator

import pytest

from observe_lib.times import now_utc, seconds_between
from tests.alert.alerting import Rows, RunningAlert
from tests.alert.hook import Hook, listening
from tests.alert.rows import START, Process
from tests.nats_server import RealNats
from tests.running import run_observe


@pytest.fixture
def hook() -> Iterator[Hook]:
    with listening() as one:
        yield one


@pytest.fixture
def rows(nats_server: RealNats) -> Iterator[Rows]:
    found = Rows(nats_server.url)
    found.lease()
    yield found
    found.close()


def now_s() -> float:
    return seconds_between(START, now_utc())


def crash(rows: Rows, name: str) -> Process:
    one = Process(name)
    one.crash(now_s(), status="Completed")
    rows.write(one)
    return one


def settle(rows: Rows, one: Process) -> None:
    one.begin(now_s())
    rows.write(one)


def test_a_crash_is_one_message_and_one_recovery(nats_server, rows, hook, tmp_path):
    rows.write(Process("api"))
    with RunningAlert(
        nats_server.url, tmp_path, "--webhook", hook.url, "--settle", "2s"
    ).wait_started() as alert:
        api = crash(rows, "api")
        hook.wait(1)
        settle(rows, api)
        hook.wait(2)
        assert hook.alerts == [("firing", "crashed", "api"), ("resolved", "crashed", "api")]
        assert alert.end() == 0
        said = alert.said
    assert 'as "alert"; nothing is open' in said
    assert "firing" in said and "shop/api crashed, exit 1     sent" in said
    assert "shop/api runs for" in said


def test_only_the_processes_that_are_named_are_told(nats_server, rows, hook, tmp_path):
    rows.write(Process("api"), Process("web"), Process("api", "jobs"))
    words = ("shop/*", "!web", "--stack", "host-a", "--webhook", hook.url)
    with RunningAlert(nats_server.url, tmp_path, *words).wait_started():
        other = Process("api", "jobs")
        other.crash(now_s(), status="Completed")
        rows.write(other)
        crash(rows, "web")
        crash(rows, "api")
        hook.wait(1)
    assert hook.alerts == [("firing", "crashed", "api")]
    assert hook.taken[0]["alerts"][0]["labels"]["namespace"] == "shop"


def test_a_kill_tells_nothing_twice_and_misses_nothing(nats_server, rows, hook, tmp_path):
    words = ("--webhook", hook.url, "--settle", "2s")
    rows.write(Process("api"), Process("web"))
    with RunningAlert(nats_server.url, tmp_path, *words).wait_started() as alert:
        crash(rows, "api")
        hook.wait(1)
        alert.wait_said("sent")
        time.sleep(1)  # confirmed by now; killed earlier, it is one delivery in doubt
        alert.end(signal.SIGKILL)
    crash(rows, "web")
    with RunningAlert(nats_server.url, tmp_path, *words) as alert:
        hook.wait(2)
        alert.wait_said("2 open")
    assert hook.alerts == [("firing", "crashed", "api"), ("firing", "crashed", "web")]


def test_a_webhook_that_is_down_is_tried_again_and_gets_all(nats_server, rows, hook, tmp_path):
    hook.status = 503
    rows.write(Process("api"), Process("web"))
    with RunningAlert(nats_server.url, tmp_path, "--webhook", hook.url + "/hook").wait_started() as alert:
        crash(rows, "api")
        alert.wait_said(f"{hook.url}/hook: 503, trying again (1 waits)")
        crash(rows, "web")
        hook.status = 200
        hook.wait(2)
    assert hook.alerts == [("firing", "crashed", "api"), ("firing", "crashed", "web")]
    assert alert.said.count("503") == 1


def test_an_outage_of_nats_loses_nothing(nats_server, rows, hook, tmp_path):
    rows.write(Process("api"), Process("web"))
    with RunningAlert(nats_server.url, tmp_path, "--webhook", hook.url).wait_started():
        crash(rows, "api")
        hook.wait(1)
        nats_server.kill()
        time.sleep(2)
        nats_server.start()
        crash(rows, "web")
        hook.wait(2)
        time.sleep(6)
    assert hook.alerts == [("firing", "crashed", "api"), ("firing", "crashed", "web")]


def test_a_thousand_crashes_are_two_messages_at_most(nats_server, rows, hook, tmp_path):
    processes = [Process(f"web-{number}") for number in range(1000)]
    rows.write(*processes)
    with RunningAlert(nats_server.url, tmp_path, "--webhook", hook.url, "--type", "crashed").wait_started():
        for one in processes:
            one.crash(now_s(), status="Completed")
        rows.write(*processes)
        end = time.monotonic() + 40
        while len(hook.alerts) < 1000 and time.monotonic() < end:
            time.sleep(0.1)
    assert len(set(hook.alerts)) == len(hook.alerts) == 1000
    assert len(hook.taken) <= 2


def test_of_two_alerters_one_works_and_the_other_takes_over(nats_server, rows, hook, tmp_path):
    words = ("--webhook", hook.url)
    rows.write(Process("api"), Process("web"))
    first = RunningAlert(nats_server.url, tmp_path, *words).wait_started()
    with first, RunningAlert(nats_server.url, tmp_path, *words) as second:
        second.wait_said("this one takes over when that one ends")
        crash(rows, "api")
        hook.wait(1)
        first.wait_said("sent")
        time.sleep(1)
        first.end(signal.SIGKILL)
        second.wait_started(15)
        crash(rows, "web")
        hook.wait(2)
    assert hook.alerts == [("firing", "crashed", "api"), ("firing", "crashed", "web")]


def test_two_names_are_two_alerters(nats_server, rows, hook, tmp_path):
    rows.write(Process("api"))
    words = ("--webhook", hook.url, "--name")
    one, two = (
        RunningAlert(nats_server.url, tmp_path, *words, name).wait_started() for name in ("one", "two")
    )
    with one, two:
        crash(rows, "api")
        hook.wait(2)
        two.wait_said("sent")
    assert {payload["receiver"] for payload in hook.taken} == {"one", "two"}
    assert json.loads(rows.get("_observe.alert.one"))["receivers"]["webhook"]["troubles"]


def test_a_silence_is_honoured_by_every_alerter(nats_server, rows, hook, tmp_path):
    rows.write(Process("api"))
    with RunningAlert(nats_server.url, tmp_path, "--webhook", hook.url).wait_started() as alert:
        made = run_observe(
            nats_server.url, "silence", "shop/*", "--for", "12s", "--reason", "deploy", "--who", "ops"
        )
        assert (
            made.code == 0
            and made.out.startswith("shop/* silent until ")
            and made.out.endswith(" (ops: deploy)\n")
        )
        crash(rows, "api")
        alert.wait_said("silenced")
        assert hook.taken == []
        hook.wait(1)
        time.sleep(6)
    assert hook.alerts == [("firing", "crashed", "api")]
    assert "shop/api crashed (ops until " in alert.said


def test_a_command_runs_beside_the_webhook(nats_server, rows, hook, tmp_path):
    script, out = tmp_path / "page.sh", tmp_path / "out"
    script.write_text(
        f'#!/bin/sh\nread -r json\nprintf "%s|%s|%s\\n" "$OBSERVE_STATUS" "$OBSERVE_SUMMARY" "$1" >> {out}\n'
    )
    script.chmod(0o755)
    rows.write(Process("api"))
    words = ("--webhook", hook.url, "--exec", f"{script} {{alertname}}", "--settle", "1s")
    with RunningAlert(nats_server.url, tmp_path, *words).wait_started():
        settle(rows, crash(rows, "api"))
        hook.wait(2)
        end = time.monotonic() + 10
        while not (out.exists() and len(out.read_text().splitlines()) == 2):
            assert time.monotonic() < end
            time.sleep(0.1)
    firing, resolved = out.read_text().splitlines()
    assert firing == "firing|shop/api crashed, exit 1|crashed"
    assert resolved.startswith("resolved|shop/api runs for ") and resolved.endswith("|crashed")


def test_a_webhook_that_is_away_does_not_keep_the_command(nats_server, rows, hook, tmp_path):
    hook.status, done = 503, tmp_path / "done"
    rows.write(Process("api"))
    words = ("--webhook", hook.url, "--exec", f"touch {done}")
    with RunningAlert(nats_server.url, tmp_path, *words).wait_started() as alert:
        crash(rows, "api")
        end = time.monotonic() + 20
        while not done.exists():
            assert time.monotonic() < end, alert.said
            time.sleep(0.1)
        alert.wait_said("trying again")
        hook.status = 200
        hook.wait(1)


def test_an_adapter_that_is_not_heard_of_is_told(nats_server, rows, hook, tmp_path):
    rows.write(Process("api"), Process("web"))
    with RunningAlert(nats_server.url, tmp_path, "--webhook", hook.url, "--for", "1s").wait_started():
        hook.wait(1, 40)
        rows.beat()
        hook.wait(2)
    assert hook.alerts == [("firing", "stale", "adapter"), ("resolved", "stale", "adapter")]


def test_it_waits_for_nats_and_for_the_bucket(tmp_path, hook):
    nats = RealNats(tmp_path / "nats")
    with RunningAlert(nats.url, tmp_path, "--webhook", hook.url) as alert:
        alert.wait_said("trying again")
        try:
            nats.start()
            time.sleep(2)
            rows = Rows(nats.url)
            rows.write(Process("api"))
            alert.wait_started()
            rows.close()
            assert alert.end() == 0
        finally:
            nats.kill()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nobody to tell"),
        (["--webhook", "ftp://x"], "--webhook is no web address"),
        (["--webhook", "https://u:hunter2@x/"], "--webhook holds a secret"),
        (["--webhook-file", "/no/such"], "--webhook-file: /no/such cannot be read"),
        (["--webhook", "http://x", "--headers-file", "/no/such"], "--headers-file: /no/such cannot be read"),
        (["--exec", ""], "--exec is empty"),
        (["--exec", "no-such-command"], "no command no-such-command"),
        (["--exec", "'"], "--exec: No closing quotation"),
        (["--exec", "true", "--limit", "many"], "--limit 'many' is no number per time"),
        (["--exec", "true", "--limit", "0/h"], "--limit '0' is no number"),
        (["--exec", "true", "--for", "soon"], "--for: not a duration"),
        (["--exec", "true", "--type", "sad"], "--type 'sad' is unknown"),
        (["--exec", "true", "--name", "a b"], "--name 'a b' is no plain name"),
    ],
)
def test_what_makes_no_sense_is_said_in_two_lines(words, said):
    done = run_observe("nats://127.0.0.1:1", "alert", *words)
    assert done.code == 2 and said in done.err and len(done.err.splitlines()) == 2
    assert "hunter2" not in done.err


def test_a_test_message_is_sent_without_nats(hook):
    done = run_observe("nats://127.0.0.1:1", "alert", "--test", "--webhook", hook.url, "--exec", "cat")
    assert done.code == 0, done.err
    assert hook.alerts == [("firing", "test", "test"), ("resolved", "test", "test")]
    assert len(done.out.splitlines()) == 2


def test_a_test_message_that_is_not_taken_is_said(hook):
    hook.status = 401
    done = run_observe("nats://127.0.0.1:1", "alert", "--test", "--webhook", hook.url)
    assert done.code == 1 and f"{hook.url}: 401" in done.err


def test_doctor_sees_it_and_what_it_keeps_is_no_process(nats_server, rows, hook, tmp_path):
    rows.write(Process("api"))
    with RunningAlert(nats_server.url, tmp_path, "--webhook", hook.url, "--name", "ops").wait_started():
        assert run_observe(nats_server.url, "silence", "jobs/*").code == 0
        told = run_observe(nats_server.url, "doctor").out
        shown = run_observe(nats_server.url, "ps", "--json")
    assert "ok    alerter" in told and "ops: pid " in told and ", 0 open" in told
    assert shown.code in (0, 1) and "_observe" not in shown.out and "Traceback" not in shown.err
