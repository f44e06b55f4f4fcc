"""The store's contract, part seven: a copy is the store over again, whatever kind either of them is."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import apsw
import asyncpg
import pytest

from relay.errors import RelayError, StoreUnusable
from relay.model import (
    Dead,
    Delivered,
    DuplicateKind,
    Failure,
    GateState,
    Quarantine,
    Reason,
    Retry,
    Selection,
    Verdict,
    Wish,
)
from relay.payload import Defect
from relay.ports import Copy, Store
from relay.stores import open_copy, open_origin, open_store
from relay.stores.copying import copy
from relay.stores.tables import TABLES, Batch
from tests.contract.postgres import database_of
from tests.contract.stores import STORES
from tests.fakes.admissions import NOON, admission, event

LEASE, SECOND, HOUR = timedelta(seconds=60), timedelta(seconds=1), timedelta(hours=1)
LATER = NOON + HOUR
DONE = Delivered(receipt="200 \x00 \x01 \x02")
DOWN = Failure(reason=Reason.UNAVAILABLE, detail="503")
LONG = "x" * 4000
each_way = pytest.mark.parametrize(
    ("origin", "into"), [(origin, into) for origin in STORES for into in STORES], ids=str
)


async def url_of(kind: str, folder: Path) -> str:
    await asyncio.to_thread(folder.mkdir, exist_ok=True)
    return await database_of(folder) if kind == "postgres" else f"sqlite:///{folder}/relay.db"


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    store = await open_store(url)
    try:
        yield store
    finally:
        await store.close()


async def settle(store: Store, sink: str, verdict: Verdict, *, limit: int = 99, now: datetime = NOON) -> None:
    claimed = await store.claim(sink, limit=limit, now=now, lease=LEASE)
    assert claimed
    await store.settle([(delivery, verdict) for delivery in claimed], now=now)


async def fill(url: str) -> None:
    """A store with something of everything."""
    async with opened(url) as store:
        await store.accept(admission("gone", of=event(uuid="gone")))
        await settle(store, "gone", DONE)
        await store.purge(delivered_before=NOON + HOUR, dead_before=NOON + HOUR, limit=9)
        await store.accept(
            admission("audit", "crm", of=event(type="a.\x00\x01\x02b", headers={"a": "\x00"}, uuid=LONG))
        )
        await store.accept(admission(of=event(defect=Defect.NO_TYPE, stream="s", session="t", organization="o")))
        await store.accept(admission(quarantine=Quarantine.ORGANIZATION))
        await settle(store, "audit", DONE)
        await settle(store, "crm", Dead(failure=DOWN))
        for meeting in ("m", "n", LONG):
            for number in range(3):
                given = event(meeting=meeting, received_at=NOON + number * SECOND)
                await store.accept(admission("ordered", order_key=meeting, of=given))
        await settle(store, "ordered", Retry(failure=DOWN, at=LATER), limit=1)
        await store.accept(admission("again", order_key="m", of=event(meeting="m")))
        await settle(store, "again", Dead(failure=DOWN))
        await store.replay(Selection(sink="again"), now=NOON, first_at=LATER, spacing=HOUR, limit=9)
        await store.accept(admission("held"))
        await store.claim("held", limit=1, now=NOON, lease=LEASE)
        await store.wish("crm", Wish(paused=True, at=NOON))
        await store.report("crm", GateState.BROKEN, DOWN, now=NOON)


async def content(url: str) -> Mapping[str, Any]:
    """All that can be asked of a store."""
    async with opened(url) as store:
        return {
            "events": list(await store.events(limit=999)),
            "deliveries": list(await store.deliveries(limit=999)),
            "totals": await store.totals(),
            "wishes": await store.wishes(),
            "sinks": list(await store.sinks()),
            "end": await store.end(),
        }


async def copied(origin: str, into: str) -> Mapping[str, int]:
    told: list[tuple[str, int, int]] = []
    source = await open_origin(origin)
    try:
        target = await open_copy(into)
        try:
            counts = await copy(source, target, told=lambda *step: told.append(step))
        finally:
            await target.close()
    finally:
        await source.close()
    assert {table: done for table, done, total in told if done == total}.keys() >= {"event", "mark", "delivery"}
    return counts


async def order_of_all(url: str, now: datetime) -> list[list[str]]:
    """The events of each sink in the order in which they go out from now on."""
    orders = []
    async with opened(url) as store:
        for sink in ("ordered", "again", "held"):
            seen: list[str] = []
            while claimed := await store.claim(sink, limit=2, now=now, lease=LEASE):
                seen += [delivery.event.id for delivery in claimed]
                await store.settle([(delivery, DONE) for delivery in claimed], now=now)
            orders.append(seen)
    return orders


@each_way
async def test_a_copy_is_the_store_over_again(tmp_path: Path, origin: str, into: str) -> None:
    source, target = await url_of(origin, tmp_path / "origin"), await url_of(into, tmp_path / "into")
    await fill(source)
    before = await content(source)
    counts = await copied(source, target)
    assert await content(target) == before
    assert await content(source) == before, "it is left as it was"
    assert counts["delivery pending"] == before["totals"]["pending"] == 11
    assert (counts["mark"], counts["failure"], counts["sink_wish"]) == (14, 3, 1)
    assert await order_of_all(target, LATER + HOUR) == await order_of_all(source, LATER + HOUR)


@each_way
async def test_a_copy_goes_on_where_the_store_ended(tmp_path: Path, origin: str, into: str) -> None:
    source, target = await url_of(origin, tmp_path / "origin"), await url_of(into, tmp_path / "into")
    first = admission("crm", order_key="m", of=event(uuid="u", meeting="m"))
    async with opened(source) as store:
        await store.accept(first)
    await copied(source, target)
    async with opened(target) as store:
        again = admission("crm", of=event(uuid="u", body=first.event.body))
        assert (await store.accept(again)).duplicate is DuplicateKind.UUID
        second = admission("crm", order_key="m", of=event(meeting="m"))
        await store.accept(second)
        for given in (first, second):
            [due] = await store.claim("crm", limit=9, now=LATER, lease=LEASE)
            assert due.event.id == given.event.id
            await store.settle([(due, DONE)], now=LATER)


class CutOff(RelayError):
    """The end of a copy before its end."""


def cut_off(copy: Copy, after: int) -> None:
    """Let it end at its so many-th step."""
    steps = iter(range(after))

    def cut(step: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def run(*arguments: Any) -> Any:
            if next(steps, None) is None:
                raise CutOff
            return await step(*arguments)

        return run

    for name in ("put", "counts", "finish"):
        setattr(copy, name, cut(getattr(copy, name)))


@pytest.mark.parametrize("into", STORES)
async def test_what_was_not_finished_is_no_store_and_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, into: str
) -> None:
    monkeypatch.setattr("relay.stores.tables._ROWS", 2)
    source, target = await url_of("sqlite", tmp_path / "origin"), await url_of(into, tmp_path / "into")
    await fill(source)
    for after in (0, 3, 12):
        reading, writing = await open_origin(source), await open_copy(target)
        cut_off(writing, after)
        with pytest.raises(CutOff):
            await copy(reading, writing, told=lambda *_: None)
        await writing.close()
        await reading.close()
        with pytest.raises(StoreUnusable, match="not finished; run `relay store copy` again"):
            await open_store(target)
    await copied(source, target)
    assert await content(target) == await content(source)


def test_a_step_is_neither_long_nor_large() -> None:
    for row, rows in (((1, "x"), 2000), ((1, b"x" * 1024 * 1024), 4)):
        batch = Batch()
        while not batch.is_full:
            batch.add(row)
        assert len(batch.rows) == rows


@pytest.mark.parametrize("kind", STORES)
async def test_every_column_is_copied(tmp_path: Path, kind: str) -> None:
    """But those that the store makes out of them, and those of tables that say who is at work."""
    url = await url_of(kind, tmp_path / "one")
    async with opened(url):
        pass
    found: dict[str, set[str]] = defaultdict(set)
    rows: Any
    if kind == "postgres":
        connection = await asyncpg.connect(url)
        rows = await connection.fetch(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'relay'"
        )
        await connection.close()
    else:
        sqlite = apsw.Connection(url.removeprefix("sqlite:///"))
        rows = sqlite.execute(
            "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type = 'table'"
        ).fetchall()
        sqlite.close()
    for table, column in rows:
        found[table].add(column)
    if kind == "sqlite":
        found["mark"] -= {"id", "uuid_key", "body_key"}
    assert {table: found[table] for table in TABLES} == {table: set(columns) for table, columns in TABLES.items()}
    assert found.keys() - TABLES.keys() <= {"schema", "node", "seat", "sink_word", "mark_fresh", "mark_filed"}
