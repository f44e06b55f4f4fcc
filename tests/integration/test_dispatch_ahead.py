"""A lane that works off a backlog: it claims ahead, gives back what it cannot begin, and lets others go on."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from relay import lane as lanes
from relay.errors import Unavailable
from relay.gate import BREAKER_FAILURES
from relay.model import Delivery, GateState, Reason, Wish
from tests.fakes.admissions import NOON, admission
from tests.fakes.clock import RunningClock
from tests.fakes.lanes import QUICK, Rig, rigged, started
from tests.fakes.loop_time import LoopTime, turns
from tests.fakes.sink import Hang, ScriptedSink, Step

WIDE = lanes._AHEAD_FROM


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rigged(tmp_path) as made:
        yield made


async def fill(rig: Rig, count: int) -> None:
    await rig.accept(*(admission("crm") for _ in range(count)))


def down() -> Unavailable:
    return Unavailable(Reason.UNAVAILABLE, "503")


async def test_a_slot_that_falls_free_is_filled_without_a_claim(rig: Rig) -> None:
    await fill(rig, 5 * WIDE)
    sink = ScriptedSink().hold()
    async with started(rig.lane(sink, concurrency=WIDE)):
        await rig.outbox.until(lambda: rig.outbox.leased == 2 * WIDE)
        await sink.asked_for(WIDE)
        await turns()
        assert (sink.running, rig.outbox.claims) == (WIDE, 2)
        rig.outbox.hold_claims()
        sink.release()
        await sink.took(2 * WIDE)
        rig.outbox.release_claims()
        await rig.outbox.recorded(5 * WIDE)
    assert sink.most_running == WIDE
    assert len({delivery.id for delivery in sink.taken}) == len(sink.taken) == 5 * WIDE


async def test_what_is_claimed_ahead_is_given_back_at_the_stop_unburnt(rig: Rig) -> None:
    await fill(rig, 3 * WIDE)
    sink = ScriptedSink(choose=lambda _: Hang())
    async with started(rig.lane(sink, concurrency=WIDE), drain=0.05):
        await rig.outbox.until(lambda: rig.outbox.leased == 2 * WIDE)
        await sink.asked_for(WIDE)
    assert len(sink.asked) == WIDE
    records = await rig.records()
    assert {(each.state, each.tries, each.due_at, each.leased) for each in records[: 2 * WIDE]} == {
        ("pending", 0, NOON, False)
    }
    assert all(each.attempts == [] for each in records)


async def test_another_relay_gets_at_once_what_a_dead_one_had_claimed_ahead(tmp_path: Path) -> None:
    async with rigged(tmp_path) as dead:
        await fill(dead, 3 * WIDE)
        lane = dead.lane(ScriptedSink(choose=lambda _: Hang()), concurrency=WIDE)
        task = asyncio.create_task(lane.run())
        await dead.outbox.until(lambda: dead.outbox.leased == 2 * WIDE)
        task.cancel()  # as a crash leaves it: nothing is given back
        await asyncio.gather(task, return_exceptions=True)
    async with rigged(tmp_path) as rig:
        assert await rig.store.recover(now=rig.clock.now()) == 2 * WIDE
        sink = ScriptedSink()
        async with started(rig.lane(sink, concurrency=WIDE)):
            await rig.outbox.recorded(3 * WIDE)
    assert len({delivery.id for delivery in sink.taken}) == 3 * WIDE


@pytest.mark.parametrize("by", ["breaker", "hand"])
async def test_a_gate_that_closes_leaves_nothing_in_the_lane(rig: Rig, by: str) -> None:
    await fill(rig, 3 * WIDE)
    sink = ScriptedSink(choose=lambda _: down()).hold()
    lane = rig.lane(sink, concurrency=WIDE, timeout="1m")
    async with started(lane):
        await rig.outbox.until(lambda: rig.outbox.leased == 2 * WIDE)
        await sink.asked_for(WIDE)
        if by == "hand":
            await turns()
            lane.obey(Wish(paused=True, at=NOON))
            await rig.outbox.until(lambda: rig.outbox.leased == WIDE)
        sink.release()
        await rig.outbox.until(lambda: rig.outbox.leased == 0)
        assert lane.gate.state is (GateState.PAUSED if by == "hand" else GateState.BROKEN)
    begun = {delivery.id for delivery in sink.asked}
    assert BREAKER_FAILURES <= len(begun) <= WIDE + BREAKER_FAILURES
    assert {each.tries for each in await rig.records() if each.id not in begun} == {0}


async def test_nothing_is_begun_whose_lease_would_end_before_it(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else may be at work on it by then; of a meeting, on the next one already."""
    time = LoopTime(monkeypatch)
    rig.clock = time.clock
    await fill(rig, 2 * WIDE)
    sink = ScriptedSink().hold()
    lane = rig.lane(sink, concurrency=WIDE, timeout="10s")
    async with started(lane):
        await rig.outbox.until(lambda: rig.outbox.leased == 2 * WIDE)
        await sink.asked_for(WIDE)
        await time.advance(51)  # of 60
        sink.release()
        await rig.outbox.recorded(3 * WIDE)
    attempts = Counter((each.state, each.attempt, each.tries) for each in await rig.records())
    assert attempts == {("delivered", 1, 1): WIDE, ("delivered", 2, 1): WIDE}
    assert len(sink.asked) == 2 * WIDE


