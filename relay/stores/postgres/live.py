"""A store seen by those who look on: short reads on a connection of their own, that cannot write.

Settled deliveries have no index by time, as it would cost every settle. What is followed is known by its id instead:
what has just come in, and of the backlog what is next in each queue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import groupby

from relay.model import Selection
from relay.records import Arrival, DeliveryRecord, Step
from relay.stores.postgres.connection import READING_MS, Connection, reaching
from relay.stores.postgres.horizon import Horizon, end
from relay.stores.postgres.ledger import delivery_records
from relay.stores.postgres.pool import Pool
from relay.stores.postgres.queues import QUEUES, SINKS
from relay.stores.postgres.schema import check
from relay.stores.postgres.selection import ask, event_conditions, where
from relay.stores.postgres.server import Server, parse
from relay.stores.rows import DELIVERY_COLUMNS, EVENT_COLUMNS, event_record, to_micros

_PATIENCE = 0.05
"""Seconds for which a look waits for what is being written just now; else the next look has it."""
# Several nodes accept, so events are numbered only about in the order in which they came in.
SINCE = """
SELECT min(seq) - 1 FROM (
    SELECT seq FROM relay.event WHERE received_at >= $1 ORDER BY received_at, seq LIMIT 1000) first"""
NEXT = """
SELECT max(seq) FROM (
    SELECT seq FROM relay.event WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT $3) next"""
ARRIVED = f"SELECT {EVENT_COLUMNS}, e.state, e.detail, e.seq FROM relay.event e{{where}} ORDER BY e.seq"  # noqa: S608
DELIVERIES = f"""
SELECT {DELIVERY_COLUMNS}, d.event FROM relay.delivery d JOIN relay.event e ON e.seq = d.event
 WHERE d.event > $1 AND d.event <= $2 ORDER BY d.event, d.id"""  # noqa: S608
HEAD = """
SELECT d.id, d.attempt - (d.owner IS NOT NULL)::integer
  FROM ({sinks}) queue CROSS JOIN LATERAL (
        SELECT id, event, attempt, owner FROM relay.delivery
         WHERE sink = queue.sink AND state = 'pending' AND {queue} AND due_at IS NOT NULL
         ORDER BY due_at, id LIMIT $1) d
  JOIN relay.event e ON e.seq = d.event"""
MOVED = f"""
SELECT {DELIVERY_COLUMNS} FROM unnest($1::bigint[], $2::integer[]) ended (delivery, attempts)
  JOIN relay.delivery d ON d.id = ended.delivery JOIN relay.event e ON e.seq = d.event
 WHERE d.state <> 'pending' OR d.attempt - (d.owner IS NOT NULL)::integer > ended.attempts"""  # noqa: S608


class PostgresLive:
    """A `Live` over the database of a `PostgresStore`."""

    def __init__(self, server: Server) -> None:
        self._pool = Pool(server, size=1, statement_ms=READING_MS, reads=True)
        self._horizon = Horizon()

    @classmethod
    async def open(cls, url: str) -> PostgresLive:
        """Look whether there is a store; raises StartError or StoreUnusable."""
        server = parse(url)
        async with reaching(server) as connection:
            await check(connection, server, create=False)
        return cls(server)

    async def place(self, since: datetime | None = None) -> int:
        """See `Live.place`."""
        return await self._pool.run(partial(place, horizon=self._horizon, since=since))

    async def arrived(self, selection: Selection, *, after: int, limit: int) -> Step[Sequence[Arrival]]:
        """See `Live.arrived`."""
        return await self._pool.run(
            partial(arrived, horizon=self._horizon, selection=selection, after=after, limit=limit)
        )

    async def waiting(self, selection: Selection, *, limit: int) -> Mapping[int, int]:
        """See `Live.waiting`."""
        return await self._pool.run(partial(waiting, selection=selection, limit=limit))

    async def moved(self, ended: Mapping[int, int]) -> Sequence[DeliveryRecord]:
        """See `Live.moved`."""
        return await self._pool.run(partial(moved, ended=ended)) if ended else ()

    async def close(self) -> None:
        """See `Live.close`."""
        await self._pool.close()


async def place(connection: Connection, *, horizon: Horizon, since: datetime | None) -> int:
    """The newest event's place, or the one before the first of that moment."""
    found = None if since is None else await connection.fetchval(SINCE, to_micros(since))
    return int(await end(connection, horizon) if found is None else found)


async def arrived(
    connection: Connection, *, horizon: Horizon, selection: Selection, after: int, limit: int
) -> Step[Sequence[Arrival]]:
    """The events of the next step that are meant, with their deliveries. Which they are is looked at first, so that a
    step is short also where none of them is meant."""
    upto = await _next(connection, horizon, after=after, limit=limit)
    if upto is None:
        return Step(done=(), next=None)
    clause, arguments = where(event_conditions(selection) | {"e.seq > ?": after, "e.seq <= ?": upto})
    events = await ask(connection, ARRIVED.format(where=clause), *arguments)
    rows = await ask(connection, DELIVERIES, after, upto) if events else []
    of = {event: list(group) for event, group in groupby(rows, key=lambda row: row[-1])}
    records = iter(await delivery_records(connection, [row for each in events for row in of.get(each[-1], ())]))
    found = [
        Arrival(event=event_record(each), deliveries=[next(records) for _ in of.get(each[-1], ())]) for each in events
    ]
    return Step(done=found, next=upto)


async def _next(connection: Connection, horizon: Horizon, *, after: int, limit: int) -> int | None:
    """Where the next step ends; not beyond what is complete. That is asked anew only by who has seen all of it."""
    upto: int | None = None
    if after < horizon.complete:
        upto = await connection.fetchval(NEXT, after, horizon.complete, limit)
    if upto is not None:
        return upto
    complete = await horizon.look(connection, patience=_PATIENCE)
    found: int | None = await connection.fetchval(NEXT, after, complete, limit)
    return found


async def waiting(connection: Connection, *, selection: Selection, limit: int) -> Mapping[int, int]:
    """The heads of all queues."""
    clause, arguments = where(event_conditions(selection) | {"queue.sink = ?": selection.sink}, first=2)
    found: dict[int, int] = {}
    for queue in QUEUES:
        sql = HEAD.format(sinks=SINKS[queue], queue=queue) + clause
        found.update({row[0]: row[1] for row in await ask(connection, sql, limit, *arguments)})
    return found


async def moved(connection: Connection, *, ended: Mapping[int, int]) -> Sequence[DeliveryRecord]:
    """Looked up by id, each by itself."""
    return await delivery_records(connection, await ask(connection, MOVED, list(ended), list(ended.values())))
