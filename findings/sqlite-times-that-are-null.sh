#!/usr/bin/env bash
# apsw 3.54.1.0 (SQLite 3.54.1): its date functions.
# One would guess: what is no time is an error.
# What is: it is NULL, without a word: an offset without a colon, a decimal comma, month 13, and a Unix time unless
# 'auto' or 'unixepoch' is said. February 31 is March 3, 24:00 the next day. So a comparison with such a value finds no
# rows instead of failing.
. "$(dirname "$0")/common.bash"
pip_install apsw==3.54.1.0
python >"$temp/seen" <<'PY'
import apsw

connection = apsw.Connection(":memory:")
for text in (
    "2026-11-28T10:00:00+05:00", "2026-11-28T10:00:00+0500", "2026-11-28T10:00:00,5Z",
    "2026-13-01", "2026-02-31", "2026-11-28 24:00:00", "1795860000",
):
    print(f"{text}:", connection.execute("SELECT datetime(?)", (text,)).fetchone()[0])
print("1795860000 with auto:", connection.execute("SELECT datetime('1795860000', 'auto')").fetchone()[0])
PY
seen "$temp/seen" <<'EXPECTED'
2026-11-28T10:00:00+05:00: 2026-11-28 05:00:00
2026-11-28T10:00:00+0500: None
2026-11-28T10:00:00,5Z: None
2026-13-01: None
2026-02-31: 2026-03-03 00:00:00
2026-11-28 24:00:00: 2026-11-29 00:00:00
1795860000: None
1795860000 with auto: 2026-11-28 10:00:00
EXPECTED
