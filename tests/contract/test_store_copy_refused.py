"""The store's contract, part eight: what no copy is made of, and which copy is no store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from relay.errors import StartError, StoreUnavailable, StoreUnusable
from relay.stores import open_copy, open_origin, open_store
from relay.stores.copying import copy
from tests.contract.stores import STORES
from tests.contract.test_store_copy import fill, opened, url_of
from tests.fakes.admissions import NOON, admission


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


async def test_no_relay_starts_on_a_file_that_is_being_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would work on what is pending, and so would whoever gets the copy."""
    monkeypatch.setattr("relay.stores.sqlite.presence._TRIES", 2)
    url = await url_of("sqlite", tmp_path / "one")
    async with opened(url) as store:
        source = await open_origin(url)
        with pytest.raises(StartError, match="is being copied"):
            await store.recover(now=NOON)
        with pytest.raises(StartError, match="is being copied"):
            await open_origin(url)
        await source.close()
        assert await store.recover(now=NOON) == 0


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
    source, target = await url_of("postgres", tmp_path / "origin"), await url_of("sqlite", tmp_path / "into")
    await fill(source)
    reading, writing = await open_origin(source), await open_copy(target)
    async with opened(source) as relay:
        await relay.recover(now=NOON)
        with pytest.raises(StoreUnusable, match="a relay works on"):
            await copy(reading, writing, told=lambda *_: None)
    await writing.close()
    await reading.close()


async def test_a_relay_that_has_worked_on_a_database_meanwhile_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And has ended again: what it took in is not in the copy."""
    source, target = await url_of("postgres", tmp_path / "origin"), await url_of("sqlite", tmp_path / "into")
    await fill(source)
    reading, writing = await open_origin(source), await open_copy(target)
    put = writing.put

    async def slow(table: str, rows: Sequence[tuple[object, ...]]) -> None:
        if table == "event":
            async with opened(source) as relay:
                await relay.recover(now=NOON)
                await relay.accept(admission("crm"))
        await put(table, rows)

    monkeypatch.setattr(writing, "put", slow)
    with pytest.raises(StoreUnusable, match=r"a relay has worked on .* meanwhile; stop all of them, and copy again"):
        await copy(reading, writing, told=lambda *_: None)
    await writing.close()
    await reading.close()
    with pytest.raises(StoreUnusable, match="not finished"):
        await open_store(target)


async def test_what_a_relay_has_taken_in_since_the_copy_was_opened_is_not_thrown_away(tmp_path: Path) -> None:
    source, target = await url_of("sqlite", tmp_path / "origin"), await url_of("postgres", tmp_path / "into")
    await fill(source)
    reading, writing = await open_origin(source), await open_copy(target)
    async with opened(target) as relay:
        await relay.recover(now=NOON)
        await relay.accept(admission("crm"))
    with pytest.raises(StoreUnusable, match="is not empty"):
        await copy(reading, writing, told=lambda *_: None)
    await writing.close()
    await reading.close()
    async with opened(target) as relay:
        assert await relay.totals() == {"routed": 1, "pending": 1}


async def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = await url_of("sqlite", tmp_path / "origin"), await url_of("sqlite", tmp_path / "into")
    await fill(source)
    reading, writing = await open_origin(source), await open_copy(target)
    begin = writing.begin

    async def nearly_full() -> None:
        await begin()
        connection = writing._connection  # type: ignore[attr-defined]
        connection.pragma("max_page_count", connection.pragma("page_count") + 2)

    monkeypatch.setattr(writing, "begin", nearly_full)
    with pytest.raises(StoreUnavailable, match="full"):
        await copy(reading, writing, told=lambda *_: None)
    await writing.close()
    await reading.close()
