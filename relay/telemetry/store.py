"""How the store is, and what it could not do."""

from __future__ import annotations

import logging
from time import monotonic

from prometheus_client import CollectorRegistry

from relay.records import Checkpoint, Health
from relay.telemetry.counts import Times
from relay.telemetry.part import FAST, OncePerSecond, Part, counter, gauge

log = logging.getLogger("relay")


class StoreTelemetry(Part):
    """The store, and what it has room for."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._commit = Times(registry, "relay_commit_seconds", "One group commit of the store", FAST)
        self._store_errors = counter(registry, "store_errors", "What the store could not do", "kind")
        self._store_writable = gauge(registry, "store_writable", "1 while events can be accepted")
        self._store_free = gauge(registry, "store_free_bytes", "Free space where the store is")
        self._store_log = gauge(
            registry, "store_wal_bytes", "Size of the store's log, which checkpoints move into its file"
        )
        self._checkpoints = counter(registry, "checkpoints", "Times that the store's log was to be moved", "result")
        for result in Checkpoint:
            self._checkpoints.labels(result)
        self._troubles = OncePerSecond()
        super().__init__(registry)

    def commit_took(self, seconds: float) -> None:
        """The store committed a group."""
        self._commit.observe((), seconds)

    def store_failed(self, kind: str, detail: str) -> None:
        """The store could not do it."""
        self._store_errors.labels(kind).inc()
        suppressed = self._troubles.ask((kind,), monotonic())
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
