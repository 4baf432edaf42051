"""The scripted process-compose of the benchmarks, in a process of its own.

Prints its port, and then, for each line that it reads, how often it was polled; at `end` every process ends.
"""

import sys
from typing import Any

from tests.stand_in import StandIn, make_state


def main() -> None:
    count = int(sys.argv[1])
    began = "2026-01-01T00:00:00Z"
    states = [make_state(f"p{i}", pid=1000 + i, process_start_time=began) for i in range(count)]
    over: dict[str, Any] = {"status": "Completed", "is_running": False, "exit_code": 0}
    over["process_end_time"] = "2026-01-01T00:10:00Z"
    with StandIn(states) as compose:
        print(compose.url.rpartition(":")[2], flush=True)
        for line in sys.stdin:
            if line.strip() == "end":
                compose.set_states([{**state, **over} for state in states])
            print(compose.requests["/processes"], flush=True)


if __name__ == "__main__":
    main()
