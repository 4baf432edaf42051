#!/usr/bin/env bash
# honcho 2.0.0: how a whole Procfile ended.
# One would guess: honcho ends with an error if any of its processes did.
# What is: the first one to end decides. If that one ends well, all others are stopped, and honcho ends with 0 though
# what was stopped failed. A process that died of signal 9 makes it 247, where a shell says 137.
. "$(dirname "$0")/common.bash"
pip_install honcho==2.0.0
cd "$temp"
{
    printf 'one: exit 0\nother: trap "exit 3" TERM; sleep 30 & wait\n' >Procfile
    honcho start >/dev/null 2>&1 && echo "the first ends with 0, the other with 3: 0"
    printf 'one: exit 3\nother: sleep 30\n' >Procfile
    honcho start >/dev/null 2>&1 || echo "the first ends with 3: $?"
    printf 'one: kill -9 $$\n' >Procfile
    honcho start >/dev/null 2>&1 || echo "killed with 9: $?"
} >"$temp/seen"
seen "$temp/seen" <<'EXPECTED'
the first ends with 0, the other with 3: 0
the first ends with 3: 3
killed with 9: 247
EXPECTED
