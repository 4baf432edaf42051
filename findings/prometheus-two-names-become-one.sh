#!/usr/bin/env bash
# prometheus_client 0.26.0: names that its registry tells apart are one when it writes them.
# One would guess: since names may hold any letter, `queue.length` and `queue_length` are two metrics, and `a.b` and `a_b`
# two labels; what is accepted can be written, and what it writes it can read.
# What is: whoever does not ask for UTF-8 gets underscores: one series twice, one label twice. Its own OpenMetrics parser
# refuses the first, both of its parsers the second. With escaping=values the samples of a plain name with an underscore
# are written under another name than their type, so that they lose it.
. "$(dirname "$0")/common.bash"
pip_install prometheus_client==0.26.0
python >"$temp/seen" <<'PY'
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

TEXT, OPENMETRICS = "text/plain; version=1.0.0", "application/openmetrics-text; version=1.0.0"


def show(what, registry, accept):
    text = choose_encoder(accept)[0](registry).decode()
    try:
        read = read_text if accept.startswith("text") else read_openmetrics
        found = [(one.type, sample.name, sample.value) for one in read(text) for sample in one.samples]
    except ValueError as error:
        found = f"ValueError: {error}"
    print(f"{what}, {accept.partition('; version=1.0.0')[0]}{accept.partition('1.0.0')[2]}:\n  {found}")


names = CollectorRegistry()
Gauge("queue.length", "x", registry=names).set(1)
Gauge("queue_length", "x", registry=names).set(2)
for accept in (f"{TEXT}; escaping=allow-utf-8", TEXT, OPENMETRICS):
    show("two names", names, accept)
labels = CollectorRegistry()
Gauge("up", "x", ["a.b", "a_b"], registry=labels).labels("1", "2").set(1)
for accept in (TEXT, OPENMETRICS):
    show("two labels", labels, accept)
plain = CollectorRegistry()
Gauge("queue_length", "x", registry=plain).set(2)
for accept in (OPENMETRICS, f"{OPENMETRICS}; escaping=values"):
    show("a plain name", plain, accept)
PY
seen "$temp/seen" <<'EXPECTED'
two names, text/plain; escaping=allow-utf-8:
  [('gauge', 'queue.length', 1.0), ('gauge', 'queue_length', 2.0)]
two names, text/plain:
  [('gauge', 'queue_length', 1.0), ('gauge', 'queue_length', 2.0)]
two names, application/openmetrics-text:
  ValueError: Received metadata after samples: # HELP queue_length x
two labels, text/plain:
  ValueError: Invalid labels: a_b="1",a_b="2"
two labels, application/openmetrics-text:
  ValueError: Invalid labels: a_b="1",a_b="2"
a plain name, application/openmetrics-text:
  [('gauge', 'queue_length', 2.0)]
a plain name, application/openmetrics-text; escaping=values:
  [('unknown', 'U__queue__length', 2.0)]
EXPECTED
