"""What a monitoring system is told: the states as OpenMetrics text, all stacks in one page.
Pure; what is not known just now is absent, so that no alert fires on what nobody saw.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from .board import silences_of
from .states import Place, ProcessRow, StackRow, States
from .times import seconds_between

#: what the text below is, for an HTTP header
METRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})

Sample = tuple[str, float]


class Family(NamedTuple):
    """One metric: its name without `_total`, its type, its help, and its samples."""

    name: str
    kind: str
    help: str
    samples: Iterable[Sample]
    unit: str = ""


def metrics_text(states: States, crashes: Mapping[Place, int], now: datetime) -> str:
    """Return the page that Prometheus and others read; `crashes` counts those of each process."""
    families = [*_process_families(states, crashes, now), *_stack_families(states, now)]
    return "".join(map(_family_text, families)) + "# EOF\n"


def _process_families(states: States, crashes: Mapping[Place, int], now: datetime) -> Iterable[Family]:
    silences, rows = silences_of(states, now), states.select()
    seen = [row for row in rows if row.place.stack not in silences]
    probed = [row for row in seen if row.alive and row.health != "-"]
    yield Family(
        "observe_process_up",
        "gauge",
        "Whether a run of the process lives; absent while its stack is not heard of.",
        [(_process_labels(row), row.alive) for row in seen],
    )
    yield Family(
        "observe_process_healthy",
        "gauge",
        "Whether the living run is Ready; absent where nothing is known of its health.",
        [(_process_labels(row), row.health == "Ready") for row in probed],
    )
    yield Family(
        "observe_process_restarts",
        "counter",
        "Restarts as process-compose counts them; it begins anew after a manual restart of some kinds.",
        [(_process_labels(row), row.restarts) for row in rows],
    )
    yield Family(
        "observe_process_crashes",
        "counter",
        "Crashes in the day before this exporter began, and since.",
        [(_process_labels(row), crashes.get(row.place, 0)) for row in rows],
    )


def _stack_families(states: States, now: datetime) -> Iterable[Family]:
    stacks, silences = [states.stacks[name] for name in sorted(states.stacks)], silences_of(states, now)
    yield Family(
        "observe_source_up",
        "gauge",
        "Whether process-compose answers an adapter that is heard of.",
        [(_stack_labels(stack), stack.name not in silences) for stack in stacks],
    )
    yield Family(
        "observe_adapter_heartbeat_age_seconds",
        "gauge",
        "How long ago the adapter gave a sign of life (it gives one every 10 s).",
        [
            (_stack_labels(stack), max(0.0, round(seconds_between(stack.beat_at, now), 3)))
            for stack in stacks
            if stack.beat_at is not None
        ],
        unit="seconds",
    )


def _process_labels(row: ProcessRow) -> str:
    return _labels(row.place._asdict())


def _stack_labels(stack: StackRow) -> str:
    return _labels({"stack": stack.name})


def _labels(texts: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{text.translate(_ESCAPES)}"' for name, text in texts.items())


def _family_text(family: Family) -> str:
    ending = "_total" if family.kind == "counter" else ""
    unit = [f"# UNIT {family.name} {family.unit}"] if family.unit else []
    head = [f"# TYPE {family.name} {family.kind}", *unit, f"# HELP {family.name} {family.help}"]
    samples = (f"{family.name}{ending}{{{labels}}} {value + 0:g}" for labels, value in family.samples)
    return "".join(f"{line}\n" for line in [*head, *samples])
