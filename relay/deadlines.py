"""Time limits that cost next to nothing where they are kept: for what is limited thousands of times a second.

`asyncio.timeout` asks the event loop for a timer each time, and takes it back nearly always. Here all that share one
limit share one timer, which looks now and then for whoever would be late before it looks again.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

_LOOK = 0.05
"""Seconds between two looks, while anything is limited; a limit may be cut short by as much, and is never overrun."""


class Deadlines:
    """One time limit for many tasks.

        task = deadlines.begin()
        try:
            await something
        except asyncio.CancelledError:
            if not deadlines.passed(task):
                raise
            ...  # it took too long
        finally:
            deadlines.end(task)

    As with `asyncio.timeout`, a cancellation that comes from elsewhere stays one.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = max(0.0, seconds - _LOOK)
        self._due: dict[asyncio.Task[Any], float] = {}
        """All have the same limit, so the first to begin is the first to be late."""
        self._late: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._next_look = 0.0
        self.lag = 0.0
        """Seconds by which the last look came too late, while anything is limited: so long the event loop took to come
        round, and so long whatever has just come in has waited."""

    def begin(self) -> asyncio.Task[Any]:
        """The current task, which is cancelled at the limit unless it comes to the `end` before."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a time limit needs a task that it can interrupt")
        self._due[task] = monotonic() + self._seconds
        if self._timer is None:
            self._look_later()
        return task

    def passed(self, task: asyncio.Task[Any]) -> bool:
        """Whether the cancellation that a task has just caught was this limit's, and no other is due to it."""
        if task not in self._late:
            return False
        self._late.discard(task)
        return task.uncancel() == 0

    def end(self, task: asyncio.Task[Any]) -> None:
        """The stretch that was limited is over, whatever became of it."""
        self._due.pop(task, None)
        self._late.discard(task)

    def _look(self) -> None:
        now = monotonic()
        self.lag = max(0.0, now - self._next_look) if self._due else 0.0
        late = []
        for task, due in self._due.items():
            if due > now:
                break
            late.append(task)
        for task in late:
            del self._due[task]
            self._late.add(task)
            task.cancel()
        self._timer = None
        if self._due:
            self._look_later()

    def _look_later(self) -> None:
        self._next_look = monotonic() + _LOOK
        self._timer = asyncio.get_running_loop().call_later(_LOOK, self._look)
