"""A sink that does what it is told, and remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, TypeAlias

from relay.model import Delivery

WAIT = 30.0
"""Seconds that a test waits for something to happen before it fails."""


@dataclass(frozen=True)
class Hang:
    """Never answer."""


Step: TypeAlias = str | BaseException | Hang
"""A receipt, an error to raise, or silence."""


class ScriptedSink:
    """A `Sink`. Each attempt takes the next step of the script, then what `choose` says, which is a receipt by default.

    While it is held, every attempt waits for its release first.
    """

    def __init__(self, *, choose: Callable[[Delivery], Step] | None = None) -> None:
        self.asked: list[Delivery] = []
        """Every attempt, in the order in which it began."""
        self.taken: list[Delivery] = []
        """Every attempt that succeeded, in the order in which it ended."""
        self.running = 0
        self.most_running = 0
        self.interrupted = 0
        self.closed = 0
        self._choose = choose
        self._script: deque[Step] = deque()
        self._free = asyncio.Event()
        self._free.set()
        self._moved = asyncio.Condition()

    def will(self, *steps: Step) -> Self:
        """Script the next attempts, in the order in which they begin."""
        self._script.extend(steps)
        return self

    def hold(self) -> Self:
        """From now on let attempts wait."""
        self._free.clear()
        return self

    def release(self) -> None:
        """Let all go on that wait, and those that come."""
        self._free.set()

    async def asked_for(self, count: int) -> list[Delivery]:
        """The attempts, as soon as there are so many."""
        await self.until(lambda: len(self.asked) >= count)
        return self.asked

    async def took(self, count: int) -> list[Delivery]:
        """The successes, as soon as there are so many."""
        await self.until(lambda: len(self.taken) >= count)
        return self.taken

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return as soon as this holds after an attempt began or ended."""
        async with asyncio.timeout(WAIT), self._moved:
            await self._moved.wait_for(condition)

    async def deliver(self, delivery: Delivery) -> str:
        step = self._next(delivery)
        self.asked.append(delivery)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self._tell()
            await self._free.wait()
            return await self._act(step, delivery)
        except asyncio.CancelledError:
            self.interrupted += 1
            raise
        finally:
            self.running -= 1

    async def close(self) -> None:
        self.closed += 1

    def _next(self, delivery: Delivery) -> Step:
        if self._script:
            return self._script.popleft()
        return self._choose(delivery) if self._choose is not None else f"receipt {delivery.id}"

    async def _act(self, step: Step, delivery: Delivery) -> str:
        if isinstance(step, Hang):
            await asyncio.Event().wait()
        if isinstance(step, BaseException):
            raise step
        self.taken.append(delivery)
        await self._tell()
        return str(step)

    async def _tell(self) -> None:
        async with self._moved:
            self._moved.notify_all()
