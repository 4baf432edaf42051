from dataclasses import replace
from random import Random

import pytest

from observe_lib.adapter.seal import STATE_KEYS, seal, shrink
from observe_lib.events import Event, dump_json
from tests.event_examples import events

ROOMY = 1_000_000
EXAMPLES = list(events())


def variants() -> list[Event]:
    """Return each example with other things in it: names to encode, a newer one's fields, sealed before."""
    found = []
    rng = Random(14)
    for event in EXAMPLES:
        found += [
            event,
            replace(event, stack=None, seq=None),
            replace(event, stack="another", seq=99),
            replace(event, process="a.b c/ü*>", namespace="_observe", subject=""),
            replace(event, count=rng.randint(2, 9), inferred=True, companion=True, initial=True),
            replace(event, extra={"starting": True, "cpu": [1, 2.5, None]}),
            replace(event, observed_at=None, log_tail=["\x1b[31mred", "\ud800 alone", "ünï"]),
            replace(event, exit_code=0, restarts=0, run_seconds=0.0, health="", log_tail=[]),
        ]
    return found


@pytest.mark.parametrize("stack", ["host-a", "my host/ü"])
def test_a_sealed_event_is_the_event_with_stack_and_seq(stack):
    for seq, event in enumerate(variants(), 1):
        usual = replace(event, stack=stack, seq=seq)
        sealed = seal(event, stack, seq, ROOMY)
        assert sealed.payload == usual.to_json() == dump_json(usual.to_dict())
        assert (sealed.subject, sealed.message_id) == (event.subject, usual.message_id())
        assert f"core.process.{sealed.process}.{event.type}" == event.subject


def test_what_is_too_large_loses_its_log_then_its_state():
    crashed = next(event for event in EXAMPLES if event.type == "crashed")
    state = {**(crashed.state or {}), "command": "c" * 5000}
    event = replace(crashed, state=state, log_tail=["l" * 20_000])
    whole, no_log, bare = (seal(event, "host-a", 7, limit) for limit in (ROOMY, 20_000, 2000))
    assert Event.from_json(whole.payload).log_tail == event.log_tail
    assert Event.from_json(no_log.payload) == replace(event, stack="host-a", seq=7, log_tail=None)
    left = {name: state[name] for name in STATE_KEYS if name in state}
    assert Event.from_json(bare.payload) == replace(event, stack="host-a", seq=7, log_tail=None, state=left)
    assert whole.message_id == no_log.message_id == bare.message_id
    assert seal(event, "host-a", 7, 10).payload == bare.payload  # no smaller one is left: NATS will say so


def test_each_event_fits_where_it_can():
    for event in EXAMPLES:
        large = replace(event, log_tail=["x" * 3000], state={**(event.state or {}), "more": "y" * 3000})
        for limit in (1500, 4500, 9000):
            payload = seal(large, "host-a", 1, limit).payload
            assert len(payload) <= limit
            assert Event.from_json(payload).type == event.type


def test_an_event_of_the_observer_has_no_state_to_cut():
    event = replace(EXAMPLES[-1], log_tail=["x" * 5000])
    assert Event.from_json(seal(event, "host-a", 1, 2000).payload).state is None


def test_shrinking_what_the_server_refused():
    crashed = next(event for event in EXAMPLES if event.type == "crashed")
    event = replace(crashed, state={**(crashed.state or {}), "command": "c" * 5000}, log_tail=["l" * 20_000])
    payload = seal(event, "host-a", 7, ROOMY).payload
    for limit in (20_000, 2000):
        assert shrink(payload, limit) == seal(event, "host-a", 7, limit).payload
    smaller = shrink(payload, ROOMY)  # the server's limit is lower than it said
    assert smaller == seal(event, "host-a", 7, 20_000).payload
    smallest = shrink(smaller, ROOMY)
    assert smallest == seal(event, "host-a", 7, 2000).payload
    assert shrink(smallest, ROOMY) is None
    assert shrink(payload, 100) is None
