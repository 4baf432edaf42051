#!/usr/bin/env bash
# python-dotenv 1.2.4 and npm's dotenv 18.0.10: one .env file.
# One would guess: simple lines are read alike.
# What is: without quotes, "#" begins a comment for JavaScript anywhere, for Python only after a space (passwords!);
# ${NAME} is put in by Python, even in single quotes, and left by JavaScript, while $NAME is left by both; backticks are
# quotes for JavaScript; "NAME: value" is an assignment for JavaScript, and for Python no line at all.
. "$(dirname "$0")/common.bash"
pip_install python-dotenv==1.2.4
npm_install dotenv@18.0.10
cat >"$temp/.env" <<'ENV'
HOST=db
PASSWORD=ab#cd
URL='tcp://${HOST}'
SHORT=$HOST
WORD=`one`
COLON: yes
ENV
cat >"$temp/read.mjs" <<'JS'
import dotenv from "dotenv";
import { readFileSync } from "node:fs";
const found = dotenv.parse(readFileSync(process.argv[2]));
for (const name of ["PASSWORD", "URL", "SHORT", "WORD", "COLON"]) console.log(`javascript ${name} = ${found[name]}`);
JS
cat >"$temp/read.py" <<'PY'
import logging, sys
from dotenv import dotenv_values

logging.disable()
found = dotenv_values(sys.argv[1])
for name in ("PASSWORD", "URL", "SHORT", "WORD", "COLON"):
    print(f"python {name} = {found.get(name)}")
PY
{ env -u HOST python "$temp/read.py" "$temp/.env" && node "$temp/read.mjs" "$temp/.env"; } >"$temp/seen"
seen "$temp/seen" <<'EXPECTED'
python PASSWORD = ab#cd
python URL = tcp://db
python SHORT = $HOST
python WORD = `one`
python COLON = None
javascript PASSWORD = ab
javascript URL = tcp://${HOST}
javascript SHORT = $HOST
javascript WORD = one
javascript COLON = yes
EXPECTED
