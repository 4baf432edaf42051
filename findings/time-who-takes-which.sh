#!/usr/bin/env bash
# arrow 1.4.0, python-dateutil 4.0.0, pendulum 3.3.0, ciso8601 2.4.1: times at the edge of RFC 3339.
# One would guess: what RFC 3339 allows is taken (small t and z), what it does not (hour 24) is refused.
# What is: arrow, pendulum refuse small letters, half of them take hour 24, most take what is no RFC 3339 at all. dateutil
# has two answers (parse() refuses the hour 24 that isoparse() makes the next day), and ciso8601 has two functions: only
# its parse_rfc3339 keeps to the standard.
. "$(dirname "$0")/common.bash"
pip_install arrow==1.4.0 python-dateutil==4.0.0 pendulum==3.3.0 ciso8601==2.4.1
python >"$temp/seen" <<'PY'
import arrow, ciso8601, pendulum
from dateutil.parser import isoparse, parse

parsers = {"arrow": arrow.get, "isoparse": isoparse, "parse": parse, "pendulum": pendulum.parse}
parsers |= {"ciso8601": ciso8601.parse_datetime, "rfc3339": ciso8601.parse_rfc3339}
for text in ("2026-11-28t10:00:00z", "2026-11-28T24:00:00Z", "2026-11-28T10:00:00+05", "2026-11-28T10:00:00,5Z", "2026-332"):
    takers = []
    for name, parser in parsers.items():
        try:
            parser(text)
            takers.append(name)
        except ValueError:
            pass
    print(f"{text}:", *takers)
PY
seen "$temp/seen" <<'EXPECTED'
2026-11-28t10:00:00z: isoparse parse ciso8601 rfc3339
2026-11-28T24:00:00Z: arrow isoparse ciso8601
2026-11-28T10:00:00+05: arrow isoparse parse pendulum ciso8601
2026-11-28T10:00:00,5Z: arrow isoparse parse pendulum ciso8601
2026-332: arrow isoparse pendulum ciso8601
EXPECTED
