"""Every metric with its labels, and what the labels may say."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from docs.generate.words import code, listed, table
from relay.events.drift import Kind
from relay.gateway.answers import Outcome
from relay.model import DuplicateKind, GateState, Quarantine, Reason
from relay.payload import Defect
from relay.records import Checkpoint
from relay.telemetry import Telemetry

Row = tuple[str, str, str, str]

_CLOSED: Sequence[tuple[str, str, type[StrEnum]]] = (
    ("relay_requests_total", "outcome", Outcome),
    ("relay_duplicates_total", "kind", DuplicateKind),
    ("relay_events_quarantined_total", "reason", Quarantine),
    ("relay_events_defect_total", "defect", Defect),
    ("relay_drift_total", "kind", Kind),
    ("relay_drift_places", "kind", Kind),
    ("relay_dead_total", "reason", Reason),
    ("relay_sink_state", "state", GateState),
    ("relay_checkpoints_total", "result", Checkpoint),
)


def rows() -> Sequence[Row]:
    """Name, type, labels and meaning of each metric, in the order in which the code registers them."""
    return [_row(collector) for collector in Telemetry().registry._collector_to_names]  # noqa: SLF001  no other way


def every() -> str:
    """A table of all metrics."""
    return table(("Metric", "Type", "Labels", "Meaning"), rows())


def _row(collector: Any) -> Row:
    """What a collector of prometheus_client, or one of ours, says of itself."""
    kind: str = collector._type  # noqa: SLF001
    name = f"{collector._name}_total" if kind == "counter" else collector._name  # noqa: SLF001
    return code(name), kind, ", ".join(map(code, collector._labelnames)), collector._documentation  # noqa: SLF001


def labels() -> str:
    """The label values that are ours; all others are names out of relay.yaml and the known event types."""
    rows = ((code(metric), code(label), listed([code(each) for each in values])) for metric, label, values in _CLOSED)
    return table(("Metric", "Label", "Values"), rows)
