"""What a server's answer to a publish means."""

import json

import pytest

from observe_lib.adapter.refusals import HELD, NO_STREAM, PASSING, TOO_LARGE, read_answer

NO_RESPONDERS = {"Status": "503"}


def error(code: int, number: int = 0, text: str = "why") -> bytes:
    return json.dumps(
        {"error": {"code": code, "err_code": number, "description": text}, "stream": "S"}
    ).encode()


@pytest.mark.parametrize(
    "payload",
    [
        b'{"stream":"PROCESS_EVENTS","seq":17}',
        b'{"stream":"PROCESS_EVENTS", "seq":17,"duplicate": true}',
        b'{"stream":"PROCESS_EVENTS","domain":"hub","seq":1}',
        b'{"type":"io.nats.jetstream.api.v1.pub_ack_response","stream":"KV_PROCESS_STATES","seq":3}',
    ],
)
def test_stored(payload):
    assert read_answer(payload, None) is None


@pytest.mark.parametrize(
    "payload, headers, kind, text",
    [
        (b"", NO_RESPONDERS, NO_STREAM, "no stream takes events"),
        (error(404, 10059, "stream not found"), None, NO_STREAM, "stream not found (10059)"),
        (error(400, 10054, "message size exceeds maximum allowed"), None, TOO_LARGE, "10054"),
        (error(400, 10097, "header size exceeds"), None, TOO_LARGE, "10097"),
        (error(503, 10077, "maximum bytes exceeded"), None, PASSING, "maximum bytes exceeded (10077)"),
        (error(400, 10002, "resource limits exceeded for account"), None, PASSING, "10002"),
        (error(409, 10158, "message id is in process"), None, PASSING, "10158"),
        (error(400, 10071, "wrong last sequence"), None, PASSING, "10071"),
        (error(400, 10164, "wrong last sequence"), None, PASSING, "10164"),
        (error(500), None, PASSING, "why (500)"),
        (error(429), None, PASSING, "429"),
        (error(408), None, PASSING, "408"),
        (error(403, 10109, "stream is sealed"), None, HELD, "stream is sealed (10109)"),
        (error(400, 10060, "expected stream does not match"), None, HELD, "10060"),
        (b'{"error":{"code":400}}', None, HELD, "refused (400)"),
    ],
)
def test_refused(payload, headers, kind, text):
    refusal = read_answer(payload, headers)
    assert refusal is not None and refusal.kind == kind and text in refusal.text


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"half",
        b"{}",
        b"null",
        b"[]",
        b'{"stream":"PROCESS_EVENTS"}',
        b'{"error":',
        b'{"error":7}',
        b'{"error":{"code":"x"}}',
        b"\xff\xfe",
    ],
)
def test_what_makes_no_sense_is_no_acknowledgement(payload):
    refusal = read_answer(payload, None)
    assert refusal is not None and refusal.kind == PASSING


def test_an_answer_that_tells_both_is_no_acknowledgement():
    assert read_answer(b'{"error":{"code":503,"err_code":10077},"stream":"S","seq":0}', None) is not None
