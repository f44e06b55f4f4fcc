"""What time it is; a thing that is handed in, so that tests move it and never sleep.

A wall clock may be wrong, and then somebody sets it: it jumps. What people and receivers are told is wall time all the
same. What is due, and for how long a delivery is leased, goes by *steady* time, which a clock that is set back does not
turn back; and the time that a clock set forward has skipped makes nothing older. See docs/decisions/0013. Where several
machines share a store, steady time is that of the store's clock: see docs/decisions/0027.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import monotonic

JUMP = timedelta(seconds=5)
"""By so much the wall clock must be off from what the monotonic one says to be called set; less is drift."""
_MOST_SKIPS = 64


class SystemClock:
    """The wall clock, watched by the monotonic one. For one thread."""

    def __init__(
        self, *, wall: Callable[[], datetime] = lambda: datetime.now(UTC), steps: Callable[[], float] = monotonic
    ) -> None:
        """`steps` are seconds that never jump, from any beginning."""
        self._wall = wall
        self._steps = steps
        self._listeners: list[Callable[[timedelta], None]] = []
        self._skips: deque[tuple[datetime, datetime]] = deque(maxlen=_MOST_SKIPS)
        self._last = self._high = wall()
        self._step = steps()
        self._follows = False
        """Whether steady time goes by the store's clock."""
        self._early = timedelta(0)
        """By how much it is ahead of that one, a little: it stands still until that has caught up."""
        self._doubtful = False

    def now(self) -> datetime:
        """See `Clock.now`."""
        return self._look()

    def steady(self) -> datetime:
        """See `Clock.steady`."""
        self._look()
        return self._high

    def stamp(self) -> datetime:
        """See `Clock.stamp`."""
        return min(self._look(), self._high)

    def correct(self, by: timedelta) -> None:
        """See `Clock.correct`. Only where the store's clock was set back does it go back too: all nodes do, and one
        that did not would take the others' leases for run out."""
        self._look()
        if not self._follows or not -JUMP <= by <= timedelta(0):
            self._high += by
            self._early = timedelta(0)
        else:
            self._early = -by
        self._follows, self._doubtful = True, False

    @property
    def doubtful(self) -> bool:
        """See `Clock.doubtful`."""
        return self._doubtful

    def age(self, since: datetime) -> timedelta:
        """See `Clock.age`."""
        now = self._look()
        skipped = (min(now, end) - max(since, start) for start, end in self._skips)
        return now - since - sum((each for each in skipped if each > timedelta(0)), timedelta(0))

    def ago(self, age: timedelta) -> datetime:
        """See `Clock.ago`."""
        moment = self._look() - age
        for start, end in reversed(self._skips):
            if moment < end:
                moment -= end - start
        return moment

    def on_jump(self, listener: Callable[[timedelta], None]) -> None:
        """See `Clock.on_jump`."""
        self._listeners.append(listener)

    def _look(self) -> datetime:
        now, step = self._wall(), self._steps()
        passed = timedelta(seconds=step - self._step)
        off = now - self._last - passed
        if self._follows:
            still = min(self._early, passed)
            self._early -= still
            self._high += passed - still
        else:
            self._high = max(self._high + passed, now)
        self._last, self._step = now, step
        if not -JUMP <= off <= JUMP:
            self._jumped(now - off, now)
        return now

    def _jumped(self, expected: datetime, now: datetime) -> None:
        self._doubtful = self._follows
        # What it once skipped and now lives through is no longer skipped.
        kept = [(start, min(end, now)) for start, end in self._skips if start < now]
        if now > expected:
            kept.append((expected, now))
        self._skips = deque(kept, maxlen=_MOST_SKIPS)
        for listener in self._listeners:
            listener(now - expected)
