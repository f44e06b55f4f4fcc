"""A lane over a real store, and time that jumps: throttled, broken and paused sinks, probes, and the rate."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from relay.errors import DeliveryError, Misconfigured, Unavailable
from relay.gate import BREAKER_FAILURES, BREAKER_WAIT, PAUSE_WAIT
from relay.lane import Lane
from relay.model import Delivery, GateState, Reason
from relay.options import Rate
from relay.pace import Pace
from relay.payload import Defect
from tests.fakes.admissions import admission
from tests.fakes.lanes import Rig, rigged, started
from tests.fakes.loop_time import LoopTime, turns
from tests.fakes.sink import ScriptedSink


def down(retry_after: timedelta | None = None) -> DeliveryError:
    return Unavailable(Reason.UNAVAILABLE, "the service answered 503", retry_after=retry_after)


def unmended() -> DeliveryError:
    return Misconfigured(Reason.UNKNOWN_TOPIC, "there is no such topic")


def state(lane: Lane) -> GateState:
    return lane.gate.state


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rigged(tmp_path) as made:
        yield made


@pytest.fixture
async def time(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> LoopTime:
    """Moves the loop and the rig's clock together."""
    made = LoopTime(monkeypatch)
    rig.clock = made.clock
    return made


async def test_retry_after_holds_the_whole_lane_and_burns_nothing(rig: Rig, time: LoopTime) -> None:
    await rig.accept(*(admission("crm") for _ in range(4)))
    sink = ScriptedSink().will(down(timedelta(seconds=30)))
    async with started(rig.lane(sink, concurrency=1, retry={"max_attempts": 1})):
        await rig.outbox.recorded(1)
        await time.advance(29)
        assert (len(sink.asked), rig.outbox.claims) == (1, 1)
        await time.advance(3)
        await rig.outbox.recorded(5)
    assert {(record.state, record.tries) for record in await rig.records()} == {("delivered", 1)}


async def test_a_sink_that_needs_a_person_is_paused_keeps_its_backlog_and_opens_again(rig: Rig, time: LoopTime) -> None:
    await rig.accept(*(admission("crm") for _ in range(9)))
    mended = False
    sink = ScriptedSink(choose=lambda _: "200" if mended else unmended())
    lane = rig.lane(sink, concurrency=2, retry={"max_attempts": 1, "max_age": "1s"})
    async with started(lane):
        await rig.outbox.recorded(2)
        assert state(lane) is GateState.PAUSED
        for probe in range(1, 4):
            await time.advance(PAUSE_WAIT.first * 2 ** (probe - 1) + 1)
            await rig.outbox.recorded(2 + probe)
        assert len(sink.asked) == 5
        assert {(each.state, each.tries) for each in await rig.records()} == {("pending", 0)}
        mended = True
        await time.advance(PAUSE_WAIT.longest)
        await sink.took(9)
    assert state(lane) is GateState.OPEN
    assert rig.metrics()['relay_sink_state{sink="crm",state="open"}'] == 1


async def test_a_broken_sink_is_probed_and_probes_burn_nothing(rig: Rig, time: LoopTime) -> None:
    await rig.accept(*(admission("crm") for _ in range(BREAKER_FAILURES)))
    sink = ScriptedSink(choose=lambda _: down())
    lane = rig.lane(sink, concurrency=1, retry={"base": "1ms", "max_attempts": 2})
    async with started(lane):
        await rig.outbox.recorded(BREAKER_FAILURES)
        assert state(lane) is GateState.BROKEN
        asked = rig.outbox.claims
        await turns()
        assert rig.outbox.claims == asked, "closed: the store is left alone"
        for probe in range(8):  # more than anybody's budget
            await time.advance(BREAKER_WAIT.longest)
            await rig.outbox.recorded(BREAKER_FAILURES + probe + 1)
        assert {(each.state, each.tries) for each in await rig.records()} == {("pending", 1)}
        assert rig.metrics()['relay_sink_state{sink="crm",state="broken"}'] == 1


async def test_a_success_that_was_under_way_opens_the_gate_and_the_metric_says_so(rig: Rig) -> None:
    await rig.accept(*(admission("crm") for _ in range(BREAKER_FAILURES + 1)))
    slow = ScriptedSink().hold()
    sink = _Two(slow, ScriptedSink(choose=lambda _: down()))
    lane = rig.lane(sink, concurrency=BREAKER_FAILURES + 1)
    async with started(lane):
        await rig.outbox.recorded(BREAKER_FAILURES)
        assert rig.metrics()['relay_sink_state{sink="crm",state="broken"}'] == 1
        slow.release()
        await rig.outbox.recorded(BREAKER_FAILURES + 1)
    assert state(lane) is GateState.OPEN
    assert rig.metrics()['relay_sink_state{sink="crm",state="open"}'] == 1


async def test_a_rate_is_kept_after_its_first_burst(rig: Rig, time: LoopTime) -> None:
    await rig.accept(*(admission("crm") for _ in range(7)))
    sink = ScriptedSink()
    async with started(rig.lane(sink, rate="120/m")):
        await rig.outbox.recorded(2)
        assert len(sink.asked) == 2
        await time.advance(0.5)
        await rig.outbox.recorded(3)
        assert len(sink.asked) == 3
        await time.advance(60)
        await rig.outbox.recorded(5)
        assert len(sink.asked) == 5, "a pause saves up no more than a second's worth"


async def test_lanes_that_share_a_pace_keep_it_together(rig: Rig, time: LoopTime) -> None:
    """Two Slack sinks of one channel: the channel's limit is for both."""
    await rig.accept(*(admission("crm", "news") for _ in range(3)))
    sink = ScriptedSink()
    pace = Pace(Rate.parse("1/m"))
    async with started(rig.lane(sink, "crm", pace=pace), rig.lane(sink, "news", pace=pace)):
        for minutes in range(4):
            await rig.outbox.recorded(minutes + 1)
            for _ in range(20):  # time for the other lane to claim and deliver, if it could
                await rig.store.totals()
            assert len(sink.asked) == minutes + 1
            await time.advance(61)


async def test_what_cannot_be_redacted_is_dead_and_says_nothing_about_the_sink(rig: Rig, time: LoopTime) -> None:
    await rig.accept(admission("crm"), admission("crm", body=b"{", defect=Defect.NOT_JSON))
    sink = ScriptedSink().will(unmended())
    lane = rig.lane(sink, concurrency=1, redact=("who",), retry={"base": "1h"})
    async with started(lane):
        await rig.outbox.recorded(1)
        await time.advance(PAUSE_WAIT.first + 1)
        await rig.outbox.recorded(2)
        assert state(lane) is GateState.PAUSED, "it was not asked"
    assert [record.state for record in await rig.records()] == ["pending", "dead"]
    assert len(sink.asked) == 1


class _Two:
    """The first delivery goes to one sink, all others to the other."""

    def __init__(self, first: ScriptedSink, rest: ScriptedSink) -> None:
        self._first = first
        self._rest = rest

    async def deliver(self, delivery: Delivery) -> str:
        return await (self._rest if self._first.asked else self._first).deliver(delivery)

    async def close(self) -> None:
        await self._first.close()
        await self._rest.close()
