"""A database for each folder. It is a copy of one that is migrated, or one that another test has left, wiped: a copy
costs seven times as much."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from relay.ports import Store
from relay.stores import open_store
from tests.postgres import connected, create, drop, shared

_KEPT = 4
"""Databases that nobody has open stay for a while: the next test of a folder may open its store again."""
_urls: dict[Path, str] = {}
_open: Counter[str] = Counter()
_whole: set[str] = set()
"""Databases that only stores have written: their schema is as it was."""
_TABLES = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname = 'relay'"
_SEQUENCES = "SELECT format('%I.%I', schemaname, sequencename) FROM pg_sequences WHERE schemaname = 'relay'"


@asynccontextmanager
async def postgres(folder: Path) -> AsyncIterator[Store]:
    """The store of this folder."""
    url = await _database(folder, whole=True)
    store = await open_store(url)
    _open[url] += 1
    try:
        yield store
    finally:
        _open[url] -= 1
        await store.close()


async def database_of(folder: Path) -> str:
    """The URL of this folder's database, which is made the first time. It goes when the tests end, or when many others
    have come after it. The test may do to it what it likes."""
    return await _database(folder, whole=False)


async def _database(folder: Path, *, whole: bool) -> str:
    if folder not in _urls:
        idle = [each for each, url in _urls.items() if not _open[url]]
        left = [_urls.pop(each) for each in idle[: max(0, len(idle) - _KEPT)]]
        again = next((url for url in left if url in _whole), None)
        for url in left:
            if url != again:
                await drop(url)
        _urls[folder] = await create(shared(), schema=True) if again is None else await _wiped(again)
    if whole:
        _whole.add(_urls[folder])
    else:
        _whole.discard(_urls[folder])
    return _urls[folder]


async def _wiped(url: str) -> str:
    async with connected(url) as connection:
        tables = {row[0] for row in await connection.fetch(_TABLES)} - {"relay.schema"}
        sequences = [row[0] for row in await connection.fetch(_SEQUENCES)]
        wiping = [f"DELETE FROM {table}" for table in sorted(tables)]  # faster than TRUNCATE, of so few rows
        await connection.execute("; ".join([*wiping, *(f"ALTER SEQUENCE {each} RESTART" for each in sequences)]))
    return url
