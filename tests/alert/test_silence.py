"""Silences: whom they cover, what the bucket holds of them, and the verb."""

import json

import pytest

from observe_lib.reader.consumer import Consumer
from observe_lib.reader.silences import SILENCES_KEY, Silence, parse_silences, silences_for
from observe_lib.rows import Place
from observe_lib.settings import NatsSettings
from tests.alert.alerting import Rows
from tests.alert.rows import moment
from tests.running import Ran, run_observe

API = Place("host-a", "shop", "api")


@pytest.mark.parametrize(
    ("pattern", "stack", "covers"),
    [
        ("shop/*", "", True),
        ("api", "", True),
        ("shop/api", "host-a", True),
        ("shop/api", "host-b", False),
        ("jobs/*", "", False),
        ("*", "", True),
    ],
)
def test_whom_a_silence_covers(pattern, stack, covers):
    silence = Silence(pattern, moment(60), stack=stack)
    assert silence.covers(API, moment(59)) is covers
    assert not silence.covers(API, moment(60)), "it is over"


def test_a_process_of_several_namespaces_is_covered_in_each_of_them():
    silence = Silence("data/*", moment(60))
    assert silence.covers(API, moment(0), ("shop", "data"))
    assert not silence.covers(API, moment(0), ("shop", "jobs"))


def test_the_silences_of_a_process_come_the_longest_first():
    short, long, other = (
        Silence("api", moment(60)),
        Silence("shop/*", moment(90)),
        Silence("web", moment(99)),
    )
    assert silences_for([short, long, other], API, moment(0)) == [long, short]


def test_it_reads_what_it_writes_and_leaves_out_what_makes_no_sense():
    silence = Silence("shop/*", moment(60), "deploy", "ops@host-a", "host-a")
    good = silence.to_dict()
    told = {"silences": [good, {}, "x", {"pattern": "a", "until": "soon"}, None]}
    assert parse_silences(json.dumps(told).encode()) == [silence]
    for nonsense in (b"", b"x", b"[]", b'{"silences": 3}', b"\xff", b'{"silences": {"a": 1}}'):
        assert parse_silences(nonsense) == []


@pytest.fixture
def silence(nats_server):
    rows = Rows(nats_server.url)

    def run(*words: str) -> Ran:
        return run_observe(nats_server.url, "silence", *words)

    run.rows = rows
    run.url = nats_server.url
    yield run
    rows.close()


def test_they_are_made_listed_and_ended(silence):
    assert silence().err == "nothing is silent\n"
    made = silence("shop/*", "--for", "30m", "--reason", "deploy")
    assert made.code == 0 and made.out.startswith("shop/* silent until ") and made.out.endswith(": deploy)\n")
    assert silence("api", "--stack", "host-a").code == 0
    listed = silence().out.splitlines()
    assert [line.partition(" silent")[0] for line in listed] == ["shop/*", "api on host-a"]
    with Consumer(NatsSettings(silence.url)) as consumer:
        for states in (consumer.stored_states(), consumer.stored_states("api", "host-a"), consumer.states()):
            assert [one.pattern for one in states.silences] == ["shop/*", "api"]
    assert silence("shop/*", "--for", "2h").code == 0, "it takes the place of the first"
    told = [json.loads(line) for line in silence("--json").out.splitlines()]
    assert [(one["pattern"], one["reason"]) for one in told] == [("api", ""), ("shop/*", "")]
    assert set(told[0]) == {"pattern", "until", "reason", "who", "stack"} and "@" in told[0]["who"]
    ended = silence("shop/*", "--end")
    assert (ended.code, ended.out) == (0, "shop/* is silent no more\n")
    assert silence("shop/*", "--end").code == 1
    assert silence("--end").code == 0 and silence().out == ""


def test_what_is_over_is_not_listed_and_goes_with_the_next_change(silence):
    old = {"silences": [Silence("old", moment(0)).to_dict()]}
    silence.rows.put(SILENCES_KEY, old)
    assert silence().err == "nothing is silent\n"
    silence("new")
    assert [one.pattern for one in parse_silences(silence.rows.get(SILENCES_KEY))] == ["new"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["/"], "NAME is empty"),
        (["a", "--for", "soon"], "--for: not a duration"),
        (["a", "--end", "--for", "1h"], "--end and --for exclude each other"),
        (["--for", "1h"], "nothing is named"),
    ],
)
def test_what_makes_no_sense_is_said(words, said):
    done = run_observe("nats://127.0.0.1:1", "silence", *words)
    assert done.code == 2 and said in done.err and len(done.err.splitlines()) == 2


def test_without_a_bucket_it_says_what_to_start(nats_server):
    done = run_observe(nats_server.url, "silence", "api")
    assert done.code == 1
    assert "has no PROCESS_STATES" in done.err and "observe.py adapter" in done.err


def test_without_nats_it_says_so(tmp_path):
    done = run_observe("nats://127.0.0.1:1", "silence")
    assert done.code == 1 and len(done.err.splitlines()) == 2
