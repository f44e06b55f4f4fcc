"""The store's contract, part seven: a copy is the store over again, whatever kind either of them is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

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
from relay.stores.tables import Batch
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
        await store.purge(delivered_before=NOON + SECOND, dead_before=NOON + SECOND, limit=9)
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


@pytest.mark.parametrize("into", STORES)
async def test_a_copy_that_is_not_the_same_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, into: str
) -> None:
    source, target = await url_of("sqlite", tmp_path / "origin"), await url_of(into, tmp_path / "into")
    await fill(source)
    reading, writing = await open_origin(source), await open_copy(target)
    put = writing.put

    async def lossy(table: str, rows: Sequence[tuple[object, ...]]) -> None:
        await put(table, rows if table != "failure" else rows[1:])

    monkeypatch.setattr(writing, "put", lossy)
    with pytest.raises(StoreUnusable, match=r"the copy holds .*failure: 2.*, and not .*failure: 3"):
        await copy(reading, writing, told=lambda *_: None)
    await writing.close()
    await reading.close()
    with pytest.raises(StoreUnusable, match="not finished"):
        await open_store(target)


@pytest.mark.parametrize("kind", STORES)
async def test_nothing_is_copied_while_a_relay_is_at_work(tmp_path: Path, kind: str) -> None:
    at_work = await url_of(kind, tmp_path / "one")
    async with opened(at_work) as store:
        await store.recover(now=NOON)
        for opening in (open_origin, open_copy):
            with pytest.raises(StoreUnusable, match=r"a relay works on .*; stop"):
                await opening(at_work)
    source = await open_origin(at_work)
    await source.close()


@pytest.mark.parametrize("kind", STORES)
async def test_nothing_is_copied_into_what_is_in_use(tmp_path: Path, kind: str) -> None:
    url = await url_of(kind, tmp_path / "one")
    async with opened(url) as store:
        await store.accept(admission())
    with pytest.raises(StoreUnusable, match="is not empty"):
        await open_copy(url)
    async with opened(url) as store:
        assert await store.totals() == {"unrouted": 1}


async def test_a_relay_that_begins_to_work_on_a_database_meanwhile_is_noticed(tmp_path: Path) -> None:
    """Its lock would keep it away from a file."""
    if "postgres" not in STORES:
        pytest.skip("RELAY_TEST_POSTGRES names no server")
    source, target = await url_of("postgres", tmp_path / "origin"), await url_of("sqlite", tmp_path / "into")
    await fill(source)
    reading, writing = await open_origin(source), await open_copy(target)
    async with opened(source) as relay:
        await relay.recover(now=NOON)
        with pytest.raises(StoreUnusable, match="a relay works on"):
            await copy(reading, writing, told=lambda *_: None)
    await writing.close()
    await reading.close()


def test_a_step_is_neither_long_nor_large() -> None:
    for row, rows in (((1, "x"), 2000), ((1, b"x" * 1024 * 1024), 4)):
        batch = Batch()
        while not batch.is_full:
            batch.add(row)
        assert len(batch.rows) == rows
