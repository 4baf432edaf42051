#!/usr/bin/env bash
# croniter 7.0.0, cronsim 2.8, croner 11.0.0: a range that ends before it begins, "0 22-2 * * *".
# One would guess: either all take it for "over midnight" or all refuse it.
# What is: croniter takes it, as from ten in the evening until two at night; cronsim and croner refuse it. A step longer
# than its field ("*/90" minutes) croniter and cronsim take as "each hour", croner refuses it.
. "$(dirname "$0")/common.bash"
pip_install croniter==7.0.0 cronsim==2.8
npm_install croner@11.0.0
cat >"$temp/is.mjs" <<'JS'
import { Cron } from "croner";
try {
  const times = new Cron(process.argv[2], { timezone: "UTC" }).nextRuns(3, "2026-11-28T20:30:00Z");
  console.log("  croner:  ", ...times.map((date) => date.toISOString().slice(11, 16)));
} catch (error) {
  console.log("  croner:   refused");
}
JS
cat >"$temp/is.py" <<'PY'
import datetime, sys
from croniter import CroniterError, croniter
from cronsim import CronSim, CronSimError

begin = datetime.datetime(2026, 11, 28, 20, 30)
for name, make in (("croniter:", lambda: croniter(sys.argv[1], begin, ret_type=datetime.datetime)), ("cronsim: ", lambda: CronSim(sys.argv[1], begin))):
    try:
        times = make()
        print(f"  {name}", *(next(times).strftime("%H:%M") for _ in range(3)))
    except (CroniterError, CronSimError, ValueError):
        print(f"  {name} refused")
PY
for pattern in "0 22-2 * * *" "*/90 * * * *"; do
    echo "$pattern"
    python "$temp/is.py" "$pattern"
    node "$temp/is.mjs" "$pattern"
done >"$temp/seen"
seen "$temp/seen" <<'EXPECTED'
0 22-2 * * *
  croniter: 22:00 23:00 00:00
  cronsim:  refused
  croner:   refused
*/90 * * * *
  croniter: 21:00 22:00 23:00
  cronsim:  21:00 22:00 23:00
  croner:   refused
EXPECTED
