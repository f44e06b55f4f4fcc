"""A database for each folder. To make one costs much more than a test, so they are emptied and used again."""

from __future__ import annotations

import asyncio
import atexit
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from secrets import token_hex
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from relay.ports import Store
from relay.stores import open_store
from relay.stores.migrations import migrations

_KEPT = 3
"""Databases that nobody has open stay for a while: the next test of a folder may open its store again."""
_run = token_hex(4)
_made: list[str] = []
_names: dict[Path, str] = {}
"""The database of each folder, the one that was asked for last at the end."""
_open: Counter[str] = Counter()
# What a test did to the database itself would befall the next one.
_IS_SOUND = """
SELECT NOT EXISTS (SELECT FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
                    WHERE d.datname = current_database())
   AND NOT EXISTS (SELECT FROM pg_stat_activity
                    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend')
   AND obj_description('relay'::regnamespace) IS NULL
   AND (SELECT array_agg(number ORDER BY number) = $1::INTEGER[] FROM relay.schema)"""
_TABLES = "SELECT format('relay.%I', tablename) FROM pg_tables WHERE schemaname = 'relay' AND tablename <> 'schema'"
_EMPTY = "SELECT setval(format('relay.%I', sequencename), 1, false) FROM pg_sequences WHERE schemaname = 'relay'"


def server_url() -> str:
    """The database of a running server in which others can be created."""
    return os.environ["RELAY_TEST_POSTGRES"]


def is_there() -> bool:
    """Whether there is a server to test with."""
    return "RELAY_TEST_POSTGRES" in os.environ


def url_of(name: str) -> str:
    """The URL of a database on that server."""
    return urlunsplit(urlsplit(server_url())._replace(path=f"/{name}"))


@asynccontextmanager
async def postgres(folder: Path) -> AsyncIterator[Store]:
    """The store of this folder."""
    url = await database_of(folder)
    store = await open_store(url)
    _open[url] += 1
    try:
        yield store
    finally:
        _open[url] -= 1
        await store.close()


async def database_of(folder: Path) -> str:
    """The URL of this folder's database, which is its own until the tests end, or many others have come after it."""
    name = _names.pop(folder, None) or await _emptied() or await _new()
    _names[folder] = name
    return url_of(name)


async def _emptied() -> str | None:
    """One whose folder's test is over, as if it were new."""
    idle = [folder for folder, name in _names.items() if not _open[url_of(name)]]
    while len(idle) > _KEPT:
        name = _names.pop(idle.pop(0))
        if await _empty(name):
            return name
        await _execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    return None


async def _empty(name: str) -> bool:
    try:
        connection = await asyncpg.connect(url_of(name))
    except asyncpg.InvalidCatalogNameError:  # the test has dropped it
        return False
    try:
        if not await connection.fetchval(_IS_SOUND, [step.number for step in migrations("postgres")]):
            return False
        for (table,) in await connection.fetch(_TABLES):
            await connection.execute(f"DELETE FROM {table}")
        await connection.execute(_EMPTY)
    except asyncpg.PostgresError:  # no schema, or another one
        return False
    else:
        return True
    finally:
        await connection.close()


async def _new() -> str:
    if not _made:
        atexit.register(lambda: asyncio.run(_drop_all()))
        template = f"relay_test_{_run}_template"
        await _execute(f"CREATE DATABASE \"{template}\" TEMPLATE template0 ENCODING 'UTF8'")
        _made.append(template)
        await (await open_store(url_of(template))).close()
    name = f"relay_test_{_run}_{len(_made)}"
    await _execute(f'CREATE DATABASE "{name}" TEMPLATE "{_made[0]}"')
    _made.append(name)
    return name


async def _drop_all() -> None:
    for name in _made:
        await _execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


async def _execute(statement: str) -> None:
    connection = await asyncpg.connect(server_url())
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
