"""What a monitoring system is told: the states as OpenMetrics text, all stacks in one page.
Pure; what is not known just now is absent, so that no alert fires on what nobody saw.
"""

from collections.abc import Iterable
from datetime import datetime

from ..reader.states import States, stale_stacks_of
from ..times import seconds_between

#: what the text below is, for an HTTP header
METRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
#: every metric: its name without `_total`, its type and its help, in the order of the samples below
FAMILIES = (
    ("observe_process_up", "gauge", "Whether a run of the process lives; absent where none is expected."),
    (
        "observe_process_expected",
        "gauge",
        "Whether a run should live: not of what is disabled, done, scheduled or stopped.",
    ),
    ("observe_process_healthy", "gauge", "Whether the living run is Ready; absent where no probe tells."),
    ("observe_process_restarts", "counter", "As process-compose counts them: some restarts begin it anew."),
    ("observe_process_crashes", "counter", "As its adapter counts them; a memory that is gone begins anew."),
    ("observe_source_up", "gauge", "Whether process-compose answers an adapter that is heard of."),
    (
        "observe_adapter_heartbeat_age_seconds",
        "gauge",
        "How long ago the adapter gave a sign of life (it gives one every 10 s).",
    ),
)

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def metrics_text(states: States, now: datetime) -> str:
    """Return the page that Prometheus and others read."""
    stale_stacks = stale_stacks_of(states, now)
    rows = [(_labels(**row.place._asdict()), row) for row in states.select()]
    seen = [(labels, row) for labels, row in rows if row.place.stack not in stale_stacks]
    stacks = [(_labels(stack=name), stack) for name, stack in sorted(states.stacks.items())]
    ages = [(labels, seconds_between(stack.beat_at, now)) for labels, stack in stacks if stack.beat_at]
    samples: tuple[list[tuple[str, float]], ...] = (
        [(labels, row.alive) for labels, row in seen if row.is_expected],
        [(labels, row.is_expected) for labels, row in seen],
        [(labels, row.health == "Ready") for labels, row in seen if row.alive and row.health != "-"],
        [(labels, row.restarts) for labels, row in rows],
        [(labels, row.crashes) for labels, row in rows],
        [(labels, stack.name not in stale_stacks) for labels, stack in stacks],
        [(labels, max(0.0, round(age_s, 3))) for labels, age_s in ages],
    )
    families = (_family(*told, found) for told, found in zip(FAMILIES, samples, strict=True))
    return "".join(families) + "# EOF\n"


def _labels(**texts: str) -> str:
    return ",".join(f'{name}="{text.translate(_ESCAPES)}"' for name, text in texts.items())


def _family(name: str, kind: str, about: str, samples: Iterable[tuple[str, float]]) -> str:
    ending = "_total" if kind == "counter" else ""
    unit = [f"# UNIT {name} seconds"] if name.endswith("_seconds") else []
    lines = [f"# TYPE {name} {kind}", *unit, f"# HELP {name} {about}"]
    lines += [f"{name}{ending}{{{labels}}} {value + 0}" for labels, value in samples]
    return "".join(f"{line}\n" for line in lines)
