"""Somebody sets the clock: no storm, no stall, nothing sent twice, nothing expired, order kept."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from relay.errors import Unavailable
from relay.model import Delivery, DeliveryState, Reason, Retry
from relay.options import LaneOptions
from relay.retry import LONGEST_ASKED, longest_wait
from relay.sinks import http, slack
from relay.stores.sqlite import SqliteStore
from tests.fakes.admissions import NOON, admission
from tests.fakes.clock import FakeClock
from tests.fakes.http import Answer, FakeHttp
from tests.fakes.lanes import Rig, rigged, started
from tests.fakes.sink import ScriptedSink, Step
from tests.running import relay_running, until

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATER = {"base": "10m", "cap": "10m"}
"""Retries that come due only when the test lets time pass."""


def down() -> Unavailable:
    return Unavailable(Reason.UNAVAILABLE, "503")


async def settled_down(rig: Rig) -> None:
    """Return when the lane has had every chance to claim what it wants to."""
    for _ in range(20):
        await rig.store.next_due("crm")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def accept(rig: Rig, *, order_key: str | None = None) -> int:
    """An event of now, as the gateway accepts it; its delivery's id."""
    await rig.accept(admission("crm", order_key=order_key, received_at=rig.clock.now()))
    return (await rig.records())[-1].id


@pytest.mark.parametrize("jump", [{"hours": 1}, {"hours": -1}, {"days": -20_000}, {"days": 20_000}], ids=str)
async def test_what_is_under_way_is_not_sent_twice(tmp_path: Path, clock: FakeClock, jump: dict[str, float]) -> None:
    async with rigged(tmp_path, clock) as rig:
        sink = ScriptedSink().hold()
        async with started(rig.lane(sink, concurrency=10)):
            given = [await accept(rig) for _ in range(3)]
            await sink.asked_for(3)
            clock.jump(**jump)
            given.append(await accept(rig))
            await settled_down(rig)
            sink.release()
            await sink.took(4)
            await rig.outbox.recorded(4)
        assert sorted(delivery.id for delivery in sink.asked) == given
        assert rig.outbox.fenced == []


async def test_a_result_that_could_not_be_recorded_yet_is_not_sent_again(tmp_path: Path, clock: FakeClock) -> None:
    async with rigged(tmp_path, clock) as rig:
        sink = ScriptedSink()
        rig.outbox.settles_fail = True
        async with started(rig.lane(sink, concurrency=10)):
            await accept(rig)
            await rig.outbox.until(lambda: rig.outbox.refusals > 0)
            clock.jump(hours=1)
            await accept(rig)
            await settled_down(rig)
            rig.outbox.settles_fail = False
            await sink.took(2)
            await rig.outbox.recorded(2)
        assert len(sink.asked) == 2
        assert rig.outbox.fenced == []


@pytest.mark.parametrize("back", [{"hours": -1}, {"days": -20_000}], ids=str)
async def test_a_clock_set_back_keeps_nothing_waiting(tmp_path: Path, clock: FakeClock, back: dict[str, float]) -> None:
    async with rigged(tmp_path, clock) as rig:
        sink = ScriptedSink().will(down())
        async with started(rig.lane(sink, retry=LATER)):
            await accept(rig)
            await sink.asked_for(1)
            await rig.outbox.recorded(1)
            clock.jump(**back)
            await accept(rig)
            await sink.took(1)
            clock.advance(minutes=10)
            await sink.took(2)
        assert [delivery.attempt for delivery in sink.taken] == [1, 2]


async def test_a_clock_set_forward_makes_no_storm(tmp_path: Path, clock: FakeClock) -> None:
    """All that waits comes due at once: each is tried once, as many at a time as ever."""

    def choose(delivery: Delivery) -> Step:
        """Some succeed at once, some later, some never; so many failures in a row that the breaker opens are rare."""
        return "taken" if delivery.attempt > delivery.id % 3 else down()

    async with rigged(tmp_path, clock) as rig:
        sink = ScriptedSink(choose=choose)
        async with started(rig.lane(sink, concurrency=1, retry=LATER)):
            given = [await accept(rig) for _ in range(30)]
            await rig.outbox.recorded(30)
            clock.jump(hours=1)
            await rig.outbox.recorded(50)
            await settled_down(rig)
        tries = Counter(delivery.id for delivery in sink.asked)
        assert [tries[each] for each in given] == [min(each % 3 + 1, 2) for each in given]
        assert sink.most_running == 1


async def test_time_that_was_skipped_expires_nothing(tmp_path: Path, clock: FakeClock) -> None:
    async with rigged(tmp_path, clock) as rig:
        sink = ScriptedSink().will(down(), down(), "taken")
        async with started(rig.lane(sink, retry={**LATER, "max_age": "1h"})):
            await accept(rig)
            await rig.outbox.recorded(1)
            clock.jump(days=365)
            await rig.outbox.recorded(2)
            clock.advance(minutes=10)
            await sink.took(1)
            await rig.outbox.recorded(3)
        assert (await rig.only()).state is DeliveryState.DELIVERED


