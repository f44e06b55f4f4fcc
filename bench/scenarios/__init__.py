"""What is measured, one module for each question; `run` answers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bench.results import Section
from bench.run import Missing, Run
from bench.scenarios import accept

__all__ = ["SCENARIOS", "Missing"]

SCENARIOS: Mapping[str, Callable[[Run], Section]] = {
    "accept": accept.run,
}
"""By name, in the order in which they are measured and reported."""
