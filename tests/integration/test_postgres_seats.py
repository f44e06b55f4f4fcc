"""Seats in a database that several nodes share, and whose word on a sink counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from relay.model import Failure, GateState, Reason
from relay.records import SinkRecord
from relay.stores.postgres import PostgresStore, pool
from relay.stores.postgres.connection import Connection
from relay.stores.postgres.seats import TERM
from tests.commands import as_json, done, files
from tests.contract import postgres
from tests.fakes.admissions import NOON, admission
from tests.postgres import connected
from tests.running import until, write_config
from tests.storing import choose_store

LEASE = timedelta(seconds=60)
SECOND = timedelta(seconds=1)
DOWN = Failure(reason=Reason.UNAVAILABLE, detail="503")


@asynccontextmanager
async def nodes(folder: Path, count: int = 2) -> AsyncIterator[list[PostgresStore]]:
    """So many nodes at work on one database."""
    url = await postgres.database_of(folder)
    opened = [await PostgresStore.open(url, owner=f"node-{number}") for number in range(count)]
    try:
        for store in opened:
            await store.recover(now=NOON)
        yield opened
    finally:
        for store in opened:
            await store.close()


async def execute(store: PostgresStore, statement: str, *arguments: object) -> None:
    async def run(connection: Connection) -> None:
        await connection.execute(statement, *arguments)

    await store._write(run)


async def pass_by(store: PostgresStore, time: timedelta) -> None:
    """As if so much time had passed for seats."""
    await execute(
        store, "UPDATE relay.seat SET until = until - $1, since = since - $1", time // timedelta(microseconds=1)
    )


async def test_one_at_a_time_has_a_seat(tmp_path: Path) -> None:
    async with nodes(tmp_path, 3) as stores:
        for _ in range(3):
            places = [f"place {number}" for number in range(20)]
            had = await asyncio.gather(
                *(store.take_seats(places[::way]) for store, way in zip(stores, (1, -1, 1), strict=True))
            )
            assert sorted(place for grants in had for place in grants) == sorted(places)
            await pass_by(stores[0], TERM)


async def test_it_falls_to_another_after_its_term_who_learns_since_when_nobody_has_it(tmp_path: Path) -> None:
    async with nodes(tmp_path) as (one, two):
        assert (await one.take_seats(["crm"]))["crm"].lasts == TERM
        await pass_by(one, TERM - SECOND)
        assert await two.take_seats(["crm"]) == {}
        assert (await one.take_seats(["crm"]))["crm"].alone is None, "nobody else ever had it"
        await pass_by(one, TERM + 7 * SECOND)
        alone = (await two.take_seats(["crm"]))["crm"].alone
        assert alone is not None
        assert 7 * SECOND <= alone < 9 * SECOND
        assert await one.take_seats(["crm"]) == {}
        await pass_by(one, SECOND)
        again = (await two.take_seats(["crm"]))["crm"].alone
        assert again is not None
        assert again >= alone + SECOND, "it has been its own since then"


async def test_one_who_comes_too_late_and_finds_nobody_goes_on(tmp_path: Path) -> None:
    async with nodes(tmp_path) as (one, _):
        await one.take_seats(["crm"])
        await pass_by(one, 9 * TERM)
        assert (await one.take_seats(["crm"]))["crm"].alone is None


async def test_a_seat_that_is_left_is_free_at_once_and_what_was_saved_up_goes_with_it(tmp_path: Path) -> None:
    async with nodes(tmp_path) as (one, two):
        await one.take_seats(["crm", "mail"])
        await two.leave_seats({"crm": timedelta(0)})
        assert await two.take_seats(["crm"]) == {}, "it was not its own to leave"
        await one.leave_seats({"crm": timedelta(minutes=5)})
        grants = await two.take_seats(["crm", "mail"])
        assert set(grants) == {"crm"}
        alone = grants["crm"].alone
        assert alone is not None
        assert timedelta(minutes=5) <= alone < timedelta(minutes=6)


async def test_nothing_is_claimed_without_the_seat(tmp_path: Path) -> None:
    async with nodes(tmp_path) as (one, two):
        await one.accept(admission("crm"))
        await one.take_seats(["crm"])
        assert await two.claim("crm", limit=1, now=NOON, lease=LEASE, seat="crm") == []
        assert await one.claim("crm", limit=1, now=NOON, lease=LEASE, seat="mail") == []
        await pass_by(one, TERM)
        assert await one.claim("crm", limit=1, now=NOON, lease=LEASE, seat="crm") == [], "its term is over"
        await two.take_seats(["crm"])
        assert len(await two.claim("crm", limit=1, now=NOON, lease=LEASE, seat="crm")) == 1


async def test_the_seats_of_one_who_is_gone_for_certain_are_free(tmp_path: Path) -> None:
    async with nodes(tmp_path) as (one, two):
        await one.take_seats(["crm"])
        await two.release("node-0", now=NOON)
        assert set(await two.take_seats(["crm"])) == {"crm"}


# Whose word counts


async def shown(store: PostgresStore) -> SinkRecord:
    [record] = await store.sinks()
    return record


async def test_of_the_nodes_that_live_the_worst_word_is_shown_and_how_many_say_so(tmp_path: Path) -> None:
    async with nodes(tmp_path, 3) as (one, two, three):
        for store in (one, two, three):
            await store.report("crm", GateState.OPEN, None, now=NOON)
        assert ((await shown(one)).nodes, (await shown(one)).others) == (("node-0", "node-1", "node-2"), 0)
        await two.report("crm", GateState.BROKEN, DOWN, now=NOON + SECOND)
        for store in (one, two, three):
            await store.report("crm", GateState.BROKEN if store is two else GateState.OPEN, None, now=NOON + 2 * SECOND)
            record = await shown(one)
            assert (record.state, record.since, record.nodes, record.others) == (
                GateState.BROKEN, NOON + SECOND, ("node-1",), 2,
            ), "whoever spoke last"  # fmt: skip
        await three.report("crm", GateState.PAUSED, DOWN, now=NOON)
        assert ((await shown(one)).state, (await shown(one)).nodes) == (GateState.PAUSED, ("node-2",))
        await two.withdraw("crm")
        await three.withdraw("crm")
        assert ((await shown(one)).state, (await shown(one)).others) == (GateState.OPEN, 0)


async def test_the_last_word_of_the_dead_counts_only_while_nobody_lives_who_says_anything(tmp_path: Path) -> None:
    async with nodes(tmp_path) as (one, two):
        await one.report("crm", GateState.BROKEN, DOWN, now=NOON)
        await one._presence.leave()
        record = await shown(two)
        assert (record.state, record.nodes) == (GateState.BROKEN, ())
        await two.report("crm", GateState.BROKEN, DOWN, now=NOON + SECOND)
        record = await shown(two)
        assert (record.state, record.since, record.nodes, record.others) == (GateState.BROKEN, NOON, ("node-1",), 0)
        await two.report("crm", GateState.OPEN, None, now=NOON + 2 * SECOND)
        assert ((await shown(two)).state, (await shown(two)).since) == (GateState.OPEN, NOON + 2 * SECOND)


async def test_people_are_told_how_many_nodes_say_so(tmp_path: Path) -> None:
    choose_store(tmp_path, await postgres.database_of(tmp_path))
    write_config(tmp_path, sinks=files(tmp_path, "crm"))
    async with nodes(tmp_path, 3) as (one, two, three):
        for store in (one, two, three):
            await store.report("crm", GateState.OPEN, None, now=NOON)
        assert " on " not in await done(tmp_path, "sinks", "list")
        await two.report("crm", GateState.BROKEN, DOWN, now=NOON)
        assert "broken on 1 of 3" in await done(tmp_path, "sinks", "list")
        [told] = await as_json(tmp_path, "sinks", "list")
        assert (told["nodes"], told["other_nodes"]) == (["node-1"], 2)


async def test_people_are_told_where_a_sink_is_delivered_to(tmp_path: Path) -> None:
    choose_store(tmp_path, await postgres.database_of(tmp_path))
    write_config(tmp_path, sinks=files(tmp_path, "both", "one", "none"))
    async with nodes(tmp_path) as (one, two):
        await one.report("one", GateState.OPEN, None, now=NOON)
        assert "node-0" not in await done(tmp_path, "sinks", "list"), "there is no other"
        for store in (one, two):
            await store.report("both", GateState.OPEN, None, now=NOON)
        head, *rows = (await done(tmp_path, "sinks", "list")).splitlines()
        assert head.split()[-1] == "at"
        assert [row.split()[-1] for row in rows[:2]] == ["nodes", "node-0"]


async def test_who_leaves_seats_and_who_asks_for_them_do_not_lock_each_other_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the database's own order of texts is: there `a` may come before `B`."""
    monkeypatch.setattr(pool, "_YIELDS", 0)
    async with nodes(tmp_path) as (one, two), connected(await postgres.database_of(tmp_path)) as database:
        await one.take_seats(["a", "B"])
        for leaving in (lambda: one.leave_seats({"a": SECOND, "B": SECOND}), lambda: one.release("node-0", now=NOON)):
            async with database.transaction():
                await database.execute("SELECT FROM relay.seat WHERE place = 'B' FOR UPDATE")
                first = asyncio.create_task(leaving())
                await _waiting(database, 1)
                then = asyncio.create_task(two.take_seats(["a", "B"]))
                await _waiting(database, 2)
            await asyncio.gather(first, then)
            await execute(one, "UPDATE relay.seat SET owner = 'node-0', until = relay.clock() + 3000000")


async def _waiting(database: Connection, count: int) -> None:
    async def enough() -> bool:
        found: int = await database.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return found >= count

    await until(enough, f"{count} who wait for a lock")
