"""The store's contract, part seven: seats, and the time that nodes share. What only several nodes can find out is in
tests/integration/test_postgres_seats.py."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from relay.model import GateState
from relay.ports import Store
from tests.fakes.admissions import NOON, admission

LEASE = timedelta(seconds=60)
PLACES = ("slack:c0ffee", "crm", "a\0b", "x" * 2000)


async def test_what_nobody_has_is_ours_and_stays_so(store: Store) -> None:
    for _ in range(2):
        grants = await store.take_seats(PLACES)
        assert set(grants) == set(PLACES)
        assert {grant.alone for grant in grants.values()} == {None}
    assert await store.take_seats(()) == {}


async def test_only_with_its_seat_something_is_claimed(store: Store) -> None:
    await store.accept(admission("crm"))
    await store.take_seats(["crm"])
    [claimed] = await store.claim("crm", limit=9, newest=2, now=NOON, lease=LEASE, seat="crm")
    assert (claimed.sink, claimed.attempt) == ("crm", 1)


async def test_a_seat_that_was_left_is_had_again(store: Store) -> None:
    await store.take_seats(PLACES)
    await store.leave_seats({"crm": timedelta(minutes=1), "never had": timedelta(0)})
    await store.leave_seats({})
    assert set(await store.take_seats(["crm"])) == {"crm"}


async def test_one_who_withdraws_what_it_said_can_say_it_anew(store: Store) -> None:
    await store.withdraw("crm")
    await store.report("crm", GateState.BROKEN, None, now=NOON)
    await store.withdraw("crm")
    await store.report("crm", GateState.OPEN, None, now=NOON)
    [record] = await store.sinks()
    assert (record.state, record.nodes, record.others) == (GateState.OPEN, (), 0), "it is not at work"


async def test_the_shared_time_is_about_now_where_there_is_one(store: Store) -> None:
    time = await store.shared_time()
    assert time is None or abs(time - datetime.now(UTC)) < timedelta(minutes=1)
