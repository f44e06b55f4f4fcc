"""What attempts have come to, until the store has it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from relay.errors import StoreUnavailable
from relay.model import Delivery, Settled, Verdict
from relay.ports import Clock, Outbox
from relay.telemetry import Telemetry
from relay.waiting import happens

MOST = 1000
"""Results that may wait for the store; with more, nothing is begun. Far above what waits for one commit."""
_STORE_PAUSE = 1.0
"""Seconds to leave a store alone that could not take them."""
_LAST_TRIES = 2
"""How often a lane that ends offers its last results again to a store that could not take them."""


class Results:
    """Of one lane. What waits goes in one commit; what the store cannot take now goes later."""

    def __init__(
        self,
        outbox: Outbox,
        *,
        stopping: asyncio.Event,
        on_settled: Callable[[Delivery], None],
        telemetry: Telemetry,
        clock: Clock,
    ) -> None:
        """`on_settled` is told of each that is not ours any more; `stopping` is set once nothing more is begun."""
        self._outbox = outbox
        self._stopping = stopping
        self._on_settled = on_settled
        self._telemetry = telemetry
        self._clock = clock
        self._waiting: list[Settled] = []
        self._noted = asyncio.Event()
        self._ended = False

    @property
    def full(self) -> bool:
        """Whether so many wait that nothing more shall be begun."""
        return len(self._waiting) >= MOST

    def note(self, delivery: Delivery, verdict: Verdict) -> None:
        """An attempt ended so."""
        self._waiting.append((delivery, verdict))
        self._noted.set()

    async def settle_regularly(self) -> None:
        """Until the end is told. It ends by itself: a settle that is cancelled may be recorded all the same."""
        while not self._ended:
            await self._noted.wait()
            self._noted.clear()
            await self._settle()

    def end(self) -> None:
        """Nothing more will be noted."""
        self._ended = True
        self._noted.set()

    async def settle_last(self) -> None:
        """Offer what still waits a few times more."""
        await self._settle()
        for _ in range(_LAST_TRIES):
            if self._waiting:
                await asyncio.sleep(_STORE_PAUSE)
                await self._settle()

    async def _settle(self) -> None:
        """Record all results that wait, in one go; keep them where the store cannot take them now."""
        results, self._waiting = self._waiting, []
        if not results:
            return
        try:
            recorded = await self._outbox.settle(results, now=self._clock.stamp())
        except StoreUnavailable as error:
            self._telemetry.store_failed(error.kind, str(error))
            self._waiting = results + self._waiting
            if not self._stopping.is_set():  # at the end the leases run out by themselves
                await happens(self._stopping, within=_STORE_PAUSE)
                self._noted.set()
            return
        except asyncio.CancelledError:
            self._waiting = results + self._waiting
            raise
        now = self._clock.stamp()
        for (delivery, verdict), done in zip(results, recorded, strict=True):
            self._on_settled(delivery)
            self._telemetry.delivery_settled(delivery, verdict, recorded=done, now=now)
