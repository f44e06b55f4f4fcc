"""What time it is; a thing that is handed in, so that tests move it and never sleep."""

from __future__ import annotations

from datetime import UTC, datetime


class SystemClock:
    """The wall clock. Durations inside one process use the event loop's monotonic time instead."""

    def now(self) -> datetime:
        """The current time, aware, in UTC."""
        return datetime.now(UTC)
