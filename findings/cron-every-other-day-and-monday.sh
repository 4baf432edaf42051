#!/usr/bin/env bash
# croniter 7.0.0, cronsim 2.8 (which follows Debian's cron), croner 11.0.0: "0 0 */2 * 1".
# One would guess: Mondays that are odd days, or odd days and Mondays: one of the two, everywhere.
# What is: both. Day and weekday are joined by "or" if both are restricted, and the libraries disagree on whether */2 is
# a restriction: to cronsim it begins with a star, so it is none, and both must hold. "1-31/2" means the same days and
# is read alike by all.
. "$(dirname "$0")/common.bash"
pip_install croniter==7.0.0 cronsim==2.8
npm_install croner@11.0.0
cat >"$temp/next.mjs" <<'JS'
import { Cron } from "croner";
const [, , pattern] = process.argv;
const times = new Cron(pattern, { timezone: "UTC" }).nextRuns(4, "2026-11-28T10:00:00Z");
console.log("  croner:  ", ...times.map((date) => date.toISOString().slice(5, 10)));
JS
cat >"$temp/next.py" <<'PY'
import datetime, sys
from croniter import croniter
from cronsim import CronSim

begin = datetime.datetime(2026, 11, 28, 10)
one, other = croniter(sys.argv[1], begin), CronSim(sys.argv[1], begin)
print("  croniter:", *(one.get_next(datetime.datetime).strftime("%m-%d") for _ in range(4)))
print("  cronsim: ", *(next(other).strftime("%m-%d") for _ in range(4)))
PY
for pattern in "0 0 */2 * 1" "0 0 1-31/2 * 1"; do
    echo "$pattern"
    python "$temp/next.py" "$pattern"
    node "$temp/next.mjs" "$pattern"
done >"$temp/seen"
seen "$temp/seen" <<'EXPECTED'
0 0 */2 * 1
  croniter: 11-29 11-30 12-01 12-03
  cronsim:  12-07 12-21 01-11 01-25
  croner:   11-29 11-30 12-01 12-03
0 0 1-31/2 * 1
  croniter: 11-29 11-30 12-01 12-03
  cronsim:  11-29 11-30 12-01 12-03
  croner:   11-29 11-30 12-01 12-03
EXPECTED
