"""What people ask: reads on a connection of their own, never in the writer's way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import apsw

from relay.model import DeliveryState, EventState
from relay.ports import AttemptRecord, Backlog, DeliveryRecord, EventRecord
from relay.stores.sqlite.rows import (
    DELIVERY_COLUMNS,
    EVENT_COLUMNS,
    delivery_record,
    event_record,
    from_micros,
    moment_or_none,
)

_ATTEMPTS = "SELECT attempt, at, reason, detail FROM failure WHERE delivery = ? ORDER BY attempt"
_BACKLOG = """
SELECT waiting.sink, waiting.pending, e.received_at
  FROM (SELECT sink, count(*) AS pending, min(id) AS oldest FROM delivery WHERE state = 'pending' GROUP BY sink) waiting
  JOIN delivery d ON d.id = waiting.oldest JOIN event e ON e.seq = d.event"""
_PURGE = """
DELETE FROM event WHERE seq IN (
    SELECT e.seq FROM event e
     WHERE e.received_at < :delivered_before
       AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.event = e.seq
                        AND (d.state = 'pending'
                             OR d.settled_at >= iif(d.state = 'dead', :dead_before, :delivered_before)))
     ORDER BY e.received_at LIMIT :limit)"""
_PURGE_MARKS = """
DELETE FROM mark WHERE (source, webhook_id, uuid, body_hash) IN (
    SELECT source, webhook_id, uuid, body_hash FROM mark WHERE seen_at < ? ORDER BY seen_at LIMIT ?)"""
_MARKS_PER_EVENT = 4  # more than there are, so that no marks pile up; retries of the sender leave at most a few


def events(
    connection: apsw.Connection,
    *,
    type_glob: str | None,
    meeting: str | None,
    source: str | None,
    state: EventState | None,
    limit: int,
) -> Sequence[EventRecord]:
    """The newest events that fit."""
    where, arguments = _where(
        {"e.type GLOB ?": type_glob, "e.meeting = ?": meeting, "e.source = ?": source, "e.state = ?": state}
    )
    sql = f"SELECT {EVENT_COLUMNS}, e.state, e.detail FROM event e{where} ORDER BY e.seq DESC LIMIT ?"  # noqa: S608
    return [event_record(row) for row in connection.execute(sql, (*arguments, limit))]


def event(connection: apsw.Connection, event_id: str) -> EventRecord | None:
    """One event by id, by the start of it where that is unique, or by the sender's uuid."""
    select = f"SELECT {EVENT_COLUMNS}, e.state, e.detail FROM event e"  # noqa: S608
    if not event_id or not event_id.isprintable():  # an empty start fits all; lone surrogates cannot be asked for
        return None
    for condition, arguments in (
        ("e.id = ?", (event_id,)),
        ("e.id >= ? AND e.id < ?", (event_id, event_id + "\U0010ffff")),
        ("e.uuid = ?", (event_id,)),
    ):
        rows = connection.execute(f"{select} WHERE {condition} LIMIT 2", arguments).fetchall()
        if len(rows) == 1:
            return event_record(rows[0])
    return None


def deliveries(
    connection: apsw.Connection,
    *,
    event_id: str | None,
    sink: str | None,
    state: DeliveryState | None,
    meeting: str | None,
    limit: int,
) -> Sequence[DeliveryRecord]:
    """The newest deliveries that fit, each with its failed attempts."""
    where, arguments = _where(
        {"e.id = ?": event_id, "d.sink = ?": sink, "d.state = ?": state, "e.meeting = ?": meeting}
    )
    sql = (
        f"SELECT {DELIVERY_COLUMNS} FROM delivery d JOIN event e ON e.seq = d.event{where} "  # noqa: S608
        "ORDER BY d.id DESC LIMIT ?"
    )
    return [delivery_record(row, _attempts(connection, row[0])) for row in connection.execute(sql, (*arguments, limit))]


def backlog(connection: apsw.Connection) -> Mapping[str, Backlog]:
    """What waits, by sink."""
    return {
        sink: Backlog(pending=pending, oldest=moment_or_none(oldest))
        for sink, pending, oldest in connection.execute(_BACKLOG)
    }


def totals(connection: apsw.Connection) -> Mapping[str, int]:
    """Events and deliveries, by state."""
    sql = (
        "SELECT state, count(*) FROM event GROUP BY state UNION ALL SELECT state, count(*) FROM delivery GROUP BY state"
    )
    return {str(state): int(count) for state, count in connection.execute(sql)}


def purge(connection: apsw.Connection, *, delivered_before: int, dead_before: int, limit: int) -> int:
    """Forget settled events past their retention, and marks as old as those."""
    connection.execute(_PURGE, {"delivered_before": delivered_before, "dead_before": dead_before, "limit": limit})
    forgotten = connection.changes()
    connection.execute(_PURGE_MARKS, (delivered_before, limit * _MARKS_PER_EVENT))
    return forgotten


def _attempts(connection: apsw.Connection, delivery_id: int) -> list[AttemptRecord]:
    return [
        AttemptRecord(attempt=attempt, at=from_micros(at), reason=reason, detail=detail)
        for attempt, at, reason, detail in connection.execute(_ATTEMPTS, (delivery_id,))
    ]


def _where(conditions: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """A WHERE clause of the conditions that have a value, and those values."""
    given = {condition: argument for condition, argument in conditions.items() if argument is not None}
    return (" WHERE " + " AND ".join(given) if given else ""), list(given.values())
