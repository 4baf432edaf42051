"""RFC 3339 and durations, both ways: the only place that parses or prints a time.
Pure functions; a moment is always an aware `datetime` in UTC.
"""

import re
from contextlib import suppress
from datetime import datetime, timedelta, timezone, tzinfo
from functools import lru_cache

UTC = timezone.utc
#: no duration is longer than a century: neither NATS nor `datetime` could count with it
LONGEST_S = 100 * 365 * 86400.0
#: every moment that is read is in here; a day is left at the end, so that no zone's clock gets past 9999
FIRST, LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)

_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:[.,](\d+))?([Zz]|[+-]\d\d:\d\d)")
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d|w)")
_PRINTED = re.compile(r"(?:(?:(\d{4})-)?(\d\d)-(\d\d))?(?:(?:^|(?<=\d)[ T])(\d\d?):(\d\d)(?::(\d\d))?)?")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_UNIX = re.compile(r"[0-9]{9,11}(?:\.[0-9]{1,9})?")
_DAYS = {"today": 0, "yesterday": 1}


def now_utc() -> datetime:
    """Return this machine's present time."""
    return datetime.now(UTC)


def parse_time(text: str) -> datetime:
    """Return the moment that an RFC 3339 text names, cut to microseconds.

    ValueError if it is none, or out of the years 1970 to 9999: Go's zero time, for one.
    """
    match = _RFC3339.fullmatch(text)
    if not match:
        raise ValueError(f"not an RFC 3339 time: {text!r}")
    try:
        if len(text) == 24 and text[10] + text[23] == "TZ":  # as we write it
            return _in_range(datetime.fromisoformat(f"{text[:23]}+00:00"), text)
        date, clock, fraction, zone = match.groups()
        micros = (fraction or "")[:6].ljust(6, "0")
        offset = "+00:00" if zone in "Zz" else zone
        moment = datetime.fromisoformat(f"{date}T{clock}.{micros}{offset}")
        return _in_range(moment.astimezone(UTC), text)
    except OverflowError as error:
        raise ValueError(f"out of range: {text!r}") from error


def _in_range(moment: datetime, text: str) -> datetime:
    if not FIRST <= moment < LAST:
        raise ValueError(f"out of the years 1970 to 9999: {text!r}")
    return moment


@lru_cache(256)  # the same few are asked for again and again
def stamp_of(moment: str) -> float:
    """Return an event's moment in seconds since 1970; errors as `parse_time`."""
    if len(moment) == 24 and moment[16] + moment[19] + moment[23] == ":.Z":  # as we write it
        millis = moment[17:19] + moment[20:23]
        if millis.isdecimal() and millis.isascii() and millis < "60000":
            return _stamp_of_minute(moment[:16]) + int(millis) / 1000
    return parse_time(moment).timestamp()


@lru_cache(64)
def _stamp_of_minute(minute: str) -> float:
    return parse_time(f"{minute}:00Z").timestamp()


def format_time(moment: datetime) -> str:
    """Return `2025-10-16T16:26:18.123Z`: UTC, milliseconds (cut, not rounded), `Z`."""
    moment = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds")[:-6] + "Z"


def earlier(moment: datetime, seconds: float) -> datetime:
    """Return the moment `seconds` before the given one."""
    return moment - timedelta(seconds=seconds)


def seconds_between(start: datetime, end: datetime) -> float:
    """Return end - start in seconds, negative if end comes first."""
    return (end - start).total_seconds()


def parse_duration(text: str) -> float:
    """Return the seconds in `200ms`, `2s`, `1h30m`, `1d`, `1w`; ValueError for anything else, 0 included."""
    parts = list(_DURATION.finditer(text))
    if not parts or "".join(part.group() for part in parts) != text:
        raise ValueError(f"not a duration: {text!r}")
    seconds = sum(float(part.group(1)) * _UNIT_S[part.group(2)] for part in parts)
    if not seconds > 0:
        raise ValueError(f"not longer than 0: {text!r}")
    if seconds > LONGEST_S:
        raise ValueError(f"longer than a century: {text[:20]!r}")
    return seconds


def parse_when(text: str, now: datetime, zone: tzinfo | None = None) -> datetime:
    """Return the moment that a text names: `15m` (ago), `now`, RFC 3339, Unix seconds, or as on the screen.

    `HH:MM[:SS]`, `MM-DD HH:MM:SS`, `YYYY-MM-DD[ HH:MM:SS]`, and `today`, `yesterday` from midnight on, are of
    a zone (None: the local one), and without a date or a year the last ones not after `now`. ValueError for
    anything else.
    """
    if text == "now":
        return now
    with suppress(ValueError):
        return _in_range(earlier(now, parse_duration(text)), text)
    if _RFC3339.fullmatch(text):
        return parse_time(text)
    if _UNIX.fullmatch(text):
        return datetime.fromtimestamp(float(text), UTC)
    match = _PRINTED.fullmatch(text)
    if text in _DAYS:
        midnight = now.astimezone(zone).date() - timedelta(days=_DAYS[text])
        match = _PRINTED.fullmatch(midnight.isoformat())
    if not text or not match:
        raise ValueError(f"not a time: {text!r}")
    year, month, day, *clock = (int(part) if part else None for part in match.groups())
    today = now.astimezone(zone)
    hour, minute, second = (part or 0 for part in clock)
    try:
        at = datetime(year or today.year, month or today.month, day or today.day, hour, minute, second)
        # an hour that the clocks pass twice: the later one, if that was already
        found, again = (at.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
        found = again if found < again <= now else found
        if found > now and not month:
            found = (at - timedelta(days=1)).replace(tzinfo=zone).astimezone(UTC)
        elif found > now and not year:
            found = at.replace(year=at.year - 1, tzinfo=zone).astimezone(UTC)
        return _in_range(found, text)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"no such time: {text!r}") from error


def format_duration(seconds: float) -> str:
    """Return a span as people say it, two units at most: `27.0s`, `1m21s`, `41m`, `2h5m`, `3d4h`."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f}s"
    whole = max(60, int(seconds))
    for size, unit, below, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size}{unit}" + (f"{rest}{small}" if rest else "")
    raise AssertionError("a minute or more has a unit")
