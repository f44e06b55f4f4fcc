"""What is read of a PostgreSQL store while others write: nothing is passed over, and a pattern means the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import apsw
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from relay.errors import StartError, StoreUnavailable
from relay.model import Delivered, Selection
from relay.ports import Live
from relay.stores import open_live
from relay.stores.postgres import PostgresStore, horizon, ledger, selection
from relay.stores.postgres.connection import Connection, connect
from relay.stores.postgres.selection import of_type, where
from relay.stores.postgres.server import parse
from relay.stores.postgres.texts import stored
from relay.stores.rows import from_micros
from tests.contract.postgres import database_of
from tests.fakes.admissions import NOON, admission
from tests.postgres import shared

ALL = Selection()
_INSERT = """
INSERT INTO relay.event (id, source, type, state, detail, received_at, headers, body)
VALUES ($1, 'dyte', 'meeting.started', 'unrouted', '', $2, '{}', '')"""


@asynccontextmanager
async def nodes(folder: Path, count: int = 2) -> AsyncIterator[Sequence[Connection]]:
    """Connections with which so many nodes would write."""
    url = await database_of(folder)
    connections = [await connect(parse(url)) for _ in range(count)]
    try:
        yield connections
    finally:
        for connection in connections:
            connection.terminate()


@asynccontextmanager
async def looking(folder: Path) -> AsyncIterator[Live]:
    live = await open_live(await database_of(folder))
    try:
        yield live
    finally:
        await live.close()


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[PostgresStore]:
    store = await PostgresStore.open(await database_of(folder))
    try:
        yield store
    finally:
        await store.close()


async def insert(connection: Connection, event_id: str, at: int = 0) -> None:
    await connection.execute(_INSERT, event_id, at)


async def follow(live: Live, after: int, *, limit: int = 2) -> tuple[list[str], int]:
    """All that is there behind this place, and the place to go on from."""
    found: list[str] = []
    while (step := await live.arrived(ALL, after=after, limit=limit)).next is not None:
        after = step.next
        found += [arrival.event.event.id for arrival in step.done]
    return found, after


async def test_what_comes_to_light_after_a_later_number_is_not_passed_over(tmp_path: Path) -> None:
    async with nodes(tmp_path) as (slow, fast), looking(tmp_path) as live:
        await insert(fast, "1")
        seen, after = await follow(live, 0)
        transaction = slow.transaction()
        await transaction.start()
        await insert(slow, "2")
        for number in "345":
            await insert(fast, number)
        assert [seen, *await follow(live, after)] == [["1"], [], after]
        await transaction.commit()
        assert (await follow(live, after))[0] == ["2", "3", "4", "5"]


async def test_a_number_that_was_rolled_back_holds_nothing_up(tmp_path: Path) -> None:
    async with nodes(tmp_path) as (gone, fast), looking(tmp_path) as live:
        transaction = gone.transaction()
        await transaction.start()
        await insert(gone, "never")
        await insert(fast, "1")
        assert (await follow(live, 0))[0] == []
        await transaction.rollback()
        assert (await follow(live, 0))[0] == ["1"]


async def test_history_is_read_while_somebody_is_stuck(tmp_path: Path) -> None:
    """What was complete once stays so; it is not asked again and again."""
    async with nodes(tmp_path) as (stuck, fast), looking(tmp_path) as live:
        for number in "1234567":
            await insert(fast, number)
        seen = (await live.arrived(ALL, after=0, limit=2)).done
        async with stuck.transaction():
            await insert(stuck, "8")
            await insert(fast, "9")
            assert [each.event.event.id for each in seen] == ["1", "2"]
            assert (await follow(live, 2))[0] == ["3", "4", "5", "6", "7"]


async def test_writers_that_never_pause_hold_nobody_up(tmp_path: Path) -> None:
    """There is always one at work, but never the same."""
    async with nodes(tmp_path, 3) as (one, other, third), looking(tmp_path) as live:
        before = one.transaction()
        await before.start()
        await insert(one, "1")
        await insert(third, "2")
        assert (await follow(live, 0))[0] == []
        async with other.transaction():
            await insert(other, "3")
            await before.commit()
            assert (await follow(live, 0))[0] == ["1", "2"]


async def test_nothing_is_passed_over_while_three_nodes_accept(tmp_path: Path) -> None:
    """Numbers are given by what really accepts. Who asks for no horizon misses some, nearly each time."""
    accepted: list[str] = []
    seen: list[str] = []

    async def accept(store: PostgresStore) -> None:
        for _ in range(50):
            acceptance = await store.accept(admission("crm"))
            accepted.append(acceptance.event_id)

    async with opened(tmp_path) as one, opened(tmp_path) as two, opened(tmp_path) as three, looking(tmp_path) as live:
        working = [asyncio.create_task(accept(store)) for store in (one, two, three) for _ in range(4)]
        after = 0
        while not all(task.done() for task in working):
            found, after = await follow(live, after, limit=100)
            seen += found
        await asyncio.gather(*working)
        seen += (await follow(live, after))[0]
    assert len(seen) == 600
    assert set(seen) == set(accepted)


async def test_the_end_waits_for_what_is_under_way(tmp_path: Path) -> None:
    """Whoever goes through all that was accepted before must not miss it."""
    async with nodes(tmp_path) as (slow, fast), opened(tmp_path) as store, looking(tmp_path) as live:
        async with slow.transaction():
            await insert(slow, "1")
            await insert(fast, "2")
            ends = [asyncio.create_task(store.end()), asyncio.create_task(live.place())]
            done, _ = await asyncio.wait(ends, timeout=0.1)
            assert not done
        places = [await end for end in ends]
        await insert(fast, "3")
        assert places == [2, 2]
        assert [each.event.id for each in (await store.selected(Selection(upto=2), limit=9)).done] == ["1", "2"]
        assert (await follow(live, 2))[0] == ["3"]


async def test_the_end_is_told_though_somebody_stands_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(horizon, "PATIENCE", 0.05)
    async with nodes(tmp_path) as (stuck, fast), opened(tmp_path) as store, stuck.transaction():
        await insert(stuck, "1")
        await insert(fast, "2")
        assert await store.end() == 2


async def test_history_begins_before_what_another_node_numbered_later(tmp_path: Path) -> None:
    """Two nodes number events in another order than they took them in."""
    async with nodes(tmp_path, 1) as (node,), looking(tmp_path) as live:
        for event_id, at in (("old", 1), ("second", 12), ("first", 11), ("third", 13)):
            await insert(node, event_id, at * 10**6)
        place = await live.place(from_micros(11 * 10**6))
        assert (await follow(live, place))[0] == ["second", "first", "third"]


async def test_nothing_can_be_written_by_who_reads(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        with pytest.raises(StoreUnavailable, match="read-only"):
            await store._reading.run(lambda connection: connection.execute("DELETE FROM relay.event"))
        assert await store.totals() == {}


async def test_who_reads_holds_no_snapshot(tmp_path: Path) -> None:
    """Else what is settled could not be cleared away, and the queues would grow."""
    async with opened(tmp_path) as store, looking(tmp_path) as live, nodes(tmp_path, 1) as (node,):
        await store.totals()
        await live.arrived(ALL, after=0, limit=1)
        held = await node.fetch(
            "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND (backend_xmin IS NOT NULL OR state <> 'idle')"
        )
        assert held == []


async def test_what_is_replayed_at_the_same_moment_is_not_forgotten(tmp_path: Path) -> None:
    """Else it would be pending, and its event gone."""
    async with opened(tmp_path) as store, nodes(tmp_path, 1) as (other,):
        given = [admission("crm") for _ in range(2)]
        for each in given:
            await store.accept(each)
        claimed = await store.claim("crm", limit=9, now=NOON, lease=timedelta(minutes=1))
        await store.settle([(each, Delivered(receipt="")) for each in claimed], now=NOON)
        later = NOON + timedelta(days=1)
        async with other.transaction():
            await other.execute("UPDATE relay.delivery SET state = 'pending', replay = 1 WHERE id = $1", claimed[0].id)
            purge = asyncio.create_task(store.purge(delivered_before=later, dead_before=later, limit=9))
            await asyncio.wait([purge], timeout=0.2)
        assert (await purge).done == 1
        assert [each.event.id for each in await store.events()] == [given[0].event.id]
        assert [each.state for each in await store.deliveries()] == ["pending"]


async def test_a_walk_over_much_goes_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (selection, ledger):
        monkeypatch.setattr(module, "WALK", 3)
    async with opened(tmp_path) as store:
        given = [admission("crm", type=f"type.{number % 5}", received_at=NOON) for number in range(20)]
        for each in given:
            await store.accept(each)
        rare = [each.event.id for each in given if each.event.type == "type.4"]
        assert [each.event.id for each in await store.events(type_glob="*4", limit=9)] == rare[::-1]
        assert [each.event.id for each in await store.events(type_glob="*4", limit=2)] == rare[:1:-1]
        assert await store.events(type_glob="none") == []
        some = Selection(type_glob="*4", upto=15)
        found: list[str] = []
        replayed = parts = 0
        after: int | None = 0
        while after is not None:
            step = await store.selected(some, after=after, limit=9)
            found += [each.event.id for each in step.done]
            parts, after = parts + 1, step.next
        assert (found, parts) == (rare[:3], 5)
        claimed = await store.claim("crm", limit=99, now=NOON, lease=timedelta(minutes=1))
        await store.settle([(each, Delivered(receipt="")) for each in claimed], now=NOON)
        again: int | None = 0
        while again is not None:
            done = await store.replay(some, now=NOON, first_at=NOON, spacing=timedelta(0), after=again, limit=9)
            replayed, again = replayed + done.done, done.next
        assert replayed == 3


async def test_what_is_no_store_is_told() -> None:
    with pytest.raises(StartError, match="`relay serve` creates it"):
        await open_live(shared())


@pytest.fixture(scope="module")
def fits() -> Iterator[Callable[[str, Sequence[str]], list[bool]]]:
    """Which of these texts fit a pattern, as the store asks for it."""
    with asyncio.Runner() as runner:
        connection = runner.run(connect(parse(shared()), statement_ms=60_000))

        async def ask(pattern: str, values: Sequence[str]) -> list[bool]:
            clause, arguments = where(of_type(pattern), first=2)
            found = await connection.fetch(
                "SELECT number FROM unnest($1::text[]) WITH ORDINALITY e (type, number)" + clause,
                [stored(text) for text in values],
                *arguments,
            )
            numbers = {row[0] for row in found}
            return [number in numbers for number, _ in enumerate(values, 1)]

        yield lambda pattern, values: runner.run(ask(pattern, values))
        connection.terminate()


_TEXTS = "ab*?[]^-\\%_.(\u00e9\U0001f44b\n\x00\x01\x02"


@settings(max_examples=150)
@given(
    pattern=st.text(_TEXTS + "[[**???", max_size=9),
    values=st.lists(st.text(_TEXTS, max_size=5), min_size=30, max_size=30),
)
@example(pattern="[]-a]?*", values=["]x", "-y\x00z", "ab", "b"])
@example(pattern="a\x01*", values=["a\x01\x02", "a\x01", "a\x00\x01"])
def test_a_pattern_means_what_it_means_to_sqlite(
    fits: Callable[[str, Sequence[str]], list[bool]], pattern: str, values: list[str]
) -> None:
    sqlite = apsw.Connection(":memory:")
    expected = [bool(sqlite.execute("SELECT ? GLOB ?", (text, pattern)).get) for text in values]
    assert fits(pattern, values) == expected
