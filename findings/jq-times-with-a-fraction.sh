#!/usr/bin/env bash
# jq 1.13.0 of PyPI (libjq's functions): times as most programs write them.
# One would guess: fromdate reads RFC 3339, and todate gives back what it was given.
# What is: fromdate reads whole seconds and "Z" alone: a fraction or an offset is an error. todate and mktime drop the
# fraction without one. So times with milliseconds must be cut before they can be compared as numbers.
. "$(dirname "$0")/common.bash"
pip_install jq==1.13.0
python >"$temp/seen" <<'PY'
import jq

for program, text in {
    "fromdate": ["2026-11-28T10:00:00Z", "2026-11-28T10:00:00.123Z", "2026-11-28T11:00:00+01:00"],
    'sub("[.][0-9]+"; "") | fromdate': ["2026-11-28T10:00:00.123Z"],
    "todate": [1795860000.9],
}.items():
    for value in text:
        try:
            print(f"{value} | {program} ->", jq.compile(program).input_value(value).first())
        except ValueError:
            print(f"{value} | {program} -> error")
PY
seen "$temp/seen" <<'EXPECTED'
2026-11-28T10:00:00Z | fromdate -> 1795860000
2026-11-28T10:00:00.123Z | fromdate -> error
2026-11-28T11:00:00+01:00 | fromdate -> error
2026-11-28T10:00:00.123Z | sub("[.][0-9]+"; "") | fromdate -> 1795860000
1795860000.9 | todate -> 2026-11-28T10:00:00Z
EXPECTED
