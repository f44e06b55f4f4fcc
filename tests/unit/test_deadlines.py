"""Time limits that share one timer: late tasks are cancelled, and only by what is theirs."""

from __future__ import annotations

import asyncio
from time import sleep

import pytest

from relay.deadlines import Deadlines
from tests.running import until

SOON, NEVER = 0.01, 60.0


async def limited(deadlines: Deadlines, work: asyncio.Future[str]) -> str:
    task = deadlines.begin()
    try:
        return await work
    except asyncio.CancelledError:
        if not deadlines.passed(task):
            raise
        return "late"
    finally:
        deadlines.end(task)


async def test_what_takes_too_long_is_late() -> None:
    assert await limited(Deadlines(SOON), asyncio.get_running_loop().create_future()) == "late"


async def test_what_is_done_in_time_is_not() -> None:
    deadlines, loop = Deadlines(NEVER), asyncio.get_running_loop()
    futures: list[asyncio.Future[str]] = [loop.create_future() for _ in range(3)]
    tasks = [asyncio.create_task(limited(deadlines, future)) for future in futures]
    await asyncio.sleep(0)
    for number in (2, 0, 1):
        futures[number].set_result(str(number))
    assert await asyncio.gather(*tasks) == ["0", "1", "2"]
    assert not deadlines._due


async def test_a_cancellation_from_elsewhere_stays_one() -> None:
    task = asyncio.create_task(limited(Deadlines(NEVER), asyncio.get_running_loop().create_future()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_of_two_limits_the_one_that_passed_is_told() -> None:
    inner, outer = Deadlines(SOON), Deadlines(NEVER)

    async def both() -> str:
        task = outer.begin()
        try:
            return await limited(inner, asyncio.get_running_loop().create_future())
        finally:
            assert not outer.passed(task)
            outer.end(task)

    assert await both() == "late"


async def test_both_at_once_is_told_by_the_outer_one() -> None:
    outer, inner = Deadlines(SOON), Deadlines(SOON)
    never: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def both() -> str:
        task = outer.begin()
        try:
            return await limited(inner, never)
        except asyncio.CancelledError:
            assert outer.passed(task)
            return "outer"
        finally:
            outer.end(task)

    assert await both() in ("outer", "late")
    task = asyncio.current_task()
    assert task is not None
    await asyncio.sleep(0.2)  # past the next look: nothing comes after
    assert task.cancelling() == 0


async def test_the_timer_rests_when_nothing_is_limited() -> None:
    deadlines = Deadlines(SOON)
    done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    done.set_result("at once")
    assert await limited(deadlines, done) == "at once"

    async def at_rest() -> bool:
        return deadlines._timer is None

    await until(at_rest, "rest")
    assert await limited(deadlines, asyncio.get_running_loop().create_future()) == "late"


def test_it_needs_a_task() -> None:
    with pytest.raises(RuntimeError):
        Deadlines(SOON).begin()


async def test_it_knows_how_late_the_loop_is_while_anything_is_limited() -> None:
    deadlines = Deadlines(NEVER)
    task = deadlines.begin()
    sleep(0.3)  # noqa: ASYNC251 - nothing else gets its turn
    for _ in range(3):  # rounds of the loop, of which the first has the late look in it
        await asyncio.sleep(0)
    assert deadlines.lag > 0.1
    deadlines.end(task)

    async def caught_up() -> bool:
        return deadlines.lag == 0.0

    await until(caught_up, "end of the lag")
