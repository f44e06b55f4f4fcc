"""Counters and histograms for what happens thousands of times a second.

prometheus_client's own take a lock and half a dozen calls for each count, several times in each request. These are for
one thread, the event loop's, which also exposes them: a count is an addition, and prometheus_client's families are made
of it when somebody asks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Counts(Collector):
    """A counter; one for each combination of label values, all of which are from closed sets."""

    _type = "counter"  # named as in prometheus_client's own, for who lists what there is

    def __init__(self, registry: CollectorRegistry, name: str, documentation: str, *labels: str) -> None:
        self._name, self._documentation, self._labelnames = name, documentation, labels
        self.of: defaultdict[tuple[str, ...], float] = defaultdict(float)
        """By label values: add to it."""
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """The family, for the registry."""
        family = CounterMetricFamily(self._name, self._documentation, labels=self._labelnames)
        for values, count in self.of.items():
            family.add_metric(values, count)
        yield family


class Times(Collector):
    """A histogram of seconds; one for each combination of label values, all of which are from closed sets."""

    _type = "histogram"

    def __init__(
        self, registry: CollectorRegistry, name: str, documentation: str, bounds: Sequence[float], *labels: str
    ) -> None:
        self._name, self._documentation, self._labelnames = name, documentation, labels
        self._bounds = tuple(bounds)
        self._tallies: dict[tuple[str, ...], _Tally] = {}
        if not labels:
            self._tallies[()] = _Tally(len(self._bounds))
        registry.register(self)

    def observe(self, values: tuple[str, ...], seconds: float) -> None:
        """Something took so long."""
        tally = self._tallies.get(values)
        if tally is None:
            tally = self._tallies[values] = _Tally(len(self._bounds))
        tally.counts[bisect_left(self._bounds, seconds)] += 1
        tally.sum += seconds

    def collect(self) -> Iterator[Metric]:
        """The family, for the registry."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labelnames)
        ends = [*map(floatToGoString, self._bounds), "+Inf"]
        for values, tally in self._tallies.items():
            buckets = list(zip(ends, map(float, accumulate(tally.counts)), strict=True))
            family.add_metric(values, buckets, tally.sum)
        yield family


class _Tally:
    """How many fell into each bucket, the last one without an end, and their sum."""

    __slots__ = ("counts", "sum")

    def __init__(self, bounds: int) -> None:
        self.counts = [0] * (bounds + 1)
        self.sum = 0.0
