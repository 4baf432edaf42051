"""The message: Alertmanager's webhook JSON, version 4, field by field of its documentation."""

import re

import pytest

from observe_lib.alert.message import line_of, payload_of, trial_payload
from tests.alert.rows import Alerting, Process, lost, moment

#: `webhook_config` in the documentation of Alertmanager 0.35: each field of the message, and its type; and
#: `routeLabels`, which is in what it sends all the same
MESSAGE = {
    "version": str,
    "groupKey": str,
    "truncatedAlerts": int,
    "status": str,
    "receiver": str,
    "groupLabels": dict,
    "commonLabels": dict,
    "commonAnnotations": dict,
    "externalURL": str,
    "notification_reason": str,
    "routeLabels": dict,
    "alerts": list,
}
#: and of each alert
ALERT = {
    "status": str,
    "labels": dict,
    "annotations": dict,
    "startsAt": str,
    "endsAt": str,
    "generatorURL": str,
    "fingerprint": str,
}
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def shapes(found: dict) -> dict:
    return {name: type(value) for name, value in found.items()}


def told(*processes: Process, until: float = 300) -> list[dict]:
    alerting = Alerting(*processes).until(10)
    for one in processes:
        one.crash(10, code=3)
    alerting.until(30)
    for one in processes:
        one.begin(30)
    return alerting.until(until).payloads


def all_kinds() -> list[dict]:
    held = Alerting(*(found := [Process("a"), Process("b")]), limit=1).until(10)
    for at, one in enumerate(found):
        held.until(10 + 30 * at)
        one.crash(10 + 30 * at)
    stale = Alerting(Process()).until(10)
    stale.stacks = lost("process-compose", 8)
    trials = [trial_payload(status, moment(0), "alert", "") for status in ("firing", "resolved")]
    return [*told(Process()), *held.until(100).payloads, *stale.until(100).payloads, *trials]


@pytest.mark.parametrize("payload", all_kinds(), ids=lambda one: f"{one['status']}-{line_of(one)[:20]}")
def test_every_field_of_alertmanagers_message_is_there_and_no_other(payload):
    assert shapes(payload) == MESSAGE
    assert payload["version"] == "4" and payload["status"] in ("firing", "resolved")
    assert payload["truncatedAlerts"] == 0 and payload["groupKey"].startswith("{}:{")
    for alert in payload["alerts"]:
        assert shapes(alert) == ALERT
        assert alert["status"] in ("firing", "resolved")
        assert {type(text) for text in [*alert["labels"].values(), *alert["annotations"].values()]} == {str}
        assert set(alert["labels"]) == {"alertname", "stack", "namespace", "process", "severity"}
        assert set(alert["annotations"]) == {"summary", "description"}
        assert RFC3339.fullmatch(alert["startsAt"]) and RFC3339.fullmatch(alert["endsAt"])
        assert re.fullmatch("[0-9a-f]{16}", alert["fingerprint"])


def test_firing_has_no_end_yet_and_resolved_has_one():
    firing, resolved = (payload["alerts"][0] for payload in told(Process()))
    assert (firing["status"], firing["startsAt"], firing["endsAt"]) == (
        "firing",
        "2025-10-16T12:00:10.000Z",
        "0001-01-01T00:00:00Z",
    )
    assert (resolved["status"], resolved["startsAt"]) == ("resolved", firing["startsAt"])
    assert resolved["endsAt"] == "2025-10-16T12:00:31.000Z"
    assert resolved["fingerprint"] == firing["fingerprint"]


def test_it_says_why_it_is_sent_in_alertmanagers_words():
    api, web, job = Process("api"), Process("web"), Process("job")
    alerting = Alerting(api, web, job, repeat_s=120).until(10)
    api.crash(10, status="Completed")
    web.crash(10)
    alerting.until(135)
    job.crash(135, status="Completed")  # just before the repeat
    alerting.until(260)
    web.begin(260)
    alerting.until(340)
    for one in (api, job):
        one.begin(340)
    assert [payload["notification_reason"] for payload in alerting.until(600).payloads] == [
        "first notification",
        "new alerts added",
        "repeat interval elapsed",
        "some alerts resolved",
        "repeat interval elapsed",
        "all alerts resolved",
    ]


def test_labels_say_what_and_whose():
    (firing, _) = told(Process())
    assert firing["alerts"][0]["labels"] == {
        "alertname": "crashed",
        "stack": "host-a",
        "namespace": "shop",
        "process": "api",
        "severity": "error",
    }
    assert firing["receiver"] == "alert"


def test_what_is_common_is_what_all_alerts_share():
    firing = told(Process("api"), Process("web"))[0]
    assert firing["commonLabels"] == {
        "alertname": "crashed",
        "stack": "host-a",
        "namespace": "shop",
        "severity": "error",
    }
    assert firing["commonAnnotations"] == {}
    assert len({alert["fingerprint"] for alert in firing["alerts"]}) == 2


def test_the_summary_says_why_and_the_description_has_the_logs_end():
    api = Process()
    alerting = Alerting(api).until(10)
    alerting.takes = False
    api.crash(10)
    alerting.until(20)
    lines = ["listening", "bind: address already in use", ""]
    notice = alerting.engine.sending
    payload = payload_of(
        notice,
        alerting.engine.troubles,
        alerting.rules,
        receiver="a",
        link="http://w",
        log_of=lambda _: lines,
    )
    annotations = payload["alerts"][0]["annotations"]
    assert annotations["summary"] == "shop/api crashed, exit 1: bind: address already in use"
    assert annotations["description"].splitlines()[1:3] == lines[:2]
    assert payload["externalURL"] == payload["alerts"][0]["generatorURL"] == "http://w"


def test_many_are_one_line():
    processes = [Process(f"web-{number}") for number in range(5)]
    firing, resolved = told(*processes)
    assert line_of(firing) == "5 crashed: shop/web-0, shop/web-1, shop/web-2, …"
    assert line_of(resolved) == "5 over: shop/web-0, shop/web-1, shop/web-2, …"
