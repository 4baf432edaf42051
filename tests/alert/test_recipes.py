"""The recipes of docs/alerts.md, each run as it stands there: its files, its command line."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.alert.hook import listening
from tests.documents import ROOT, blocks, file_in_docs
from tests.running import environ_for

DOCUMENT = ROOT / "docs/alerts.md"


def command(sign: str) -> list[str]:
    """Return the words of the documented command that has this in it, without the environment before it."""
    texts = [line for block in blocks(DOCUMENT) if not block.language for line in block.text.splitlines()]
    (found,) = (text for text in texts if sign in text and "--test" not in text)
    return shlex.split(found.partition("observe.py ")[2])


def variables(sign: str) -> list[str]:
    """Return the names of the variables that stand before that command."""
    texts = [line for block in blocks(DOCUMENT) if not block.language for line in block.text.splitlines()]
    (found,) = (text for text in texts if sign in text)
    return re.findall(r"(\w+)=", found.partition("python ")[0])


def run_test(directory: Path, words: list[str], **environ: str) -> "subprocess.CompletedProcess[str]":
    """Run the recipe with --test, which sends what it would send, in the directory of its files."""
    for name in os.listdir(directory):
        (directory / name).chmod(0o755)
    done = subprocess.run(
        [sys.executable, str(ROOT / "observe.py"), *words, "--test"],
        cwd=directory,
        env={**environ_for("nats://127.0.0.1:1"), **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_ntfy(tmp_path):
    (tmp_path / "ntfy.py").write_text(file_in_docs("ntfy.py"))
    assert variables("./ntfy.py") == ["NTFY_URL", "NTFY_TOKEN_FILE"]
    with listening() as hook:
        (tmp_path / "token").write_text("tk_secret\n")
        environ = {"NTFY_URL": f"{hook.url}/ops", "NTFY_TOKEN_FILE": str(tmp_path / "token")}
        run_test(tmp_path, command("./ntfy.py"), **environ)
    assert hook.paths == ["/ops", "/ops"]
    assert {headers["Authorization"] for headers in hook.headers} == {"Bearer tk_secret"}
    assert [(headers["Title"], text) for headers, text in zip(hook.headers, hook.taken, strict=True)] == [
        ("firing", "a test of observe's alerts"),
        ("resolved", "a test of observe's alerts is over"),
    ]


def test_slack(tmp_path):
    (tmp_path / "slack.py").write_text(file_in_docs("slack.py"))
    assert variables("./slack.py") == ["SLACK_URL_FILE"]
    with listening() as hook:
        (tmp_path / "url").write_text(f"{hook.url}/services/T0/B0/secret\n")
        run_test(tmp_path, command("./slack.py"), SLACK_URL_FILE=str(tmp_path / "url"))
    assert hook.paths == ["/services/T0/B0/secret"] * 2
    assert hook.taken == [
        {"text": ":red_circle: a test of observe's alerts"},
        {"text": ":large_green_circle: a test of observe's alerts is over"},
    ]


def test_alertmanager(tmp_path):
    """Its API takes an array of alerts: labels, annotations, startsAt, endsAt, generatorURL."""
    (tmp_path / "alertmanager.py").write_text(file_in_docs("alertmanager.py"))
    assert variables("./alertmanager.py") == ["ALERTMANAGER_URL"]
    with listening() as hook:
        run_test(tmp_path, command("./alertmanager.py"), ALERTMANAGER_URL=hook.url)
    assert hook.paths == ["/api/v2/alerts"] * 2
    ((firing,), (resolved,)) = hook.taken
    fields = {"labels", "annotations", "startsAt", "endsAt", "generatorURL"}
    assert set(firing) == set(resolved) == fields
    assert firing["labels"] == resolved["labels"]
    assert set(firing["labels"]) == {"alertname", "stack", "namespace", "process"}, "none that may change"
    assert (firing["annotations"]["alertname"], firing["annotations"]["severity"]) == ("test", "info")
    assert firing["endsAt"] > firing["startsAt"] and firing["endsAt"] > resolved["endsAt"]


@pytest.mark.parametrize("name", ["ntfy.py", "slack.py", "alertmanager.py"])
def test_what_cannot_be_reached_asks_for_another_try(tmp_path, name):
    script, url = tmp_path / name, tmp_path / "url"
    script.write_text(file_in_docs(name))
    url.write_text("http://127.0.0.1:1")
    environ = {"SLACK_URL_FILE": str(url), "ALERTMANAGER_URL": "http://127.0.0.1:1", "OBSERVE_SUMMARY": "a"}
    environ |= {"NTFY_URL": "http://127.0.0.1:1", "NTFY_TOKEN_FILE": str(url), "OBSERVE_STATUS": "firing"}
    told = '{"status": "firing", "alerts": []}'
    done = subprocess.run([sys.executable, str(script)], input=told, text=True, env=environ, timeout=30)
    assert done.returncode == 75


def test_a_mail(tmp_path):
    (tmp_path / "mail.sh").write_text(file_in_docs("mail.sh"))
    (tmp_path / "mail").write_text(f'#!/bin/sh\n{{ printf "%s|" "$@"; cat; }} >> {tmp_path}/sent\n')
    run_test(tmp_path, command("./mail.sh"), PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert (tmp_path / "sent").read_text().splitlines() == [
        "-s|[firing] a test of observe's alerts|ops@example.org|a test of observe's alerts",
        "-s|[resolved] a test of observe's alerts is over|ops@example.org|a test of observe's alerts is over",
    ]


def test_a_restart(tmp_path):
    (tmp_path / "restart.sh").write_text(file_in_docs("restart.sh"))
    (tmp_path / "process-compose").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/done\n')
    path = f"{tmp_path}:{os.environ['PATH']}"
    run_test(tmp_path, command("./restart.sh"), PATH=path, PC_PORT_NUM="8080")
    assert (tmp_path / "done").read_text() == "process restart test --port 8080\n", "and not when it is over"
