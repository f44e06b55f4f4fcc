"""The schema `relay`: whether it is there, and migrating it.

Each migration is one transaction, under a lock that lets only one node migrate at a time. Its first line says the
oldest schema whose relay may go on working beside it: one that only adds says an old number, and old nodes stay until
they are upgraded; one that takes away says its own, and old nodes no longer start.
"""

from __future__ import annotations

import asyncio
import random
import re

from asyncpg import exceptions

from relay.errors import StartError, StoreUnusable
from relay.records import Schema
from relay.stores.migrations import Migration, migrations
from relay.stores.postgres.connection import Connection, reaching
from relay.stores.postgres.server import Server

_OLDEST = re.compile(r"-- oldest relay schema that may go on with it: (\d+)\n")
_OLDEST_SERVER = 15
_LOCK = 0x4479746552656C61
"""`DyteRela` in ASCII: held by the one who migrates."""
_MIGRATING = "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '20s'; SET LOCAL client_min_messages = warning"
_GIVING_WAY = "SET LOCAL lock_timeout = '300ms'"
_TRIES, _PAUSE = 60, 0.3
_UNFINISHED = "dyte-relay: another store is being copied into this one"
_ABOUT = """
SELECT current_setting('server_encoding'), obj_description(to_regnamespace('relay'), 'pg_namespace')"""
# In one statement: what another node creates at this moment is not taken for another program's.
_THERE = """
SELECT to_regclass('relay.schema') IS NULL,
       (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'relay')"""
_NUMBERS = """
SELECT coalesce(max(number), 0), coalesce(max(oldest) FILTER (WHERE number > $1), 0) FROM relay.schema"""
_BEGIN = """
CREATE SCHEMA IF NOT EXISTS relay;
CREATE TABLE IF NOT EXISTS relay.schema (
    number     INTEGER PRIMARY KEY,
    oldest     INTEGER NOT NULL,
    applied_at TIMESTAMPTZ NOT NULL DEFAULT now()
)"""


async def prepare(connection: Connection, server: Server, *, create: bool) -> None:
    """Check, and migrate where something is due and it is to be done: who may create nothing can go on with what
    another has made. Raises as `check` does."""
    found = await check(connection, server, create=create)
    if found < len(migrations("postgres")):
        await migrate(connection)


async def is_unfinished(connection: Connection) -> bool:
    """Whether what is there is a copy that was not finished."""
    return bool((await connection.fetchrow(_ABOUT) or ("", None))[1] == _UNFINISHED)


async def mark_unfinished(connection: Connection, *, unfinished: bool) -> None:
    """Say that no relay may open it, or that it may be opened again."""
    remark = f"'{_UNFINISHED}'" if unfinished else "NULL"
    await connection.execute(f"COMMENT ON SCHEMA relay IS {remark}")


async def look(server: Server) -> Schema:
    """What is there; nothing is changed. Raises as `check` does, but where there is nothing yet."""
    async with reaching(server) as connection:
        found = await check(connection, server, create=True)
    due = migrations("postgres")[found:]
    return Schema(
        found=found,
        known=len(migrations("postgres")),
        due=[step.name for step in due],
        oldest=max((oldest(step) for step in due), default=0),
    )


def oldest(step: Migration) -> int:
    """The oldest schema whose relay may go on with this one."""
    match = _OLDEST.match(step.sql)
    return step.number if match is None else int(match[1])


async def check(
    connection: Connection, server: Server, *, create: bool, known: int | None = None, unfinished: bool = False
) -> int:
    """The number of the schema that is there, 0 for none, if this relay can work with it; with `unfinished` also with
    a copy that was not finished.

    Raises:
        StartError: there is none, and none is to be created; or the server is too old.
        StoreUnusable: it is of a relay that is too new or too old, or of another program, or the database cannot hold
            all texts.
    """
    known = len(migrations("postgres")) if known is None else known
    if (version := connection.get_server_version().major) < _OLDEST_SERVER:
        raise StartError(
            f"store: {server.name} is PostgreSQL {version}, and the relay needs {_OLDEST_SERVER} or newer; "
            "upgrade the server, or name another one"
        )
    encoding, remark = await connection.fetchrow(_ABOUT) or ("", None)
    _check_database(server, encoding=encoding, unfinished=remark == _UNFINISHED and not unfinished)
    absent, foreign = await connection.fetchrow(_THERE) or (True, 0)
    if absent:
        _check_empty(server, foreign=foreign, create=create)
        return 0
    found, needed = await connection.fetchrow(_NUMBERS, known) or (0, 0)
    _check_number(server, found=found, needed=needed, known=known, create=create)
    return int(found)


def _check_database(server: Server, *, encoding: str, unfinished: bool) -> None:
    if encoding != "UTF8":
        raise StoreUnusable(
            f"store: {server.name} holds texts as {encoding}; name a database made with `createdb --encoding=UTF8`",
            kind="corrupt",
        )
    if unfinished:
        raise StoreUnusable(
            f"store: {server.name} holds a copy that was not finished; run `relay store copy` again", kind="corrupt"
        )


def _check_number(server: Server, *, found: int, needed: int, known: int, create: bool) -> None:
    if needed > known:
        raise StoreUnusable(
            f"store: {server.name} was brought to schema {found} by a newer relay, with which relays that know only "
            f"{known} cannot work (they have to know {needed}); upgrade the relay",
            kind="version",
        )
    if not create and found < known:
        raise StoreUnusable(
            f"store: {server.name} was written by an older relay; `relay serve` brings it up to date, and so does "
            "`relay migrate`",
            kind="version",
        )


def _check_empty(server: Server, *, foreign: int, create: bool) -> None:
    if not create:
        raise StartError(f"store: there is no store in {server.name} yet; `relay serve` creates it")
    if foreign:
        raise StoreUnusable(
            f"store: {server.name} has a schema `relay` of another program; name another database", kind="corrupt"
        )


async def migrate(connection: Connection, *, upto: int | None = None) -> int:
    """Apply what is missing, each step in one transaction with its number; how many steps that were."""
    async with connection.transaction():
        await connection.execute(_MIGRATING)
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await connection.execute(_BEGIN)
    return sum([await _apply(connection, step) for step in migrations("postgres")[:upto]])


async def _apply(connection: Connection, step: Migration) -> bool:
    """Apply it, unless another node was first. Others are at work meanwhile. While it waits for one of them, all the
    others wait behind it; so it does that for a moment only, gives way, and comes again."""
    for left in reversed(range(_TRIES)):
        try:
            async with connection.transaction():
                return await _apply_now(connection, step)
        except (exceptions.LockNotAvailableError, exceptions.DeadlockDetectedError):
            if not left:
                raise
            await asyncio.sleep(_PAUSE * (1 + random.random()))  # noqa: S311 - no secret
    return False


async def _apply_now(connection: Connection, step: Migration) -> bool:
    await connection.execute(_MIGRATING)
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
    if await connection.fetchval("SELECT coalesce(max(number), 0) FROM relay.schema") >= step.number:
        return False
    await connection.execute(_GIVING_WAY)
    await connection.execute(step.sql)
    await connection.execute("INSERT INTO relay.schema (number, oldest) VALUES ($1, $2)", step.number, oldest(step))
    return True
