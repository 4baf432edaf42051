#!/usr/bin/env bash
# orjson 3.13.0, ujson 6.1.0, simplejson 4.3.0, msgspec 0.22.0 and Python's own json: what is JSON, and which value?
# One would guess: they differ in speed.
# What is: no two of them agree on these. NaN is read by two and refused by three, 1e400 is infinity or an error, 2^64 is
# exact or, for orjson alone, a float; ujson takes leading zeros and raw tabs; a lone half of a surrogate pair is let in
# by three, and fails later, where it is written. Written out, NaN is NaN, null or an error.
. "$(dirname "$0")/common.bash"
pip_install orjson==3.13.0 ujson==6.1.0 simplejson==4.3.0 msgspec==0.22.0
python >"$temp/seen" <<'PY'
import json
import msgspec, orjson, simplejson, ujson

readers = {"json": json.loads, "orjson": orjson.loads, "ujson": ujson.loads, "simplejson": simplejson.loads}
readers["msgspec"] = msgspec.json.decode
writers = {"json": json.dumps, "orjson": orjson.dumps, "ujson": ujson.dumps, "simplejson": simplejson.dumps}
writers["msgspec"] = msgspec.json.encode


def each(functions, value):
    for name, function in functions.items():
        try:
            found = function(value)
            yield f"{name} {found.decode() if isinstance(found, bytes) else ascii(found)}"
        except (ValueError, msgspec.MsgspecError):
            yield f"{name} -"


for text in ("NaN", "1e400", "18446744073709551616", "007", '"\t"', r'"\ud800"'):
    print(ascii(text), "is", ", ".join(each(readers, text)))
print("nan becomes", ", ".join(each(writers, float("nan"))))
PY
seen "$temp/seen" <<'EXPECTED'
'NaN' is json nan, orjson -, ujson nan, simplejson -, msgspec -
'1e400' is json inf, orjson -, ujson inf, simplejson inf, msgspec -
'18446744073709551616' is json 18446744073709551616, orjson 1.8446744073709552e+19, ujson 18446744073709551616, simplejson 18446744073709551616, msgspec 18446744073709551616
'007' is json -, orjson -, ujson 7, simplejson -, msgspec -
'"\t"' is json -, orjson -, ujson '\t', simplejson -, msgspec -
'"\\ud800"' is json '\ud800', orjson -, ujson '\ud800', simplejson '\ud800', msgspec -
nan becomes json 'NaN', orjson null, ujson 'NaN', simplejson -, msgspec null
EXPECTED
