"""What concerns the whole process: its configuration, keys, clock, log and workers."""

from __future__ import annotations

import logging
from datetime import timedelta

from prometheus_client import CollectorRegistry

from relay import __version__
from relay.telemetry.part import Part, counter, gauge

log = logging.getLogger("relay")


class ProcessTelemetry(Part):
    """Configuration, keys, clock, log and workers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._config_info = gauge(registry, "config_info", "1 for the configuration in force", "hash")
        self._reloads = counter(registry, "config_reloads", "Attempts to put another configuration in force", "result")
        self._reload = gauge(registry, "config_last_reload_successful", "1 if the last reload was applied")
        self._key_age = gauge(registry, "key_age_seconds", "Since the source's public key was last fetched", "source")
        self._key_fetches = counter(registry, "key_fetch", "Fetches of a public key", "source", "result")
        self._clock_offset = gauge(registry, "clock_offset_seconds", "How far this clock is ahead of the store's")
        self._clock_jumps = counter(registry, "clock_jumps", "Times that the wall clock was set while the relay ran")
        self._log_dropped = counter(registry, "log_dropped", "Log lines that were dropped because nobody read the log")
        self._workers = gauge(registry, "workers", "Processes that take webhooks in")
        self._restarts_of_workers = counter(registry, "worker_restarts", "Times that a worker died and was replaced")
        self._workers.set(1)
        gauge(registry, "build_info", "1 for the running version", "version").labels(__version__).set(1)
        super().__init__(registry)

    def config_applied(self, config_hash: str) -> None:
        """A configuration is in force."""
        self._config_info.clear()
        self._config_info.labels(config_hash).set(1)
        self._reload.set(1)
        log.info("config.applied", extra={"hash": config_hash})

    def config_reloaded(self, config_hash: str) -> None:
        """Another configuration has replaced the one in force."""
        self._reloads.labels("applied").inc()
        self.config_applied(config_hash)

    def config_refused(self, problem: str) -> None:
        """A new configuration was refused; the old one stays in force."""
        self._reload.set(0)
        self._reloads.labels("refused").inc()
        log.error("config.refused", extra={"detail": problem})

    def key_fetched(self, source: str, result: str, detail: str = "") -> None:
        """A public key was asked for; `result` is `ok`, `changed`, `unreachable` or `invalid`."""
        self._key_fetches.labels(source, result).inc()
        context = {"source": source, "result": result, "detail": detail}
        log.log(logging.INFO if result == "ok" else logging.WARNING, "key.fetched", extra=context)

    def key_age(self, source: str, seconds: float) -> None:
        """How long ago the source's key was fetched."""
        self._key_age.labels(source).set(seconds)

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

    def log_dropped(self) -> None:
        """A log line was dropped. From any thread; it must not be logged."""
        self._log_dropped.inc()

    def workers(self, count: int) -> None:
        """So many processes take webhooks in."""
        self._workers.set(count)

    def worker_restarted(self) -> None:
        """A worker died, and another takes its place."""
        self._restarts_of_workers.inc()
