"""Posting to a webhook: what is sent, what counts as taken, what is never printed; and trying again."""

import socket

import pytest

from observe_lib.alert.receiver import GIVE_UP_S, Receiver
from observe_lib.alert.trouble import Notice, Rules
from observe_lib.alert.webhook import NotToldError, webhook_of
from tests.alert.hook import listening
from tests.alert.rows import moment

BARE = {"webhook": None, "webhook_file": None, "headers_file": None}
SECRET = "hunter2"


def test_headers_come_from_the_environment_or_a_file_and_never_from_argv(tmp_path):
    file = tmp_path / "headers"
    file.write_text(f"Authorization: Bearer {SECRET}\n\nX-Team: ops\n")
    environ = {"OBSERVE_WEBHOOK_HEADERS": f"X-Key: {SECRET}\nX-Other: 1"}
    with listening() as hook:
        webhook_of({**BARE, "webhook": hook.url}, environ).send({"a": 1}, "")
        webhook_of({**BARE, "webhook": hook.url, "headers_file": str(file)}, environ).send({"a": 2}, "")
    assert hook.taken == [{"a": 1}, {"a": 2}]
    assert (hook.headers[0]["X-Key"], hook.headers[0]["X-Other"]) == (SECRET, "1")
    assert (hook.headers[1]["Authorization"], hook.headers[1]["X-Team"]) == (f"Bearer {SECRET}", "ops")
    assert "X-Key" not in hook.headers[1]
    assert {headers["Content-Type"] for headers in hook.headers} == {"application/json"}


def test_an_address_that_is_a_secret_comes_from_a_file_or_the_environment_and_is_not_printed(tmp_path):
    file = tmp_path / "url"
    with listening() as hook:
        hook.status = 500
        file.write_text(f"{hook.url}/{SECRET}\n")
        for found in (
            webhook_of({**BARE, "webhook_file": str(file)}, {}),
            webhook_of(BARE, {"OBSERVE_WEBHOOK_URL": f"{hook.url}/{SECRET}"}),
        ):
            with pytest.raises(NotToldError) as told:
                found.send({}, "")
            assert str(told.value) == f"{hook.url}: 500"
    assert hook.paths == [f"/{SECRET}"] * 2


def test_a_query_is_not_printed():
    with listening() as hook:
        hook.status = 403
        with pytest.raises(NotToldError) as told:
            webhook_of({**BARE, "webhook": f"{hook.url}/x?token={SECRET}"}, {}).send({}, "")
    assert str(told.value) == f"{hook.url}/x: 403"


@pytest.mark.parametrize("status", [301, 302, 400, 401, 404, 413, 429, 500, 503])
def test_only_2xx_is_taken_and_no_header_follows_a_redirect(status):
    with listening() as hook:
        hook.status = status
        with pytest.raises(NotToldError) as told:
            webhook_of({**BARE, "webhook": hook.url}, {}).send({}, "")
        assert told.value.again is (status != 413) and hook.refused == 1


def test_who_does_not_listen_or_does_not_answer_is_said(monkeypatch):
    monkeypatch.setattr("observe_lib.alert.webhook.WEBHOOK_TIMEOUT_S", 0.2)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/x?{SECRET}"
        with pytest.raises(NotToldError, match="connection refused"):
            webhook_of({**BARE, "webhook": url}, {}).send({}, "")
        mute.listen(1)
        with pytest.raises(NotToldError, match="no answer within 0.2s"):
            webhook_of({**BARE, "webhook": url}, {}).send({}, "")


def test_one_try_takes_10_seconds_at_most():
    from observe_lib.alert.webhook import WEBHOOK_TIMEOUT_S

    assert WEBHOOK_TIMEOUT_S == 10


class Receives:
    """Refuses as often as it is told to, on a clock that the test turns."""

    name, shown, acts_on_one = "webhook", "https://hook", False

    def __init__(self, refusals: int, *, again: bool = True) -> None:
        self.refusals, self.again, self.tries = refusals, again, list[float]()
        self.now, self.said = 0.0, list[str]()
        say = lambda topic, text: self.said.append(text)  # noqa: E731
        self.receiver = Receiver(self, Rules(), say, lambda: self.now)
        self.receiver.engine.begin(Notice("firing", "{}:{}", moment(0)))

    def send(self, payload, line):
        self.tries.append(self.now)
        if len(self.tries) <= self.refusals:
            raise NotToldError("https://hook: 503", self.again)
        return True

    def until(self, seconds: float) -> bool:
        """Let time pass; return whether it is known what came of the message."""
        payload = {"status": "firing", "alerts": [{"annotations": {"summary": "api crashed"}}]}
        while self.now < seconds:
            if self.receiver.is_due:
                self.receiver.hand_over(payload)
                self.receiver._try.exception(5)
            if self.receiver.settle(moment(self.now)):
                return True
            self.now += 1
        return False


def test_it_is_tried_again_with_growing_waits():
    receives = Receives(5)
    assert receives.until(100)
    assert receives.tries == [0, 1, 3, 7, 15, 31] and receives.receiver.engine.failed == 0
    assert receives.said == ["https://hook: 503, trying again (1 waits)", "api crashed     sent"]


def test_it_is_given_up_after_15_minutes_and_that_is_said_and_counted():
    receives = Receives(1000)
    assert receives.until(2000) and receives.receiver.engine.failed == 1
    assert GIVE_UP_S == 900 and GIVE_UP_S - 60 <= receives.tries[-1] <= GIVE_UP_S
    assert max(b - a for a, b in zip(receives.tries, receives.tries[1:], strict=False)) == 60
    assert receives.said[-1] == "https://hook: 503; given up: api crashed"
    assert receives.receiver.engine.sending is None


def test_what_another_try_cannot_help_is_given_up_at_once():
    receives = Receives(1, again=False)
    assert receives.until(10) and receives.tries == [0] and receives.receiver.engine.failed == 1


def test_what_is_to_be_tried_again_is_still_to_be_sent_when_the_program_ends():
    receives = Receives(1000)
    assert not receives.until(10)
    receives.receiver.stop()
    assert receives.receiver.engine.sending is not None and receives.receiver.engine.failed == 0
