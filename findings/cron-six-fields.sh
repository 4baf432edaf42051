#!/usr/bin/env bash
# croniter 7.0.0, croner 11.0.0, cron-parser 5.10.5: a cron expression of six fields.
# One would guess: the sixth field is for seconds, and all libraries put it in the same place.
# What is: croniter has the seconds last, croner and cron-parser first. "*/15 * * * * *" is every 15 seconds for two and
# every second of each 15th minute for the third; none of them calls it an error.
. "$(dirname "$0")/common.bash"
pip_install croniter==7.0.0
npm_install croner@11.0.0 cron-parser@5.10.5
cat >"$temp/next.mjs" <<'JS'
import { Cron } from "croner";
import { CronExpressionParser } from "cron-parser";
const [, , pattern] = process.argv, begin = "2026-11-28T10:00:00Z", time = (date) => date.toISOString().slice(11, 19);
console.log("croner:", ...new Cron(pattern, { timezone: "UTC" }).nextRuns(3, begin).map(time));
const parsed = CronExpressionParser.parse(pattern, { currentDate: begin, tz: "UTC" });
console.log("cron-parser:", ...[1, 2, 3].map(() => time(parsed.next().toDate())));
JS
{
    python - "*/15 * * * * *" <<'PY'
import datetime, sys
from croniter import croniter

times = croniter(sys.argv[1], datetime.datetime(2026, 11, 28, 10))
print("croniter:", *(times.get_next(datetime.datetime).strftime("%H:%M:%S") for _ in range(3)))
PY
    node "$temp/next.mjs" "*/15 * * * * *"
} >"$temp/seen"
seen "$temp/seen" <<'EXPECTED'
croniter: 10:00:01 10:00:02 10:00:03
croner: 10:00:15 10:00:30 10:00:45
cron-parser: 10:00:15 10:00:30 10:00:45
EXPECTED
