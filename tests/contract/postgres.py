"""A database for each folder, copied from one that is migrated: a copy takes a few hundredths of a second."""

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

_KEPT = 4
"""Databases that nobody has open stay for a while: the next test of a folder may open its store again."""
_run = token_hex(4)
_template: list[str] = []
_names: dict[Path, str] = {}
_open: Counter[str] = Counter()


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
    """The URL of this folder's database, which is made the first time. It goes when the tests end, or when many others
    have come after it."""
    if folder not in _names:
        await _drop_some(_KEPT)
        name = f"relay_test_{_run}_{len(_names)}_{token_hex(2)}"
        template = await _made_template()
        await _execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        _names[folder] = name
    return url_of(_names[folder])


async def _made_template() -> str:
    if not _template:
        name = f"relay_test_{_run}_template"
        await _execute(f"CREATE DATABASE \"{name}\" TEMPLATE template0 ENCODING 'UTF8'")
        store = await open_store(url_of(name))
        await store.close()
        _template.append(name)
        atexit.register(lambda: asyncio.run(_drop_all()))
    return _template[0]


async def _drop_some(kept: int) -> None:
    idle = [folder for folder, name in _names.items() if not _open[url_of(name)]]
    for folder in idle[: max(0, len(idle) - kept)]:
        await _execute(f'DROP DATABASE IF EXISTS "{_names.pop(folder)}" WITH (FORCE)')


async def _drop_all() -> None:
    for name in (*_names.values(), *_template):
        await _execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


async def _execute(statement: str) -> None:
    connection = await asyncpg.connect(server_url())
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
