"""A lane over a real store: what it makes of a sink that takes, fails, hangs, throttles or needs a person."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from relay.clock import SystemClock
from relay.errors import DeliveryError, Misconfigured, Rejected, Unavailable
from relay.lane import Lane
from relay.model import Delivery, GateState, Reason, Retry
from tests.fakes.admissions import NOON, admission
from tests.fakes.clock import RunningClock
from tests.fakes.lanes import QUICK, Rig, rigged, started
from tests.fakes.loop_time import turns
from tests.fakes.sink import Hang, ScriptedSink, Step


def down(retry_after: timedelta | None = None) -> DeliveryError:
    return Unavailable(Reason.UNAVAILABLE, "the service answered 503", retry_after=retry_after)


def refused() -> DeliveryError:
    return Rejected(Reason.REFUSED, "the service answered 400")


def state(lane: Lane) -> GateState:
    return lane.gate.state


def unmended() -> DeliveryError:
    return Misconfigured(Reason.UNKNOWN_TOPIC, "there is no such topic")


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """A clock that stands still: what is retried later never comes due by itself."""
    async with rigged(tmp_path) as made:
        yield made


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Rig]:
    """A clock that runs: what is retried a millisecond later comes."""
    async with rigged(tmp_path, RunningClock()) as made:
        yield made


# What it does with a result


async def test_what_a_sink_takes_is_delivered_with_its_receipt(rig: Rig) -> None:
    await rig.accept(admission("crm"))
    sink = ScriptedSink().will("offset 7")
    async with started(rig.lane(sink)):
        await rig.outbox.recorded(1)
    record = await rig.only()
    assert (record.state, record.receipt, record.attempt) == ("delivered", "offset 7", 1)
    assert rig.metrics()['relay_delivered_total{sink="crm"}'] == 1


async def test_no_more_attempts_run_than_the_lane_may_have(rig: Rig) -> None:
    await rig.accept(*(admission("crm") for _ in range(20)))
    sink = ScriptedSink().hold()
    async with started(rig.lane(sink, concurrency=3)):
        await sink.asked_for(3)
        await turns()
        assert (sink.running, rig.outbox.leased) == (3, 3)
        sink.release()
        await rig.outbox.recorded(20)
    assert sink.most_running == 3
    assert len({delivery.id for delivery in sink.taken}) == 20


async def test_a_free_slot_is_filled_at_once_and_waits_for_no_batch(rig: Rig) -> None:
    await rig.accept(*(admission("crm") for _ in range(30)))
    sink = ScriptedSink().will(Hang())
    async with started(rig.lane(sink, concurrency=2), drain=0.1):
        await sink.took(29)


async def test_a_sink_in_trouble_troubles_no_other(rig: Rig) -> None:
    await rig.accept(*(admission("slow", "broken", "crm") for _ in range(40)))
    slow, broken = ScriptedSink().hold(), ScriptedSink(choose=lambda _: unmended())
    sink = ScriptedSink()
    lanes = (rig.lane(slow, "slow", concurrency=1), rig.lane(broken, "broken"), rig.lane(sink, concurrency=4))
    async with started(*lanes):
        await sink.took(40)
        assert len(slow.asked) == 1
        slow.release()


async def test_an_attempt_that_takes_too_long_is_tried_again(live: Rig) -> None:
    await live.accept(admission("crm"))
    sink = ScriptedSink().will(Hang(), "late but there")
    async with started(live.lane(sink, timeout="20ms", retry=QUICK)):
        await live.outbox.recorded(2)
    record = await live.only()
    assert (record.state, record.attempt, record.tries) == ("delivered", 2, 2)
    assert [attempt.reason for attempt in record.attempts] == ["timeout"]
    assert sink.interrupted == 1


async def test_what_a_sink_rejects_is_dead_at_once(rig: Rig) -> None:
    await rig.accept(admission("crm"))
    sink = ScriptedSink().will(refused())
    async with started(rig.lane(sink)):
        await rig.outbox.recorded(1)
    record = await rig.only()
    assert (record.state, record.reason, record.attempt) == ("dead", "refused", 1)
    assert rig.metrics()['relay_dead_total{reason="refused",sink="crm"}'] == 1


async def test_failures_that_pass_are_tried_again_until_it_works(live: Rig) -> None:
    await live.accept(admission("crm"))
    sink = ScriptedSink().will(down(), down(), down())
    async with started(live.lane(sink, retry=QUICK)):
        await sink.took(1)
    record = await live.only()
    assert (record.state, record.attempt, record.tries) == ("delivered", 4, 4)
    assert [attempt.attempt for attempt in record.attempts] == [1, 2, 3]


async def test_after_the_last_attempt_it_is_dead(live: Rig) -> None:
    await live.accept(admission("crm"))
    sink = ScriptedSink(choose=lambda _: down())
    async with started(live.lane(sink, retry=QUICK | {"max_attempts": 3})):
        await live.outbox.recorded(3)
    record = await live.only()
    assert (record.state, record.reason, record.tries, len(sink.asked)) == ("dead", "exhausted", 3, 3)
    assert "503" in record.detail


async def test_what_took_the_process_with_it_too_often_is_dead_and_not_tried(rig: Rig) -> None:
    """Each claim counts when it begins, so that an event that kills the relay does not kill it for ever."""
    await rig.accept(admission("crm"))
    for number in range(2):
        now = NOON + timedelta(seconds=number)
        await rig.store.claim("crm", limit=1, now=now, lease=timedelta(seconds=1) - timedelta(microseconds=1))
    rig.clock = SystemClock()
    sink = ScriptedSink()
    async with started(rig.lane(sink, retry={"max_attempts": 2})):
        await rig.outbox.recorded(1)
    record = await rig.only()
    assert (record.state, record.reason, sink.asked) == ("dead", "exhausted", [])


async def test_an_event_that_crashes_us_three_times_is_dead_and_the_lane_goes_on(live: Rig) -> None:
    await live.accept(admission("crm", type="poison"), *(admission("crm") for _ in range(5)))
    sink = ScriptedSink(choose=lambda each: ZeroDivisionError() if each.event.type == "poison" else "200")
    async with started(live.lane(sink, retry=QUICK)):
        await live.outbox.recorded(8)
    poison, *others = await live.records()
    assert (poison.state, poison.reason, poison.tries) == ("dead", "poison", 3)
    assert [attempt.reason for attempt in poison.attempts] == ["poison", "poison", "poison"]
    assert {record.state for record in others} == {"delivered"}
    assert live.metrics()['relay_attempts_total{outcome="poison",sink="crm"}'] == 3
    assert live.metrics()['relay_dead_total{reason="poison",sink="crm"}'] == 1


async def test_only_crashes_count_towards_a_poison(live: Rig) -> None:
    await live.accept(admission("crm"))
    sink = ScriptedSink().will(down(), down(), ZeroDivisionError(), down(), ZeroDivisionError(), "200")
    async with started(live.lane(sink, retry=QUICK)):
        await sink.took(1)
    record = await live.only()
    assert (record.state, record.tries) == ("delivered", 6)


async def test_a_sink_whose_client_gives_up_by_itself_is_tried_again(live: Rig) -> None:
    """A library may cancel its own future. That is not the relay's stop, and it counts."""
    await live.accept(admission("crm"))
    sink = ScriptedSink().will(asyncio.CancelledError())
    async with started(live.lane(sink, retry=QUICK)):
        await sink.took(1)
    record = await live.only()
    assert (record.state, record.tries) == ("delivered", 2)
    assert [attempt.reason for attempt in record.attempts] == ["reset"]


