#!/usr/bin/env bash
# supervisor 4.3.0: startretries=1.
# One would guess: after one more try it gives up, as process-compose does with max_restarts.
# What is: only tries that end within startsecs count, and each one that lasts longer begins the count anew. A program
# that crashes a moment after startsecs is started again for ever, a second later each time, without a limit.
. "$(dirname "$0")/common.bash"
pip_install supervisor==4.3.0
cat >"$temp/supervisord.conf" <<CONF
[supervisord]
logfile=$temp/log
pidfile=$temp/pid
childlogdir=$temp
nodaemon=true
[program:early]
command=sh -c "exit 5"
startsecs=1
startretries=1
[program:late]
command=sh -c "sleep 0.3; exit 5"
startsecs=0
startretries=1
CONF
supervisord -c "$temp/supervisord.conf" >/dev/null 2>&1 &
server=$!
starts_of() { grep -c "spawned: '$1'" "$temp/log" || true; }
for _ in {1..150}; do
    [ -e "$temp/log" ] && [ "$(starts_of late)" -ge 6 ] && break
    sleep 0.2
done
{
    echo "early is started $(starts_of early) times, then: $(grep -o "early entered FATAL" "$temp/log")"
    [ "$(starts_of late)" -lt 6 ] || echo "late is started 6 times and more"
    grep -q "late entered FATAL" "$temp/log" || echo "late never enters FATAL"
} >"$temp/seen"
seen "$temp/seen" <<'EXPECTED'
early is started 2 times, then: early entered FATAL
late is started 6 times and more
late never enters FATAL
EXPECTED
