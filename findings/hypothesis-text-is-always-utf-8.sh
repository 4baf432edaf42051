#!/usr/bin/env bash
# hypothesis 6.170.17: text() and what json.loads() can return.
# One would guess: text() makes every str there is, so a program fuzzed with it stands any text from JSON.
# What is: text() never holds half of a surrogate pair, which json.loads() gives for "\ud800": the text that fails as
# soon as it is encoded is the one that is never tried. characters(categories=["Cs"]) has them. floats() on the other
# hand do hold nan and inf unasked, which the JSON standard does not.
. "$(dirname "$0")/common.bash"
pip_install hypothesis==6.170.17
cd "$temp" # where it keeps its database
python >"$temp/seen" <<'PY'
import json, math
from hypothesis import find, settings, strategies as st
from hypothesis.errors import NoSuchExample

tries = settings(max_examples=2000, database=None)


def is_found(strategy, condition):
    try:
        find(strategy, condition, settings=tries)
        return "found"
    except NoSuchExample:
        return "never found"


def breaks(text):
    try:
        text.encode()
        return False
    except UnicodeEncodeError:
        return True


print("from JSON:", breaks(json.loads('"\\ud800"')))
print("text() that cannot be encoded:", is_found(st.text(), breaks))
print("with category Cs:", is_found(st.text(st.characters(categories=["Cs"])), breaks))
print("floats() that are no number:", is_found(st.floats(), math.isnan))
PY
seen "$temp/seen" <<'EXPECTED'
from JSON: True
text() that cannot be encoded: never found
with category Cs: found
floats() that are no number: found
EXPECTED
