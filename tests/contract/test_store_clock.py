"""The store's contract, part six: due times that a clock has written which was ahead."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from relay.model import Delivered, Delivery, Failure, Reason, Retry, Selection
from relay.ports import Store
from tests.fakes.admissions import NOON, admission

LEASE, HOUR, YEAR = timedelta(seconds=60), timedelta(hours=1), timedelta(days=365)


async def claimed(store: Store, *, count: int = 1, sink: str = "crm", now: datetime = NOON) -> Sequence[Delivery]:
    """New deliveries, claimed."""
    for _ in range(count):
        await store.accept(admission(sink, received_at=NOON))
    return await store.claim(sink, limit=count, now=now, lease=LEASE)


async def put_off(store: Store, deliveries: Sequence[Delivery], until: datetime) -> None:
    failure = Failure(reason=Reason.UNAVAILABLE, detail="503")
    await store.settle([(each, Retry(failure=failure, at=until)) for each in deliveries], now=NOON)


async def due(store: Store, sink: str = "crm") -> list[datetime | None]:
    return [record.due_at for record in await store.deliveries(sink=sink, limit=100)]


async def bring_forward(store: Store, *, limit: int = 100, sink: str = "crm") -> int:
    return await store.bring_forward(sink, now=NOON, longest=HOUR, limit=limit)


async def test_what_no_honest_wait_explains_comes_due_as_late_as_one_does(store: Store) -> None:
    await put_off(store, await claimed(store, count=5), NOON + YEAR)
    await put_off(store, await claimed(store, sink="other"), NOON + YEAR)
    assert [await bring_forward(store, limit=2) for _ in range(4)] == [2, 2, 1, 0]
    assert await due(store) == [NOON + HOUR] * 5
    assert await due(store, "other") == [NOON + YEAR]


async def test_an_honest_wait_is_left_as_it_is(store: Store) -> None:
    await put_off(store, await claimed(store), NOON + HOUR)
    assert await bring_forward(store) == 0
    assert await due(store) == [NOON + HOUR]


async def test_who_is_at_work_keeps_his_lease(store: Store) -> None:
    await claimed(store, now=NOON + YEAR)
    assert await bring_forward(store) == 0
    assert await due(store) == [NOON + YEAR + LEASE]


async def test_a_replay_waits_until_its_time_and_a_retry_of_it_not_much_longer(store: Store) -> None:
    for delivery in await claimed(store, count=2):
        await store.settle([(delivery, Delivered(receipt="200"))], now=NOON)
    planned = NOON + 24 * HOUR
    await store.replay(Selection(), now=NOON, first_at=planned, spacing=HOUR, limit=10)
    assert await bring_forward(store) == 0
    assert sorted(await due(store), key=str) == [planned, planned + HOUR]
    [first] = await store.claim("crm", limit=1, now=planned, lease=LEASE)
    await put_off(store, [first], NOON + YEAR)
    assert await bring_forward(store) == 1
    assert sorted(await due(store), key=str) == [planned, planned + HOUR]
