#!/usr/bin/env bash
# tabulate 0.10.0: a column of texts that all could be numbers.
# One would guess: texts are shown as they are; at most they are aligned.
# What is: where every text of a column could be a number, all are converted: short commit ids become 4.021e+16,
# leading zeros go, 1,000.5 loses its comma. One text that is no number saves the column, so it depends on the rows.
# disable_numparse=True leaves them alone.
. "$(dirname "$0")/common.bash"
pip_install tabulate==0.10.0
python >"$temp/seen" <<'PY'
from tabulate import tabulate

for column in (["4021e13", "7000e12"], ["4021e13", "7000e12", "a1b2c3d"], ["0012", "1.50"], ["1,000.5", "2"]):
    rows = [[text] for text in column]
    shown = [tabulate(rows, tablefmt="plain", disable_numparse=how).split() for how in (False, True)]
    print(*column, "->", *shown[0], "; with disable_numparse", *shown[1])
PY
seen "$temp/seen" <<'EXPECTED'
4021e13 7000e12 -> 4.021e+16 7e+15 ; with disable_numparse 4021e13 7000e12
4021e13 7000e12 a1b2c3d -> 4021e13 7000e12 a1b2c3d ; with disable_numparse 4021e13 7000e12 a1b2c3d
0012 1.50 -> 12 1.5 ; with disable_numparse 0012 1.50
1,000.5 2 -> 1000.5 2 ; with disable_numparse 1,000.5 2
EXPECTED
