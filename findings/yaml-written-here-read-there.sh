#!/usr/bin/env bash
# PyYAML 6.0.4 and npm's yaml 2.9.1: texts that one writes and the other reads.
# One would guess: a text that could be mistaken is quoted, so that every YAML reads it back.
# What is: each quotes what itself would mistake. PyYAML (YAML 1.1) writes 1e3, 0o17 and 08 bare, which YAML 1.2 reads as
# 1000, 15 and 8; yaml (YAML 1.2) writes on, 22:22 and 1_0 bare, which YAML 1.1 reads as true, 1342 and 10.
. "$(dirname "$0")/common.bash"
pip_install PyYAML==6.0.4
npm_install yaml@2.9.1
cat >"$temp/js.mjs" <<'JS'
import YAML from "yaml";
import { readFileSync } from "node:fs";
const [, , verb] = process.argv, text = readFileSync(0, "utf8");
console.log(verb === "write" ? YAML.stringify(JSON.parse(text)).trim() : JSON.stringify(YAML.parse(text)));
JS
texts='["1e3", "0o17", "08", "on", "22:22", "1_0"]'
{
    echo "texts:" "$texts"
    python -c 'import json, sys, yaml; print(yaml.safe_dump(json.load(sys.stdin)), end="")' <<<"$texts" >"$temp/python.yaml"
    echo "Python to JavaScript:" "$(node "$temp/js.mjs" read <"$temp/python.yaml")"
    node "$temp/js.mjs" write <<<"$texts" >"$temp/js.yaml"
    echo "JavaScript to Python:" "$(python -c 'import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.stdin)))' <"$temp/js.yaml")"
} >"$temp/seen"
seen "$temp/seen" <<'EXPECTED'
texts: ["1e3", "0o17", "08", "on", "22:22", "1_0"]
Python to JavaScript: [1000,15,8,"on","22:22","1_0"]
JavaScript to Python: ["1e3", "0o17", "08", true, 1342, 10]
EXPECTED
