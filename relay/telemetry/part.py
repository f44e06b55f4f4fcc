"""What the parts of the telemetry are made of."""

from __future__ import annotations

from collections import Counter as Multiset

from prometheus_client import CollectorRegistry, Counter, Gauge

FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
SLOW = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
"""Bounds of the buckets, in seconds."""


class Part:
    """The metrics of one subject, and one method for each moment of it. A part makes its metrics, then lets the next
    one make its own: so they are listed in the order of the parts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry


def counter(registry: CollectorRegistry, name: str, documentation: str, *labels: str) -> Counter:
    """For what happens now and then; see `Counts` for what happens thousands of times a second."""
    return Counter(name, documentation, labels, namespace="relay", registry=registry)


def gauge(registry: CollectorRegistry, name: str, documentation: str, *labels: str) -> Gauge:
    """What is measured."""
    return Gauge(name, documentation, labels, namespace="relay", registry=registry)


class OncePerSecond:
    """Lets one line a second through for each key, so that a flood from outside does not become a flood of lines."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, ...], float] = {}
        self._suppressed: Multiset[tuple[str, ...]] = Multiset()

    def ask(self, key: tuple[str, ...], now: float) -> int | None:
        """None: not now. Else how many were kept back since the last line. Keys are from closed sets."""
        if now - self._last.get(key, float("-inf")) < 1.0:
            self._suppressed[key] += 1
            return None
        self._last[key] = now
        return self._suppressed.pop(key, 0)
