#!/usr/bin/env bash
# arrow 1.4.0, python-dateutil 4.0.0, pendulum 3.3.0, ciso8601 2.4.1: a time with nanoseconds, as Go and NATS write them.
# One would guess: what does not fit into microseconds is cut off.
# What is: three cut, arrow looks at the seventh digit and rounds: the last moment of a day is in the next one, and a
# time that was compared as text no longer sorts before its neighbour.
. "$(dirname "$0")/common.bash"
pip_install arrow==1.4.0 python-dateutil==4.0.0 pendulum==3.3.0 ciso8601==2.4.1
python >"$temp/seen" <<'PY'
import arrow, ciso8601, pendulum
from dateutil.parser import isoparse

for text in ("2026-11-28T23:59:59.999999500Z", "2026-11-28T23:59:59.999999499Z"):
    print(text)
    for name, parse in {"arrow": arrow.get, "dateutil": isoparse, "pendulum": pendulum.parse, "ciso8601": ciso8601.parse_datetime}.items():
        print(f"  {name}:", parse(text).strftime("%d %H:%M:%S.%f"))
PY
seen "$temp/seen" <<'EXPECTED'
2026-11-28T23:59:59.999999500Z
  arrow: 29 00:00:00.000000
  dateutil: 28 23:59:59.999999
  pendulum: 28 23:59:59.999999
  ciso8601: 28 23:59:59.999999
2026-11-28T23:59:59.999999499Z
  arrow: 28 23:59:59.999999
  dateutil: 28 23:59:59.999999
  pendulum: 28 23:59:59.999999
  ciso8601: 28 23:59:59.999999
EXPECTED
