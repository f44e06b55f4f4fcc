"""What becomes of deliveries in the lanes, and how much waits."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime

from prometheus_client import CollectorRegistry

from relay.model import Dead, Delivered, Delivery, Retry, Verdict
from relay.records import Backlog
from relay.telemetry.counts import Counts, Times
from relay.telemetry.moments import tell
from relay.telemetry.part import SLOW, Part, counter, gauge

log = logging.getLogger("relay")


class DeliveryTelemetry(Part):
    """Deliveries, from the first attempt to the last, and those that wait."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._attempts = Counts(registry, "relay_attempts", "Attempts to deliver", "sink", "outcome")
        self._attempt_time = Times(registry, "relay_attempt_seconds", "One attempt to deliver", SLOW, "sink")
        self._end_to_end = Times(registry, "relay_end_to_end_seconds", "From acceptance to delivery", SLOW, "sink")
        self._delivered = Counts(registry, "relay_delivered", "Deliveries that arrived", "sink")
        self._dead = counter(registry, "dead", "Deliveries that became dead letters", "sink", "reason")
        self._fenced = counter(registry, "fenced", "Results that came after their lease was lost", "sink")
        self._recovered = counter(
            registry, "recovered", "Deliveries that a dead process had begun, given back at the start"
        )
        self._forward = counter(
            registry, "brought_forward", "Deliveries that no honest wait would keep so long", "sink"
        )
        self._backlog = gauge(registry, "backlog", "Deliveries that wait", "sink")
        self._oldest = gauge(registry, "backlog_oldest_seconds", "Age of the oldest event that waits", "sink")
        self._backlog_sinks: set[str] = set()
        super().__init__(registry)

    def delivery_attempted(self, delivery: Delivery, verdict: Verdict, seconds: float) -> None:
        """An attempt ended."""
        outcome = "delivered" if isinstance(verdict, Delivered) else str(verdict.failure.reason)
        self._attempts.of[delivery.sink, outcome] += 1
        self._attempt_time.observe((delivery.sink,), seconds)
        match verdict:
            case Delivered(receipt=receipt):
                if log.isEnabledFor(logging.INFO):
                    tell(log, "delivery.delivered", delivery.log_context() | {"receipt": receipt})
            case Retry(failure=failure, at=at):
                context = {"reason": failure.reason, "detail": failure.detail, "next": at.isoformat()}
                log.warning("delivery.failed", extra=delivery.log_context() | context)
            case Dead(failure=failure):
                context = {"reason": failure.reason, "detail": failure.detail}
                log.error("delivery.dead", extra=delivery.log_context() | context)

    def delivery_settled(self, delivery: Delivery, verdict: Verdict, *, recorded: bool, now: datetime) -> None:
        """A verdict was recorded, or fenced off."""
        if not recorded:
            self._fenced.labels(delivery.sink).inc()
            log.warning("delivery.fenced", extra=delivery.log_context())
        elif isinstance(verdict, Delivered):
            self._delivered.of[delivery.sink,] += 1
            age = (now - delivery.owed_since).total_seconds()
            self._end_to_end.observe((delivery.sink,), max(0.0, age))
        elif isinstance(verdict, Dead):
            self._dead.labels(delivery.sink, verdict.failure.reason).inc()

    def recovered(self, count: int) -> None:
        """So many deliveries had been begun by a process that is gone, and are due again."""
        if count:
            self._recovered.inc(count)
            log.warning("deliveries.recovered", extra={"count": count})

    def brought_forward(self, sink: str, count: int) -> None:
        """So many deliveries were due later than any wait explains, and come due sooner now."""
        self._forward.labels(sink).inc(count)
        log.warning("deliveries.brought_forward", extra={"sink": sink, "count": count})

    def backlog(self, backlog: Mapping[str, Backlog], sinks: Sequence[str], *, now: datetime) -> None:
        """What waits for each sink; sinks that the configuration has lost count as `(removed)`."""
        totals = dict.fromkeys(sinks, (0, 0.0))
        for name, waiting in backlog.items():
            label = name if name in totals else "(removed)"
            age = 0.0 if waiting.oldest is None else max(0.0, (now - waiting.oldest).total_seconds())
            pending, oldest = totals.get(label, (0, 0.0))
            totals[label] = (pending + waiting.pending, max(oldest, age))
        for gone in self._backlog_sinks - totals.keys():
            self._backlog.remove(gone)
            self._oldest.remove(gone)
        self._backlog_sinks = set(totals)
        for label, (pending, oldest) in totals.items():
            self._backlog.labels(label).set(pending)
            self._oldest.labels(label).set(oldest)
