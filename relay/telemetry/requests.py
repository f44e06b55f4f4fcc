"""The public side: what was asked, and how it was answered."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic

from prometheus_client import CollectorRegistry

from relay.telemetry.counts import Counts, Times
from relay.telemetry.part import FAST, OncePerSecond, Part, counter, gauge

log = logging.getLogger("relay")


class RequestTelemetry(Part):
    """Requests, and the connections on which they come."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counts(registry, "relay_requests", "Requests on the public side", "source", "outcome")
        self._ack = Times(registry, "relay_ack_seconds", "From the request's headers to its answer", FAST, "source")
        self._inflight = gauge(registry, "inflight", "Requests at work now")
        self._connections_closed = counter(
            registry, "connections_closed", "Connections that were ended by us", "reason"
        )
        self._connections = gauge(registry, "open_connections", "Connections to the public side")
        self._refusals = OncePerSecond()
        super().__init__(registry)

    def request_answered(self, source: str, outcome: str, seconds: float) -> None:
        """A request was answered; `outcome` is from the gateway's closed set."""
        self._requests.of[source, outcome] += 1
        self._ack.observe((source,), seconds)

    def request_refused(self, source: str, outcome: str, detail: str) -> None:
        """A request was turned away for a reason that somebody may have to look into; one line a second says so."""
        suppressed = self._refusals.ask((source, outcome), monotonic())
        if suppressed is not None:
            context = {"source": source, "outcome": outcome, "detail": detail, "suppressed": suppressed}
            log.warning("request.refused", extra=context)

    def request_malformed(self) -> None:
        """Something came that is no HTTP."""
        self._requests.of["none", "malformed"] += 1

    def connection_refused(self) -> None:
        """More connections at the public side than it may have."""
        self._connections_closed.labels("too_many").inc()

    def headers_timed_out(self) -> None:
        """A client began a request and did not go on."""
        self._connections_closed.labels("slow_headers").inc()

    def answer_unread(self) -> None:
        """A client did not read its answer."""
        self._connections_closed.labels("unread").inc()

    def inflight(self, count: Callable[[], int]) -> None:
        """Ask this for the number of requests at work, whenever somebody wants to know."""
        self._inflight.set_function(count)

    def open_connections(self, count: int) -> None:
        """So many connections are open, at work or not."""
        self._connections.set(count)
