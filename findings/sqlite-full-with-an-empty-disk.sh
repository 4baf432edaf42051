#!/usr/bin/env bash
# apsw 3.54.1.0 (SQLite 3.54.1): "database or disk is full".
# One would guess: there is no room.
# What is: also where AUTOINCREMENT has given the largest integer once; a handler that waits for room waits for ever.
# INTEGER PRIMARY KEY without AUTOINCREMENT goes on, with ids at random, so that the newest row has no longer the
# largest id.
. "$(dirname "$0")/common.bash"
pip_install apsw==3.54.1.0
python >"$temp/seen" <<'PY'
import apsw

connection = apsw.Connection(":memory:")
for name, kind in {"counted": "INTEGER PRIMARY KEY AUTOINCREMENT", "plain": "INTEGER PRIMARY KEY"}.items():
    connection.execute(f"CREATE TABLE {name} (id {kind}, x)")
    connection.execute(f"INSERT INTO {name} (id) VALUES ({2**63 - 1})")
    try:
        connection.execute(f"INSERT INTO {name} (x) VALUES (1)")
        row = connection.execute(f"SELECT id FROM {name} WHERE x = 1").fetchone()
        print(f"{name}: the new id is smaller: {row[0] < 2**63 - 1}")
    except apsw.FullError as error:
        print(f"{name}: {error}")
PY
seen "$temp/seen" <<'EXPECTED'
counted: database or disk is full
plain: the new id is smaller: True
EXPECTED
