"""The PostgreSQL servers that tests run are real, keep what was committed, and leave nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest

from tests import postgres
from tests.postgres.binaries import KINDS, OLDEST
from tests.postgres.server import Server


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with postgres.start(request.param) as started:
        yield started


async def test_a_server_keeps_what_was_committed_over_a_crash(server: Server) -> None:
    async with postgres.database(server.url()) as url:
        await postgres.execute(url, "CREATE TABLE kept AS SELECT 'here' AS word")
        await asyncio.to_thread(server.crash)
        with pytest.raises(OSError, match="Connect"):
            await postgres.fetch(url, "SELECT word FROM kept")
        await asyncio.to_thread(server.start)
        assert [row["word"] for row in await postgres.fetch(url, "SELECT word FROM kept")] == ["here"]
        assert "database system was not properly shut down" in server.log()
        [(version,)] = await postgres.fetch(url, "SELECT current_setting('server_version_num')::int / 10000")
        assert version >= OLDEST
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await postgres.fetch(url, "SELECT 1")


async def test_databases_are_apart_from_each_other_and_sort_as_people_do() -> None:
    async with postgres.database() as one:
        await postgres.execute(one, "CREATE TABLE of_one AS SELECT 1")
        async with postgres.database() as other:
            assert await postgres.fetch(other, "SELECT FROM pg_tables WHERE tablename = 'of_one'") == []
            assert (await postgres.fetch(other, "SELECT 'a' < 'B' AS people"))[0]["people"], "a store must ask for C"