async def test_a_lane_with_a_rate_claims_nothing_ahead(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    time = LoopTime(monkeypatch)
    rig.clock = time.clock
    await fill(rig, 3 * WIDE)
    sink = ScriptedSink()
    async with started(rig.lane(sink, concurrency=WIDE, rate="4/s")):
        await rig.outbox.recorded(4)
        await turns()
        assert (rig.outbox.most_leased, len(sink.asked)) == (4, 4)


async def test_what_comes_in_waits_for_no_backlog(rig: Rig) -> None:
    await fill(rig, 20 * WIDE)
    sink = ScriptedSink().hold()
    async with started(rig.lane(sink, concurrency=WIDE)):
        await rig.outbox.until(lambda: rig.outbox.leased == 2 * WIDE)
        live = admission("crm")
        await rig.accept(live)
        sink.release()
        await sink.took(20 * WIDE + 1)
    order = [delivery.event.id for delivery in sink.taken]
    assert order.index(live.event.id) < 5 * WIDE


async def test_a_wide_lane_begins_only_so_much_before_it_is_others_turn(rig: Rig) -> None:
    await fill(rig, 400)
    turn, begun = 0, Counter[int]()

    def choose(_: Delivery) -> Step:
        begun[turn] += 1
        return "200"

    async def count() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    async with started(rig.lane(ScriptedSink(choose=choose), concurrency=400)):
        await rig.outbox.recorded(400)
    counting.cancel()
    assert max(begun.values()) <= lanes._SLICE
    assert len(begun) < 100, "in gulps all the same"


async def test_meetings_keep_their_order_while_a_backlog_goes(tmp_path: Path) -> None:
    rng = Random(11)

    def choose(delivery: Delivery) -> Step:
        return down() if delivery.attempt == 1 and rng.random() < 0.1 else "200"

    async with rigged(tmp_path, RunningClock()) as rig:
        given = [f"meeting {rng.randrange(60)}" for _ in range(300)]
        await rig.accept(*(admission("crm", order_key=meeting, meeting=meeting) for meeting in given))
        sink = ScriptedSink(choose=choose)
        async with started(rig.lane(sink, concurrency=WIDE, retry=QUICK)):
            await sink.took(300)
        accepted = [record.event_id for record in await rig.records()]
    for meeting in set(given):
        taken = [each.event.id for each in sink.taken if each.event.meeting == meeting]
        assert taken == [each for each in accepted if each in taken]
        assert len(taken) == given.count(meeting)
