"""Hints that something may have come due, within the process."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from relay.waiting import happens


class LocalHints:
    """Ends the wait of those who wait for a sink here. A hint that comes before the wait is kept for it."""

    def __init__(self) -> None:
        self._events: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def set(self, sink: str) -> None:
        """End the sink's `wait`."""
        self._events[sink].set()

    def set_all(self) -> None:
        """End the `wait` of every sink for which somebody has waited, or was to."""
        for event in self._events.values():
            event.set()

    async def wait(self, sink: str, *, timeout: float) -> None:
        """Until the sink's hint, or so many seconds."""
        event = self._events[sink]
        try:
            await happens(event, within=timeout)
        finally:
            event.clear()
