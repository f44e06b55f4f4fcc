"""What is counted and what is logged: one method for each moment in an event's life.

The parts of the relay say what happened (`event_accepted`, `delivery_attempted`); here it becomes a metric and one wide
log line. All label values come from closed sets: sources, sinks and routes of the configuration, known event types, our
enums. Each module has one subject; `Telemetry` is all of them.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from relay.ports import Store
from relay.telemetry.deliveries import DeliveryTelemetry
from relay.telemetry.events import EventTelemetry
from relay.telemetry.process import ProcessTelemetry
from relay.telemetry.requests import RequestTelemetry
from relay.telemetry.sinks import SinkTelemetry
from relay.telemetry.store import StoreTelemetry

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Telemetry(RequestTelemetry, EventTelemetry, DeliveryTelemetry, SinkTelemetry, StoreTelemetry, ProcessTelemetry):
    """The metrics of one relay, in a registry of its own, and its log."""

    def __init__(self) -> None:
        super().__init__(CollectorRegistry())

    def follow(self, store: Store) -> None:
        """Be told what the store does by itself."""
        store.on_commit(self.commit_took)
        store.on_checkpoint(self.checkpointed)
        store.on_recover(self.recovered)

    def exposition(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self.registry)
