"""What a subscription does with each message: handled, had already, or come again; no NATS."""

from collections.abc import Iterable

import pytest

from observe_lib.events import Event
from observe_lib.reader.message import Message
from observe_lib.reader.subscription import OUTCOMES, Subscription, Wanted, wanted_of

MOMENT = "2025-10-16T16:26:18.123Z"
FOREVER = 4


class FakeFeed:
    """A feed that has these messages, and notes what becomes of them."""

    number = 1

    def __init__(self, messages: Iterable[Message], durable: str = "pager") -> None:
        self.messages, self.durable = messages, durable
        self.answers: list[tuple[int, str]] = []

    def items(self) -> Iterable[Message]:
        return self.messages

    def done(self, message: Message) -> None:
        self.answers.append((message.seq, "done"))

    def failed(self, message: Message) -> bool:
        self.answers.append((message.seq, "failed"))
        return message.attempt >= FOREVER


class Handler:
    """Keeps the `seq` of what it gets, and raises where it is told to."""

    def __init__(self, *raises: BaseException | None) -> None:
        self.raises, self.seqs = list(raises), list[int | None]()

    def __call__(self, event: Event) -> None:
        self.seqs.append(event.seq)
        if self.raises and (error := self.raises.pop(0)):
            raise error


def message(place: int, attempt: int = 1, seq: int | None = None) -> Message:
    """An event at a place of the stream; its own seq is the same unless given."""
    number = seq or place
    event = Event("started", "a", "default", MOMENT, stack="host", seq=number, observed_at=MOMENT)
    return Message(event.to_json(), f"$JS.ACK.{place}", place, attempt)


def work(handler: Handler, *messages: Message, durable: str = "pager") -> tuple[Subscription, FakeFeed]:
    feed = FakeFeed(messages, durable)
    subscription = Subscription(feed, Wanted(), handler)  # type: ignore[arg-type]
    subscription._work()
    return subscription, feed


NO = RuntimeError("no")
#: which messages come, what the handler raises over each that it gets, and the seqs that it gets
CASES: dict[str, tuple[list[Message], list[BaseException | None], list[int]]] = {
    "once each": ([message(1), message(2)], [], [1, 2]),
    "acknowledgements that were lost": (
        [message(1), message(2), message(3), message(1, 2), message(2, 2), message(4)],
        [],
        [1, 2, 3, 4],
    ),
    "the handler raised": ([message(1), message(2), message(1, 2)], [NO], [1, 2, 1]),
    "it raised, returned, and that was lost": ([message(1), message(1, 2), message(1, 3)], [NO], [1, 1]),
    "it raised, and the server forgot": ([message(1), message(2), message(1)], [NO], [1, 2, 1]),
    "another program had it before": ([message(1, 2)], [], [1]),
    "twice in the stream": ([message(1), message(2, seq=1)], [], [1]),
    "a stream made anew": ([message(1, seq=1), message(1, 2, seq=2)], [], [1, 2]),
}


@pytest.mark.parametrize("name", CASES)
def test_what_a_handler_gets(name: str) -> None:
    messages, raises, expected = CASES[name]
    handler = Handler(*raises)
    _, feed = work(handler, *messages)
    assert handler.seqs == expected
    assert [seq for seq, _ in feed.answers] == [one.seq for one in messages], "each one is answered"


@pytest.mark.parametrize("error", [NO, SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_a_handler_that_raises_ends_nothing(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    handler = Handler(error)
    subscription, feed = work(handler, message(1), message(2))
    assert handler.seqs == [1, 2] and subscription.failed == 1
    assert feed.answers == [(1, "failed"), (2, "done")]
    assert f"a handler raised {type(error).__name__}" in caplog.text


@pytest.mark.parametrize("durable", ["pager", ""])
def test_what_is_remembered_is_bounded(durable: str) -> None:
    subscription, _ = work(Handler(), *map(message, range(1, OUTCOMES + 50)), durable=durable)
    assert len(subscription._outcomes) == (OUTCOMES if durable else 0)
    assert all(seq >= 50 for seq, _ in subscription._outcomes)


def test_filters_are_the_same_in_any_order() -> None:
    assert wanted_of(["b", "a"], ["stopped", "crashed"]) == wanted_of(["a", "b"], ["crashed", "stopped"])
