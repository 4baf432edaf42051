#!/usr/bin/env bash
# apsw 3.54.1.0 (SQLite 3.54.1): PRAGMA synchronous with a word that it does not know.
# One would guess: an error, or nothing is changed.
# What is: it is set to NORMAL: a misspelt FULL turns FULL off. A misspelt pragma is no error either, it does nothing.
. "$(dirname "$0")/common.bash"
pip_install apsw==3.54.1.0
python >"$temp/seen" <<'PY'
import apsw

connection = apsw.Connection(":memory:")
names = {0: "OFF", 1: "NORMAL", 2: "FULL", 3: "EXTRA"}
print("SQLite", apsw.sqlite_lib_version())
for statement in ("synchronous=EXTRA", "synchronous=FULLL", "synchronous=banana", "syncronous=OFF"):
    connection.execute("PRAGMA synchronous=FULL").fetchall()
    connection.execute(f"PRAGMA {statement}").fetchall()
    print(f"{statement}: FULL becomes", names[connection.execute("PRAGMA synchronous").fetchone()[0]])
PY
seen "$temp/seen" <<'EXPECTED'
SQLite 3.54.1
synchronous=EXTRA: FULL becomes EXTRA
synchronous=FULLL: FULL becomes NORMAL
synchronous=banana: FULL becomes NORMAL
syncronous=OFF: FULL becomes FULL
EXPECTED
