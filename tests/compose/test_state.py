"""One process of a reply: every field read, every number bounded, nothing read anew that did not change."""

import pytest

from observe_lib.compose.state import ProcessState, StateReader
from observe_lib.events import Key
from observe_lib.times import parse_time
from tests.stand_in import make_state


def test_every_field_is_read_and_every_unknown_one_kept():
    raw = make_state("web", restarts=2, exit_code=3, success_exit_codes=[3, 4], new_in_2027={"a": [1]})
    state = ProcessState.from_raw(raw)
    assert (state.name, state.namespace, state.namespaces, state.status) == ("web", "default", (), "Running")
    assert (state.pid, state.restarts, state.exit_code, state.success_exit_codes) == (4711, 2, 3, (3, 4))
    assert (state.is_running, state.is_ready, state.has_ready_probe) == (True, "-", False)
    assert (state.age_ns, state.start, state.ended_at) == (5_000_000_000, raw["process_start_time"], None)
    assert state.ready_at == state.started_at == parse_time(raw["process_start_time"])
    assert state.raw == raw and state.raw["new_in_2027"] == {"a": [1]}


@pytest.mark.parametrize(
    ("sent", "namespace", "namespaces"),
    [
        ("prod", "prod", ()),
        (["prod", "eu"], "prod", ("prod", "eu")),
        (["prod"], "prod", ()),
        ([], "default", ()),
        (None, "default", ()),
        ("", "default", ()),
    ],
)
def test_the_first_namespace_counts(sent, namespace, namespaces):
    raw = {**make_state("web"), "namespace": sent}
    state = ProcessState.from_raw(raw)
    assert (state.namespace, state.namespaces, state.raw["namespace"]) == (namespace, namespaces, namespace)
    assert raw["namespace"] == sent  # what was received stays as it was


@pytest.mark.parametrize("age", [2**63 - 1, -1, 0, None, -(2**63)])
def test_an_absurd_age_says_nothing(age):
    assert ProcessState.from_raw(make_state("web", age=age)).age_ns == 0


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00Z", "yesterday", None, ""])
def test_what_is_no_time_is_none(text):
    assert ProcessState.from_raw(make_state("web", process_start_time=text)).start == ""


def test_an_old_version_sends_less():
    state = ProcessState.from_raw({"name": "web", "status": "Running"})
    assert (state.namespace, state.is_ready, state.pid, state.is_running) == ("default", "-", 0, False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": None},
        {"name": ""},
        {"name": 7},
        {"status": None},
        {"pid": "7"},
        {"pid": True},
        {"restarts": 1.5},
        {"is_running": "yes"},
        {"exit_code": []},
        {"namespace": 3},
        {"namespace": [3]},
        {"success_exit_codes": 3},
        {"success_exit_codes": ["3"]},
        {"age": "5s"},
        {"process_start_time": 12},
    ],
    ids=str,
)
def test_garbage_is_a_value_error(wrong):
    with pytest.raises(ValueError):
        ProcessState.from_raw({**make_state("web"), **wrong})


@pytest.mark.parametrize(
    ("fields", "differs"),
    [
        (
            {
                "age": 6,
                "system_time": "6s",
                "mem": 1,
                "cpu": 9.5,
                "last_activity_time": "2026-11-23T15:14:00Z",
            },
            False,
        ),
        ({"pid": 4712}, True),
        ({"status": "Terminating"}, True),
        ({"restarts": 1}, True),
        ({"process_end_time": "2026-11-23T15:14:00Z"}, True),
        ({"namespace": ["default", "b"]}, True),
        ({"unknown": 1}, True),
    ],
    ids=str,
)
def test_a_process_is_read_anew_where_something_happened(fields, differs):
    before = make_state("web", last_activity_time="2026-11-23T15:13:59Z")
    reader = StateReader()
    first = reader.read([before, make_state("db")])
    again = reader.read([make_state("db"), {**before, **fields}])  # in any order
    web = Key("default", "web")
    assert (again[web] is not first[web]) is differs
    assert (again is not first) is differs
    assert again[Key("default", "db")] is first[Key("default", "db")]


def test_names_come_and_go():
    reader = StateReader()
    assert [key.process for key in reader.read([make_state("a"), make_state("b")])] == ["a", "b"]
    assert [key.process for key in reader.read([make_state("b")])] == ["b"]
    assert [key.process for key in reader.read([make_state("c")])] == ["c"]
    assert reader.read([]) == {}


def test_a_field_in_the_place_of_another_is_seen():
    raw = make_state("web", extra=1)
    reader = StateReader()
    first = reader.read([raw])
    other = {name: value for name, value in raw.items() if name != "extra"}
    assert reader.read([{**other, "other": 1}]) is not first
    assert reader.read([other])[Key("default", "web")].raw == other


def test_what_cannot_be_read_stays_as_it_was_and_is_said_once(caplog):
    reader = StateReader()
    first = reader.read([make_state("web"), make_state("db")])
    for _ in range(3):
        assert reader.read([make_state("web", pid=10**20), make_state("db")]) == first
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert reader.read([make_state("web", pid=8), make_state("db")])[Key("default", "web")].pid == 8
    assert reader.read([{}, {**make_state("db"), "name": ["x"]}]) == {}


INSANE = [
    {"restarts": 10**20},
    {"restarts": -1},
    {"pid": 2**63},
    {"pid": -1},
    {"exit_code": -(2**63) - 1},
    {"success_exit_codes": [10**30]},
    {"age": float("inf")},
    {"age": float("nan")},
    {"cpu": float("nan")},
    {"age": 10**400},
    {"new_in_2027": {"a": [1, {"b": float("-inf")}]}},
]


@pytest.mark.parametrize("wrong", INSANE, ids=repr)
def test_a_number_that_nobody_can_count_with_is_a_value_error(wrong):
    with pytest.raises(ValueError):
        ProcessState.from_raw({**make_state("web"), **wrong})


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z"])
def test_a_time_that_no_clock_can_hold_is_none(text):
    names = ("process_start_time", "process_end_time", "process_ready_time", "next_run_time")
    state = ProcessState.from_raw(make_state("web", **dict.fromkeys(names, text)))
    assert (state.start, state.started_at, state.ended_at, state.ready_at, state.due_at) == ("", *[None] * 4)


NEVER = [
    ({"has_ready_probe": True}, True),  # as with only a liveness probe: ready as it starts
    ({"has_ready_probe": True, "is_ready": "Ready"}, False),
    ({"has_ready_probe": True, "process_ready_time": None}, False),  # it will come
    ({"has_ready_probe": True, "process_ready_time": "2026-11-23T15:14:00Z"}, False),
    ({"has_ready_probe": False}, False),
]


@pytest.mark.parametrize("fields, never", NEVER)
def test_whether_readiness_cannot_come(fields, never):
    assert ProcessState.from_raw(make_state("web", **fields)).never_ready is never
