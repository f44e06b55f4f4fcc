"""The stores, by the scheme of their URL."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

from relay.errors import StartError
from relay.ports import Copy, Live, Origin, Store
from relay.records import Schema
from relay.stores.sqlite import SqliteStore, connection
from relay.stores.sqlite.copying import SqliteCopy, SqliteOrigin
from relay.stores.sqlite.live import SqliteLive

_POSTGRES = ("postgresql://", "postgres://")


def sqlite_path(url: str) -> Path | None:
    """The file of a `sqlite:///` URL: three slashes for a relative path, four for an absolute one. None for others."""
    return (
        Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") and len(url) > len("sqlite:///") else None
    )


def unfit(url: str) -> str:
    """What is wrong with the URL of a store, and what to do about it; empty: nothing that can be seen in it. It is
    for the file or the server to tell whether there is a store. Nothing of the URL is repeated."""
    if url.startswith("sqlite:"):
        if not url.startswith("sqlite:///"):
            return "has too few slashes; write sqlite:///data/relay.db, or sqlite:////var/lib/relay.db"
        no_file = url.removeprefix("sqlite:///") in ("", ":memory:")
        return "names no file; write sqlite:///data/relay.db" if no_file else ""
    if not url.startswith(_POSTGRES):
        return "is no store; write sqlite:///data/relay.db, or postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
    from relay.stores.postgres.server import parse  # noqa: PLC0415 - who uses SQLite need not pay for asyncpg

    try:
        parse(url)
    except StartError as error:
        return str(error).removeprefix("store: ")
    return ""


async def open_store(
    url: str,
    *,
    create: bool = True,
    min_free: int = 0,
    owner: str | None = None,
    upkeep: bool = True,
    takes_turns: bool = False,
) -> Store:
    """Open the store that the URL names and bring its schema up to date.

    `create=False` is for tools that look at an existing store. With less than `min_free` bytes of free space where a
    file is, it accepts no event. `owner` is the name under which leases are held, a new one unless it is given.
    `upkeep=False` leaves to another process what has to be done by one for all; `takes_turns` is for processes that
    write all the time beside each other.

    Raises:
        StartError: it cannot be opened; the message says what to do.
        StoreUnusable: what is there cannot be used as a store, and is left untouched.
    """
    path = sqlite_path(url)
    if path is not None:
        return await SqliteStore.open(
            path, create=create, min_free=min_free, owner=owner, moves_log=upkeep, takes_turns=takes_turns
        )
    if url.startswith(_POSTGRES):
        from relay.stores.postgres import PostgresStore  # noqa: PLC0415 - as above

        return await PostgresStore.open(url, create=create, owner=owner)
    raise _unknown(url)


async def open_live(url: str) -> Live:
    """The store that the URL names, to look on while others work on it. Raises as `open_store` does."""
    path = sqlite_path(url)
    if path is not None:
        return await SqliteLive.open(path)
    if url.startswith(_POSTGRES):
        from relay.stores.postgres.live import PostgresLive  # noqa: PLC0415 - as above

        return await PostgresLive.open(url)
    raise _unknown(url)


async def schema_of(url: str) -> Schema:
    """How the schema of the store is that the URL names; nothing is changed. Raises as `open_store` does."""
    path = sqlite_path(url)
    if path is not None:
        return await asyncio.to_thread(connection.schema_of, path)
    if url.startswith(_POSTGRES):
        from relay.stores.postgres.schema import look  # noqa: PLC0415 - as above
        from relay.stores.postgres.server import parse  # noqa: PLC0415 - as above

        return await look(parse(url))
    raise _unknown(url)


async def open_origin(url: str) -> Origin:
    """The store that the URL names, to be copied. Raises as `open_store` does, also where a relay works on it."""
    path = sqlite_path(url)
    if path is not None:
        return await SqliteOrigin.open(path)
    if url.startswith(_POSTGRES):
        from relay.stores.postgres.copying import PostgresOrigin  # noqa: PLC0415 - as above

        return await PostgresOrigin.open(url)
    raise _unknown(url)


async def open_copy(url: str) -> Copy:
    """The store that the URL names, to be copied into. Raises as `open_store` does, also where it is not empty."""
    path = sqlite_path(url)
    if path is not None:
        return await SqliteCopy.open(path)
    if url.startswith(_POSTGRES):
        from relay.stores.postgres.copying import PostgresCopy  # noqa: PLC0415 - as above

        return await PostgresCopy.open(url)
    raise _unknown(url)


def _unknown(url: str) -> StartError:
    scheme = urlsplit(url).scheme or "nothing"
    return StartError(f"store: cannot use {scheme!r}; write sqlite:///data/relay.db, or postgresql://…")
