"""What a store needs now and then: forgetting what is past its retention, and mending what a wrong clock has left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from relay.config import Config
from relay.errors import StoreUnavailable
from relay.options import LaneOptions
from relay.ports import Clock, Store
from relay.retry import longest_wait
from relay.telemetry import Telemetry

_PURGE_EVERY = 60.0
_PURGE_COST = 20
"""The pause is so many times as long as was looked at events in vain: a walk over a million that wait is not made all
the time. What is forgotten costs no pause, or a store would grow for ever where more comes in than the rest allows."""
_PURGE_AT_ONCE = 200
"""Events looked at in one commit: few, so that no answer waits long behind it."""


_COUNT_AGE = 2.0
"""Seconds that a count of the backlog is good for; scrapes may come from several servers."""
_COUNT_COST = 20
"""A count is good for so many times as long as it took: one of millions is not made at each scrape."""


class Housekeeping:
    """Goes on beside everything else, a little at a time, so that no answer waits for it."""

    def __init__(self, store: Store, *, config: Callable[[], Config], clock: Clock, telemetry: Telemetry) -> None:
        """`config` is the configuration in force; it may change."""
        self._store = store
        self._config = config
        self._clock = clock
        self._telemetry = telemetry

    async def run(self) -> None:
        """For ever. A store that is busy is asked again at the next turn; its trouble is counted where it matters."""
        unseen, in_vain = dict(self._config().sinks), 0.0
        while True:
            with suppress(StoreUnavailable):
                while unseen:
                    name = next(iter(unseen))
                    await self._bring_forward(name, unseen[name])
                    del unseen[name]
            await asyncio.sleep(max(_PURGE_EVERY, _PURGE_COST * in_vain))
            with suppress(StoreUnavailable):
                in_vain = await self.purge()

    async def purge(self) -> float:
        """Forget what is past its retention, step by step. Seconds that went into looking at what has to stay."""
        loop, in_vain = asyncio.get_running_loop(), 0.0
        retention = self._config().retention
        delivered_before, dead_before = self._clock.ago(retention.delivered), self._clock.ago(retention.dead)
        after: int | None = 0
        while after is not None:
            started = loop.time()
            step = await self._store.purge(
                delivered_before=delivered_before, dead_before=dead_before, after=after, limit=_PURGE_AT_ONCE
            )
            in_vain += (loop.time() - started) * (1 - step.done / _PURGE_AT_ONCE)
            after = step.next
        return in_vain

    async def _bring_forward(self, sink: str, options: LaneOptions) -> None:
        """No delivery waits longer than is honest; the clock may have been ahead when its due time was written."""
        now, longest = self._clock.steady(), longest_wait(options)
        while count := await self._store.bring_forward(sink, now=now, longest=longest, limit=_PURGE_AT_ONCE):
            self._telemetry.brought_forward(sink, count)


class BacklogCount:
    """Counts what waits, when somebody wants to know and it was not done a moment ago."""

    def __init__(self, store: Store, *, clock: Clock, telemetry: Telemetry) -> None:
        self._store = store
        self._clock = clock
        self._telemetry = telemetry
        self.again = float("-inf")
        """When it is to be counted anew, in the event loop's time."""

    async def count(self, sinks: Sequence[str]) -> None:
        """Tell the telemetry how much waits for each of these."""
        loop = asyncio.get_running_loop()
        if loop.time() < self.again:
            return
        started = loop.time()
        self.again = started + _COUNT_AGE
        try:
            backlog = await self._store.backlog()
        except StoreUnavailable as error:
            self._telemetry.store_failed(error.kind, str(error))
        else:
            self._telemetry.backlog(backlog, sinks, now=self._clock.now())
        self.again = started + max(_COUNT_AGE, _COUNT_COST * (loop.time() - started))
