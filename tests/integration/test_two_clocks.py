"""Two nodes on one store whose clocks differ: neither takes what the other is at work on, and none waits for the clock
of the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from relay.model import Retry
from relay.timekeeping import Timekeeping
from tests.fakes.clock import FakeClock
from tests.fakes.hall import Hall
from tests.fakes.loop_time import LoopTime, turns
from tests.fakes.nodes import Node

MINUTES = timedelta(minutes=5)


class Skewed:
    """A hall and a node whose clock is ahead of the hall's by so much, or behind."""

    def __init__(self, time: LoopTime, ahead: timedelta) -> None:
        self.time = time
        self.hall = Hall(time.clock)
        self.clock = FakeClock(time.clock.now() + ahead)
        self.node = Node(self.hall, "one", self.clock, rate=None, concurrency=4)
        self.timekeeping = Timekeeping(self.node.store, clock=self.clock, telemetry=self.node.telemetry)  # type: ignore[arg-type]

    async def pass_by(self, seconds: float) -> None:
        for _ in range(round(seconds * 4)):
            self.clock.advance(seconds=0.25)
            await self.time.advance(0.25)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        await self.timekeeping.begin()
        await self.node.start()
        task = asyncio.create_task(self.timekeeping.run())
        await turns()
        try:
            yield
        finally:
            task.cancel()
            await self.node.stop()


@pytest.fixture(params=[MINUTES, -MINUTES], ids=["ahead", "behind"])
async def skewed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Skewed:
    return Skewed(LoopTime(monkeypatch), request.param)


async def test_what_another_node_has_begun_is_not_taken(skewed: Skewed) -> None:
    skewed.hall.fill("crm", 3)
    other, lease = skewed.hall.node("other"), timedelta(minutes=1)
    assert len(await other.claim("crm", limit=3, now=skewed.hall.clock.now(), lease=lease)) == 3
    async with skewed.running():
        await skewed.pass_by(50)
        assert skewed.node.sent == 0
        await skewed.pass_by(15)
        assert skewed.node.sent == 3, "and when its lease has run out it is not held back"


async def test_what_it_has_begun_is_not_taken_by_another(skewed: Skewed) -> None:
    skewed.hall.fill("crm", 3)
    skewed.node.sink.hold()
    async with skewed.running():
        await skewed.pass_by(1)
        assert skewed.node.sent == 3
        other, lease = skewed.hall.node("other"), timedelta(minutes=1)
        assert not await other.claim("crm", limit=3, now=skewed.hall.clock.now() + lease / 2, lease=lease)
        skewed.node.sink.release()


async def test_what_it_gives_back_is_due_for_others_at_once(skewed: Skewed) -> None:
    skewed.hall.fill("crm", 3)
    skewed.node.sink.hold()
    skewed.node.dispatcher._drain = timedelta(seconds=1)
    async with skewed.running():
        await skewed.pass_by(1)
        stopping = asyncio.create_task(skewed.node.stop())
        await skewed.pass_by(2)
        await stopping
    assert all(isinstance(verdict, Retry) for _, verdict in skewed.node.store.settled)
    other, lease = skewed.hall.node("other"), timedelta(minutes=1)
    assert len(await other.claim("crm", limit=9, now=skewed.hall.clock.now(), lease=lease)) == 3


async def test_a_clock_that_jumps_is_compared_before_anything_is_claimed(skewed: Skewed) -> None:
    """Had the machine slept, all that is leased would be others' by now; had the clock been set, nothing."""
    other, lease = skewed.hall.node("other"), timedelta(minutes=1)
    async with skewed.running():
        await skewed.pass_by(1)
        skewed.hall.fill("crm", 3)
        await other.claim("crm", limit=1, now=skewed.hall.clock.now(), lease=lease)
        skewed.node.store.freeze()
        skewed.clock.jump(hours=1)
        asked = skewed.hall.asked["one"]
        await skewed.pass_by(5)
        assert (skewed.hall.asked["one"], skewed.node.sent) == (asked, 0)
        skewed.node.store.thaw()
        await skewed.pass_by(2)
        assert skewed.node.sent == 2