# Order and representation


async def test_meetings_keep_their_order_under_concurrency_and_failures(live: Rig) -> None:
    given = [admission("crm", order_key=f"m-{n % 8}", meeting=f"m-{n % 8}", stream=f"{n:03}") for n in range(160)]
    for each in given:
        await live.accept(each)
    dice = Random(4)

    def moody(_: Delivery) -> Step:
        return dice.choice((down(), refused(), "200", "200", "200", "200"))

    sink = ScriptedSink(choose=moody)
    async with started(live.lane(sink, concurrency=16, retry=QUICK)):
        await live.outbox.until(lambda: len(_settled(live)) == 160)
    for meeting in {each.event.meeting for each in given}:
        begun = [each.event.stream or "" for each in sink.asked if each.event.meeting == meeting]
        assert begun == sorted(begun), meeting
    assert sink.most_running <= 8, "one of each meeting"


async def test_select_and_redact_shape_what_the_sink_gets_and_not_what_is_kept(rig: Rig) -> None:
    body = b'{"event":"x","who":{"name":"Ann","id":7},"rest":[1,2]}'
    await rig.accept(admission("crm", body=body))
    sink = ScriptedSink()
    async with started(rig.lane(sink, select="{who: who, event: event}", redact=("who.name",))):
        [sent] = await sink.took(1)
    assert sent.body == b'{"who":{"id":7},"event":"x"}'
    assert sent.event.body == body


def _settled(rig: Rig) -> set[int]:
    return {delivery.id for delivery, verdict in rig.outbox.settled if not isinstance(verdict, Retry)}
