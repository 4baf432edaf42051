#!/usr/bin/env bash
# nats-py 2.16.0: opt_start_time without a time zone.
# One would guess: a naive datetime is local time, as datetime.timestamp() and astimezone() have it.
# What is: it is taken for UTC. datetime.now() - timedelta(hours=1), on a machine in Tokyo, asks for what comes in eight
# hours; on a machine in UTC, where tests run, it is right.
. "$(dirname "$0")/common.bash"
pip_install nats-py==2.16.0
TZ=Asia/Tokyo python >"$temp/seen" <<'PY'
import datetime
from nats.js.api import ConsumerConfig

noon = datetime.datetime(2026, 11, 28, 12)
print("nats-py:", ConsumerConfig(opt_start_time=noon).as_dict()["opt_start_time"])
print("Python: ", noon.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"))
PY
seen "$temp/seen" <<'EXPECTED'
nats-py: 2026-11-28T12:00:00Z
Python:  2026-11-28T03:00:00Z
EXPECTED
