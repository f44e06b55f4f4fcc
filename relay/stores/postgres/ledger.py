"""What people ask: short reads on connections of their own, never in the way of an answer.

There is no index for a rare type or for a uuid whose mark is forgotten: it would cost every accept. What has to walk
over all events does so in parts, so that none of them takes long, however slow the disk is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from relay.model import DeliveryState, EventState, Selection
from relay.records import AttemptRecord, Backlog, DeliveryRecord, EventRecord, Step, Tally
from relay.stores.postgres.connection import Connection
from relay.stores.postgres.intake import short
from relay.stores.postgres.selection import (
    MEETING,
    WALK,
    ask,
    delivery_conditions,
    event_conditions,
    of_type,
    walk_end,
    where,
)
from relay.stores.postgres.switchboard import waiting
from relay.stores.rows import (
    DELIVERY_COLUMNS,
    EVENT_COLUMNS,
    Row,
    attempt_record,
    delivery_record,
    event_record,
    tally_record,
)

_EVENT = f"SELECT {EVENT_COLUMNS}, e.state, e.detail FROM relay.event e"  # noqa: S608 - a constant of ours
_MARKED = """
SELECT DISTINCT marked.event_id FROM (
    SELECT event_id FROM relay.mark
     WHERE hashtextextended(uuid, 0) = hashtextextended($1, 0) AND uuid = $1 LIMIT 100) marked LIMIT 2"""
_ATTEMPT, _REASON = (DELIVERY_COLUMNS.split(", ").index(name) for name in ("d.attempt", "d.reason"))
"""Places of the columns."""
_ATTEMPTS = """
SELECT delivery, attempt, at, reason, detail FROM relay.failure WHERE delivery = ANY($1) ORDER BY delivery, attempt"""
_DELIVERY = f"SELECT {DELIVERY_COLUMNS} FROM relay.delivery d JOIN relay.event e ON e.seq = d.event"  # noqa: S608
# The first of the queue in which a delivery waits for its turn; replays have a queue of their own.
_QUEUE = """
SELECT sink, order_key, replay > 0 FROM relay.delivery WHERE id = $1 AND state = 'pending' AND due_at IS NULL"""
_FIRST = f"""
{_DELIVERY}
 WHERE hashtextextended(d.sink || ' ' || d.order_key, 0) = hashtextextended($1 || ' ' || $2, 0)
   AND d.sink = $1 AND d.order_key = $2
   AND d.settled_at IS NULL AND d.{{queue}} AND d.due_at IS NOT NULL ORDER BY d.{{order}} LIMIT 1"""
_FIRST_FRESH, _FIRST_REPLAY = (
    _FIRST.format(queue=queue, order=order) for queue, order in (("replay = 0", "id"), ("replay > 0", "event"))
)
_TALLY = """
SELECT d.sink, d.route, d.state, count(*), min(e.received_at), max(e.received_at)
  FROM relay.delivery d JOIN relay.event e ON e.seq = d.event"""
_TOTALS = """
SELECT state, count(*) FROM relay.event GROUP BY state
 UNION ALL
SELECT state, count(*) FROM relay.delivery GROUP BY state"""


async def events(
    connection: Connection,
    *,
    type_glob: str | None,
    meeting: str | None,
    source: str | None,
    state: EventState | None,
    before: int | None,
    limit: int,
) -> Step[Sequence[EventRecord]]:
    """The newest events that fit, before a place; `next` is the one before which to go on."""
    conditions = {MEETING: meeting, "e.source = ?": source, "e.state = ?": state} | of_type(type_glob)
    start = None
    if meeting is None:  # else its index leads there
        before = before or await connection.fetchval("SELECT coalesce(max(seq), 0) + 1 FROM relay.event")
        start = before - WALK
        conditions |= {"e.seq < ?": before, "e.seq >= ?": start}
    clause, arguments = where(conditions, first=2)
    rows = await ask(connection, f"{_EVENT}{clause} ORDER BY e.seq DESC LIMIT $1", limit, *arguments)
    whole = len(rows) == limit or start is None or start <= 0
    return Step(done=[event_record(row) for row in rows], next=None if whole else start)


async def event(connection: Connection, event_id: str) -> EventRecord | None:
    """One event by id, by the start of it where that is unique, or by the sender's uuid."""
    if not event_id or not event_id.isprintable():  # an empty start fits all; lone surrogates cannot be asked for
        return None
    for find in (_with_id, _that_starts_so, _marked, _with_uuid):
        rows = await find(connection, event_id)
        if len(rows) == 1:
            return event_record(rows[0])
    return None


