"""Running a command: its words, its variables, its standard input, its time; and what is not run."""

import json
import os
import sys
import time

import pytest

from observe_lib.alert.message import payload_of
from observe_lib.alert.run_command import RunCommand
from observe_lib.alert.trouble import Notice, Rules
from observe_lib.alert.webhook import NotToldError
from observe_lib.errors import UsageError
from tests.alert.rows import Alerting, Process, moment

SHOW = """
import json, os, sys
with open(sys.argv[1], "a") as out:
    print(json.dumps([sys.argv[2:], json.load(sys.stdin), dict(os.environ)]), file=out)
"""


def payload(*names: str, status: str = "firing") -> dict:
    processes = [Process(name) for name in names]
    alerting = Alerting(*processes).until(10)
    for one in processes:
        one.crash(10)
    alerting.until(30)
    for one in processes:
        one.begin(30)
    alerting.until(300)
    return next(one for one in alerting.payloads if one["status"] == status)


@pytest.fixture
def show(tmp_path):
    """Give a function that runs a command with these words, and returns what each run got."""
    out, script = tmp_path / "out", tmp_path / "show.py"
    script.write_text(SHOW)

    def run(words: str, message: dict, line: str = "the line") -> list:
        command = RunCommand(f"{sys.executable} {script} {out} {words}")
        command.send(message, line)
        return [json.loads(one) for one in out.read_text().splitlines()] if out.exists() else []

    return run


def test_the_json_is_on_stdin_and_the_fields_are_variables(show):
    message = payload("api")
    ((words, told, environ),) = show("", message)
    assert (words, told) == ([], message)
    alert = message["alerts"][0]
    named = {name for name in environ if name.startswith("OBSERVE_")} - os.environ.keys()
    told = {name.removeprefix("OBSERVE_"): environ[name] for name in named}
    assert told == {
        "STATUS": "firing",
        "ALERTNAME": "crashed",
        "STACK": "host-a",
        "NAMESPACE": "shop",
        "PROCESS": "api",
        "SEVERITY": "error",
        "SUMMARY": "the line",
        "DESCRIPTION": alert["annotations"]["description"],
        "STARTS_AT": alert["startsAt"],
        "ENDS_AT": alert["endsAt"],
        "FINGERPRINT": alert["fingerprint"],
        "GROUP_KEY": message["groupKey"],
        "COUNT": "1",
    }


def test_the_secrets_of_the_webhook_are_not_passed_on(show, monkeypatch):
    monkeypatch.setenv("OBSERVE_WEBHOOK_HEADERS", "Authorization: hunter2")
    monkeypatch.setenv("OBSERVE_WEBHOOK_URL", "https://hunter2")
    assert "hunter2" not in json.dumps(show("", payload("api")))


def test_a_message_of_many_is_one_run(show):
    ((words, told, environ),) = show("", payload("api", "web"))
    assert len(told["alerts"]) == 2
    assert (environ["OBSERVE_PROCESS"], environ["OBSERVE_NAMESPACE"], environ["OBSERVE_COUNT"]) == (
        "",
        "shop",
        "2",
    )


def test_the_words_of_a_command_have_the_fields(show):
    ((words, told, _),) = show("{namespace}/{process} {summary} {other}", payload("api"))
    assert words == ["shop/api", "the line", "{other}"] and len(told["alerts"]) == 1


@pytest.mark.parametrize(
    ("words", "acts"),
    [("", False), ("{status} {severity}", False), ("{process}", True), ("-x={stack}", True)],
)
def test_a_command_that_names_the_process_acts_on_one(words, acts):
    assert RunCommand(f"true {words}").acts_on_one is acts


def test_what_is_held_back_is_of_no_process_to_act_on(show):
    notice = Notice("firing", "{}:{}", moment(0), held=3)
    assert show("{process}", payload_of(notice, {}, Rules(), receiver="alert")) == []


def test_what_acts_on_a_process_is_not_done_again_when_it_is_over(show):
    assert show("{process}", payload("api", status="resolved")) == []


def test_unless_it_asks_for_the_status(show):
    ((words, _, _),) = show("{status} {process}", payload("api", status="resolved"))
    assert words == ["resolved", "api"]


def test_without_a_process_the_end_is_told_too(show):
    ((_, _, environ),) = show("", payload("api", status="resolved"))
    assert environ["OBSERVE_STATUS"] == "resolved"


@pytest.mark.parametrize("name", ["$(touch x)", "; touch x", "`touch x`", "a b'\"", "a\nb", "*", "é\ud800"])
def test_no_name_is_ever_read_by_a_shell(show, name, tmp_path):
    ((words, _, _),) = show("{process}", payload(name))
    assert words == [name.encode("utf-8", "replace").decode()]


def test_a_name_that_looks_like_a_flag_is_not_run(show):
    with pytest.raises(NotToldError, match="looks like a flag") as told:
        show("{process}", payload("--force"))
    assert not told.value.again


def test_a_command_that_fails_is_not_tried_again_but_where_it_asks_for_that():
    for code, again in ((1, False), (75, True)):
        with pytest.raises(NotToldError, match=f"sh: exit {code}") as told:
            RunCommand(f"sh -c 'exit {code}'").send(payload("api"), "")
        assert told.value.again is again


def test_what_takes_too_long_is_killed_with_all_that_it_started(tmp_path):
    began, pid = time.monotonic(), tmp_path / "pid"
    with pytest.raises(NotToldError, match=r"sh: killed, it took over 0\.5s"):
        RunCommand(f"sh -c 'sleep 60 & echo $! > {pid}; wait'", 0.5).send(payload("api"), "")
    assert time.monotonic() - began < 10
    while _state_of(int(pid.read_text())) not in ("", "Z"):  # the signal is sent, and takes its time
        assert time.monotonic() - began < 30
        time.sleep(0.01)


def _state_of(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def test_a_command_that_does_not_read_its_input_is_no_failure():
    RunCommand("true").send(payload(*[f"web-{number}" for number in range(500)]), "")


def test_an_end_of_the_program_does_not_wait_for_the_command(monkeypatch):
    monkeypatch.setattr("observe_lib.alert.run_command.COMMAND_GRACE_S", 0.1)
    began = time.monotonic()
    with pytest.raises(NotToldError):
        RunCommand("sleep 60", 60, lambda: True).send(payload("api"), "")
    assert time.monotonic() - began < 10


def test_a_command_that_is_not_there_is_said_at_the_start():
    with pytest.raises(UsageError, match="no command /no/such"):
        RunCommand("/no/such")
