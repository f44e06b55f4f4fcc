"""Forgetting what is past its retention."""

from __future__ import annotations

from collections.abc import Sequence

from relay.model import DeliveryState
from relay.records import Step
from relay.stores.postgres.connection import Connection
from relay.stores.postgres.selection import ask

# By age and not by `seq`: what a clock that was ahead has dated must not stand in the way of all that came after it.
# Not EXISTS: the server would rather look at all deliveries once than at those of each event.
_OLD = """
SELECT e.seq, e.received_at, length(e.body),
       (SELECT 1 FROM relay.delivery d
         WHERE d.event = e.seq
           AND (d.state = 'pending' OR d.settled_at >= CASE WHEN d.state = 'dead' THEN $4::bigint ELSE $3 END)
         LIMIT 1) IS NULL
  FROM relay.event e WHERE (e.received_at, e.seq) > ($1, $2) AND e.received_at < $3
 ORDER BY e.received_at, e.seq LIMIT $5"""
_CURSOR = 1 << 63
"""A step ends at a moment and a `seq`; both are one number for those who go on from there."""
# Plans may be as old as the connection, and the store was small then.
_BY_INDEX = "SET LOCAL enable_seqscan = off"
# Events first, as by those who add deliveries to one. Whoever has one in hand keeps it: there is another day.
_LOCK_EVENTS = "SELECT seq FROM relay.event WHERE seq = ANY($1) ORDER BY seq FOR UPDATE SKIP LOCKED"
_LOCK_DELIVERIES = """
SELECT id, event, state, settled_at FROM relay.delivery
 WHERE id = ANY(ARRAY(SELECT id FROM relay.delivery WHERE event = ANY($1))) ORDER BY id FOR UPDATE"""
_FORGET_FAILURES = "DELETE FROM relay.failure WHERE delivery = ANY($1)"
_FORGET_DELIVERIES = "DELETE FROM relay.delivery WHERE id = ANY($1)"
_FORGET_EVENTS = "DELETE FROM relay.event WHERE seq = ANY($1)"
# By whole hours, as their index has them: some stay a little longer than they have to.
_OLD_MARK = "SELECT (SELECT min(seen_at / 3600000000) FROM relay.mark) < $1::bigint / 3600000000"
_PURGE_MARKS = """
DELETE FROM relay.mark WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM relay.mark WHERE seen_at / 3600000000 < $1::bigint / 3600000000
     ORDER BY seen_at / 3600000000 LIMIT $2 FOR UPDATE SKIP LOCKED))"""
_MARKS_PER_EVENT = 4  # more than there are, so that no marks pile up; retries of the sender leave at most a few
_PURGED_BYTES = 4 * 1024 * 1024
"""About so much of bodies is forgotten in one commit."""


async def old(
    connection: Connection, *, delivered_before: int, dead_before: int, after: int, limit: int
) -> Step[Sequence[int]]:
    """Of the next old events those that are settled and past their retention. It goes on from where the last step
    ended."""
    forgettable: list[int] = []
    size, last = 0, None
    rows = await ask(connection, _OLD, *divmod(after, _CURSOR), delivered_before, dead_before, limit)
    for sequence, received_at, length, settled in rows:
        last = received_at * _CURSOR + sequence
        if settled:
            forgettable.append(sequence)
            size += length
        if size >= _PURGED_BYTES:
            return Step(done=forgettable, next=last)
    return Step(done=forgettable, next=last if len(rows) == limit else None)


async def has_old_marks(connection: Connection, *, before: int) -> bool:
    """Whether there are marks to forget."""
    return bool(await connection.fetchval(_OLD_MARK, before))


async def forget(
    connection: Connection, events: Sequence[int], *, settled_before: int, marks_before: int, limit: int
) -> int:
    """Forget these events, unless somebody has replayed one meanwhile, and some old marks; how many events it were."""
    await connection.execute(_BY_INDEX)
    locked = {row[0] for row in await ask(connection, _LOCK_EVENTS, events)}
    deliveries = await ask(connection, _LOCK_DELIVERIES, list(locked))
    kept = {
        event
        for _, event, state, settled_at in deliveries
        if state == DeliveryState.PENDING or settled_at >= settled_before
    }
    forgotten = [row[0] for row in deliveries if row[1] not in kept]
    await connection.execute(_FORGET_FAILURES, forgotten)
    await connection.execute(_FORGET_DELIVERIES, forgotten)
    await connection.execute(_FORGET_EVENTS, list(locked - kept))
    await connection.execute(_PURGE_MARKS, marks_before, limit * _MARKS_PER_EVENT)
    return len(locked - kept)
