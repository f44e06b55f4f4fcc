"""Collecting what shall be committed together, for as long as more of it comes at once.

A group that leaves with its first member is a small one: under load its commit costs nearly as much as that of a large
one, and takes the processor from those who would have been in it. So a group waits while each turn of the event loop
adds to it. With nothing else to do in the loop, that is one turn: microseconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

_LONGEST = 0.005
"""Seconds that a group may grow, however much comes."""


class Growth:
    """Says how long one group waits for more."""

    def __init__(self, now: float) -> None:
        """`now` is the event loop's time, as in `goes_on`."""
        self._seen = 0
        """How many there were a turn ago."""
        self._until = now + _LONGEST

    def goes_on(self, size: int, now: float) -> bool:
        """Whether to let the event loop have another turn, now that there are so many."""
        grew, self._seen = size > self._seen, size
        return grew and now < self._until


class Gathering(Generic[T]):
    """Hands groups on, in the order in which their members came."""

    def __init__(self, hand_on: Callable[[list[T]], None], *, largest: int) -> None:
        """`hand_on` is called in the event loop, with 1 to `largest` members."""
        self._hand_on = hand_on
        self._largest = largest
        self._group: list[T] = []
        self._loop = asyncio.get_running_loop()
        self._growth = Growth(self._loop.time())

    def __len__(self) -> int:
        """How many wait here."""
        return len(self._group)

    def add(self, member: T) -> None:
        """Let it go with the next group."""
        self._group.append(member)
        if len(self._group) == 1:
            self._growth = Growth(self._loop.time())
            self._loop.call_soon(self._turn)
        elif len(self._group) >= self._largest:
            self.flush()

    def flush(self) -> None:
        """Hand on what is there."""
        if self._group:
            group, self._group = self._group, []
            self._hand_on(group)

    def _turn(self) -> None:
        """Others in the event loop have had their turn."""
        if self._growth.goes_on(len(self._group), self._loop.time()):
            self._loop.call_soon(self._turn)
        else:
            self.flush()
