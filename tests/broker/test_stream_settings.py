"""A stream that somebody made otherwise, on a real nats-server: what is said of each setting, and by whom."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from observe_lib import Consumer, NatsError
from observe_lib.broker.stream import STREAM, SUBJECTS, StreamOptions, ask_stream, ensure_stream
from observe_lib.broker.stream_settings import covers, stream_troubles
from observe_lib.doctor.nats import examine_nats
from observe_lib.errors import NatsRefusedError
from observe_lib.settings import NatsSettings
from tests.integration.test_consumer import Writer
from tests.nats_server import RealNats

EDIT, ANEW = f"nats stream edit {STREAM} ", f"nats stream rm {STREAM} "
#: a stream's config beside the usual one; what is said of it, how to mend it, whether it cannot be used
CASES: dict[str, tuple[dict[str, Any], str, str, bool]] = {
    "other subjects": ({"subjects": ["other.>"]}, "does not take core.process.>", EDIT, True),
    "no_ack": ({"no_ack": True}, "no_ack", EDIT, True),
    "workqueue": ({"retention": "workqueue"}, "retention workqueue", ANEW, True),
    "transform": (
        {"subject_transform": {"src": "core.process.>", "dest": "moved.>"}},
        "subject transform",
        ANEW,
        True,
    ),
    "interest": ({"retention": "interest"}, "retention interest", EDIT, False),
    "per subject": ({"max_msgs_per_subject": 5}, "max_msgs_per_subject", EDIT, False),
    "discard": ({"discard": "new", "max_msgs": 1000}, "discard new", EDIT, False),
}


def make(writer: Writer, **config: Any) -> None:
    asked = {"name": STREAM, "subjects": SUBJECTS, "storage": "file", **config}
    writer.bridge.run(ask_stream(writer.js, "CREATE", asked), 10)


@pytest.fixture
def writer(nats_server: RealNats):
    found = Writer(nats_server.url)
    yield found
    found.close()


def examined(url: str) -> tuple[str, str, str]:
    found = asyncio.run(examine_nats(NatsSettings(url), url, [], 5.0))
    one = next(one for one in found if one.check == "stream")
    rights = next(one for one in found if one.check == "permissions")
    assert "lacks" not in rights.hint, "a wrong setting is no missing permission"
    return one.result, one.text, one.hint


@pytest.mark.parametrize(("config", "said", "mend", "fatal"), CASES.values(), ids=CASES)
def test_each_setting_is_named_with_what_it_costs_and_what_mends_it(
    nats_server, writer, config, said, mend, fatal
):
    make(writer, **config)
    ensure = ensure_stream(writer.js, StreamOptions())
    if fatal:
        with pytest.raises(NatsRefusedError, match=said) as caught:
            writer.bridge.run(ensure, 10)
        assert caught.value.hint.startswith(mend)
    else:
        text = writer.bridge.run(ensure, 10).text
        assert said in text and f"(mend: {mend}" in text
    result, text, hint = examined(nats_server.url)
    assert (result, said in text, hint.startswith(mend)) == ("fail" if fatal else "warn", True, True)


def test_a_sealed_one(nats_server, writer):
    make(writer)
    config = writer.bridge.run(ask_stream(writer.js, "INFO"), 10)["config"]
    writer.bridge.run(ask_stream(writer.js, "UPDATE", {**config, "sealed": True}), 10)
    with pytest.raises(NatsRefusedError, match="sealed"):
        writer.bridge.run(ensure_stream(writer.js, StreamOptions()), 10)
    assert examined(nats_server.url)[0] == "fail"


def test_nothing_is_said_of_a_stream_as_we_make_it(nats_server, writer):
    writer.ensure()
    assert writer.bridge.run(ensure_stream(writer.js, StreamOptions()), 10).troubles == ""
    assert examined(nats_server.url)[0] == "ok"


def test_a_reader_of_a_workqueue_is_told_what_it_is(nats_server, writer):
    make(writer, retention="workqueue")
    with Consumer(nats_server.url) as consumer, pytest.raises(NatsError) as caught:
        consumer.subscribe(print)
    assert "workqueue" in f"{caught.value} {caught.value.hint}"


def test_what_an_adapter_says(nats_server, writer, tmp_path: Path):
    make(writer, no_ack=True)
    command = [sys.executable, "observe.py", "adapter", "--nats-url", nats_server.url, "--stack", "s"]
    command += ["--state-dir", str(tmp_path), "--compose-port", "1", "--poll-interval", "200ms"]
    ended = subprocess.run(
        ["timeout", "-s", "INT", "6", *command], capture_output=True, text=True, timeout=40
    )
    assert "no_ack: it answers nothing" in ended.stderr and f"{EDIT}--ack" in ended.stderr
    assert "no answer in time" not in ended.stderr


@pytest.mark.parametrize(
    ("wide", "narrow", "is_so"),
    [
        (">", "core.process.>", True),
        ("core.process.>", "core.process.>", True),
        ("core.process.>", "core.process.a", True),
        ("core.process.>", "core.process", False),
        ("core.*.>", "core.process.>", True),
        ("core.process.*", "core.process.>", False),
        ("core.process.a", "core.process.>", False),
        ("core.process.*.*.*", "core.process.>", False),
    ],
)
def test_which_subjects_hold_others(wide, narrow, is_so):
    assert covers(wide, narrow) == is_so


def test_the_worst_comes_first():
    found = stream_troubles({"name": STREAM, "subjects": [], "discard": "new", "sealed": True}, SUBJECTS[0])
    assert [one.fatal for one in found] == [True, True, False]
