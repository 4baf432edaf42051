"""The rows that an adapter writes of the story in `event_examples`.
`python -m tests.row_examples` prints the examples of docs/rows.md.
"""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from observe_lib.adapter.record import History, ProcessRecord
from observe_lib.compose.state import ProcessState
from observe_lib.detect.changes import detect
from observe_lib.events import Key
from observe_lib.rows import ProcessRow
from tests.event_examples import STORY, T0, events


def rows() -> Iterator[tuple[datetime, bytes]]:
    """Yield what the bucket holds after each look, and when that was."""
    told, known, history, seq = [*events()], dict[Key, Any](), History(), 0
    for after_s, raw in STORY:
        now = T0 + timedelta(seconds=after_s, milliseconds=2)
        after = {Key("default", "caddy"): ProcessState.from_raw(raw)}
        for change in detect(known, after, now, born=T0 - timedelta(minutes=1) if not known else None):
            known[change.key] = change.known
            new = told[seq : seq + len(change.events)]
            seq, history = seq + len(new), history.after(new)
        record = ProcessRecord(known[Key("default", "caddy")], history, seq)
        yield now, record.row_json("host-a", now)


def row_examples() -> list[str]:
    """Return the JSON in the bucket after the restart, and what `ps --json` prints of it later."""
    now, stored = [*rows()][4]
    shown = ProcessRow.read(stored).to_dict(now + timedelta(seconds=30))
    return [json.dumps(json.loads(stored), indent=2), json.dumps(shown, indent=2)]


if __name__ == "__main__":
    for text in row_examples():
        print(f"```json\n{text}\n```\n")
