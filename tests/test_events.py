"""The event on the wire: tokens, subjects, filters, JSON and ids, for hostile names too."""

import json
import re
from random import Random

import pytest

from observe_lib.events import Event, EventType, Key, Severity
from observe_lib.subjects import (
    MAX_FILTERS,
    TOKEN_MAX,
    decode_token,
    encode_namespace,
    encode_token,
    filter_subjects,
    observer_subject,
    process_matches,
    process_wanted,
    subject_of,
)

#: what names are made of in the loops below: whatever means something to NATS, to globs, or to a terminal
LETTERS = "abZ09_-/.*> =%\\\"'?[]{}\t\n\r\x00\x1b\x7f\u00e9\u202e\u65e5\U0001f600"
KV_KEY = re.compile(r"[-/_=.a-zA-Z0-9]+")
WIRE = {
    "type": "crashed",
    "process": "caddy",
    "namespace": "default",
    "timestamp": "2025-10-16T16:26:18.123Z",
    "subject": "core.process.default.caddy.crashed",
    "severity": "error",
    "state": {
        "name": "caddy",
        "pid": 12345,
        "restarts": 2,
        "exit_code": 3,
        "is_ready": "-",
        "new": [1, None],
    },
    "exit_code": 3,
    "restarts": 2,
    "old_status": "Running",
    "new_status": "Completed",
    "schema": 1,
    "stack": "host-a",
    "seq": 17,
    "observed_at": "2025-10-16T16:26:19.002Z",
    "reason": "exit",
    "run_seconds": 133.2,
    "log_tail": ["panic: \x1b[31moops", ""],
}
LEAST = {"type": "started", "process": "a", "namespace": "default", "timestamp": "2025-10-16T16:26:18.123Z"}


def names(seed: int, count: int, longest: int) -> list[str]:
    rng = Random(seed)
    return ["".join(rng.choices(LETTERS, k=rng.randint(1, longest))) for _ in range(count)]


# --- tokens and subjects ---


@pytest.mark.parametrize(
    "text, token",
    [
        ("caddy", "caddy"),
        ("a.b c/d", "a=2Eb=20c/d"),
        ("A-Z_0/9", "A-Z_0/9"),
        ("*", "=2A"),
        (">", "=3E"),
        ("=2E", "=3D2E"),
        ("é", "=C3=A9"),
        ("\n", "=0A"),
        ("a" * 200, "a" * 200),
    ],
)
def test_a_token_there_and_back(text, token):
    assert encode_token(text) == token
    assert decode_token(token) == text


def test_any_name_is_one_legal_token_and_comes_back():
    for name in names(1, 2000, 20):
        token = encode_token(name)
        assert KV_KEY.fullmatch(token) and "." not in token
        assert decode_token(token) == name


def test_different_names_have_different_tokens():
    many = {*names(2, 3000, 6), *names(3, 300, 400)}
    assert len({encode_token(name) for name in many}) == len(many)


def test_a_long_name_is_cut_on_a_whole_escape_and_stays_its_own():
    for name in names(4, 300, 400) + ["a" * 201, "a" * 199 + ".", "a" * 158 + "." * 50, "a" * 159 + "." * 50]:
        token = encode_token(name)
        assert len(token) <= TOKEN_MAX and KV_KEY.fullmatch(token)
        head, cut, digest = token.partition("==")
        assert not cut or (re.fullmatch("[0-9a-f]{16}", digest) and len(head) <= 160)
        assert not re.search("=(?![0-9A-F]{2})", head)
    assert encode_token("a" * 201) != encode_token("a" * 202)


@pytest.mark.parametrize(
    "namespace, process, event_type, subject",
    [
        ("default", "caddy", "crashed", "core.process.default.caddy.crashed"),
        ("", "caddy", "crashed", "core.process.default.caddy.crashed"),
        ("a.b", "c d", "started", "core.process.a=2Eb.c=20d.started"),
        ("_observe", "adapter", "started", "core.process.=5Fobserve.adapter.started"),  # a user's own
        ("_observed", "x", "started", "core.process._observed.x.started"),
        ("default", "x", "of.the>future", "core.process.default.x.of=2Ethe=3Efuture"),
    ],
)
def test_subjects(namespace, process, event_type, subject):
    assert subject_of(namespace, process, event_type) == subject


