"""A PostgreSQL database that is copied, or copied into."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from relay.errors import StoreUnusable
from relay.stores.postgres.connection import TROUBLE, Connection, classify, connect, reaching, refusal
from relay.stores.postgres.intake import short
from relay.stores.postgres.schema import check, is_unfinished, mark_unfinished, migrate
from relay.stores.postgres.server import Server, parse
from relay.stores.rows import Row
from relay.stores.tables import PIECE, TABLES, Batch, count, in_use, named, select

_AT_WORK = "SELECT EXISTS (SELECT FROM relay.node WHERE seen_at > relay.clock() - 5000000)"
_PATIENT = "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0"
# The flush of `finish` is one of all that was written before.
_HASTY = "SET LOCAL statement_timeout = 0; SET LOCAL synchronous_commit = off"
_ALONE = f"LOCK TABLE {', '.join(f'relay.{table}' for table in TABLES)} IN ACCESS EXCLUSIVE MODE"
_GO_ON = (
    "SELECT setval('relay.event_seq_seq', greatest(max(seq), 1), max(seq) IS NOT NULL) FROM relay.event",
    "SELECT setval('relay.delivery_id_seq', greatest(max(id), 1), max(id) IS NOT NULL) FROM relay.delivery",
)


class PostgresOrigin:
    """An `Origin` in a database: one transaction from beginning to end, which sees one moment."""

    def __init__(self, server: Server, connection: Connection) -> None:
        self._server = server
        self._connection = connection
        self._counted: Mapping[str, int] = {}

    @classmethod
    async def open(cls, url: str) -> PostgresOrigin:
        """Connect; raises StartError or StoreUnusable, also where a relay works on it."""
        server = parse(url)
        async with reaching(server) as connection:
            await check(connection, server, create=False)
            await _check_alone(connection, server)
        try:
            connection = await connect(server, reads=True)
            await connection.transaction(isolation="repeatable_read", readonly=True).start()
            await connection.execute(_PATIENT)
        except TROUBLE as error:
            raise refusal(error, server) from error
        return cls(server, connection)

    async def counts(self) -> Mapping[str, int]:
        """See `Origin.counts`."""
        self._counted = await _counts(self._connection, self._server)
        return self._counted

    async def rows(self, table: str) -> AsyncIterator[Sequence[Row]]:
        """See `Origin.rows`."""
        try:
            cursor = await self._connection.cursor(select(table, schema="relay."))
            while rows := await cursor.fetch(PIECE):
                batch = Batch()
                while rows:
                    for row in rows:
                        batch.add(tuple(row))
                    if batch.is_full:
                        break
                    rows = await cursor.fetch(PIECE)
                yield batch.rows
        except TROUBLE as error:
            raise classify(error, self._server) from error

    async def check(self) -> None:
        """See `Origin.check`. One that has ended again has left what the transaction of the copy does not see."""
        async with reaching(self._server) as connection:
            await _check_alone(connection, self._server)
            if await _counts(connection, self._server) != self._counted:
                told = f"store: a relay has worked on {self._server.name} meanwhile; stop all of them, and copy again"
                raise StoreUnusable(told, kind="busy")

    async def close(self) -> None:
        """See `Origin.close`."""
        self._connection.terminate()


class PostgresCopy:
    """A `Copy` in a database. A remark on its schema keeps relays away until it is whole."""

    def __init__(self, server: Server, connection: Connection) -> None:
        self._server = server
        self._connection = connection

    @classmethod
    async def open(cls, url: str) -> PostgresCopy:
        """Connect, and make the tables; raises StartError or StoreUnusable, also where there is something in them."""
        server = parse(url)
        async with reaching(server) as connection:
            await check(connection, server, create=True, unfinished=True)
            await migrate(connection)
            await _check_free(connection, server)
        try:
            return cls(server, await connect(server))
        except TROUBLE as error:
            raise refusal(error, server) from error

    async def begin(self) -> None:
        """See `Copy.begin`. What a relay has written since `open` is not thrown away."""
        try:
            async with self._connection.transaction():
                await self._connection.execute(_ALONE)
                await _check_free(self._connection, self._server)
                await mark_unfinished(self._connection, unfinished=True)
                await self._connection.execute(f"TRUNCATE {', '.join(f'relay.{table}' for table in TABLES)}")
        except TROUBLE as error:
            raise refusal(error, self._server) from error

    async def put(self, table: str, rows: Sequence[Row]) -> None:
        """See `Copy.put`."""
        try:
            async with self._connection.transaction():
                await self._connection.execute(_HASTY)
                await self._connection.copy_records_to_table(
                    table, schema_name="relay", columns=TABLES[table], records=[_fitted(table, row) for row in rows]
                )
        except TROUBLE as error:
            raise classify(error, self._server) from error

    async def counts(self) -> Mapping[str, int]:
        """See `Copy.counts`."""
        return await _counts(self._connection, self._server)

    async def finish(self) -> None:
        """See `Copy.finish`."""
        await _check_alone(self._connection, self._server)
        try:
            async with self._connection.transaction():
                await self._connection.execute(_PATIENT)
                for statement in _GO_ON:
                    await self._connection.execute(statement)
                for table in TABLES:  # else questions are planned for empty tables until the server finds out
                    await self._connection.execute(f"ANALYZE relay.{table}")
                await mark_unfinished(self._connection, unfinished=False)
        except TROUBLE as error:
            raise classify(error, self._server) from error

    async def close(self) -> None:
        """See `Copy.close`."""
        self._connection.terminate()


def _fitted(table: str, row: Row) -> Row:
    """The row as it stands in a table here."""
    if table == "mark":
        source, webhook_id, uuid, *others = row
        return (source, short(webhook_id), short(uuid), *others)
    if table == "sink_wish":
        return (row[0], bool(row[1]), row[2])
    return row


async def _counts(connection: Connection, server: Server) -> Mapping[str, int]:
    try:
        async with connection.transaction():
            await connection.execute(_PATIENT)
            return {
                name: number
                for table in TABLES
                for name, number in named(
                    table, [tuple(row) for row in await connection.fetch(count(table, schema="relay."))]
                )
            }
    except TROUBLE as error:
        raise classify(error, server) from error


async def _check_free(connection: Connection, server: Server) -> None:
    await _check_alone(connection, server)
    if not await is_unfinished(connection) and in_use(await _counts(connection, server)):
        raise StoreUnusable(f"store: {server.name} is not empty; name a database that is", kind="other")


async def _check_alone(connection: Connection, server: Server) -> None:
    if await connection.fetchval(_AT_WORK):
        raise StoreUnusable(f"store: a relay works on {server.name}; stop all of them first", kind="busy")
