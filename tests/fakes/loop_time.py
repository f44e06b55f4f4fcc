"""Time that a test moves: the event loop's, by which durations are measured, and the wall clock with it."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.clock import FakeClock

_TURNS = 20


class LoopTime:
    """The running loop's time runs on as ever, and jumps when it is told; `clock` only jumps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = FakeClock()
        self._loop = asyncio.get_running_loop()
        self._ahead = 0.0
        real = self._loop.time
        monkeypatch.setattr(self._loop, "time", lambda: real() + self._ahead)

    async def advance(self, seconds: float) -> None:
        """Jump, and let those go on whose wait is over."""
        self._ahead += seconds
        self.clock.advance(seconds=seconds)
        await turns()


async def turns(count: int = _TURNS) -> None:
    """Let the loop turn so many times."""
    for _ in range(count):
        await asyncio.sleep(0)
