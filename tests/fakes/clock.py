"""A clock that stands still until a test moves it, and one that runs, from a day of its own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from time import monotonic

from relay.clock import SystemClock


class FakeClock(SystemClock):
    """A `Clock`."""

    def __init__(self, now: datetime = datetime(2026, 11, 23, 12, tzinfo=UTC)) -> None:
        self._shown = now
        self._passed = 0.0
        super().__init__(wall=lambda: self._shown, steps=lambda: self._passed)

    def advance(self, **by: float) -> None:
        """Let so many `seconds=`, `hours=` and so on pass."""
        self._shown += timedelta(**by)
        self._passed += timedelta(**by).total_seconds()

    def jump(self, **by: float) -> None:
        """Set it forward or back, while no time passes."""
        self._shown += timedelta(**by)

    def set(self, to: datetime) -> None:
        """Set it, while no time passes."""
        self._shown = to


class RunningClock(SystemClock):
    """A `Clock` that runs on from when the events of the tests came in, whatever today's date is."""

    def __init__(self, began: datetime = datetime(2026, 11, 23, 12, tzinfo=UTC)) -> None:
        since = monotonic()
        super().__init__(wall=lambda: began + timedelta(seconds=monotonic() - since))
