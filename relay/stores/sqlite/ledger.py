"""What people ask: reads on a connection of their own, never in the writer's way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import apsw

from relay.model import DeliveryState, EventState, Selection
from relay.records import AttemptRecord, Backlog, DeliveryRecord, EventRecord, Step, Tally
from relay.stores.rows import (
    DELIVERY_COLUMNS,
    EVENT_COLUMNS,
    Row,
    attempt_record,
    delivery_record,
    event_record,
    tally_record,
)
from relay.stores.sqlite import marks
from relay.stores.sqlite.selection import delivery_conditions, event_conditions, where
from relay.stores.sqlite.switchboard import waiting

_EVENT = f"SELECT {EVENT_COLUMNS}, e.state, e.detail FROM event e"  # noqa: S608 - a constant of ours
_ATTEMPTS = "SELECT attempt, at, reason, detail FROM failure WHERE delivery = ? ORDER BY attempt"
# The first of the queue in which a delivery waits for its turn; replays have a queue of their own, and an index.
_QUEUE = "SELECT sink, order_key, replay > 0 FROM delivery WHERE id = ? AND state = 'pending' AND due_at IS NULL"
_FIRST = """
SELECT {columns} FROM delivery d JOIN event e ON e.seq = d.event
 WHERE d.sink = ? AND d.order_key = ? AND d.state = 'pending' AND d.{queue} AND +d.due_at IS NOT NULL LIMIT 1"""
_FIRST_FRESH, _FIRST_REPLAY = (
    _FIRST.format(columns=DELIVERY_COLUMNS, queue=queue) for queue in ("replay = 0", "replay > 0")
)
_TALLY = """
SELECT d.sink, d.route, d.state, count(*), min(e.received_at), max(e.received_at)
  FROM delivery d JOIN event e ON e.seq = d.event"""
# By age and not by `seq`: what a clock that was ahead has dated must not stand in the way of all that came after it.
_OLD = """
SELECT seq, received_at, length(body),
       NOT EXISTS (SELECT 1 FROM delivery d WHERE d.event = event.seq
                      AND (d.state = 'pending'
                           OR d.settled_at >= iif(d.state = 'dead', :dead_before, :delivered_before)))
  FROM event WHERE (received_at, seq) > (:moment, :seq) AND received_at < :delivered_before
 ORDER BY received_at, seq LIMIT :limit"""
_CURSOR = 1 << 63
"""A step ends at a moment and a `seq`; both are one number for those who go on from there."""
_FORGET = """
DELETE FROM event WHERE seq = ?1
   AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.event = ?1 AND (d.state = 'pending' OR d.settled_at >= ?2))"""
_OLD_MARK = "SELECT EXISTS (SELECT 1 FROM mark WHERE seen_at < ?)"
_PURGE_MARKS = """
DELETE FROM mark WHERE id IN (SELECT id FROM mark WHERE seen_at < ? ORDER BY seen_at LIMIT ?)"""
_MARKS_PER_EVENT = 4  # more than there are, so that no marks pile up; retries of the sender leave at most a few
_PURGED_BYTES = 4 * 1024 * 1024
"""About so much of bodies is forgotten in one commit, so that large ones keep no answer waiting either."""


def events(
    connection: apsw.Connection,
    *,
    type_glob: str | None = None,
    meeting: str | None = None,
    source: str | None = None,
    state: EventState | None = None,
    limit: int = 50,
) -> Sequence[EventRecord]:
    """The newest events that fit."""
    clause, arguments = where(
        {"e.type GLOB ?": type_glob, "e.meeting = ?": meeting, "e.source = ?": source, "e.state = ?": state}
    )
    sql = f"SELECT {EVENT_COLUMNS}, e.state, e.detail FROM event e{clause} ORDER BY e.seq DESC LIMIT ?"  # noqa: S608
    return [event_record(row) for row in connection.execute(sql, (*arguments, limit))]


def event(connection: apsw.Connection, event_id: str) -> EventRecord | None:
    """One event by id, by the start of it where that is unique, or by the sender's uuid."""
    if not event_id or not event_id.isprintable():  # an empty start fits all; lone surrogates cannot be asked for
        return None
    for condition, arguments in (
        ("e.id = ?", (event_id,)),
        ("e.id >= ? AND e.id < ?", (event_id, event_id + "\U0010ffff")),
        ("e.id = ?", _marked(connection, event_id)),
        ("e.uuid = ?", (event_id,)),  # a scan; only for events that outlived their mark
    ):
        rows = connection.execute(f"{_EVENT} WHERE {condition} LIMIT 2", arguments).fetchall() if arguments else []
        if len(rows) == 1:
            return event_record(rows[0])
    return None


def _marked(connection: apsw.Connection, uuid: str) -> tuple[str, ...]:
    """The event that bears the mark of this uuid, if there is exactly one.

    An index on the uuids of events would cost every accept, for what people ask now and then. A repeat under another
    uuid has a mark too, and is found by it.
    """
    found = marks.events_of(connection, uuid)
    return tuple(found) if len(found) == 1 else ()


