"""The scripted process-compose of the benchmarks, in a process of its own.

Prints its port, then an answer for each line that it reads: `polls`, how often it was polled; `end` or
`crash`, every process ends, and when (seconds since 1970) the first poll that saw it was answered.
"""

import sys
import time
from typing import Any

from tests.stand_in import StandIn, make_state

LOG = [f"line {number} of what it said before it went, as long as lines are" for number in range(20)]


def main() -> None:
    count = int(sys.argv[1])
    began = "2026-01-01T00:00:00Z"
    states = [make_state(f"p{i}", pid=1000 + i, process_start_time=began) for i in range(count)]
    over: dict[str, Any] = {"status": "Completed", "is_running": False}
    over["process_end_time"] = "2026-01-01T00:10:00Z"
    with StandIn(states) as compose:
        compose.logs = {state["name"]: LOG for state in states}
        print(compose.url.rpartition(":")[2], flush=True)
        for line in sys.stdin:
            word = line.strip()
            if word in ("end", "crash"):
                code = 3 if word == "crash" else 0
                compose.set_states([{**state, **over, "exit_code": code} for state in states])
                compose.wait_polls(timeout_s=60)
                print(time.time(), flush=True)
            else:
                print(compose.requests["/processes"], flush=True)


if __name__ == "__main__":
    main()
