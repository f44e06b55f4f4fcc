"""A window on an outbox: counts what the lanes ask of it, and breaks it when it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from relay.errors import StoreUnavailable
from relay.model import Delivery, Settled
from relay.ports import Outbox
from tests.fakes.sink import WAIT


class WatchedOutbox:
    """An `Outbox` in front of another one."""

    def __init__(self, behind: Outbox) -> None:
        self.claims = 0
        """Calls of `claim`."""
        self.settled: list[Settled] = []
        """Results that were recorded."""
        self.fenced: list[Settled] = []
        """Results that came too late."""
        self.leased = 0
        """Deliveries that were claimed and not settled yet."""
        self.most_leased = 0
        self.refusals = 0
        """Calls that failed because they should."""
        self.claims_fail = False
        self.settles_fail = False
        self._behind = behind
        self._open = asyncio.Event()
        self._open.set()
        self._moved = asyncio.Condition()

    def hold_claims(self) -> None:
        """Claim, but keep the answer back."""
        self._open.clear()

    def release_claims(self) -> None:
        self._open.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return as soon as this holds after a call."""
        async with asyncio.timeout(WAIT), self._moved:
            await self._moved.wait_for(condition)

    async def recorded(self, count: int) -> list[Settled]:
        """The recorded results, as soon as there are so many."""
        await self.until(lambda: len(self.settled) >= count)
        return self.settled

    @property
    def tenure(self) -> int | None:
        return self._behind.tenure

    async def claim(
        self, sink: str, *, limit: int, newest: int = 0, now: datetime, lease: timedelta, seat: str | None = None
    ) -> Sequence[Delivery]:
        self.claims += 1
        await self._perhaps_refuse(fail=self.claims_fail)
        claimed = await self._behind.claim(sink, limit=limit, newest=newest, now=now, lease=lease, seat=seat)
        self.leased += len(claimed)
        self.most_leased = max(self.most_leased, self.leased)
        await self._tell()
        await self._open.wait()
        return claimed

    async def settle(self, results: Sequence[Settled], *, now: datetime) -> Sequence[bool]:
        await self._perhaps_refuse(fail=self.settles_fail)
        recorded = await self._behind.settle(results, now=now)
        self.leased -= len(results)
        for result, done in zip(results, recorded, strict=True):
            (self.settled if done else self.fenced).append(result)
        await self._tell()
        return recorded

    async def wait(self, sink: str, *, timeout: float) -> None:
        await self._behind.wait(sink, timeout=timeout)

    async def next_due(self, sink: str) -> datetime | None:
        return await self._behind.next_due(sink)

    async def _perhaps_refuse(self, *, fail: bool) -> None:
        if fail:
            self.refusals += 1
            await self._tell()
            raise StoreUnavailable("store: told to fail", kind="busy")

    async def _tell(self) -> None:
        async with self._moved:
            self._moved.notify_all()
