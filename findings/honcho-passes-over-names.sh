#!/usr/bin/env bash
# honcho 2.0.0: a Procfile with names that it does not know how to read.
# One would guess: an error that names the line, or such a process is started as well.
# What is: the line is passed over in silence, and honcho ends with 0: web.api is never started.
. "$(dirname "$0")/common.bash"
pip_install honcho==2.0.0
cd "$temp"
for name in web-api web_api web.api 'web api'; do
    echo "$name: touch \"$temp/$name.started\"; sleep 1"
done >Procfile
{
    honcho check 2>&1 | sed 's/^.*Valid/Valid/'
    honcho start >/dev/null 2>&1 && echo "start: 0"
    for name in web-api web_api web.api 'web api'; do
        [ -e "$name.started" ] && echo "$name is started" || echo "$name is not started"
    done
} >"$temp/seen"
seen "$temp/seen" <<'EXPECTED'
Valid procfile detected (web-api, web_api)
start: 0
web-api is started
web_api is started
web.api is not started
web api is not started
EXPECTED
