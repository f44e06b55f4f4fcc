"""Sending again: deliveries become pending once more, or are added. The server does it, in one call each."""

from __future__ import annotations

from collections.abc import Sequence, Set
from datetime import datetime, timedelta

from relay.model import DeliveryState, Selection, Target
from relay.records import Redelivered, Step
from relay.stores.postgres.connection import Connection
from relay.stores.postgres.selection import delivery_conditions, walk_end, where
from relay.stores.postgres.texts import restored, stored, stored_or_none
from relay.stores.rows import to_micros

_SELECTED = "SELECT d.id FROM relay.delivery d JOIN relay.event e ON e.seq = d.event"
_REPLAY = "SELECT relay.replay($1, $2, $3, $4, $5)"
_REDELIVER = "SELECT * FROM relay.redeliver($1, $2, $3, $4, $5, $6, $7, $8, $9)"
_LATER = """
SELECT d.id FROM relay.delivery d
 WHERE d.sink = $1 AND d.state = 'pending' AND d.replay = 0 AND d.due_at > $2 AND d.owner IS NULL
 UNION ALL
SELECT d.id FROM relay.delivery d
 WHERE d.sink = $1 AND d.state = 'pending' AND d.replay > 0 AND d.due_at > $2 AND d.owner IS NULL
   AND d.due_at > d.replay_at + $3
 LIMIT $4"""
_BRING_FORWARD = "SELECT relay.bring_forward($1, $2)"
_MICROSECOND = timedelta(microseconds=1)


async def find(connection: Connection, selection: Selection, *, after: int, limit: int) -> Step[Sequence[int]]:
    """The next `limit` of the deliveries that are meant, or those of the next part of them all."""
    end = await walk_end(connection, "delivery", selection, after=after)
    clause, arguments = where(delivery_conditions(selection) | {"d.id > ?": after, "d.id <= ?": end})
    rows = await connection.fetch(f"{_SELECTED}{clause} ORDER BY d.id LIMIT {limit:d}", *arguments)
    found = [row[0] for row in rows]
    return Step(done=found, next=found[-1] if len(found) == limit else end)


async def replay(
    connection: Connection,
    deliveries: Sequence[int],
    *,
    states: Set[DeliveryState],
    now: datetime,
    first_at: datetime,
    spacing: timedelta,
) -> int:
    """Those of the deliveries that still stand in these states, pending once more; how many."""
    count: int = await connection.fetchval(
        _REPLAY, deliveries, sorted(states), to_micros(now), to_micros(first_at), spacing // _MICROSECOND
    )
    return count


async def redeliver(
    connection: Connection,
    wanted: Sequence[tuple[str, Sequence[Target]]],
    *,
    states: Set[DeliveryState],
    now: datetime,
    first_at: datetime,
    spacing: timedelta,
    config: str,
) -> Redelivered:
    """The deliveries that the events lack, added; those that they have, replayed."""
    rows = [
        (stored(event_id), stored(target.route), stored(target.sink), stored_or_none(target.order_key))
        for event_id, targets in wanted
        for target in targets
    ]
    if not rows:
        return Redelivered()
    times = to_micros(now), to_micros(first_at), spacing // _MICROSECOND
    row = await connection.fetchrow(_REDELIVER, *zip(*rows, strict=True), sorted(states), *times, config)
    assert row is not None  # noqa: S101 - a function's results are always there
    return Redelivered(added=row[0], replayed=row[1], sinks=frozenset(restored(sink) for sink in row[2]))


async def later(connection: Connection, sink: str, *, latest: int, longest: int, limit: int) -> Sequence[int]:
    """Deliveries that are due later than any honest wait explains. It may walk over many replays that are planned."""
    return [row[0] for row in await connection.fetch(_LATER, sink, latest, longest, limit)]


async def bring_forward(connection: Connection, deliveries: Sequence[int], *, latest: int) -> int:
    """Make these due then, unless they are by now; how many were not."""
    count: int = await connection.fetchval(_BRING_FORWARD, deliveries, latest)
    return count
