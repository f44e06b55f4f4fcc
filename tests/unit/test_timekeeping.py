"""A clock is compared with the store's every few seconds, and at once when it has jumped; and it is told how far it is
off."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta

import pytest

from relay.errors import StoreUnavailable
from relay.telemetry import Telemetry
from relay.timekeeping import Timekeeping
from tests.fakes.clock import FakeClock
from tests.fakes.loop_time import LoopTime, turns
from tests.running import samples

SECOND = timedelta(seconds=1)
OFFSET = "relay_clock_offset_seconds"


class SharedTime:
    """A store of which only the clock matters: ahead of the given one, and slow to answer where it is told."""

    def __init__(self, clock: FakeClock) -> None:
        self.ahead: timedelta | None = timedelta(0)
        self.slow = 0.0
        self.asleep = timedelta(0)
        """For so long the machine sleeps while the answer is under way."""
        self.fails = False
        self.asked = 0
        self._clock = clock

    async def shared_time(self) -> datetime | None:
        self.asked += 1
        if self.fails:
            raise StoreUnavailable("store: told to fail", kind="conn")
        if self.ahead is None:
            return None
        self._clock.advance(seconds=self.slow / 2)
        time = self._clock._shown + self.ahead
        self._clock.advance(seconds=self.slow / 2)
        self._clock.jump(seconds=self.asleep.total_seconds())
        return time


def kept(clock: FakeClock) -> tuple[SharedTime, Timekeeping, Telemetry]:
    store, telemetry = SharedTime(clock), Telemetry()
    return store, Timekeeping(store, clock=clock, telemetry=telemetry), telemetry  # type: ignore[arg-type]


@pytest.mark.parametrize("ahead", [90 * SECOND, -90 * SECOND])
async def test_steady_time_is_the_stores(ahead: timedelta) -> None:
    clock = FakeClock()
    store, timekeeping, telemetry = kept(clock)
    store.ahead, store.slow = ahead, 0.4
    await timekeeping.begin()
    assert clock.steady() == clock.now() + ahead
    assert samples(telemetry.exposition())[OFFSET] == -ahead.total_seconds()


async def test_where_the_store_goes_by_our_clock_there_is_nothing_to_tell() -> None:
    clock = FakeClock()
    store, timekeeping, _ = kept(clock)
    store.ahead = None
    await timekeeping.begin()
    clock.jump(hours=1)
    assert (clock.steady(), clock.doubtful, timekeeping.state) == (clock.now(), False, None)


async def test_a_clock_that_is_off_is_told_once_until_it_is_right(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = FakeClock()
    store, timekeeping, _ = kept(clock)
    told = []
    for ahead in (0.9, -1.5, -2.0, 0.1):
        store.ahead = ahead * SECOND
        await timekeeping.compare()
        told.append(timekeeping.state)
    see = "the store's; see to the time of this machine (NTP)"
    assert told == ["ok", f"1.5 s ahead of {see}", f"2.0 s ahead of {see}", "ok"]
    store.ahead = 7 * SECOND
    await timekeeping.compare()
    assert timekeeping.state == f"7.0 s behind {see}"
    assert [record.message for record in caplog.records] == ["clock.off", "clock.right", "clock.off"]


async def test_an_answer_that_was_slow_tells_nothing() -> None:
    clock = FakeClock()
    store, timekeeping, _ = kept(clock)
    await timekeeping.begin()
    store.ahead, store.slow = 30 * SECOND, 1.5
    assert not await timekeeping.compare()
    assert timekeeping.state == "ok"
    store.slow = 0.9
    assert await timekeeping.compare()


async def test_where_nothing_goes_on_without_it_a_slow_answer_is_good_enough() -> None:
    clock = FakeClock()
    store, timekeeping, _ = kept(clock)
    await timekeeping.begin()
    clock.jump(hours=1)
    clock.now()
    store.slow = 7.0
    assert await timekeeping.compare()
    assert not clock.doubtful


async def test_an_answer_during_which_the_machine_slept_tells_nothing() -> None:
    clock = FakeClock()
    store, timekeeping, _ = kept(clock)
    await timekeeping.begin()
    before = clock.steady()
    store.asleep = timedelta(hours=1)
    assert not await timekeeping.compare()
    assert clock.doubtful
    store.asleep = timedelta(0)
    assert await timekeeping.compare()
    assert (clock.steady() - before, clock.doubtful) == (timedelta(hours=1), False)


async def test_it_is_compared_every_few_seconds_sooner_after_trouble_and_at_once_after_a_jump(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    time = LoopTime(monkeypatch)
    store, timekeeping, _ = kept(time.clock)
    task = asyncio.create_task(timekeeping.run())
    await turns()
    assert store.asked == 1
    await time.advance(9)
    assert store.asked == 1
    await time.advance(2)
    assert store.asked == 2
    time.clock.jump(hours=1)
    time.clock.now()
    await turns()
    assert store.asked == 3
    store.fails = True
    await time.advance(11)
    await time.advance(2)
    assert store.asked == 5
    task.cancel()
