"""One exposition of several processes: what is counted is added up, and what is measured is told by who knows it.

A process that has ended keeps its place in the sums, so that no counter ever goes back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

Labels: TypeAlias = tuple[tuple[str, str], ...]
Values: TypeAlias = dict[tuple[str, Labels], float]
Snapshot: TypeAlias = Mapping[tuple[str, str, str], Values]
"""The metrics of one process at one moment: by name, type and documentation of the family, by sample and labels."""

_FROM_ONE = {"relay_clock_jumps", "relay_config_reloads", "relay_checkpoints"}
"""Counters of what happens to all processes at once, or is done by one for all."""
_SUM = {"relay_inflight", "relay_open_connections"}
_HIGHEST = {"relay_key_age_seconds", "relay_sink_state", "relay_sink_seat", "relay_drift_places"}
_LOWEST = {"relay_store_writable"}
"""Gauges of which the workers know something; all others are the supervisor's own."""


def snapshot(registry: CollectorRegistry) -> Snapshot:
    """What a registry says now."""
    return {
        (family.name, family.type, family.documentation): {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in family.samples
        }
        for family in registry.collect()
    }


class Sums(Collector):
    """The supervisor's own metrics and those of its workers, as one exposition."""

    def __init__(self, own: CollectorRegistry) -> None:
        self._own = own
        self._ended: Snapshot = {}
        self._living: Sequence[Snapshot] = ()

    def bury(self, last: Snapshot) -> None:
        """A process has ended, of which this was the last that is known."""
        kept = {key: values for key, values in last.items() if key[1] != "gauge"}
        self._ended = _merged([self._ended, kept])

    def exposition(self, living: Sequence[Snapshot]) -> bytes:
        """All of it in Prometheus's text format."""
        self._living = living
        return generate_latest(self)

    def collect(self) -> Iterator[Metric]:
        """The families, summed."""
        for key, values in _merged([snapshot(self._own), self._ended, *self._living]).items():
            family = Metric(key[0], key[2], key[1])
            for (name, labels), value in values.items():
                family.add_sample(name, dict(labels), value)
            yield family


def _merged(parts: Sequence[Snapshot]) -> Snapshot:
    """The first of them is the one that speaks where only one may."""
    whole: dict[tuple[str, str, str], Values] = {}
    for number, part in enumerate(parts):
        for key, values in part.items():
            if number == 0 or _counts(key):
                _add(whole.setdefault(key, {}), values, key[0])
    return whole


def _counts(key: tuple[str, str, str]) -> bool:
    """Whether more than one process has a say in it."""
    name, kind, _ = key
    return name in _SUM | _HIGHEST | _LOWEST if kind == "gauge" else name not in _FROM_ONE


def _add(whole: Values, values: Values, family: str) -> None:
    for key, value in values.items():
        before = whole.get(key)
        if before is None:
            whole[key] = value
        elif family in _LOWEST or key[0].endswith("_created"):
            whole[key] = min(before, value)
        else:
            whole[key] = max(before, value) if family in _HIGHEST else before + value
