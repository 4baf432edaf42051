#!/usr/bin/env bash
# PyYAML 6.0.4 (YAML 1.1) beside ruamel.yaml 0.19.1 (YAML 1.2): HOST:CONTAINER ports without quotes.
# One would guess: they are texts, or all of them are something else.
# What is: to YAML 1.1 a pair is a number in base 60 where what follows the colon is below 60 and nothing begins with
# a 0: 22:22 is 1342, 9000:53 is 540053, while 8080:80 and 08:30 stay texts. So one list holds both kinds.
. "$(dirname "$0")/common.bash"
pip_install PyYAML==6.0.4 ruamel.yaml==0.19.1
python >"$temp/seen" <<'PY'
import yaml
from ruamel.yaml import YAML

text = "[22:22, 9000:53, 8080:80, 08:30, 12:30:45]"
print("PyYAML:", yaml.safe_load(text))
print("ruamel:", list(YAML(typ="safe").load(text)))
PY
seen "$temp/seen" <<'EXPECTED'
PyYAML: [1342, 540053, '8080:80', '08:30', 45045]
ruamel: ['22:22', '9000:53', '8080:80', '08:30', '12:30:45']
EXPECTED
