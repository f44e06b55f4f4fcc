"""A store seen by those who look on: short reads on a connection that cannot write, and moves no log.

Settled deliveries have no index by time, as it would cost every settle. What is followed is known by its id instead:
what has just come in, and of the backlog what is next in each queue.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import groupby
from pathlib import Path

import apsw

from relay.model import Selection
from relay.records import Arrival, DeliveryRecord, Step
from relay.stores.rows import DELIVERY_COLUMNS, EVENT_COLUMNS, Row, delivery_record, event_record, to_micros
from relay.stores.sqlite.connection import open_to_look
from relay.stores.sqlite.ledger import attempts
from relay.stores.sqlite.queues import QUEUES, sinks_of
from relay.stores.sqlite.reading import Reader
from relay.stores.sqlite.selection import event_conditions, where

END = "SELECT coalesce(max(seq), 0) FROM event"
SINCE = "SELECT seq - 1 FROM event WHERE received_at >= ? ORDER BY received_at, seq LIMIT 1"
NEXT = "SELECT max(seq), count(*) FROM (SELECT seq FROM event WHERE seq > ? ORDER BY seq LIMIT ?)"
ARRIVED = f"SELECT {EVENT_COLUMNS}, e.state, e.detail, e.seq FROM event e{{where}} ORDER BY e.seq"  # noqa: S608
DELIVERIES = f"""
SELECT d.event, {DELIVERY_COLUMNS} FROM delivery d JOIN event e ON e.seq = d.event
 WHERE d.event > ? AND d.event <= ? ORDER BY d.event"""  # noqa: S608
HEAD = """
SELECT d.id, d.attempt - (d.owner IS NOT NULL)
  FROM (SELECT id, event, attempt, owner FROM delivery
         WHERE sink = ? AND state = 'pending' AND {queue} AND due_at IS NOT NULL ORDER BY due_at, id LIMIT ?) d
  JOIN event e ON e.seq = d.event"""
MOVED = f"""
SELECT {DELIVERY_COLUMNS} FROM json_each(?) ended
  JOIN delivery d ON d.id = CAST(ended.key AS INTEGER) JOIN event e ON e.seq = d.event
 WHERE d.state <> 'pending' OR d.attempt - (d.owner IS NOT NULL) > ended.value"""  # noqa: S608


class SqliteLive:
    """A `Live` over the file of a `SqliteStore`."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._reading = Reader(connection, thread="store-live")

    @classmethod
    async def open(cls, path: Path) -> SqliteLive:
        """Open the file, if it is there; raises StartError or StoreUnusable."""
        return cls(await asyncio.to_thread(open_to_look, path))

    async def place(self, since: datetime | None = None) -> int:
        """See `Live.place`."""
        return await self._reading.run(partial(place, since=since))

    async def arrived(self, selection: Selection, *, after: int, limit: int) -> Step[Sequence[Arrival]]:
        """See `Live.arrived`."""
        return await self._reading.run(partial(arrived, selection=selection, after=after, limit=limit))

    async def waiting(self, selection: Selection, *, limit: int) -> Mapping[int, int]:
        """See `Live.waiting`."""
        return await self._reading.run(partial(waiting, selection=selection, limit=limit))

    async def moved(self, ended: Mapping[int, int]) -> Sequence[DeliveryRecord]:
        """See `Live.moved`."""
        return await self._reading.run(partial(moved, ended=ended)) if ended else ()

    async def close(self) -> None:
        """See `Live.close`."""
        await self._reading.close()


def place(connection: apsw.Connection, *, since: datetime | None) -> int:
    """The newest event's place, or the one before the first of that moment."""
    found = None if since is None else connection.execute(SINCE, (to_micros(since),)).get
    return int(connection.execute(END).get if found is None else found)


def arrived(connection: apsw.Connection, *, selection: Selection, after: int, limit: int) -> Step[Sequence[Arrival]]:
    """The events of the next step that are meant, with their deliveries. Which they are is looked at first, so that a
    step is short also where none of them is meant."""
    with connection:  # both reads see the same moment
        upto, count = connection.execute(NEXT, (after, limit)).fetchone() or (None, 0)
        if not count:
            return Step(done=(), next=None)
        clause, arguments = where(event_conditions(selection) | {"e.seq > ?": after, "e.seq <= ?": upto})
        events = connection.execute(ARRIVED.format(where=clause), arguments).fetchall()
        rows = connection.execute(DELIVERIES, (after, upto)) if events else ()
        deliveries = {event: sorted(row[1:] for row in group) for event, group in groupby(rows, key=lambda row: row[0])}
        found = [
            Arrival(
                event=event_record(row),
                deliveries=[_record(connection, each) for each in deliveries.get(row[-1], ())],
            )
            for row in events
        ]
    return Step(done=found, next=upto)


def waiting(connection: apsw.Connection, *, selection: Selection, limit: int) -> Mapping[int, int]:
    """The heads of all queues."""
    clause, arguments = where(event_conditions(selection))
    return {
        delivery: ended
        for queue in QUEUES
        for sink in sinks_of(connection, queue)
        if selection.sink in (None, sink)
        for delivery, ended in connection.execute(HEAD.format(queue=queue) + clause, (sink, limit, *arguments))
    }


def moved(connection: apsw.Connection, *, ended: Mapping[int, int]) -> Sequence[DeliveryRecord]:
    """Looked up by id, each by itself."""
    return [_record(connection, row) for row in connection.execute(MOVED, (json.dumps(ended),)).fetchall()]


def _record(connection: apsw.Connection, row: Row) -> DeliveryRecord:
    record = delivery_record(row, [])
    return delivery_record(row, attempts(connection, record.id)) if record.attempt > 1 or record.reason else record
