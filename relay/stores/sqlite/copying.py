"""A SQLite file that is copied, or copied into. Whoever does it holds the lock by which relays know of each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import ParamSpec, TypeVar

import apsw

from relay.errors import StartError, StoreUnusable
from relay.stores.rows import Row
from relay.stores.sqlite import marks
from relay.stores.sqlite.connection import APPLICATION_ID, UNFINISHED_ID, classify, open_file, open_to_look
from relay.stores.sqlite.presence import Presence
from relay.stores.tables import TABLES, Batch, count, in_use, named, select

P = ParamSpec("P")
T = TypeVar("T")


class SqliteOrigin:
    """An `Origin` in one file: one read transaction from beginning to end."""

    def __init__(self, connection: apsw.Connection, alone: ExitStack) -> None:
        self._connection = connection
        self._alone = alone

    @classmethod
    async def open(cls, path: Path) -> SqliteOrigin:
        """Open the file; raises StartError or StoreUnusable, also where a relay works on it."""
        connection = await asyncio.to_thread(open_to_look, path)
        try:
            alone = _alone(path)
        except StoreUnusable:
            connection.close()
            raise
        connection.execute("BEGIN")
        return cls(connection, alone)

    async def counts(self) -> Mapping[str, int]:
        """See `Origin.counts`."""
        return await _done(_counts, self._connection)

    async def rows(self, table: str) -> AsyncIterator[Sequence[Row]]:
        """See `Origin.rows`."""
        cursor = self._connection.execute(select(table))
        while rows := await _done(_taken, cursor):
            yield rows

    async def check(self) -> None:
        """See `Origin.check`: the lock is held all the time."""

    async def close(self) -> None:
        """See `Origin.close`."""
        self._connection.close()
        self._alone.close()


class SqliteCopy:
    """A `Copy` in one file. It bears another mark than a store until it is whole."""

    def __init__(self, path: Path, alone: ExitStack) -> None:
        self._path = path
        self._alone = alone
        self._connection: apsw.Connection | None = None

    @classmethod
    async def open(cls, path: Path) -> SqliteCopy:
        """Look whether it may be written; raises StartError or StoreUnusable."""
        await asyncio.to_thread(_check, path)
        return cls(path, _alone(path))

    async def begin(self) -> None:
        """See `Copy.begin`."""
        self._connection = await _done(_begun, self._path)

    async def put(self, table: str, rows: Sequence[Row]) -> None:
        """See `Copy.put`."""
        await _done(_put, self._open, table, rows)

    async def counts(self) -> Mapping[str, int]:
        """See `Copy.counts`."""
        return await _done(_counts, self._open)

    async def finish(self) -> None:
        """See `Copy.finish`."""
        await _done(_finish, self._open)

    async def close(self) -> None:
        """See `Copy.close`."""
        if self._connection is not None:
            self._connection.close()
        self._alone.close()

    @property
    def _open(self) -> apsw.Connection:
        assert self._connection is not None, "it must be begun first"  # noqa: S101 - for who changes this code
        return self._connection


async def _done(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Do this in a thread. Raises StoreUnavailable."""
    try:
        return await asyncio.to_thread(work, *arguments, **named)
    except apsw.Error as error:
        raise classify(error) from error


def _alone(path: Path) -> ExitStack:
    """Held until it is closed: a relay that starts meanwhile waits for it."""
    stack = ExitStack()
    presence = Presence(path)
    stack.callback(presence.leave)
    try:
        if stack.enter_context(presence.joining()):
            return stack
    except StartError:  # another copy holds it
        stack.close()
        raise
    stack.close()
    raise StoreUnusable(f"store: a relay works on {path}; stop it first", kind="busy")


def _check(path: Path) -> None:
    """Raises where it cannot be used, or is in use."""
    if path.exists() and not _is_unfinished(path):
        open_file(path, create=True).close()  # whatever is wrong with it shows now
        if _is_in_use(path):
            raise StoreUnusable(f"store: {path} is not empty; name a file that is, or none", kind="other")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(f"store: cannot use {path}: {error.strerror}; name another file") from error


def _is_unfinished(path: Path) -> bool:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return bool(connection.pragma("application_id") == UNFINISHED_ID)
    except (apsw.NotADBError, apsw.CorruptError):  # no copy of ours, and told by those who open it
        return False
    finally:
        connection.close()


def _is_in_use(path: Path) -> bool:
    connection = open_to_look(path)
    try:
        return in_use(_counts(connection))
    finally:
        connection.close()


def _begun(path: Path) -> apsw.Connection:
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        path.with_name(name).unlink(missing_ok=True)
    connection = open_file(path, create=True)
    connection.pragma("application_id", UNFINISHED_ID)
    connection.pragma("synchronous", "normal")  # until it is finished, nothing depends on it
    connection.pragma("wal_autocheckpoint", 4096)
    return connection


def _put(connection: apsw.Connection, table: str, rows: Sequence[Row]) -> None:
    columns = TABLES[table]
    if table == "mark":
        columns, rows = (*columns, "uuid_key", "body_key"), [(*row, *marks.keys_of(row[:4])) for row in rows]
    sql = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608
    connection.execute("BEGIN")
    try:
        connection.executemany(sql, rows)
        connection.execute("COMMIT")
    except apsw.Error:
        if connection.in_transaction:  # a full disk has ended it already
            connection.execute("ROLLBACK")
        raise


def _finish(connection: apsw.Connection) -> None:
    with connection:
        marks.file_all(connection)
    connection.pragma("synchronous", "full")
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    connection.pragma("application_id", APPLICATION_ID)


def _counts(connection: apsw.Connection) -> Mapping[str, int]:
    return {
        name: number for table in TABLES for name, number in named(table, connection.execute(count(table)).fetchall())
    }


def _taken(cursor: apsw.Cursor) -> Sequence[Row]:
    batch = Batch()
    for row in cursor:
        batch.add(row)
        if batch.is_full:
            break
    return batch.rows
