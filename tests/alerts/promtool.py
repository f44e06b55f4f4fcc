"""Prometheus's own promtool; `python -m tests.alerts.promtool` fetches it."""

from __future__ import annotations

from tests.debian import Program

PROMTOOL = Program(name="promtool", package="prometheus", hint="install prometheus")

if __name__ == "__main__":
    PROMTOOL.main()
