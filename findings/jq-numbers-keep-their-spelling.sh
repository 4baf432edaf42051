#!/usr/bin/env bash
# jq 1.13.0 of PyPI (libjq's numbers): large integers and trailing zeros.
# One would guess: a number is a double, as it says everywhere, so 2^53 + 1 is 2^53 at once.
# What is: a number that nobody has touched keeps its digits: tostring and the comparison see all of them, 1.0 stays
# "1.0", 1e3 becomes "1E+3". Any arithmetic, + 0 too, makes it a double: two values that were different are equal then.
. "$(dirname "$0")/common.bash"
pip_install jq==1.13.0
python >"$temp/seen" <<'PY'
import jq

for program in (". == 9007199254740992", ". + 0 == 9007199254740992", "tostring", ". + 0 | tostring"):
    print(f"9007199254740993 | {program} ->", jq.compile(program).input_text("9007199254740993").first())
for text in ("1.0", "1e3", "100000000000000000000"):
    print(f"{text} | tostring ->", jq.compile("tostring").input_text(text).first())
PY
seen "$temp/seen" <<'EXPECTED'
9007199254740993 | . == 9007199254740992 -> False
9007199254740993 | . + 0 == 9007199254740992 -> True
9007199254740993 | tostring -> 9007199254740993
9007199254740993 | . + 0 | tostring -> 9007199254740992
1.0 | tostring -> 1.0
1e3 | tostring -> 1E+3
100000000000000000000 | tostring -> 100000000000000000000
EXPECTED