def test_the_observers_own_subjects_are_nobody_elses():
    assert observer_subject("adapter", EventType.STARTED) == "core.process._observe.adapter.started"
    own = Event(
        "started", "adapter", "_observe", LEAST["timestamp"], subject=observer_subject("adapter", "started")
    )
    users = Event("started", "adapter", "_observe", LEAST["timestamp"])
    assert own.of_observer and not users.of_observer
    assert decode_token(encode_namespace("_observe")) == "_observe"


def test_no_name_breaks_out_of_its_place():
    for namespace, process in zip(names(5, 500, 12), names(6, 500, 12), strict=True):
        parts = subject_of(namespace, process, "crashed").split(".")
        assert parts[:2] == ["core", "process"] and parts[4:] == ["crashed"] and len(parts) == 5
        assert not {"*", ">", ""} & set(parts)


def test_an_empty_name_is_refused():
    with pytest.raises(ValueError):
        subject_of("default", "", "crashed")
    with pytest.raises(ValueError):
        Event("crashed", "", "default", LEAST["timestamp"])


# --- filters ---


@pytest.mark.parametrize(
    "processes, types, subjects",
    [
        ([], [], ["core.process.*.*.*"]),
        (["caddy"], [], ["core.process.*.caddy.*"]),
        (["default/caddy"], ["crashed"], ["core.process.default.caddy.crashed"]),
        ([], ["crashed", "stopped"], ["core.process.*.*.crashed", "core.process.*.*.stopped"]),
        (["a b"], ["crashed"], ["core.process.*.a=20b.crashed"]),
        (["web-*"], [], ["core.process.*.*.*"]),  # `process_matches` looks again
        (["prod/web-?"], [], ["core.process.prod.*.*"]),
        (["*/web"], [], ["core.process.*.web.*"]),
        (
            ["caddy", "default/caddy", "caddy"],
            [],
            ["core.process.*.caddy.*"],
        ),  # the wider one holds the other
        (["a/b/c"], [], ["core.process.a.b/c.*", "core.process.a/b.c.*"]),  # names may hold slashes
        (["_observe/adapter"], [], ["core.process._observe.adapter.*"]),
    ],
)
def test_filter_subjects(processes, types, subjects):
    found = filter_subjects(processes, types)
    assert [one for one in found if not re.search(r"-\d+\.\w*\*?$", one)] == subjects


def test_a_bare_name_has_subjects_for_its_replicas():
    found = filter_subjects(["worker"], ["crashed"])
    assert found[:2] == ["core.process.*.worker.crashed", "core.process.*.worker-0.crashed"]
    assert found[-1] == "core.process.*.worker-98.crashed" and len(found) == 1 + 9 + 99 <= MAX_FILTERS
    assert len(filter_subjects(["worker"], ["crashed", "stopped"])) <= MAX_FILTERS  # any type then
    assert filter_subjects(["shop/worker"]) == ["core.process.shop.worker.*"]
    assert filter_subjects(["worker-1"]) == ["core.process.*.worker-1.*"]


def test_what_is_left_out_is_left_out_by_who_looks_again():
    assert filter_subjects(["!cron"], ["crashed"]) == ["core.process.*.*.crashed"]
    assert filter_subjects(["shop/api", "!cron"]) == ["core.process.shop.api.*"]


@pytest.mark.parametrize(
    "patterns, wanted",
    [
        ([], True),
        (["worker"], True),
        (["api", "worker"], True),
        (["api"], False),
        (["!worker"], False),
        (["!shop/*"], False),
        (["!api"], True),
        (["shop/*", "!worker-1"], False),
        (["shop/*", "!worker-0"], True),
        (["!api", "!worker"], False),
    ],
)
def test_process_wanted(patterns, wanted):
    assert process_wanted(patterns, ["shop"], "worker-1") is wanted


