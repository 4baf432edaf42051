#!/usr/bin/env bash
# prometheus_client 0.26.0: an OpenMetrics line with an exemplar, read by the text parser.
# One would guess: an error, or the exemplar is passed over: to the text format "#" begins a comment.
# What is: the sample is given the exemplar's value, divided by 1000, as its timestamp. With an exemplar of 5 the
# sample is of 1970-01-01 00:00:00.005.
. "$(dirname "$0")/common.bash"
pip_install prometheus_client==0.26.0
python >"$temp/seen" <<'PY'
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client import parser as text

page = '# TYPE a counter\na_total 1 # {trace="x"} 5\n'
for name, parse, end in (("text", text, ""), ("openmetrics", openmetrics, "# EOF\n")):
    (sample,) = [s for family in parse.text_string_to_metric_families(page + end) for s in family.samples]
    print(f"{name}: value {sample.value}, timestamp {sample.timestamp}, exemplar {sample.exemplar is not None}")
PY
seen "$temp/seen" <<'EXPECTED'
text: value 1, timestamp 0.005, exemplar False
openmetrics: value 1, timestamp None, exemplar True
EXPECTED
