#!/usr/bin/env bash
# pytimeparse2 1.7.1, durationpy 0.11, humanfriendly 10.0, npm's ms 2.1.3 and parse-duration 2.1.9: how long is it?
# One would guess: what a library cannot read it refuses, and what two can read is the same time.
# What is: "90" is 90 seconds or 90 milliseconds, "1:30" 90 seconds or a millisecond, "1M" and even ISO 8601's month P1M
# a minute, "1,5h" fifteen hours, "1h-30m" an hour and a half; a year is 364, 365 or 365.25 days. Most refuse most of it.
. "$(dirname "$0")/common.bash"
pip_install pytimeparse2==1.7.1 durationpy==0.11 humanfriendly==10.0
npm_install ms@2.1.3 parse-duration@2.1.9
cat >"$temp/read.py" <<'PY'
import sys
import durationpy, humanfriendly, pytimeparse2

for text in sys.argv[1:]:
    print(f"{text}:", end="")
    for name, parse in {
        "pytimeparse2": pytimeparse2.parse,
        "durationpy": lambda text: durationpy.from_str(text).total_seconds(),
        "humanfriendly": humanfriendly.parse_timespan,
    }.items():
        try:
            seconds = parse(text)
        except Exception:
            seconds = None
        if seconds is not None:
            print(f" {name} {seconds:g}", end="")
    print()
PY
cat >"$temp/read.mjs" <<'JS'
import ms from "ms";
import parse from "parse-duration";
for (const text of process.argv.slice(2)) {
  const found = Object.entries({ ms: ms(text), "parse-duration": parse(text) });
  console.log(`${text}:`, ...found.filter(([, time]) => time != null).map(([name, time]) => `${name} ${time / 1000}`));
}
JS
texts=(90 1:30 1M P1M 1,5h 1h-30m 1h30 1y)
{ python "$temp/read.py" "${texts[@]}" && node "$temp/read.mjs" "${texts[@]}"; } >"$temp/seen"
seen "$temp/seen" <<'EXPECTED'
90: pytimeparse2 90 humanfriendly 90
1:30: pytimeparse2 90
1M: pytimeparse2 60 humanfriendly 60
P1M:
1,5h:
1h-30m: durationpy 5400
1h30:
1y: pytimeparse2 3.1536e+07 durationpy 3.1536e+07 humanfriendly 3.14496e+07
90: ms 0.09 parse-duration 0.09
1:30: parse-duration 0.00103
1M: ms 60 parse-duration 60
P1M: parse-duration 60
1,5h: parse-duration 54000
1h-30m: parse-duration 5400
1h30: parse-duration 5400
1y: ms 31557600 parse-duration 31557600
EXPECTED