def deliveries(
    connection: apsw.Connection,
    *,
    event_id: str | None = None,
    sink: str | None = None,
    state: DeliveryState | None = None,
    meeting: str | None = None,
    limit: int = 50,
) -> Sequence[DeliveryRecord]:
    """The newest deliveries that fit, each with its failed attempts."""
    clause, arguments = where(
        {"e.id = ?": event_id, "d.sink = ?": sink, "d.state = ?": state, "e.meeting = ?": meeting}
    )
    sql = (
        f"SELECT {DELIVERY_COLUMNS} FROM delivery d JOIN event e ON e.seq = d.event{clause} "  # noqa: S608
        "ORDER BY d.id DESC LIMIT ?"
    )
    return [delivery_record(row, attempts(connection, row[0])) for row in connection.execute(sql, (*arguments, limit))]


def ahead(connection: apsw.Connection, delivery_id: int) -> DeliveryRecord | None:
    """What a delivery without a due time waits for: the one of its queue that has one."""
    queue = connection.execute(_QUEUE, (delivery_id,)).fetchone()
    if queue is None:
        return None
    sink, order_key, replay = queue
    row = connection.execute(_FIRST_REPLAY if replay else _FIRST_FRESH, (sink, order_key)).fetchone()
    return None if row is None else delivery_record(row, attempts(connection, row[0]))


def backlog(connection: apsw.Connection) -> Mapping[str, Backlog]:
    """What waits, by sink."""
    return {sink: Backlog(pending=record.pending, oldest=record.oldest) for sink, record in waiting(connection).items()}


def end(connection: apsw.Connection) -> int:
    """The newest event's place."""
    place: int = connection.execute("SELECT coalesce(max(seq), 0) FROM event").get
    return place


def tally(connection: apsw.Connection, selection: Selection) -> Sequence[Tally]:
    """How many deliveries are meant, by sink, route and state."""
    clause, arguments = where(delivery_conditions(selection))
    sql = f"{_TALLY}{clause} GROUP BY d.sink, d.route, d.state ORDER BY d.sink, d.route, d.state"
    return [tally_record(row) for row in connection.execute(sql, arguments)]


def selected(
    connection: apsw.Connection, selection: Selection, *, after: int = 0, limit: int
) -> Step[Sequence[EventRecord]]:
    """The next `limit` of the events that are meant, in the order of acceptance."""
    clause, arguments = where(event_conditions(selection) | {"e.seq > ?": after})
    sql = f"SELECT {EVENT_COLUMNS}, e.state, e.detail, e.seq FROM event e{clause} ORDER BY e.seq LIMIT ?"  # noqa: S608
    rows: list[Row] = connection.execute(sql, (*arguments, limit)).fetchall()
    return Step(done=[event_record(row) for row in rows], next=rows[-1][-1] if len(rows) == limit else None)


def totals(connection: apsw.Connection) -> Mapping[str, int]:
    """Events and deliveries, by state."""
    sql = (
        "SELECT state, count(*) FROM event GROUP BY state UNION ALL SELECT state, count(*) FROM delivery GROUP BY state"
    )
    return {str(state): int(count) for state, count in connection.execute(sql)}


def old(
    connection: apsw.Connection, *, delivered_before: int, dead_before: int, after: int, limit: int
) -> Step[Sequence[int]]:
    """Of the next old events those that are settled and past their retention.

    It goes on from where the last step ended, and looks without the lock that writers wait for: events that wait for
    years may be a million.
    """
    forgettable: list[int] = []
    size, last = 0, None
    moment, sequence = divmod(after, _CURSOR)
    given = {"moment": moment, "seq": sequence, "delivered_before": delivered_before, "dead_before": dead_before}
    rows: list[Row] = connection.execute(_OLD, given | {"limit": limit}).fetchall()
    for sequence, received_at, length, settled in rows:
        last = received_at * _CURSOR + sequence
        if settled:
            forgettable.append(sequence)
            size += length
        if size >= _PURGED_BYTES:
            return Step(done=forgettable, next=last)
    return Step(done=forgettable, next=last if len(rows) == limit else None)


def has_old_marks(connection: apsw.Connection, *, before: int) -> bool:
    """Whether there are marks to forget."""
    return bool(connection.execute(_OLD_MARK, (before,)).get)


def forget(
    connection: apsw.Connection, events: Sequence[int], *, settled_before: int, marks_before: int, limit: int
) -> int:
    """Forget these events, unless somebody has replayed one meanwhile, and some old marks; how many events it were."""
    forgotten = 0
    for sequence in events:
        connection.execute(_FORGET, (sequence, settled_before))
        forgotten += connection.changes()
    connection.execute(_PURGE_MARKS, (marks_before, limit * _MARKS_PER_EVENT))
    return forgotten


def attempts(connection: apsw.Connection, delivery_id: int) -> list[AttemptRecord]:
    """The failed attempts of a delivery, first to last."""
    return [attempt_record(row) for row in connection.execute(_ATTEMPTS, (delivery_id,))]
