"""Time that a test moves: the event loop's, by which durations are measured, and the wall clock with it."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.clock import FakeClock

_TURNS = 20


_MOST = 0.25


class LoopTime:
    """The running loop's time runs on as ever, and jumps when it is told; `clock` only jumps. Where the machine stands
    still, it does not run on for long; with `still`, it only jumps as well, until it is told to run on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, still: bool = False) -> None:
        self.clock = FakeClock()
        self._loop = asyncio.get_running_loop()
        self._ahead = 0.0
        self._most = 0.0 if still else _MOST
        self._real = self._loop.time
        self._seen = self._shown = self._real()
        monkeypatch.setattr(self._loop, "time", self._time)

    def _time(self) -> float:
        now = self._real()
        self._shown, self._seen = self._shown + min(now - self._seen, self._most), now
        return self._shown + self._ahead

    def run_on(self) -> None:
        """Stand still no longer."""
        self._most = _MOST

    async def advance(self, seconds: float) -> None:
        """Jump, and let those go on whose wait is over."""
        self._ahead += seconds
        self.clock.advance(seconds=seconds)
        await turns()


async def turns(count: int = _TURNS) -> None:
    """Let the loop turn so many times."""
    for _ in range(count):
        await asyncio.sleep(0)
