"""The store's contract, part two: leases, the fence, retries, and order within a meeting."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from relay.model import Dead, Delivered, Delivery, DeliveryState, Failure, Reason, Retry, Verdict
from relay.ports import Store
from relay.records import DeliveryRecord
from tests.contract.stores import OpenStore
from tests.fakes.admissions import NOON, admission, event

LEASE = timedelta(seconds=60)
TICK = timedelta(microseconds=1)
DONE = Delivered(receipt="200")
DEAD = Dead(failure=Failure(reason=Reason.REFUSED, detail="the service answered 400"))


def retry(at: datetime, *, counted: bool = True, reason: Reason = Reason.UNAVAILABLE, detail: str = "503") -> Retry:
    return Retry(failure=Failure(reason=reason, detail=detail), at=at, counted=counted)


async def claim(store: Store, now: datetime = NOON, *, sink: str = "crm", limit: int = 100) -> Sequence[Delivery]:
    return await store.claim(sink, limit=limit, now=now, lease=LEASE)


async def settle(store: Store, delivery: Delivery, verdict: Verdict, now: datetime = NOON) -> bool:
    [recorded] = await store.settle([(delivery, verdict)], now=now)
    return recorded


async def record(store: Store, delivery: Delivery) -> DeliveryRecord:
    [found] = await store.deliveries(event_id=delivery.event.id, sink=delivery.sink)
    return found


def meetings(deliveries: Sequence[Delivery]) -> list[str | None]:
    return [delivery.event.meeting for delivery in deliveries]


async def accept_ordered(store: Store, *meeting_names: str) -> list[str]:
    """Accept events of these meetings one after the other, ordered; their ids."""
    ids = []
    for number, name in enumerate(meeting_names):
        given = event(meeting=name, received_at=NOON + number * TICK)
        await store.accept(admission("crm", order_key=name, of=given))
        ids.append(given.id)
    return ids


# Leases


async def test_the_oldest_go_first_and_no_more_than_asked_for(store: Store) -> None:
    ids = []
    for minutes in (3, 1, 2):
        given = event(received_at=NOON - timedelta(minutes=minutes))
        await store.accept(admission("crm", of=given))
        ids.append(given.id)
    first = await claim(store, limit=2)
    assert {delivery.event.id for delivery in first} == {ids[0], ids[2]}
    assert [delivery.event.id for delivery in await claim(store)] == [ids[1]]


async def test_the_newest_wait_for_no_backlog(store: Store) -> None:
    ids = []
    for number in range(10):
        given = event(received_at=NOON + number * TICK)
        await store.accept(admission("crm", of=given))
        ids.append(given.id)
    later = NOON + timedelta(seconds=1)
    claimed = await store.claim("crm", limit=4, newest=1, now=later, lease=LEASE)
    assert [delivery.event.id for delivery in claimed] == [*ids[:3], ids[9]]
    rest = await store.claim("crm", limit=7, newest=3, now=later, lease=LEASE)
    assert [delivery.event.id for delivery in rest] == ids[3:9], "each once, where there are no more than asked for"


async def test_nobody_else_gets_a_delivery_before_its_lease_has_ended(store: Store) -> None:
    await store.accept(admission("crm", "kafka"))
    [first] = await claim(store)
    assert await claim(store, NOON + LEASE - TICK) == []
    [again] = await claim(store, NOON + LEASE)
    assert (again.id, again.attempt, again.tries) == (first.id, 2, 2), "an attempt counts when it begins"
    assert len(await claim(store, sink="kafka")) == 1, "the other sink's delivery is not concerned"


async def test_many_at_once_never_get_the_same_delivery(store: Store) -> None:
    await asyncio.gather(*(store.accept(admission("crm")) for _ in range(60)))
    claimed = await asyncio.gather(*(claim(store, limit=7) for _ in range(20)))
    ids = [delivery.id for part in claimed for delivery in part]
    assert len(ids) == len(set(ids)) == 60


async def test_an_event_from_the_future_is_not_due_yet(store: Store) -> None:
    later = NOON + timedelta(hours=1)
    await store.accept(admission("crm", received_at=later))
    assert await claim(store) == []
    assert await store.next_due("crm") == later
    assert len(await claim(store, later)) == 1


async def test_next_due_is_the_soonest_of_its_sink(store: Store) -> None:
    assert await store.next_due("crm") is None
    await store.accept(admission("crm"))
    await store.accept(admission("kafka", received_at=NOON - LEASE))
    assert await store.next_due("crm") == NOON
    [delivery] = await claim(store)
    assert await store.next_due("crm") == NOON + LEASE
    await settle(store, delivery, retry(NOON + timedelta(seconds=7)))
    assert await store.next_due("crm") == NOON + timedelta(seconds=7)
    [delivery] = await claim(store, NOON + LEASE)
    await settle(store, delivery, DONE)
    assert await store.next_due("crm") is None


# Verdicts and the fence


async def test_a_delivered_one_is_recorded_and_never_comes_again(store: Store) -> None:
    await store.accept(admission("crm"))
    [delivery] = await claim(store)
    assert await settle(store, delivery, DONE, NOON + TICK)
    found = await record(store, delivery)
    assert (found.state, found.receipt, found.settled_at, found.due_at) == ("delivered", "200", NOON + TICK, None)
    assert await claim(store, NOON + timedelta(days=9)) == []


async def test_a_dead_one_keeps_its_reason(store: Store) -> None:
    await store.accept(admission("crm"))
    [delivery] = await claim(store)
    assert await settle(store, delivery, DEAD)
    found = await record(store, delivery)
    assert (found.state, found.reason, found.detail) == ("dead", "refused", "the service answered 400")
    assert [attempt.reason for attempt in found.attempts] == ["refused"]
    assert await claim(store, NOON + timedelta(days=9)) == []


@pytest.mark.parametrize("verdict", [DONE, DEAD, retry(NOON)], ids=["delivered", "dead", "retry"])
async def test_a_late_worker_changes_nothing(store: Store, verdict: Verdict) -> None:
    await store.accept(admission("crm"))
    [late] = await claim(store)
    [current] = await claim(store, NOON + LEASE)
    before = await record(store, current)
    assert not await settle(store, late, verdict)
    assert await record(store, current) == before
    assert await settle(store, current, DEAD)
    before = await record(store, current)
    assert not await settle(store, late, verdict)
    assert not await settle(store, current, DONE), "what is settled stays settled"
    assert await record(store, current) == before


async def test_results_are_judged_one_by_one(store: Store) -> None:
    for _ in range(3):
        await store.accept(admission("crm"))
    stale = await claim(store, limit=1)
    fresh = await claim(store, NOON)
    [again] = await claim(store, NOON + LEASE, limit=1)
    assert again.id == stale[0].id
    results: list[tuple[Delivery, Verdict]] = [
        (stale[0], DONE),
        (fresh[0], DONE),
        (again, DEAD),
        (fresh[1], retry(NOON)),
    ]
    assert await store.settle(results, now=NOON + LEASE) == [False, True, True, True]


async def test_counted_retries_burn_the_budget_and_others_do_not(store: Store) -> None:
    await store.accept(admission("crm"))
    seen = []
    for counted in (True, False, False, True, True):
        [delivery] = await claim(store)
        seen.append((delivery.attempt, delivery.tries))
        assert await settle(store, delivery, retry(NOON, counted=counted))
    assert seen == [(1, 1), (2, 2), (3, 2), (4, 2), (5, 3)]


async def test_a_result_that_is_told_twice_counts_once(store: Store) -> None:
    """The answer to the first telling may have been lost."""
    await store.accept(admission("crm"))
    [delivery] = await claim(store)
    for _ in range(3):
        assert await settle(store, delivery, retry(NOON, counted=False))
    [again] = await claim(store)
    assert (again.attempt, again.tries) == (2, 1)


async def test_a_retry_comes_due_when_it_says(store: Store) -> None:
    await store.accept(admission("crm"))
    [delivery] = await claim(store)
    at = NOON + timedelta(milliseconds=1500)
    await settle(store, delivery, retry(at))
    found = await record(store, delivery)
    assert (found.state, found.due_at, found.reason, found.detail) == ("pending", at, "unavailable", "503")
    assert await claim(store, at - TICK) == []
    assert len(await claim(store, at)) == 1


async def test_each_failed_attempt_is_kept_but_not_what_the_stop_interrupted(store: Store) -> None:
    await store.accept(admission("crm"))
    for reason, counted in ((Reason.TIMEOUT, True), (Reason.STOPPING, False), (Reason.THROTTLED, False)):
        [delivery] = await claim(store)
        await settle(store, delivery, retry(NOON, reason=reason, counted=counted, detail=f"it was {reason}"))
    [delivery] = await claim(store)
    await settle(store, delivery, DONE)
    found = await record(store, delivery)
    told = [(attempt.attempt, attempt.reason, attempt.detail) for attempt in found.attempts]
    assert told == [(1, "timeout", "it was timeout"), (3, "throttled", "it was throttled")]
    assert (found.reason, found.detail) == ("", ""), "in the end it arrived"


@pytest.mark.parametrize("text", ["nul \0", "half an emoji \ud83d", "surrogate \udcff escape", "z" * 100_000])
async def test_what_a_sink_says_is_kept_whatever_it_is(store: Store, text: str) -> None:
    for _ in range(3):
        await store.accept(admission("crm"))
    dead, again, delivered = await claim(store)
    failure = Failure(reason=Reason.REFUSED, detail=text)
    results: list[tuple[Delivery, Verdict]] = [
        (dead, Dead(failure=failure)),
        (again, Retry(failure=failure, at=NOON)),
        (delivered, Delivered(receipt=text)),
    ]
    assert await store.settle(results, now=NOON) == [True, True, True]
    start = text[:10].encode("utf-8", "replace").decode()
    assert (await record(store, dead)).detail.startswith(start)
    assert (await record(store, again)).attempts[0].detail.startswith(start)
    assert (await record(store, delivered)).receipt.startswith(start)


async def test_of_many_that_arrived_each_has_its_own_receipt_and_its_own_fence(store: Store) -> None:
    for _ in range(4):
        await store.accept(admission("crm"))
    late = await claim(store, limit=2)
    fresh = await claim(store)
    [again] = await claim(store, NOON + LEASE, limit=1)
    assert again.id == late[0].id
    given: list[tuple[Delivery, Verdict]] = [(each, Delivered(receipt=f"to {each.id}")) for each in (*late, *fresh)]
    assert await store.settle(given, now=NOON) == [False, True, True, True]
    assert (await record(store, again)).state == "pending"
    assert [(await record(store, each)).receipt for each in fresh] == [f"to {each.id}" for each in fresh]
    twice: list[tuple[Delivery, Verdict]] = [(again, Delivered(receipt="a")), (again, Delivered(receipt="b"))]
    assert await store.settle(twice, now=NOON) == [True, False]
    assert (await record(store, again)).receipt == "a"


# Order within a meeting


async def test_many_meetings_go_on_at_once(store: Store) -> None:
    ids = await accept_ordered(store, "a", "b", "c", "a", "b", "a")
    first = await claim(store, NOON + LEASE)
    assert await store.settle([(each, DONE) for each in first], now=NOON + LEASE) == [True] * 3
    assert [delivery.event.id for delivery in await claim(store, NOON + LEASE)] == ids[3:5]


async def test_whose_turn_it_is_goes_by_its_age_and_not_to_the_end_of_the_line(store: Store) -> None:
    ids = await accept_ordered(store, "a", "a", "b")
    [first] = await claim(store, NOON + LEASE, limit=1)
    await settle(store, first, DONE, NOON + LEASE)
    assert [delivery.event.id for delivery in await claim(store, NOON + LEASE, limit=1)] == [ids[1]]


async def test_one_of_a_meeting_is_due_at_a_time_and_meetings_do_not_wait_for_each_other(store: Store) -> None:
    await accept_ordered(store, "a", "a", "b", "a", "b")
    later = NOON + timedelta(seconds=1)
    assert meetings(await claim(store, later)) == ["a", "b"]
    assert await claim(store, later) == []


@pytest.mark.parametrize("verdict", [DONE, DEAD], ids=["delivered", "dead"])
async def test_the_next_of_a_meeting_comes_due_when_the_one_before_is_settled(store: Store, verdict: Verdict) -> None:
    ids = await accept_ordered(store, "a", "a", "a")
    later = NOON + timedelta(minutes=1)
    arrived = []
    for _ in ids:
        [delivery] = await claim(store, later)
        arrived.append(delivery.event.id)
        await settle(store, delivery, verdict, later)
    assert arrived == ids
    assert await claim(store, later) == []


async def test_a_failing_one_holds_back_its_own_meeting_only(store: Store) -> None:
    ids = await accept_ordered(store, "a", "a", "b", "b")
    first = {delivery.event.meeting: delivery for delivery in await claim(store, NOON + LEASE)}
    now = NOON + LEASE
    await settle(store, first["a"], retry(now + LEASE), now)
    await settle(store, first["b"], DONE, now)
    assert [delivery.event.id for delivery in await claim(store, now)] == [ids[3]]
    assert [delivery.event.id for delivery in await claim(store, now + LEASE - TICK)] == []
    [again] = [each for each in await claim(store, now + LEASE) if each.event.meeting == "a"]
    assert again.event.id == ids[0], "the second of the meeting still waits"


async def test_a_lost_lease_keeps_the_order(store: Store) -> None:
    ids = await accept_ordered(store, "a", "a")
    [lost] = await claim(store)
    [again] = await claim(store, NOON + LEASE)
    assert (again.event.id, again.attempt) == (ids[0], 2)
    assert not await settle(store, lost, DONE, NOON + LEASE), "and its late worker lets nobody go"
    assert await claim(store, NOON + LEASE) == []
    await settle(store, again, DONE, NOON + LEASE)
    [second] = await claim(store, NOON + LEASE)
    assert second.event.id == ids[1]


async def test_one_that_comes_later_waits_for_those_before_and_not_for_what_is_settled(store: Store) -> None:
    await accept_ordered(store, "a")
    [first] = await claim(store)
    await accept_ordered(store, "a")
    assert await claim(store) == []
    await settle(store, first, DONE)
    [second] = await claim(store)
    await settle(store, second, DONE)
    await accept_ordered(store, "a")
    assert len(await claim(store)) == 1


async def test_order_is_kept_for_each_sink_by_itself_and_across_a_restart(
    open_store: OpenStore, tmp_path: Path
) -> None:
    async with open_store(tmp_path) as store:
        for _ in range(2):
            await store.accept(admission("crm", "kafka", order_key="a"))
        [first] = await claim(store)
        await settle(store, first, DONE)
    async with open_store(tmp_path) as store:
        assert [len(await claim(store, sink=sink)) for sink in ("crm", "kafka")] == [1, 1]


async def test_without_a_key_nothing_waits(store: Store) -> None:
    for _ in range(3):
        await store.accept(admission("crm", meeting="a"))
    assert len(await claim(store)) == 3


async def test_those_that_wait_for_their_meeting_are_shown_without_a_due_time(store: Store) -> None:
    await accept_ordered(store, "a", "a")
    second, first = await store.deliveries(state=DeliveryState.PENDING)
    assert (first.due_at, second.due_at) == (NOON, None)
