"""What was taken in, and where it differs from the catalogue."""

from __future__ import annotations

import logging

from prometheus_client import CollectorRegistry

from relay.model import Acceptance, Admission, Event
from relay.telemetry.counts import Counts
from relay.telemetry.moments import tell
from relay.telemetry.part import Part, counter, gauge
from relay.vocabulary import type_label

log = logging.getLogger("relay")


class EventTelemetry(Part):
    """Events, whether they are new or not, and their shapes."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._events = Counts(registry, "relay_events", "Accepted events", "source", "type")
        self._duplicates = counter(registry, "duplicates", "Events that were already there", "source", "kind")
        self._conflicts = counter(registry, "uuid_conflict", "One uuid with two bodies, kept as two events", "source")
        self._unrouted = counter(registry, "events_unrouted", "Accepted events that no route took")
        self._quarantined = counter(registry, "events_quarantined", "Authentic events that are not for us", "reason")
        self._defects = counter(registry, "events_defect", "Authentic events whose body could not be read", "defect")
        self._routed = Counts(registry, "relay_events_routed", "Accepted events that a route sent to a sink", "route")
        self._drift = counter(registry, "drift", "What the catalogue does not know, or cannot read", "source", "kind")
        self._drift_places = gauge(registry, "drift_places", "Distinct such events and fields so far", "source", "kind")
        self._drift_unchecked = counter(registry, "drift_unchecked", "Events not compared with the catalogue", "source")
        super().__init__(registry)

    def event_accepted(self, admission: Admission, acceptance: Acceptance) -> None:
        """An admission was committed, or found to be a duplicate."""
        event = admission.event
        if acceptance.duplicate is not None:
            self._duplicates.labels(event.source, acceptance.duplicate).inc()
            if log.isEnabledFor(logging.INFO):
                tell(log, "event.duplicate", event.log_context() | {"of": acceptance.event_id})
            return
        self._events.of[event.source, type_label(event.type)] += 1
        if event.defect is not None:
            self._defects.labels(event.defect).inc()
        if admission.quarantine is not None:
            self._quarantined.labels(admission.quarantine).inc()
        elif not admission.targets:
            self._unrouted.inc()
        for route in {target.route for target in admission.targets}:
            self._routed.of[route,] += 1
        if acceptance.conflict:
            self._conflicts.labels(event.source).inc()
            log.warning("event.uuid_conflict", extra=event.log_context())
        if log.isEnabledFor(logging.INFO):
            context = event.log_context()
            context["sinks"] = [target.sink for target in admission.targets]
            context["quarantine"] = admission.quarantine
            tell(log, "event.accepted", context)

    def drifted(self, source: str, kind: str) -> None:
        """An event held something that the catalogue does not know; `kind` is from a closed set."""
        self._drift.labels(source, kind).inc()

    def drift_found(self, event: Event, kind: str, path: str, *, word: str | None, last: bool) -> None:
        """The same for the first time. `last`: of this event type no more places are told of, only counted."""
        self._drift_places.labels(event.source, kind).inc()
        context = {"kind": kind, "path": path, "value": word, "last": last or None}
        log.warning("event.drifted", extra=event.log_context() | context)

    def drift_unchecked(self, source: str, count: int) -> None:
        """Too many events came at once: so many were not compared with the catalogue."""
        self._drift_unchecked.labels(source).inc(count)
