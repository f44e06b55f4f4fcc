"""The store's contract, part five: what people want of sinks, what lanes say of them, and what the dead had begun."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from relay.model import Dead, Delivered, Failure, GateState, Reason, Retry, Selection, Wish
from relay.ports import Store
from relay.records import SinkRecord
from tests.contract.stores import OpenStore
from tests.fakes.admissions import NOON, admission, event

LEASE = timedelta(seconds=60)
SECOND = timedelta(seconds=1)
FAILURE = Failure(reason=Reason.UNAUTHORIZED, detail="401 \ud800")


async def sink(store: Store, name: str) -> SinkRecord:
    [found] = [record for record in await store.sinks() if record.sink == name]
    return found


async def test_a_wish_is_known_to_all_until_the_next(store: Store, open_store: OpenStore, tmp_path: Path) -> None:
    assert await store.wishes() == {}
    async with open_store(tmp_path) as another:
        await another.wish("crm", Wish(paused=True, at=NOON))
    assert await store.wishes() == {"crm": Wish(paused=True, at=NOON)}
    await store.wish("crm", Wish(paused=False, at=NOON + SECOND))
    assert await store.wishes() == {"crm": Wish(paused=False, at=NOON + SECOND)}


async def test_a_later_wish_is_another_one_even_if_the_clock_stands_still(store: Store) -> None:
    await store.wish("crm", Wish(paused=False, at=NOON))
    before = (await store.wishes())["crm"]
    await store.wish("crm", Wish(paused=False, at=NOON - SECOND))
    assert (await store.wishes())["crm"] != before


async def test_what_a_lane_says_is_kept_and_since_when(store: Store) -> None:
    await store.report("crm", GateState.PAUSED, FAILURE, now=NOON)
    await store.report("crm", GateState.PAUSED, FAILURE, now=NOON + SECOND)
    found = await sink(store, "crm")
    assert (found.state, found.reason, found.since) == (GateState.PAUSED, "unauthorized", NOON)
    assert found.detail.startswith("401 ")
    await store.report("crm", GateState.OPEN, None, now=NOON + SECOND)
    found = await sink(store, "crm")
    assert (found.state, found.reason, found.detail, found.since) == (GateState.OPEN, "", "", NOON + SECOND)


async def test_a_sink_is_shown_with_all_that_is_known_of_it(store: Store) -> None:
    for minutes in (2, 1, 3):
        await store.accept(admission("crm", "audit", of=event(received_at=NOON + timedelta(minutes=minutes))))
    claimed = await store.claim("crm", limit=2, now=NOON + timedelta(hours=1), lease=LEASE)
    verdicts = (Delivered(receipt=""), Dead(failure=FAILURE))
    await store.settle(list(zip(claimed, verdicts, strict=True)), now=NOON)
    await store.replay(Selection(event_id=claimed[0].event.id), now=NOON, first_at=NOON, spacing=SECOND, limit=9)
    await store.wish("mail", Wish(paused=True, at=NOON))
    crm, audit, mail = await sink(store, "crm"), await sink(store, "audit"), await sink(store, "mail")
    assert [record.sink for record in await store.sinks()] == ["audit", "crm", "mail"]
    assert (crm.pending, crm.dead, crm.replays, crm.state) == (2, 1, 1, None)
    assert (audit.pending, audit.dead, audit.replays) == (3, 0, 0)
    assert audit.oldest == NOON + timedelta(minutes=2), "of the first that was accepted"
    assert mail == SinkRecord(sink="mail", wish=Wish(paused=True, at=NOON))


# Leases of the dead


async def test_what_a_dead_process_had_begun_is_due_at_once(open_store: OpenStore, tmp_path: Path) -> None:
    async with open_store(tmp_path) as dead:
        await dead.accept(admission("crm"))
        [held] = await dead.claim("crm", limit=1, now=NOON, lease=LEASE)
    async with open_store(tmp_path) as store:
        assert await store.claim("crm", limit=1, now=NOON + SECOND, lease=LEASE) == []
        assert await store.recover(now=NOON + SECOND) == 1
        [again] = await store.claim("crm", limit=1, now=NOON + SECOND, lease=LEASE)
        assert (again.id, again.attempt, again.tries) == (held.id, 2, 2), "an attempt counts when it begins"
        assert await store.recover(now=NOON + SECOND) == 0, "what this one holds is no dead process's"


async def test_a_retry_that_waits_was_begun_by_nobody(open_store: OpenStore, tmp_path: Path) -> None:
    async with open_store(tmp_path) as dead:
        await dead.accept(admission("crm"))
        [held] = await dead.claim("crm", limit=1, now=NOON, lease=LEASE)
        await dead.settle([(held, Retry(failure=FAILURE, at=NOON + 9 * LEASE))], now=NOON)
    async with open_store(tmp_path) as store:
        assert await store.recover(now=NOON + SECOND) == 0
        assert await store.next_due("crm") == NOON + 9 * LEASE


@pytest.mark.parametrize("still_there", [True, False])
async def test_what_the_living_hold_is_left_to_them(
    open_store: OpenStore, tmp_path: Path, *, still_there: bool
) -> None:
    async with open_store(tmp_path) as one, open_store(tmp_path) as another:
        if still_there:
            await one.recover(now=NOON)
        await one.accept(admission("crm"))
        [held] = await one.claim("crm", limit=1, now=NOON, lease=LEASE)
        assert await another.recover(now=NOON) == (0 if still_there else 1)
        [settled] = await one.settle([(held, Delivered(receipt=""))], now=NOON)
        assert settled, "and even where it was taken for dead, nobody else has begun it yet"


async def test_a_lease_that_ran_out_is_not_put_off(open_store: OpenStore, tmp_path: Path) -> None:
    async with open_store(tmp_path) as dead:
        await dead.accept(admission("crm"))
        await dead.claim("crm", limit=1, now=NOON, lease=LEASE)
    async with open_store(tmp_path) as store:
        assert await store.recover(now=NOON + 9 * LEASE) == 1
        assert await store.next_due("crm") == NOON + LEASE


async def test_what_was_interrupted_again_and_again_comes_back_apart_from_the_others(
    open_store: OpenStore, tmp_path: Path
) -> None:
    """Else one event that kills the process takes all that are under way beside it through their attempts."""
    async with open_store(tmp_path) as store:
        for _ in range(30):
            await store.accept(admission("crm"))
    now = NOON
    for _ in range(3):
        async with open_store(tmp_path) as dead:
            await dead.recover(now=now)
            assert len(await dead.claim("crm", limit=100, now=now, lease=LEASE)) == 30, "twice at once"
            now += SECOND
    async with open_store(tmp_path) as store:
        assert await store.recover(now=now) == 30
        at_once = len(await store.claim("crm", limit=100, now=now, lease=LEASE))
        within = len(await store.claim("crm", limit=100, now=now + 5 * SECOND, lease=LEASE))
    assert (at_once < 15, at_once + within) == (True, 30)


async def _settled(store: Store, name: str, *, count: int, at: datetime) -> None:
    await asyncio.gather(*(store.accept(admission(name)) for _ in range(count)))
    claimed = await store.claim(name, limit=count, now=NOON, lease=LEASE)
    await store.settle([(delivery, Delivered(receipt="")) for delivery in claimed], now=at)


async def test_the_pace_of_a_sink_is_that_of_the_last_minute(store: Store) -> None:
    now = NOON + timedelta(hours=1)
    await _settled(store, "slow", count=6, at=now - 30 * SECOND)
    await _settled(store, "fast", count=120, at=now - SECOND)
    await _settled(store, "idle", count=3, at=now - timedelta(minutes=2))
    await store.accept(admission("waiting"))
    assert await store.paces(now=now) == {"slow": 0.1, "fast": 2.0}
