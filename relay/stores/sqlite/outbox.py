"""Claiming and settling, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import assert_never

import apsw

from relay.model import Dead, Delivered, Delivery, DeliveryState, Failure, Reason, Retry, Settled
from relay.stores.sqlite.rows import EVENT_COLUMNS, Row, delivery, event, to_micros

# A claim is a lease in one column: `due_at` moves ahead. A worker that dies needs no reaper; its deliveries come due
# again. `attempt` fences: a worker that wakes up late finds another number and changes nothing.
_CLAIM = """
UPDATE delivery SET attempt = attempt + 1, tries = tries + 1, due_at = ?
 WHERE id IN (SELECT id FROM delivery WHERE sink = ? AND state = 'pending' AND due_at <= ? ORDER BY due_at, id LIMIT ?)
RETURNING id, route, sink, attempt, tries, replay, event"""
_EVENT = f"SELECT {EVENT_COLUMNS} FROM event e WHERE e.seq = ?"  # noqa: S608 - a constant of ours
_RETRY = """
UPDATE delivery SET due_at = ?, tries = ?, reason = ?, detail = ?
 WHERE id = ? AND attempt = ? AND state = 'pending' RETURNING sink, order_key"""
_FINISH = """
UPDATE delivery SET state = ?, due_at = NULL, settled_at = ?, receipt = ?, reason = ?, detail = ?
 WHERE id = ? AND attempt = ? AND state = 'pending' RETURNING sink, order_key"""
_FAILURE = "INSERT OR REPLACE INTO failure (delivery, attempt, at, reason, detail) VALUES (?, ?, ?, ?, ?)"
_WAKE = """
UPDATE delivery SET due_at = ?
 WHERE id = (SELECT id FROM delivery WHERE sink = ? AND order_key = ? AND state = 'pending' ORDER BY id LIMIT 1)
   AND due_at IS NULL"""
_MAX_TEXT = 1000
_NEXT_DUE = "SELECT min(due_at) FROM delivery WHERE sink = ? AND state = 'pending' AND due_at IS NOT NULL"


def claim(connection: apsw.Connection, sink: str, *, limit: int, now: datetime, lease: timedelta) -> Sequence[Delivery]:
    """Lease what is due, oldest first."""
    rows: list[Row] = connection.execute(_CLAIM, (to_micros(now + lease), sink, to_micros(now), limit)).fetchall()
    rows.sort()  # RETURNING promises no order; ids are in the order of acceptance
    return [delivery(row[:-1], event(_event_row(connection, row[-1]))) for row in rows]


def settle(connection: apsw.Connection, results: Sequence[Settled], *, now: datetime) -> Sequence[bool]:
    """Record verdicts; False where the fence says that the lease was lost."""
    return [_settle_one(connection, delivery, verdict, to_micros(now)) for delivery, verdict in results]


def next_due(connection: apsw.Connection, sink: str) -> int | None:
    """When the sink's next delivery comes due, in microseconds."""
    due: int | None = connection.execute(_NEXT_DUE, (sink,)).get
    return due


def _event_row(connection: apsw.Connection, sequence: int) -> Row:
    row: Row | None = connection.execute(_EVENT, (sequence,)).fetchone()
    assert row is not None, "the foreign key keeps an event as long as its deliveries"  # noqa: S101
    return row


def _settle_one(connection: apsw.Connection, of: Delivery, verdict: Delivered | Retry | Dead, now: int) -> bool:
    match verdict:
        case Delivered(receipt=receipt):
            settled = connection.execute(
                _FINISH, (DeliveryState.DELIVERED, now, _text(receipt), "", "", of.id, of.attempt)
            ).fetchone()
        case Dead(failure=failure):
            settled = connection.execute(
                _FINISH, (DeliveryState.DEAD, now, "", failure.reason, _text(failure.detail), of.id, of.attempt)
            ).fetchone()
        case Retry(failure=failure, at=at, counted=counted):
            tries = of.tries - (not counted)  # not relative to the row: an answer may be lost, and settled again
            settled = connection.execute(
                _RETRY, (to_micros(at), tries, failure.reason, _text(failure.detail), of.id, of.attempt)
            ).fetchone()
        case _:
            assert_never(verdict)
    if settled is None:
        return False
    if not isinstance(verdict, Delivered):
        _record(connection, of, verdict.failure, now)
    if not isinstance(verdict, Retry) and settled[1] is not None:
        connection.execute(_WAKE, (now, *settled))
    return True


def _record(connection: apsw.Connection, of: Delivery, failure: Failure, now: int) -> None:
    """Keep the attempt's reason; giving a lease back at shutdown is no attempt that anybody asks about."""
    if failure.reason is not Reason.STOPPING:
        connection.execute(_FAILURE, (of.id, of.attempt, now, failure.reason, _text(failure.detail)))


def _text(quoted: str) -> str:
    """A text that every store takes: it may quote a sink, and so hold anything."""
    return quoted[:_MAX_TEXT].encode("utf-8", "replace").decode("utf-8")
