#!/usr/bin/env bash
# supervisor 4.3.0: what its API says of how a program ended.
# One would guess: exitstatus is the program's exit status, however long it ran.
# What is: of a program that ended within startsecs it is 0, while supervisor's own log has the 5; the state is FATAL. By
# a signal it is -1, whichever signal it was, and whether somebody asked for it or not: only the state tells those apart.
. "$(dirname "$0")/common.bash"
pip_install supervisor==4.3.0
cat >"$temp/supervisord.conf" <<CONF
[unix_http_server]
file=$temp/s.sock
[supervisord]
logfile=$temp/log
pidfile=$temp/pid
childlogdir=$temp
nodaemon=true
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[program:late]
command=sh -c "exit 5"
startsecs=0
autorestart=false
[program:early]
command=sh -c "exit 5"
startsecs=5
startretries=0
[program:killed]
command=sh -c "kill -KILL \$\$"
startsecs=0
autorestart=false
[program:stopped]
command=sleep 60
startsecs=0
autorestart=false
CONF
supervisord -c "$temp/supervisord.conf" >/dev/null 2>&1 &
server=$!
until [ -S "$temp/s.sock" ]; do
    kill -0 "$server"
    sleep 0.1
done
python - "$temp/s.sock" >"$temp/seen" <<'PY'
import sys, time, xmlrpc.client
from supervisor.xmlrpc import SupervisorTransport

api = xmlrpc.client.ServerProxy("http://x", SupervisorTransport(None, None, f"unix://{sys.argv[1]}")).supervisor
for _ in range(50):
    states = {info["name"]: info["statename"] for info in api.getAllProcessInfo()}
    if states == {"late": "EXITED", "early": "FATAL", "killed": "EXITED", "stopped": "RUNNING"}:
        break
    time.sleep(0.2)
api.stopProcess("stopped")
for name in ("late", "early", "killed", "stopped"):
    info = api.getProcessInfo(name)
    print(f"{name}: {info['statename']}, exitstatus {info['exitstatus']}")
PY
grep -o "exited: early (exit status 5" "$temp/log" | sed 's/^/the log: /; s/$/)/' >>"$temp/seen"
seen "$temp/seen" <<'EXPECTED'
late: EXITED, exitstatus 5
early: FATAL, exitstatus 0
killed: EXITED, exitstatus -1
stopped: STOPPED, exitstatus -1
the log: exited: early (exit status 5)
EXPECTED
