"""What a feed reads from a message beside its payload; its reading is tested with a `Consumer`."""

import pytest

from observe_lib.reader.message import parse_reply

REPLIES = {
    "plain": "$JS.ACK.PROCESS_EVENTS.observe-1f.2.71.9.1760631986123000000.4",
    "of a domain": "$JS.ACK.hub.HASH.PROCESS_EVENTS.observe-1f.2.71.9.1760631986123000000.4",
    "of a domain, and longer": "$JS.ACK.hub.HASH.PROCESS_EVENTS.observe-1f.2.71.9.1760631986123000000.4.x1",
}


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
def test_where_a_message_stands(reply: str) -> None:
    assert parse_reply(reply) == (2, 71, 9, 4)


@pytest.mark.parametrize("reply", ["$JS.ACK.", "$JS.ACK.a.b.c.d.e.f.g", "$JS.ACK" + ".1" * 3])
def test_what_is_no_place_is_refused(reply: str) -> None:
    with pytest.raises((ValueError, IndexError)):
        parse_reply(reply)
