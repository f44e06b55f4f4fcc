"""How the sinks are."""

from __future__ import annotations

import logging
from contextlib import suppress

from prometheus_client import CollectorRegistry

from relay.model import Failure, GateState, Reason
from relay.telemetry.part import Part, counter, gauge

log = logging.getLogger("relay")


class SinkTelemetry(Part):
    """Sinks, and whether they may be tried."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._sink_state = gauge(registry, "sink_state", "1 for the state that the sink is in", "sink", "state")
        self._sink_seat = gauge(
            registry, "sink_seat", "1 where the sink's limit is kept now, 0 on all other nodes", "sink"
        )
        self._throttled = counter(registry, "throttled_seconds", "Time that sinks asked to be left alone for", "sink")
        self._restarts = counter(registry, "producer_restarts", "Kafka producers that broke and were replaced", "sink")
        self._closed_sinks: set[str] = set()
        super().__init__(registry)

    def sink_state(self, sink: str, state: GateState | None, failure: Failure | None = None) -> None:
        """A sink's gate opened or closed; None: another node delivers to it, and knows."""
        for each in GateState:
            self._sink_state.labels(sink, each).set(each is state)
        if state is None:
            return
        if failure is not None:
            self._closed_sinks.add(sink)
            context = {"sink": sink, "state": state, "reason": failure.reason, "detail": failure.detail}
            by_hand = failure.reason is Reason.PAUSED
            log.log(logging.WARNING if by_hand else logging.ERROR, "sink.closed", extra=context)
        elif sink in self._closed_sinks:
            self._closed_sinks.discard(sink)
            log.warning("sink.opened", extra={"sink": sink})

    def sink_seat(self, sink: str, *, ours: bool) -> None:
        """Whether this node keeps the sink's limit, of a sink that has one."""
        self._sink_seat.labels(sink).set(ours)

    def sink_unlimited(self, sink: str) -> None:
        """The sink has no limit that one node would have to keep."""
        with suppress(KeyError):
            self._sink_seat.remove(sink)

    def sink_removed(self, sink: str) -> None:
        """The configuration has this sink no more, or disables it; its backlog stays and is counted."""
        for each in GateState:
            self._sink_state.remove(sink, each)
        self.sink_unlimited(sink)

    def sink_throttled(self, sink: str, seconds: float) -> None:
        """A sink asked to be left alone for so much longer (Retry-After)."""
        self._throttled.labels(sink).inc(seconds)

    def producer_broke(self, sink: str) -> None:
        """A Kafka producer is given up; what it had under way is sent again, and may be there twice."""
        self._restarts.labels(sink).inc()
        log.warning("producer.broke", extra={"sink": sink})
