"""A lane that is stopped, interrupted, or left alone by its store: nothing is lost, burnt or counted twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from relay import lane as lanes
from relay.clock import SystemClock
from relay.errors import Misconfigured
from relay.lane import results
from relay.model import Reason
from tests.fakes.admissions import NOON, admission
from tests.fakes.lanes import Rig, rigged, started
from tests.fakes.loop_time import LoopTime, turns
from tests.fakes.sink import Hang, ScriptedSink


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rigged(tmp_path) as made:
        yield made


# The end


async def test_the_stop_lets_what_is_under_way_end_and_begins_nothing_new(rig: Rig) -> None:
    await rig.accept(*(admission("crm") for _ in range(5)))
    sink = ScriptedSink().hold()
    async with started(rig.lane(sink, concurrency=2)) as dispatcher:
        await sink.asked_for(2)
        stopping = asyncio.create_task(dispatcher.stop())
        await turns()
        assert not stopping.done()
        sink.release()
        await stopping
        assert (len(sink.taken), sink.interrupted) == (2, 0)
        assert [record.state for record in await rig.records()] == ["delivered"] * 2 + ["pending"] * 3
        assert [record.attempt for record in await rig.records()] == [1, 1, 0, 0, 0]


async def test_what_does_not_end_in_time_is_interrupted_and_given_back_unburnt(rig: Rig) -> None:
    await rig.accept(*(admission("crm") for _ in range(3)))
    sink = ScriptedSink().will("200", Hang(), Hang())
    async with started(rig.lane(sink), drain=0.05) as dispatcher:
        await sink.asked_for(3)
        await rig.outbox.recorded(1)
        await dispatcher.stop()
    delivered, *others = await rig.records()
    assert delivered.state == "delivered"
    told = {(each.state, each.attempt, each.tries, each.due_at, tuple(each.attempts)) for each in others}
    assert told == {("pending", 1, 0, NOON, ())}, "due at once, for whoever comes next"
    assert (sink.interrupted, rig.outbox.fenced) == (2, [])


async def test_what_is_claimed_while_the_stop_comes_is_given_back_at_once(rig: Rig) -> None:
    await rig.accept(*(admission("crm") for _ in range(3)))
    sink = ScriptedSink()
    rig.outbox.hold_claims()
    async with started(rig.lane(sink)) as dispatcher:
        await rig.outbox.until(lambda: rig.outbox.leased == 3)
        stopping = asyncio.create_task(dispatcher.stop())
        await turns()
        rig.outbox.release_claims()
        await stopping
    assert sink.asked == []
    assert {(each.attempt, each.tries, each.due_at) for each in await rig.records()} == {(1, 0, NOON)}


async def test_each_result_of_the_last_moments_is_recorded_and_counted_once(rig: Rig) -> None:
    """The stop must not cancel a settle that is under way: it may be recorded, and would then look fenced off."""
    await rig.accept(*(admission("crm") for _ in range(40)))
    sink = ScriptedSink().hold()
    async with started(rig.lane(sink, concurrency=8)) as dispatcher:
        await sink.asked_for(8)
        stopping = asyncio.create_task(dispatcher.stop())
        await turns(2)
        sink.release()
        await stopping
    assert len(sink.taken) == len(rig.outbox.settled) == 8
    assert rig.outbox.fenced == []
    metrics = rig.metrics()
    assert metrics['relay_delivered_total{sink="crm"}'] == 8
    assert metrics['relay_fenced_total{sink="crm"}'] == 0


async def test_a_lane_can_be_stopped_while_it_has_nothing_to_do(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    paused = ScriptedSink(choose=lambda _: Misconfigured(Reason.GONE, "410"))
    await rig.accept(admission("paused"))
    async with asyncio.timeout(30), started(rig.lane(ScriptedSink()), rig.lane(paused, "paused")):
        await rig.outbox.recorded(1)


async def test_another_lane_goes_on_where_this_one_stopped(rig: Rig) -> None:
    await rig.accept(*(admission("crm", order_key="m") for _ in range(6)))
    first, second = ScriptedSink().will("200", "200", Hang()), ScriptedSink()
    async with started(rig.lane(first), drain=0.05):
        await first.asked_for(3)
    async with started(rig.lane(second)):
        await second.took(4)
    ids = [record.event_id for record in await rig.records()]
    assert [each.event.id for each in first.taken + second.taken] == ids


# The store


async def test_a_lane_outlives_a_store_that_cannot_be_asked(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    time = LoopTime(monkeypatch)
    rig.clock = time.clock
    rig.outbox.claims_fail = True
    await rig.accept(admission("crm"))
    sink = ScriptedSink()
    async with started(rig.lane(sink)):
        for refusals in range(1, 4):
            await rig.outbox.until(lambda wanted=refusals: rig.outbox.refusals >= wanted)  # type: ignore[misc]
            await turns()
            assert rig.outbox.refusals <= refusals + 1, "it leaves the store alone for a while"
            await time.advance(2)
        rig.outbox.claims_fail = False
        await time.advance(2)
        await sink.took(1)
    assert rig.metrics()['relay_store_errors_total{kind="busy"}'] >= 3


async def test_results_that_the_store_could_not_take_are_recorded_later_and_once(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = LoopTime(monkeypatch)
    rig.clock = time.clock
    await rig.accept(*(admission("crm") for _ in range(5)))
    rig.outbox.settles_fail = True
    sink = ScriptedSink()
    async with started(rig.lane(sink)):
        await rig.outbox.until(lambda: rig.outbox.refusals >= 1)
        await sink.took(5)
        await time.advance(2)
        assert {record.state for record in await rig.records()} == {"pending"}
        rig.outbox.settles_fail = False
        await time.advance(2)
        await rig.outbox.recorded(5)
    assert (len(sink.asked), rig.outbox.fenced) == (5, [])
    assert {record.state for record in await rig.records()} == {"delivered"}
    assert rig.metrics()['relay_delivered_total{sink="crm"}'] == 5


async def test_a_store_that_takes_no_results_is_not_asked_for_ever_more(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk may allow claims and refuse results; what waits for it must not grow with the backlog."""
    monkeypatch.setattr(results, "MOST", 10)
    await rig.accept(*(admission("crm") for _ in range(60)))
    rig.outbox.settles_fail = True
    sink = ScriptedSink()
    async with started(rig.lane(sink, concurrency=4)):
        await sink.took(10)
        await turns(200)
        assert len(sink.asked) <= 10 + 4
        rig.outbox.settles_fail = False
        await sink.took(60)


