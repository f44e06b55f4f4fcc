"""A lane over a real store, and time that jumps: throttled, broken and paused sinks, probes, and the rate."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from relay.errors import DeliveryError, Misconfigured, Unavailable
from relay.gate import BREAKER_FAILURES, BREAKER_WAIT, PAUSE_WAIT
from relay.lane import Lane
from relay.model import Dead, Delivery, GateState, Reason
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


async def test_an_error_of_ours_that_meets_every_event_kills_none(rig: Rig, time: LoopTime) -> None:
    """A library in a bad state: three attempts each, and the whole backlog would be dead letters in a minute."""
    await rig.accept(*(admission("crm") for _ in range(4)))
    mended = False
    sink = ScriptedSink(choose=lambda _: "200" if mended else KeyError("partitions"))
    lane = rig.lane(sink, concurrency=4, retry={"base": "1ms", "max_attempts": 3})
    async with started(lane):
        await rig.outbox.recorded(4)
        for probe in range(20):
            await time.advance(BREAKER_WAIT.longest)
            await rig.outbox.recorded(4 + probe + 1)
        assert state(lane) is GateState.BROKEN
        assert rig.metrics()['relay_sink_state{sink="crm",state="broken"}'] == 1
        mended = True
        await time.advance(BREAKER_WAIT.longest)
        await sink.took(4)
    assert {record.state for record in await rig.records()} == {"delivered"}


async def test_a_wrong_token_kills_nothing_of_a_single_meeting_that_keeps_its_order(rig: Rig, time: LoopTime) -> None:
    """Only the first of a meeting is ever tried, so no three different events can show that it is the sink."""
    await rig.accept(*(admission("crm", order_key="m") for _ in range(6)))
    mended = False
    refused = Misconfigured(Reason.UNAUTHORIZED, "401", certain=False)
    sink = ScriptedSink(choose=lambda _: "200" if mended else refused)
    lane = rig.lane(sink, retry={"base": "1s", "cap": "1s", "max_attempts": 4})
    async with started(lane):
        for attempt in range(4):
            await rig.outbox.recorded(attempt + 1)
            await time.advance(2)
        assert state(lane) is GateState.PAUSED
        for probe in range(6):
            await time.advance(PAUSE_WAIT.longest)
            await rig.outbox.recorded(4 + probe + 1)
        assert len({delivery.id for delivery in sink.asked}) == 1
        mended = True
        await time.advance(PAUSE_WAIT.longest)
        await sink.took(6)
    assert {record.state for record in await rig.records()} == {"delivered"}


async def test_an_event_that_the_sink_alone_refuses_is_dead_after_its_attempts(rig: Rig, time: LoopTime) -> None:
    odd = admission("crm", type="odd")
    await rig.accept(odd)
    refused = Misconfigured(Reason.NOT_FOUND, "404", certain=False)
    sink = ScriptedSink(choose=lambda each: refused if each.event.type == "odd" else "200")
    lane = rig.lane(sink, retry={"base": "1s", "cap": "1s", "max_attempts": 4})
    async with started(lane):
        for attempt in range(4):
            await rig.outbox.recorded(2 * attempt + 1)
            await rig.accept(admission("crm"))
            await rig.outbox.recorded(2 * attempt + 2)
            await time.advance(2)
        await rig.outbox.until(lambda: any(isinstance(verdict, Dead) for _, verdict in rig.outbox.settled))
        assert state(lane) is GateState.OPEN
    first, *others = await rig.records()
    assert (first.state, first.reason, first.tries) == ("dead", "exhausted", 4)
    assert {record.state for record in others} == {"delivered"}


async def test_one_missing_topic_of_several_holds_up_no_other_and_kills_nothing(rig: Rig, time: LoopTime) -> None:
    missing = Misconfigured(Reason.UNKNOWN_TOPIC, "no such topic", partly=True)
    created = False
    sink = ScriptedSink(choose=lambda each: missing if each.event.type == "new" and not created else "200")
    await rig.accept(*(admission("crm", type="new") for _ in range(10)))
    lane = rig.lane(sink, concurrency=4, retry={"max_attempts": 1, "max_age": "1s"})
    async with started(lane):
        await rig.outbox.recorded(10)
        await rig.accept(*(admission("crm") for _ in range(10)))
        await sink.took(10)
        assert state(lane) is GateState.OPEN
        for hour in range(15):
            await time.advance(3600)
            await rig.outbox.recorded(20 + 10 * (hour + 1))
        before = len(sink.asked)
        for _ in range(20):
            await time.advance(60)
            for _ in range(20):  # time to claim and deliver
                await rig.store.totals()
        assert len(sink.asked) - before < 60, "each is tried about once an hour by now"
        created = True
        await time.advance(3600)
        await sink.took(20)
    assert {record.state for record in await rig.records()} == {"delivered"}


async def test_a_sink_that_only_ever_says_later_is_broken_asked_by_one_probe_and_told_by_the_metrics(
    rig: Rig, time: LoopTime
) -> None:
    await rig.accept(*(admission("crm") for _ in range(40)))
    sink = ScriptedSink(choose=lambda _: down(timedelta(seconds=30)))
    lane = rig.lane(sink, concurrency=8, retry={"max_attempts": 1})
    async with started(lane):
        for hold in range(BREAKER_FAILURES):
            await time.advance(31)
            await rig.outbox.recorded(8 * (hold + 1))
        assert state(lane) is GateState.BROKEN
        asked = len(sink.asked)
        for probe in range(5):
            await time.advance(BREAKER_WAIT.longest)
            await rig.outbox.recorded(asked + probe + 1)
        await turns(200)
        assert len(sink.asked) == asked + 5
        metrics = rig.metrics()
        assert metrics['relay_sink_state{sink="crm",state="broken"}'] == 1
        asked_for = 30 * (BREAKER_FAILURES + 5)
        assert asked_for <= metrics['relay_throttled_seconds_total{sink="crm"}'] < asked_for + 30
    assert {(record.state, record.tries) for record in await rig.records()} == {("pending", 0)}


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
