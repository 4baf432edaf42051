#!/usr/bin/env bash
# prometheus_client 0.26.0: where _total belongs.
# One would guess: the two formats differ in details, and a counter is found by its name in both.
# What is: in the text format the family has the suffix (TYPE a_total), in OpenMetrics it has not (TYPE a), and each
# parser fails on the other's spelling in its own way: OpenMetrics raises, text makes a counter without samples and a
# family of unknown type beside it. Both parsers call a family that they do take "a", so the name in the parser is not
# the name on the page.
. "$(dirname "$0")/common.bash"
pip_install prometheus_client==0.26.0
python >"$temp/seen" <<'PY'
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client import parser as text

for page in ("# TYPE a_total counter\na_total 1\n", "# TYPE a counter\na_total 1\n"):
    print(page.split("\n")[0])
    for name, parse, end in (("text", text, ""), ("openmetrics", openmetrics, "# EOF\n")):
        try:
            families = list(parse.text_string_to_metric_families(page + end))
            print(f"  {name}:", [(family.name, family.type, len(family.samples)) for family in families])
        except ValueError as error:
            print(f"  {name}: {error}")
PY
seen "$temp/seen" <<'EXPECTED'
# TYPE a_total counter
  text: [('a', 'counter', 1)]
  openmetrics: Clashing name: a_total
# TYPE a counter
  text: [('a', 'counter', 0), ('a_total', 'unknown', 1)]
  openmetrics: [('a', 'counter', 1)]
EXPECTED