@pytest.mark.parametrize(
    "pattern, namespace, process, matches",
    [
        ("caddy", "default", "caddy", True),
        ("caddy", "prod", "caddy", True),
        ("caddy", "default", "caddy2", False),
        ("prod/caddy", "prod", "caddy", True),
        ("prod/caddy", "default", "caddy", False),
        ("cad*", "default", "caddy", True),
        ("*/caddy", "prod", "caddy", True),
        ("prod/*", "prod", "a.b c/d", True),
        ("default/a.b c/d", "default", "a.b c/d", True),
        ("web-[0-9]", "default", "web-1", True),
        ("web[1]", "default", "web[1]", True),  # a name is a pattern of itself
        ("Caddy", "default", "caddy", False),
        ("worker", "shop", "worker-0", True),
        ("worker", "shop", "worker-07", True),
        ("worker", "shop", "worker-x", False),
        ("worker", "shop", "worker-0-1", False),
        ("worker-0", "shop", "worker-0-1", False),
        ("shop/worker", "shop", "worker-0", False),  # with a namespace it is one process
    ],
)
def test_process_matches(pattern, namespace, process, matches):
    assert process_matches(pattern, namespace, process) is matches


def test_a_name_as_a_filter_gets_its_own_events_from_the_server():
    for namespace, process in zip(names(7, 500, 10), names(8, 500, 10), strict=True):
        subject = subject_of(namespace, process, "crashed").split(".")
        for pattern in (f"{namespace}/{process}", *([process] if "/" not in process else [])):
            assert process_matches(pattern, namespace, process)
            found = [one.split(".") for one in filter_subjects([pattern], ["crashed"])]
            assert any(all(a in ("*", b) for a, b in zip(one, subject, strict=True)) for one in found)


# --- JSON ---


def test_the_wire_format_there_and_back_in_its_order():
    event = Event.from_json(json.dumps(WIRE))
    assert (event.key, event.exit_code, event.log_tail) == (Key("default", "caddy"), 3, WIRE["log_tail"])
    assert list(json.loads(event.to_json()).items()) == list(WIRE.items())


def test_what_does_not_apply_is_absent():
    assert Event.from_dict(LEAST).to_dict() == {
        **LEAST,
        "subject": "core.process.default.a.started",
        "severity": "info",
    }
    event = Event(**LEAST, count=1, inferred=False, exit_code=None, restarts=None)
    assert set(event.to_dict()) == {*LEAST, "subject", "severity", "schema"}
    event = Event(**LEAST, count=2, inferred=True, initial=True, companion=True, exit_code=0, restarts=0)
    assert {
        "count": 2,
        "inferred": True,
        "initial": True,
        "companion": True,
    }.items() <= event.to_dict().items()
    assert (event.to_dict()["exit_code"], event.to_dict()["restarts"]) == (0, 0)


@pytest.mark.parametrize(
    "event_type, severity",
    [
        ("started", "info"),
        ("restarted", "info"),
        ("stopped", "info"),
        ("crashed", "error"),
        ("healthy", "info"),
        ("unhealthy", "warning"),
        ("status_changed", "debug"),
        ("something_new", "info"),
    ],
)
def test_severities(event_type, severity):
    assert Event(event_type, "a", "default", LEAST["timestamp"]).severity == severity


def test_types_are_plain_texts():
    event = Event(EventType.CRASHED, "a", "default", LEAST["timestamp"])
    assert f"{event.type} {EventType.CRASHED} {Severity.ERROR}" == "crashed crashed error"
    assert event.type == EventType.CRASHED == "crashed"
    assert {*EventType} == {
        "started",
        "restarted",
        "stopped",
        "crashed",
        "healthy",
        "unhealthy",
        "status_changed",
    }


