"""What is measured, one module for each question; `run` answers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bench.results import Section
from bench.run import Run
from bench.scenarios import accept, drain, latency, million, postgres, sinks, verify, workers

SCENARIOS: Mapping[str, Callable[[Run], Section]] = {
    "accept": accept.run,
    "verify": verify.run,
    "kafka": sinks.kafka,
    "sinks": sinks.sinks,
    "latency": latency.run,
    "drain": drain.run,
    "million": million.run,
    "workers": workers.run,
    "postgres": postgres.run,
}
"""By name, in the order in which they are measured and reported."""
