"""Whatever others put on the bus: it is read or a ValueError, and nothing overflows later."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

import pytest

from observe_lib.events import Event, read_json
from observe_lib.text.output import Style, json_line
from observe_lib.times import UTC, parse_time, parse_when, seconds_between

hypothesis = pytest.importorskip("hypothesis", reason="extra `test` brings hypothesis")
strategies = hypothesis.strategies

#: so many examples of each, the same ones in each run
bounded = hypothesis.settings(max_examples=400, deadline=None, derandomize=True, database=None)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
GOOD = {
    "type": "crashed",
    "process": "caddy",
    "namespace": "default",
    "timestamp": "2025-10-16T16:26:18.123Z",
    "subject": "core.process.default.caddy.crashed",
    "severity": "error",
    "stack": "host-a",
    "seq": 17,
    "observed_at": "2025-10-16T16:26:19.002Z",
    "exit_code": 3,
    "run_seconds": 1.5,
    "log_tail": ["a line"],
    "state": {"name": "caddy", "pid": 1, "status": "Completed"},
}
#: what the observer's own events hold beside that
OBSERVED = ("since", "blind_seconds", "was_seconds", "not_before", "last_alive", "error")

numbers = strategies.one_of(
    strategies.integers(),
    strategies.integers(-(10**400), 10**400),
    strategies.sampled_from([2**63, -(2**63) - 1, 2**63 - 1, 10**400, 1e308, -0.0]),
    strategies.floats(),  # NaN and infinities among them
)
texts = strategies.one_of(
    strategies.text(max_size=20),
    strategies.sampled_from(["0001-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00", "1969-12-31T23:59:59Z"]),
    strategies.datetimes().map(lambda moment: moment.isoformat() + "Z"),
)
values = strategies.recursive(
    strategies.one_of(strategies.none(), strategies.booleans(), numbers, texts),
    lambda inner: strategies.lists(inner, max_size=3) | strategies.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def objects_like(good: dict[str, Any], *more: str) -> Any:
    """Return JSON objects that are like this one, but for some of its fields and of `more`."""
    changes = strategies.dictionaries(strategies.sampled_from([*good, *more]), values, max_size=4)
    return changes.map(lambda change: {**good, **change})


def use_event(event: Event) -> None:
    """Do with an event what screens do."""
    style = Style(zone=UTC, now=lambda: NOW)
    style.row(event)
    assert read_json(json_line(event.to_dict()).encode("utf-8", "replace"))
    assert Event.from_json(event.to_json()) == Event.from_json(event.to_json())
    assert abs(seconds_between(parse_time(event.seen_at), NOW)) < 1e12


class Reader(NamedTuple):
    """One kind of what is read: how, what is done with it, and what a good one looks like."""

    read: Callable[[bytes], Any]
    use: Callable[[Any], object]
    objects: Any


#: rows and leases join here with their parsers
READERS = {
    "event": Reader(Event.from_json, use_event, objects_like(GOOD, *OBSERVED)),
    "observer's event": Reader(
        Event.from_json,
        use_event,
        objects_like(
            {**GOOD, "type": "healthy", "subject": "core.process._observe.process-compose.healthy"}, *OBSERVED
        ),
    ),
    "JSON object": Reader(read_json, json.dumps, strategies.dictionaries(texts, values, max_size=4)),
}


@pytest.mark.parametrize("name", READERS)
def test_it_is_read_and_used_or_a_value_error(name):
    reader = READERS[name]

    @bounded
    @hypothesis.given(reader.objects)
    def check(found):
        payload = json.dumps(found).encode("utf-8", "replace")  # NaN and all: Python writes what is no JSON
        try:
            read = reader.read(payload)
        except ValueError:
            return
        reader.use(read)

    check()


@pytest.mark.parametrize("name", READERS)
def test_any_bytes_are_read_or_a_value_error(name):
    @bounded
    @hypothesis.given(strategies.binary(max_size=200))
    def check(payload):
        try:
            READERS[name].read(payload)
        except ValueError:
            return

    check()


@bounded
@hypothesis.given(texts)
def test_a_time_is_in_range_or_a_value_error(text):
    for parse in (parse_time, lambda one: parse_when(one, NOW), lambda one: parse_when(one, NOW, UTC)):
        try:
            moment = parse(text)
        except ValueError:
            continue
        assert 1970 <= moment.year <= 9999 and moment.astimezone()


OUT_OF_BOUNDS = ["9" * 400, "NaN", "Infinity", "-Infinity", "1e999", str(2**63)]
FIELDS = ["blind_seconds", "run_seconds", "exit_code", "state", "of_another_version"]


@pytest.mark.parametrize("text", OUT_OF_BOUNDS)
@pytest.mark.parametrize("field", FIELDS)
def test_no_number_is_out_of_bounds(field, text):
    payload = json.dumps({**GOOD, field: "HERE"}).replace('"HERE"', text)
    with pytest.raises(ValueError):
        Event.from_json(payload)


@pytest.mark.parametrize("number", [1e12, -1e12, 10**17, float("inf"), float("nan")])
@pytest.mark.parametrize("field", ["blind_seconds", "run_seconds", "was_seconds"])
def test_no_span_is_longer_than_a_century(field, number):
    with pytest.raises(ValueError):
        Event.from_dict({**GOOD, field: number})


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_what_is_published_is_json_that_any_parser_takes(number):
    with pytest.raises(ValueError):
        Event.from_dict({**GOOD, "state": {"cpu": number}}).to_json()