async def test_a_dead_store_does_not_keep_the_lane_from_ending(rig: Rig) -> None:
    await rig.accept(*(admission("crm") for _ in range(3)))
    rig.outbox.settles_fail = True
    sink = ScriptedSink()
    async with asyncio.timeout(30), started(rig.lane(sink)):
        await sink.took(3)
    assert {(each.state, each.attempt) for each in await rig.records()} == {("pending", 1)}, "the leases run out"


async def test_a_result_after_the_lease_was_lost_is_fenced_off_and_counted(rig: Rig) -> None:
    await rig.accept(admission("crm"))
    sink = ScriptedSink().hold()
    async with started(rig.lane(sink)):
        await sink.asked_for(1)
        later = NOON + timedelta(hours=1)
        [stolen] = await rig.store.claim("crm", limit=1, now=later, lease=timedelta(minutes=1))
        sink.release()
        await rig.outbox.until(lambda: len(rig.outbox.fenced) == 1)
    record = await rig.only()
    assert (record.state, record.attempt) == ("pending", stolen.attempt)
    metrics = rig.metrics()
    assert (metrics['relay_fenced_total{sink="crm"}'], metrics['relay_delivered_total{sink="crm"}']) == (1, 0)


# Rest


async def test_a_lane_with_nothing_to_do_asks_once_a_second(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    time = LoopTime(monkeypatch)
    rig.clock = time.clock
    async with started(rig.lane(ScriptedSink())):
        await rig.outbox.until(lambda: rig.outbox.claims == 1)
        for second in range(1, 6):
            await time.advance(1.01)
            await rig.outbox.until(lambda wanted=second: rig.outbox.claims >= 1 + wanted)  # type: ignore[misc]
            await turns(200)
            assert rig.outbox.claims <= 2 * second + 2


async def test_a_full_lane_does_not_ask_at_all(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.accept(*(admission("crm") for _ in range(50)))
    sink = ScriptedSink().hold()
    async with started(rig.lane(sink, concurrency=5)):
        await sink.asked_for(5)
        before = rig.outbox.claims
        await turns(500)
        assert rig.outbox.claims == before
        sink.release()
        await sink.took(50)
    assert rig.outbox.most_leased <= 10, "slots that are free, and results on their way to the store"


async def test_a_retry_is_made_when_it_is_due_and_not_a_poll_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "_POLL", 1000.0)
    async with rigged(tmp_path, SystemClock()) as rig:
        await rig.accept(admission("crm"))
        [delivery] = await rig.store.claim("crm", limit=1, now=SystemClock().now(), lease=timedelta(milliseconds=150))
        sink = ScriptedSink()
        async with started(rig.lane(sink)):
            await sink.took(1)
        assert delivery.attempt == 1
