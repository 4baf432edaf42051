#!/usr/bin/env bash
# apsw 3.54.1.0 (SQLite 3.54.1): what AUTOINCREMENT keeps from being used again.
# One would guess: an id once given is never given again; that is what it is for, and how sequences of other databases do.
# What is: that holds for rows that were committed. An id that a rolled back transaction gave is given again, so nobody
# may be told an id (a message number, a file's name) before the commit.
. "$(dirname "$0")/common.bash"
pip_install apsw==3.54.1.0
python >"$temp/seen" <<'PY'
import apsw

connection = apsw.Connection(":memory:")
connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, x)")


def insert():
    connection.execute("INSERT INTO t (x) VALUES (1)")
    return connection.last_insert_rowid()


print("deleted:", insert(), end=" ")
connection.execute("DELETE FROM t")
print("then", insert())
connection.execute("BEGIN")
print("rolled back:", insert(), end=" ")
connection.execute("ROLLBACK")
print("then", insert())
PY
seen "$temp/seen" <<'EXPECTED'
deleted: 1 then 2
rolled back: 3 then 3
EXPECTED
