"""How often a store is purged: what has to stay is not looked at all the time, and what can go does not pile up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from relay import housekeeping as module
from relay.config import Config
from relay.housekeeping import Housekeeping
from relay.records import Step
from relay.telemetry import Telemetry
from tests.fakes.loop_time import LoopTime

AT_ONCE = 10
STEPS = 5
SECONDS = 30.0
"""Of each step."""


class Store:
    """Its steps take long."""

    def __init__(self, time: LoopTime, forgotten: int) -> None:
        self._time = time
        self._forgotten = forgotten

    async def purge(self, *, after: int, limit: int, **_: object) -> Step[int]:
        await self._time.advance(SECONDS)
        assert limit == AT_ONCE
        return Step(done=self._forgotten, next=after + 1 if after + 1 < STEPS else None)


class Enough(Exception):
    """It has paused often enough."""


async def pauses(monkeypatch: pytest.MonkeyPatch, *, forgotten: int) -> list[float]:
    """Its rests before the first purge and after it, where of each step's ten events so many are forgotten."""
    time = LoopTime(monkeypatch)
    store: Any = Store(time, forgotten)
    keeping = Housekeeping(store, config=Config, clock=time.clock, telemetry=Telemetry())
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            raise Enough

    turns = asyncio.sleep
    monkeypatch.setattr(module, "_PURGE_AT_ONCE", AT_ONCE)
    monkeypatch.setattr(asyncio, "sleep", lambda seconds: sleep(seconds) if seconds else turns(0))
    with pytest.raises(Enough):
        await keeping.run()
    return slept


async def test_what_is_forgotten_costs_no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await pauses(monkeypatch, forgotten=AT_ONCE) == [60.0, 60.0]


async def test_what_stays_is_not_looked_at_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    first, then = await pauses(monkeypatch, forgotten=0)
    assert first == 60.0
    assert then == pytest.approx(20 * STEPS * SECONDS, rel=0.01)


async def test_of_a_step_that_forgets_some_the_rest_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await pauses(monkeypatch, forgotten=7))[1] == pytest.approx(20 * STEPS * SECONDS * 0.3, rel=0.01)
