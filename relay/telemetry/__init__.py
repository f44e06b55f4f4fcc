"""What is counted and what is logged: one method for each moment in an event's life.

The parts say what happened (`event_accepted`, `delivery_attempted`); here it becomes a metric and one wide log line.
All label values come from closed sets: sources, sinks and routes of the configuration, known event types, our enums.
"""

from __future__ import annotations

import logging
from collections import Counter as Multiset
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from time import monotonic

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from relay import __version__
from relay.model import (
    Acceptance,
    Admission,
    Dead,
    Delivered,
    Delivery,
    Event,
    Failure,
    GateState,
    Reason,
    Retry,
    Verdict,
)
from relay.records import Backlog, Checkpoint, Health
from relay.telemetry.counts import Counts, Times
from relay.telemetry.moments import tell
from relay.vocabulary import type_label

log = logging.getLogger("relay")

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_SLOW = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)


class OncePerSecond:
    """Lets one line a second through for each key, so that a flood from outside does not become a flood of lines."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], float] = {}
        self._suppressed: Multiset[tuple[str, str]] = Multiset()

    def ask(self, key: tuple[str, str], now: float) -> int | None:
        """None: not now. Else how many were kept back since the last line. Keys are from closed sets."""
        if now - self._last.get(key, float("-inf")) < 1.0:
            self._suppressed[key] += 1
            return None
        self._last[key] = now
        return self._suppressed.pop(key, 0)


class Telemetry:
    """The metrics of one relay, in a registry of its own, and its log."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counts(self.registry, "relay_requests", "Requests on the public side", "source", "outcome")
        self._ack = Times(
            self.registry, "relay_ack_seconds", "From the request's headers to its answer", _FAST, "source"
        )
        self._commit = Times(self.registry, "relay_commit_seconds", "One group commit of the store", _FAST)
        self._events = Counts(self.registry, "relay_events", "Accepted events", "source", "type")
        self._duplicates = self._counter("duplicates", "Events that were already there", "source", "kind")
        self._conflicts = self._counter("uuid_conflict", "One uuid with two bodies, kept as two events", "source")
        self._unrouted = self._counter("events_unrouted", "Accepted events that no route took")
        self._quarantined = self._counter("events_quarantined", "Authentic events that are not for us", "reason")
        self._defects = self._counter("events_defect", "Authentic events whose body could not be read", "defect")
        self._drift = self._counter("drift", "What the catalogue does not know, or cannot read", "source", "kind")
        self._drift_places = self._gauge("drift_places", "Distinct such events and fields so far", "source", "kind")
        self._drift_unchecked = self._counter("drift_unchecked", "Events not compared with the catalogue", "source")
        self._routed = Counts(
            self.registry, "relay_events_routed", "Accepted events that a route sent to a sink", "route"
        )
        self._attempts = Counts(self.registry, "relay_attempts", "Attempts to deliver", "sink", "outcome")
        self._attempt_time = Times(self.registry, "relay_attempt_seconds", "One attempt to deliver", _SLOW, "sink")
        self._end_to_end = Times(
            self.registry, "relay_end_to_end_seconds", "From acceptance to delivery", _SLOW, "sink"
        )
        self._delivered = Counts(self.registry, "relay_delivered", "Deliveries that arrived", "sink")
        self._dead = self._counter("dead", "Deliveries that became dead letters", "sink", "reason")
        self._fenced = self._counter("fenced", "Results that came after their lease was lost", "sink")
        self._recovered = self._counter(
            "recovered", "Deliveries that a dead process had begun, given back at the start"
        )
        self._backlog = self._gauge("backlog", "Deliveries that wait", "sink")
        self._oldest = self._gauge("backlog_oldest_seconds", "Age of the oldest event that waits", "sink")
        self._sink_state = self._gauge("sink_state", "1 for the state that the sink is in", "sink", "state")
        self._throttled = self._counter("throttled_seconds", "Time that sinks asked to be left alone for", "sink")
        self._restarts = self._counter("producer_restarts", "Kafka producers that broke and were replaced", "sink")
        self._inflight = self._gauge("inflight", "Requests at work now")
        self._connections_closed = self._counter("connections_closed", "Connections that were ended by us", "reason")
        self._connections = self._gauge("open_connections", "Connections to the public side")
        self._store_errors = self._counter("store_errors", "What the store could not do", "kind")
        self._store_writable = self._gauge("store_writable", "1 while events can be accepted")
        self._store_free = self._gauge("store_free_bytes", "Free space where the store is")
        self._store_log = self._gauge(
            "store_wal_bytes", "Size of the store's log, which checkpoints move into its file"
        )
        self._checkpoints = self._counter("checkpoints", "Times that the store's log was to be moved", "result")
        for result in Checkpoint:
            self._checkpoints.labels(result)
        self._share()
        self._forward = self._counter("brought_forward", "Deliveries that no honest wait would keep so long", "sink")
        self._log_dropped = self._counter("log_dropped", "Log lines that were dropped because nobody read the log")
        self._key_age = self._gauge("key_age_seconds", "Since the source's public key was last fetched", "source")
        self._key_fetches = self._counter("key_fetch", "Fetches of a public key", "source", "result")
        self._config_info = self._gauge("config_info", "1 for the configuration in force", "hash")
        self._reloads = self._counter("config_reloads", "Attempts to put another configuration in force", "result")
        self._reload = self._gauge("config_last_reload_successful", "1 if the last reload was applied")
        self._workers = self._gauge("workers", "Processes that take webhooks in")
        self._workers.set(1)
        self._restarts_of_workers = self._counter("worker_restarts", "Times that a worker died and was replaced")
        self._gauge("build_info", "1 for the running version", "version").labels(__version__).set(1)
        self._backlog_sinks: set[str] = set()
        self._closed_sinks: set[str] = set()
        self._refusals = OncePerSecond()

    def _share(self) -> None:
        """What matters most where several nodes share a store."""
        self._sink_seat = self._gauge("sink_seat", "1 where the sink's limit is kept now, 0 on all other nodes", "sink")
        self._clock_offset = self._gauge("clock_offset_seconds", "How far this clock is ahead of the store's")
        self._clock_jumps = self._counter("clock_jumps", "Times that the wall clock was set while the relay ran")

    def exposition(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self.registry)

    # The public side

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

    def connection_refused(self) -> None:
        """More connections at the public side than it may have."""
        self._connections_closed.labels("too_many").inc()

    def headers_timed_out(self) -> None:
        """A client began a request and did not go on."""
        self._connections_closed.labels("slow_headers").inc()

    def answer_unread(self) -> None:
        """A client did not read its answer."""
        self._connections_closed.labels("unread").inc()

    def request_malformed(self) -> None:
        """Something came that is no HTTP."""
        self._requests.of["none", "malformed"] += 1

    def inflight(self, count: Callable[[], int]) -> None:
        """Ask this for the number of requests at work, whenever somebody wants to know."""
        self._inflight.set_function(count)

    def open_connections(self, count: int) -> None:
        """So many connections are open, at work or not."""
        self._connections.set(count)

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

    # The sender's shapes

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

    # The lanes

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

    def sink_throttled(self, sink: str, seconds: float) -> None:
        """A sink asked to be left alone for so much longer (Retry-After)."""
        self._throttled.labels(sink).inc(seconds)

    def producer_broke(self, sink: str) -> None:
        """A Kafka producer is given up; what it had under way is sent again, and may be there twice."""
        self._restarts.labels(sink).inc()
        log.warning("producer.broke", extra={"sink": sink})

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

    # The store, the keys, the configuration

    def commit_took(self, seconds: float) -> None:
        """The store committed a group."""
        self._commit.observe((), seconds)

    def store_failed(self, kind: str, detail: str) -> None:
        """The store could not do it."""
        self._store_errors.labels(kind).inc()
        suppressed = self._refusals.ask(("store", kind), monotonic())
        if suppressed is not None:
            log.error("store.failed", extra={"kind": kind, "detail": detail, "suppressed": suppressed})

    def store_state(self, health: Health) -> None:
        """How the store is."""
        self._store_writable.set(not health.obstacle)
        if health.free_bytes is not None:
            self._store_free.set(health.free_bytes)
        if health.log_bytes is not None:
            self._store_log.set(health.log_bytes)

    def checkpointed(self, ended: Checkpoint) -> None:
        """The store's log was to be moved into its place."""
        self._checkpoints.labels(ended).inc()

    def clock_jumped(self, by: timedelta) -> None:
        """The wall clock was set."""
        self._clock_jumps.inc()
        log.warning("clock.jumped", extra={"seconds": round(by.total_seconds(), 3)})

    def clock_compared(self, ahead: timedelta) -> None:
        """The wall clock is so far ahead of the store's."""
        self._clock_offset.set(ahead.total_seconds())

    def clock_off(self, ahead: timedelta) -> None:
        """It is further off than it should be."""
        log.warning("clock.off", extra={"seconds": round(ahead.total_seconds(), 3)})

    def clock_right(self) -> None:
        """It is right again."""
        log.warning("clock.right")

    def brought_forward(self, sink: str, count: int) -> None:
        """So many deliveries were due later than any wait explains, and come due sooner now."""
        self._forward.labels(sink).inc(count)
        log.warning("deliveries.brought_forward", extra={"sink": sink, "count": count})

    def log_dropped(self) -> None:
        """A log line was dropped. From any thread; it must not be logged."""
        self._log_dropped.inc()

    def key_fetched(self, source: str, result: str, detail: str = "") -> None:
        """A public key was asked for; `result` is `ok`, `changed`, `unreachable` or `invalid`."""
        self._key_fetches.labels(source, result).inc()
        context = {"source": source, "result": result, "detail": detail}
        log.log(logging.INFO if result == "ok" else logging.WARNING, "key.fetched", extra=context)

    def key_age(self, source: str, seconds: float) -> None:
        """How long ago the source's key was fetched."""
        self._key_age.labels(source).set(seconds)

    def sink_removed(self, sink: str) -> None:
        """The configuration has this sink no more, or disables it; its backlog stays and is counted."""
        for each in GateState:
            self._sink_state.remove(sink, each)
        self.sink_unlimited(sink)

    def config_refused(self, problem: str) -> None:
        """A new configuration was refused; the old one stays in force."""
        self._reload.set(0)
        self._reloads.labels("refused").inc()
        log.error("config.refused", extra={"detail": problem})

    def config_reloaded(self, config_hash: str) -> None:
        """Another configuration has replaced the one in force."""
        self._reloads.labels("applied").inc()
        self.config_applied(config_hash)

    def config_applied(self, config_hash: str) -> None:
        """A configuration is in force."""
        self._config_info.clear()
        self._config_info.labels(config_hash).set(1)
        self._reload.set(1)
        log.info("config.applied", extra={"hash": config_hash})

    def workers(self, count: int) -> None:
        """So many processes take webhooks in."""
        self._workers.set(count)

    def worker_restarted(self) -> None:
        """A worker died, and another takes its place."""
        self._restarts_of_workers.inc()

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(name, documentation, labels, namespace="relay", registry=self.registry)

    def _gauge(self, name: str, documentation: str, *labels: str) -> Gauge:
        return Gauge(name, documentation, labels, namespace="relay", registry=self.registry)
