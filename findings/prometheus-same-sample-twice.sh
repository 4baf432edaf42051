#!/usr/bin/env bash
# prometheus_client 0.26.0: one series twice in an exposition, with two values.
# One would guess: an error, since a scrape may have a series once.
# What is: neither parser says anything. The text parser gives both samples, the OpenMetrics parser the first and drops
# the second. A test that parses its own page finds no double.
. "$(dirname "$0")/common.bash"
pip_install prometheus_client==0.26.0
python >"$temp/seen" <<'PY'
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client import parser as text

page = '# TYPE up gauge\nup{job="a"} 1\nup{job="a"} 0\n'
for name, parse, end in (("text", text, ""), ("openmetrics", openmetrics, "# EOF\n")):
    families = parse.text_string_to_metric_families(page + end)
    print(f"{name}:", [sample.value for family in families for sample in family.samples])
PY
seen "$temp/seen" <<'EXPECTED'
text: [1, 0]
openmetrics: [1]
EXPECTED