def test_what_a_newer_observe_wrote_is_kept_and_passed_on():
    newer = {
        **WIRE,
        "type": "resized",
        "severity": "notice",
        "schema": 9,
        "cpu": {"now": [1, 2.5]},
        "zz": "9",
    }
    event = Event.from_dict(newer)
    assert (event.type, event.severity, event.extra) == (
        "resized",
        "notice",
        {"cpu": {"now": [1, 2.5]}, "zz": "9"},
    )
    assert event.to_dict() == newer


def test_what_another_program_wrote_though_it_does_not_apply_stays():
    """`--json` shows what is stored, not what we would have stored."""
    theirs = {**LEAST, "exit_code": None, "health": None, "inferred": False, "count": 1, "log_tail": []}
    event = Event.from_dict(theirs)
    assert (event.exit_code, event.health, event.inferred, event.count) == (None, None, False, 1)
    assert theirs.items() <= event.to_dict().items()


def test_json_there_and_back_for_any_name_and_line():
    lines = names(9, 200, 30)
    for namespace, process, line in zip(names(10, 200, 20), names(11, 200, 300), lines, strict=True):
        event = Event(
            "crashed", process, namespace, LEAST["timestamp"], log_tail=[line], state={"name": process}
        )
        assert Event.from_json(event.to_json()) == event
        assert b"\n" not in event.to_json()  # control characters are escaped


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b'"crashed"',
        b'{"type": "crashed"',
        b"{" * 10_000,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"{}",
        *(json.dumps({k: v for k, v in LEAST.items() if k != missing}).encode() for missing in LEAST),
        *(
            json.dumps({**LEAST, **wrong}).encode()
            for wrong in (
                {"type": None},
                {"type": ""},
                {"type": 7},
                {"process": ""},
                {"process": ["a"]},
                {"namespace": None},
                {"timestamp": "yesterday"},
                {"timestamp": 1760631978},
                {"observed_at": "now"},
                {"state": "Running"},
                {"exit_code": "3"},
                {"exit_code": 3.5},
                {"restarts": True},
                {"count": "many"},
                {"seq": 1.0},
                {"inferred": 1},
                {"initial": "true"},
                {"log_tail": "text"},
                {"log_tail": [1]},
                {"namespaces": {"a": 1}},
                {"run_seconds": "long"},
                {"run_seconds": True},
                {"severity": 5},
                {"stack": {}},
                {"timestamp": "0001-01-01T00:00:00Z"},  # Go's zero time: no reader could count with it
                {"observed_at": "9999-12-31T23:59:59Z"},
                {"restarts": 10**400},
                {"count": 2**63},
                {"run_seconds": float("inf")},
                {"state": {"cpu": float("nan")}},
            )
        ),
        json.dumps(LEAST).encode()[:-1] + b', "run_seconds": 1e999}',  # JSON, but nothing to print as JSON
    ],
)
def test_a_malformed_payload_is_a_value_error(payload):
    with pytest.raises(ValueError):
        Event.from_json(payload)


def test_garbage_is_an_event_or_a_value_error():
    rng = Random(12)
    good = bytearray(json.dumps(WIRE).encode())
    for _ in range(3000):
        payload = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            payload[rng.randrange(len(payload))] = rng.randrange(256)
        try:
            event = Event.from_json(bytes(payload))
        except ValueError:
            continue
        assert Event.from_json(event.to_json()) == event


# --- ids ---


def test_the_message_id_is_fixed_by_what_it_is_about():
    event = Event.from_dict(WIRE)
    assert event.message_id() == "host-a.default.caddy.17.1760631979002"
    odd = Event("crashed", "a.b c", "", LEAST["timestamp"], stack="my host", seq=1)
    assert odd.message_id() == "my=20host.default.a=2Eb=20c.1.1760631978123"


def test_message_ids_differ_by_each_of_their_parts():
    base = {**WIRE, "subject": ""}
    others = [
        {"process": "caddy2"},
        {"namespace": "prod"},
        {"stack": "host-b"},
        {"seq": 18},
        {"observed_at": "2025-10-16T16:26:19.003Z"},
    ]
    ids = {Event.from_dict({**base, **other}).message_id() for other in [{}, *others]}
    assert len(ids) == 1 + len(others)
