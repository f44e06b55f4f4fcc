"""Compares this machine's clock with the store's, where nodes on several machines share one: due times and leases are
written by one node and read by another, so all of them go by the same clock. See docs/decisions/0027."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta

from relay.errors import StoreUnavailable
from relay.ports import Clock, Store
from relay.telemetry import Telemetry
from relay.waiting import happens

LIMIT = timedelta(seconds=1)
"""A clock that is off by more is worth a word; with time synchronisation it is some milliseconds."""
_COMPARE_EVERY = 10.0
"""Seconds; in so long a monotonic clock is off by a millisecond."""
_AGAIN = 1.0
"""Seconds until a store is asked again that did not answer, or not fast enough to know what time it is."""
_SLOWEST = timedelta(seconds=1)
"""What takes longer tells the time to half of that at best."""


class Timekeeping:
    """Keeps a clock to the store's time."""

    def __init__(self, store: Store, *, clock: Clock, telemetry: Telemetry) -> None:
        self._store = store
        self._clock = clock
        self._telemetry = telemetry
        self._jumps = 0
        self._jumped = asyncio.Event()
        self._ahead: timedelta | None = None
        """How far the wall clock is ahead of the store's; None: the store goes by ours."""
        self._off = False
        clock.on_jump(self._on_jump)

    async def begin(self) -> None:
        """Compare them before anything is written; raises StoreUnavailable."""
        while True:
            if await self.compare(slowest=timedelta.max):
                return  # else it is being set just now

    async def run(self) -> None:
        """For ever: every few seconds, and at once when the clock has jumped."""
        while True:
            compared = False
            with suppress(StoreUnavailable):  # a lane asks it more often, and counts its trouble
                compared = await self.compare()
            await happens(self._jumped, within=_COMPARE_EVERY if compared else _AGAIN)
            self._jumped.clear()

    async def compare(self, *, slowest: timedelta = _SLOWEST) -> bool:
        """Compare them once, and put our steady time right; whether that could be done."""
        jumps = self._jumps
        wall, steady = self._clock.now(), self._clock.steady()
        theirs = await self._store.shared_time()
        if theirs is None:
            return True
        took = self._clock.steady() - steady
        too_slow = took > slowest and not self._clock.doubtful  # then nothing is begun, and about is good enough
        if too_slow or self._jumps != jumps:
            return False
        self._clock.correct(theirs - (steady + took / 2))
        self._tell(wall + took / 2 - theirs)
        return True

    @property
    def state(self) -> str | None:
        """`ok`, or how far the clock is off; None where there is nothing to compare it with."""
        if self._ahead is None:
            return None
        if not self._off:
            return "ok"
        way = "ahead of" if self._ahead > timedelta(0) else "behind"
        return f"{abs(self._ahead).total_seconds():.1f} s {way} the store's; see to the time of this machine (NTP)"

    def _tell(self, ahead: timedelta) -> None:
        was_off, self._off, self._ahead = self._off, abs(ahead) > LIMIT, ahead
        self._telemetry.clock_compared(ahead)
        if self._off and not was_off:
            self._telemetry.clock_off(ahead)
        elif was_off and not self._off:
            self._telemetry.clock_right()

    def _on_jump(self, _by: timedelta) -> None:
        self._jumps += 1
        self._jumped.set()
