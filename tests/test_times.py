"""RFC 3339 and durations, both ways."""

import time
from datetime import datetime, timedelta, timezone
from random import Random

import pytest

from observe_lib.times import (
    UTC,
    earlier,
    format_duration,
    format_time,
    now_utc,
    parse_duration,
    parse_time,
    parse_when,
    seconds_between,
    stamp_of,
)

NOON = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "text, moment",
    [
        ("2026-11-23T12:00:00Z", NOON),
        ("2026-11-23T12:00:00.358Z", NOON.replace(microsecond=358_000)),
        ("2026-11-23t12:00:00z", NOON),
        ("2026-11-23 12:00:00Z", NOON),
        ("2026-11-23T12:00:00.5Z", NOON.replace(microsecond=500_000)),
        ("2026-11-23T12:00:00,5Z", NOON.replace(microsecond=500_000)),
        ("2026-11-23T12:00:00.358255428Z", NOON.replace(microsecond=358_255)),  # Go's nanoseconds, cut
        ("2026-11-23T14:30:00+02:30", NOON),
        ("2026-11-22T22:00:00-14:00", NOON),
        ("2028-02-29T00:00:00Z", datetime(2028, 2, 29, tzinfo=UTC)),
        ("1970-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC)),
        ("9999-12-30T23:59:59Z", datetime(9999, 12, 30, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_parse_time(text, moment):
    assert parse_time(text) == moment
    assert parse_time(text).utcoffset() == timedelta(0)
    assert stamp_of(text) == moment.timestamp()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "12:00",
        "2026-11-23",
        "2026-11-23T12:00:00",  # of which place?
        "2026-13-23T12:00:00Z",
        "2026-02-30T12:00:00Z",
        "2026-11-23T25:00:00Z",
        "2026-11-23T12:00:60.000Z",
        "2026-11-23T12:00:0\u0662.000Z",
        "2026-11-23T12:00:00.Z",
        "2026-11-23T12:00:00Z ",
        "2026-11-23T12:00:00Z\n",
        "\u0662026-11-23T12:00:00Z",  # an Arabic 2
        "0001-01-01T00:00:00.000Z",
        "9999-12-31T00:00:00.000Z",
        "0001-01-01T00:00:00Z",  # Go's zero time
        "0001-01-01T00:00:00+01:00",  # before the first year
        "1970-01-01T00:00:00+01:00",
        "9999-12-31T00:00:00Z",  # some zone's clock would get past the last year
        "2026-11-23T12:00:00+99:00",
    ],
)
def test_parse_time_refuses(text):
    for parse in (parse_time, stamp_of):
        with pytest.raises(ValueError):
            parse(text)


@pytest.mark.parametrize(
    "moment, text",
    [
        (NOON, "2026-11-23T12:00:00.000Z"),
        (NOON.replace(microsecond=999_999), "2026-11-23T12:00:00.999Z"),  # cut: never later than it was
        (NOON.replace(microsecond=1_000), "2026-11-23T12:00:00.001Z"),
        (NOON.astimezone(timezone(timedelta(hours=-7))), "2026-11-23T12:00:00.000Z"),
    ],
)
def test_format_time(moment, text):
    assert format_time(moment) == text


def test_a_time_comes_back():
    rng = Random(1)
    for _ in range(500):
        moment = NOON + timedelta(milliseconds=rng.randrange(-(10**12), 10**12))
        assert parse_time(format_time(moment)) == moment


@pytest.mark.parametrize(
    "text, seconds",
    [
        ("200ms", 0.2),
        ("2s", 2.0),
        ("0.5s", 0.5),
        ("15m", 900.0),
        ("1h30m", 5400.0),
        ("1d", 86400.0),
        ("1w", 7 * 86400.0),
        ("1m500ms", 60.5),
    ],
)
def test_parse_duration(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", "2", "s", "2 s", "-2s", "0s", "0ms", "1h 30m", "2sec", "1e3s", "inf", "nan", "2S", ".5s", "\u0662s"]
    + ["40000d", "9" * 400 + "d"],
)
def test_parse_duration_refuses(text):
    with pytest.raises(ValueError):
        parse_duration(text)


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0.0, "0.0s"),
        (27.04, "27.0s"),
        (59.94, "59.9s"),
        (59.96, "1m"),
        (60, "1m"),
        (81, "1m21s"),
        (2460, "41m"),
        (3600, "1h"),
        (3661, "1h1m"),
        (7530, "2h5m"),
        (86400, "1d"),
        (273600, "3d4h"),
        (86400 * 400, "400d"),
    ],
)
def test_format_duration(seconds, text):
    assert format_duration(seconds) == text


EAST = timezone(timedelta(hours=2))  # where it is 14:00


@pytest.mark.parametrize(
    "text, ago",
    [
        ("15m", timedelta(minutes=15)),
        ("1h30m", timedelta(minutes=90)),
        ("1w", timedelta(days=7)),
        ("now", timedelta()),
        ("today", timedelta(hours=14)),
        ("yesterday", timedelta(hours=38)),
        (str(int(NOON.timestamp()) - 90), timedelta(seconds=90)),
        (f"{int(NOON.timestamp()) - 1}.5", timedelta(seconds=0.5)),
        ("2026-11-23T11:00:00Z", timedelta(hours=1)),
        ("2026-11-23T11:00:00+01:00", timedelta(hours=2)),
        ("13:30", timedelta(minutes=30)),
        ("13:59:59", timedelta(seconds=1)),
        ("14:00", timedelta()),
        ("14:01", timedelta(hours=23, minutes=59)),  # yesterday's
        ("9:05", timedelta(hours=4, minutes=55)),
        ("11-23 13:00:00", timedelta(hours=1)),
        ("11-23", timedelta(hours=14)),
        ("12-24 14:00", timedelta(days=334)),  # last year's
        ("2025-11-23 14:00:00", timedelta(days=365)),
        ("2025-11-23T14:00", timedelta(days=365)),
        ("2026-11-24", timedelta(hours=-10)),  # a whole date is taken at its word
    ],
)
def test_parse_when(text, ago):
    assert parse_when(text, NOON, EAST) == NOON - ago


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "0s",
        "tomorrow",
        "-1764345600",
        "0001-01-01T00:00:00Z",
        "0001-01-01",
        "9999-12-31 23:00",
        "99y",
        "3000w",
        "25:00",
        "12:60",
        "2026-02-30",
        "13-01",
        "12",
        "12:00:00:00",
        "23-11-2026",
        "40000d",
    ],
)
def test_parse_when_refuses(text):
    with pytest.raises(ValueError):
        parse_when(text, NOON, EAST)


def test_spans():
    assert seconds_between(NOON, NOON + timedelta(seconds=1.5)) == 1.5
    assert seconds_between(NOON, NOON - timedelta(seconds=1.5)) == -1.5
    assert earlier(NOON, 90) == NOON - timedelta(seconds=90)
    assert earlier(NOON, -90) == NOON + timedelta(seconds=90)
    assert now_utc().utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "now, found",
    [("2026-10-25T00:45:00Z", "00:30"), ("2026-10-25T01:15:00Z", "00:30"), ("2026-10-25T01:45:00Z", "01:30")],
)
def test_an_hour_that_comes_twice_is_the_last_one_not_in_the_future(now, found, monkeypatch):
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    try:
        at = parse_when("02:30", parse_time(now))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert format_time(at) == f"2026-10-25T{found}:00.000Z"