async def test_time_that_passed_still_does(tmp_path: Path, clock: FakeClock) -> None:
    async with rigged(tmp_path, clock) as rig:
        sink = ScriptedSink().will(down(), down())
        async with started(rig.lane(sink, retry={**LATER, "max_age": "1h"})):
            await accept(rig)
            await rig.outbox.recorded(1)
            clock.jump(days=365)
            clock.advance(hours=2)
            await rig.outbox.recorded(2)
        record = await rig.only()
        assert (record.state, record.reason) == (DeliveryState.DEAD, "expired")


async def test_there_and_back_a_meeting_keeps_its_order(tmp_path: Path, clock: FakeClock) -> None:
    async with rigged(tmp_path, clock) as rig:
        sink = ScriptedSink(choose=lambda delivery: "taken" if delivery.attempt > 1 else down())
        given, true = [], NOON
        async with started(rig.lane(sink, concurrency=10, retry={"base": "1ms", "cap": "1ms"})):
            for shown in (timedelta(hours=1), timedelta(0), timedelta(hours=-1), EPOCH - NOON, timedelta(0)):
                clock.set(true + shown)
                given.append(await accept(rig, order_key="m"))
                await rig.outbox.until(lambda: any(delivery.id == given[-1] for delivery in sink.asked))
                clock.advance(seconds=1)
                true += timedelta(seconds=1)
                await sink.took(len(given))
            await rig.outbox.recorded(2 * len(given))
        assert [delivery.id for delivery in sink.taken] == given
        assert rig.outbox.fenced == []


# The whole relay


async def test_a_jump_is_counted_and_the_true_time_is_told(tmp_path: Path, clock: FakeClock) -> None:
    async with FakeHttp() as receiver:
        sinks = {"crm": {"type": "http", "url": receiver.url, "allow_private": True}}
        async with relay_running(tmp_path, sinks=sinks, clock=clock) as relay:
            await relay.post()
            await receiver.wait_for(1)
            clock.jump(hours=-1)
            given = (await relay.post({"event": "a.thing"})).json["id"]
            requests = await receiver.wait_for(2)
            record = await relay.app.store.event(given)
            assert (await relay.metrics())["relay_clock_jumps_total"] == 1
    assert record is not None
    assert record.event.received_at == NOON - timedelta(hours=1)
    assert requests[1].headers["ce-time"].startswith("2026-11-23T11:00:00")


async def test_no_dead_letter_is_forgotten_because_the_clock_was_set(tmp_path: Path, clock: FakeClock) -> None:
    async with FakeHttp(default=Answer(status=400)) as receiver:
        sinks = {"crm": {"type": "http", "url": receiver.url, "allow_private": True}}
        async with relay_running(tmp_path, sinks=sinks, clock=clock) as relay:
            await relay.post()
            await relay.settled("crm", 1)
            clock.jump(days=365)
            await relay.app.housekeeping.purge()
            assert (await relay.totals())["dead"] == 1
            clock.advance(days=8)  # long enough for what was delivered
            await relay.app.housekeeping.purge()
            assert (await relay.totals())["dead"] == 1
            clock.advance(days=23)
            await relay.app.housekeeping.purge()
            assert await relay.totals() == {}


async def test_what_a_clock_that_was_ahead_has_put_off_comes_due_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.housekeeping._PURGE_AT_ONCE", 2)
    store = await SqliteStore.open(tmp_path / "relay.db")
    for _ in range(5):
        await store.accept(admission("crm", received_at=NOON))
    claimed = await store.claim("crm", limit=9, now=NOON, lease=timedelta(minutes=1))
    put_off = [(each, Retry(failure=down().failure, at=NOON + timedelta(days=365))) for each in claimed]
    await store.settle(put_off, now=NOON)
    await store.close()
    options = {"type": "http", "url": "http://127.0.0.1:9/", "allow_private": True}
    async with relay_running(tmp_path, sinks={"crm": options}, clock=FakeClock()) as relay:

        async def mended() -> bool:
            return (await relay.metrics())['relay_brought_forward_total{sink="crm"}'] == 5

        await until(mended, "deliveries that are brought forward")
        records = await relay.app.store.deliveries(sink="crm")
    assert {record.due_at for record in records} == {NOON + longest_wait(LaneOptions())}


def test_no_sink_asks_for_more_than_is_thought_honest() -> None:
    assert http.MAX_RETRY_AFTER == slack.errors.LONGEST_WAIT == LONGEST_ASKED
