"""Which line of a log tells why: logs as programs of several languages leave them when they crash."""

import time

import pytest

from observe_lib.crash_line import telling_line

KEY_ERROR = [
    "Traceback (most recent call last):",
    '  File "/srv/job.py", line 7, in <module>',
    "    run(jobs['x'])",
    "KeyError: 'x'",
]
LOGS = {
    "nothing": ([], ""),
    "nothing but blanks": (["", "  "], ""),
    "the last line": (["one", "two  ", ""], "two"),
    "without its colours": (["\x1b[31mred\x1b[0m", "\x1b[0m"], "red"),
    "a traceback, and what was logged after it": ([*KEY_ERROR, "job 8390 done", "bye"], "KeyError: 'x'"),
    "the last of two tracebacks": (
        [
            *KEY_ERROR,
            "",
            "During handling of the above exception, another exception occurred:",
            "",
            *KEY_ERROR[:3],
        ]
        + ["RuntimeError: no job"],
        "RuntimeError: no job",
    ),
    "a message of several lines begins with what it is": (
        [*KEY_ERROR[:3], "ValueError: bad", "line 2"],
        "ValueError: bad",
    ),
    "a traceback that the tail begins in": (KEY_ERROR[1:], "KeyError: 'x'"),
    "a traceback that was cut off": (["error: first", *KEY_ERROR[:3]], "error: first"),
    "a traceback below a prefix": ([f"api | {line}" for line in KEY_ERROR], "api | KeyError: 'x'"),
    "Go": (
        [
            "listening",
            "panic: runtime error: index out of range [3]",
            "",
            "goroutine 1 [running]:",
            "main.main()",
        ]
        + ["\t/src/main.go:8 +0x1d", "exit status 2"],
        "panic: runtime error: index out of range [3]",
    ),
    "Go, no panic": (["fatal error: all goroutines are asleep - deadlock!", "goroutine 1:"],)
    + ("fatal error: all goroutines are asleep - deadlock!",),
    "Rust": (
        ["thread 'main' panicked at src/main.rs:2:5:", "no luck", "note: run with `RUST_BACKTRACE=1`"],
        "no luck",
    ),
    "Rust before 1.73": (
        ["thread 'main' panicked at 'no luck', src/main.rs:2:5", "note: run with it"],
        "thread 'main' panicked at 'no luck', src/main.rs:2:5",
    ),
    "Node": (
        ["node:internal/modules/cjs/loader:1148", "  throw err;", "Error: Cannot find module 'x'"]
        + ["    at Module._load (error.js:1)", "Node.js v20.1.0"],
        "Error: Cannot find module 'x'",
    ),
    "Java": (
        ['Exception in thread "main" java.lang.IllegalStateException: no', "\tat a.Error.b(Error.java:3)"]
        + ["Caused by: java.io.IOException: disk", "\t... 3 more"],
        "Caused by: java.io.IOException: disk",
    ),
    "the last that names an error": (["error: one", "ERROR two", "closing", "bye"], "ERROR two"),
    "a word of the trade": (
        ["bind: address already in use", "shutting down"],
        "bind: address already in use",
    ),
    "that there was none is none": (
        ["connection refused", "done with 0 errors", "errors=0"],
        "connection refused",
    ),
    "a shell": (
        ["+ run", "./x: line 3: foo: command not found", "+ true"],
        "./x: line 3: foo: command not found",
    ),
}


@pytest.mark.parametrize("log, expected", LOGS.values(), ids=LOGS)
def test_the_line_that_tells_why(log: list[str], expected: str) -> None:
    assert telling_line(log) == expected


@pytest.mark.parametrize(
    "line", ["x" * 1_000_000, "thread '" * 100_000, "'" * 1_000_000, " " * 1_000_000 + "x"]
)
def test_an_endless_line_costs_little(line: str) -> None:
    began = time.process_time()
    assert telling_line([line] * 20) == line.strip()
    assert time.process_time() - began < 5  # seconds of this thread's own work: quadratic would be minutes
