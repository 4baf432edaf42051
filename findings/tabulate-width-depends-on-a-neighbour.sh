#!/usr/bin/env bash
# tabulate 0.10.0, wcwidth 0.9.4: how wide a column is.
# One would guess: the same table is printed the same way on every machine with the same tabulate.
# What is: wide letters count twice only where wcwidth happens to be installed, which tabulate does not ask for.
. "$(dirname "$0")/common.bash"
pip_install tabulate==0.10.0
cat >"$temp/table.py" <<'PY'
from tabulate import tabulate

print(tabulate([["日本", "|"], ["abcd", "|"]], tablefmt="plain"))
PY
{
    echo "without wcwidth"
    python "$temp/table.py"
    pip install -q wcwidth==0.9.4
    echo "with wcwidth"
    python "$temp/table.py"
} >"$temp/seen"
seen "$temp/seen" <<'EXPECTED'
without wcwidth
日本    |
abcd  |
with wcwidth
日本  |
abcd  |
EXPECTED