async def _with_id(connection: Connection, event_id: str) -> Sequence[Row]:
    return await ask(connection, f"{_EVENT} WHERE e.id = $1", event_id)


async def _that_starts_so(connection: Connection, start: str) -> Sequence[Row]:
    return await ask(connection, f"{_EVENT} WHERE e.id >= $1 AND e.id < $2 LIMIT 2", start, f"{start}\U0010ffff")


async def _marked(connection: Connection, uuid: str) -> Sequence[Row]:
    """The event that bears the mark of this uuid, if there is exactly one. A repeat under another uuid has a mark too,
    and is found by it."""
    found = await ask(connection, _MARKED, short(uuid))
    return await _with_id(connection, found[0][0]) if len(found) == 1 else ()


async def _with_uuid(connection: Connection, uuid: str) -> Sequence[Row]:
    """A walk over all; only for events that outlived their mark."""
    return await ask(connection, f"{_EVENT} WHERE e.uuid = $1 LIMIT 2", uuid)


async def deliveries(
    connection: Connection,
    *,
    event_id: str | None = None,
    sink: str | None = None,
    state: DeliveryState | None = None,
    meeting: str | None = None,
    limit: int = 50,
) -> Sequence[DeliveryRecord]:
    """The newest deliveries that fit, each with its failed attempts."""
    of_events, arguments = where({"e.id = ?": event_id, MEETING: meeting}, first=2)
    if of_events:
        of_events = f"WITH meant AS MATERIALIZED (SELECT e.seq FROM relay.event e{of_events})"  # noqa: S608
    # A state as a word of the statement: else its partial index is not thought of.
    conditions = {"d.sink = ?": sink, f"d.state = '{state}'": state}
    clause, more = where(conditions, first=2 + len(arguments))
    meant = " JOIN meant USING (seq)" if of_events else ""
    sql = f"{of_events}{_DELIVERY}{meant}{clause} ORDER BY d.id DESC LIMIT $1"
    return await delivery_records(connection, await ask(connection, sql, limit, *arguments, *more))


async def ahead(connection: Connection, delivery_id: int) -> DeliveryRecord | None:
    """What a delivery without a due time waits for: the one of its queue that has one."""
    queue = await connection.fetchrow(_QUEUE, delivery_id)
    if queue is None:
        return None
    sink, order_key, replay = queue
    rows = await ask(connection, _FIRST_REPLAY if replay else _FIRST_FRESH, sink, order_key)
    records = await delivery_records(connection, rows)
    return records[0] if records else None


async def backlog(connection: Connection) -> Mapping[str, Backlog]:
    """What waits, by sink."""
    found = await waiting(connection)
    return {sink: Backlog(pending=record.pending, oldest=record.oldest) for sink, record in found.items()}


async def tally(connection: Connection, selection: Selection) -> Sequence[Tally]:
    """How many deliveries are meant, by sink, route and state."""
    clause, arguments = where(delivery_conditions(selection))
    sql = f"{_TALLY}{clause} GROUP BY d.sink, d.route, d.state ORDER BY d.sink, d.route, d.state"
    return [tally_record(row) for row in await ask(connection, sql, *arguments)]


async def selected(
    connection: Connection, selection: Selection, *, after: int = 0, limit: int
) -> Step[Sequence[EventRecord]]:
    """The next `limit` of the events that are meant, in the order of acceptance, or those of the next part."""
    end = await walk_end(connection, "event", selection, after=after)
    clause, arguments = where(event_conditions(selection) | {"e.seq > ?": after, "? >= e.seq": end}, first=2)
    sql = f"SELECT {EVENT_COLUMNS}, e.state, e.detail, e.seq FROM relay.event e{clause} ORDER BY e.seq LIMIT $1"  # noqa: S608
    rows = await ask(connection, sql, limit, *arguments)
    return Step(done=[event_record(row) for row in rows], next=rows[-1][-1] if len(rows) == limit else end)


async def totals(connection: Connection) -> Mapping[str, int]:
    """Events and deliveries, by state."""
    return dict(await ask(connection, _TOTALS))


async def delivery_records(connection: Connection, rows: Sequence[Row]) -> Sequence[DeliveryRecord]:
    """The records of rows of `DELIVERY_COLUMNS`, each with its failed attempts."""
    tried = [row[0] for row in rows if row[_ATTEMPT] > 1 or row[_REASON]]
    attempts: dict[int, list[AttemptRecord]] = defaultdict(list)
    if tried:
        for delivery, *attempt in await ask(connection, _ATTEMPTS, tried):
            attempts[delivery].append(attempt_record(tuple(attempt)))
    return [delivery_record(row, attempts[row[0]]) for row in rows]
