"""Claiming and settling, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import assert_never

import apsw

from relay.model import Dead, Delivered, Delivery, DeliveryState, Failure, Reason, Retry, Settled
from relay.stores.sqlite.rows import EVENT_COLUMNS, Row, delivery, event, quoted_text, to_micros

# A claim is a lease in one column: `due_at` moves ahead. A worker that dies needs no reaper; its deliveries come due
# again, at once where `recover` finds that it is gone. `attempt` fences: a worker that wakes up late finds another
# number and changes nothing. Both queues are a partial index each, so their conditions stand here word for word.
_CLAIM = """
UPDATE delivery SET attempt = attempt + 1, tries = tries + 1, due_at = ?, owner = ?
 WHERE id IN (SELECT id FROM delivery WHERE sink = ? AND state = 'pending' AND {queue} AND due_at <= ?
               ORDER BY due_at, id LIMIT ?)
RETURNING id, route, sink, attempt, tries, replay, replay_at, event"""
_CLAIM_FRESH, _CLAIM_REPLAY = _CLAIM.format(queue="replay = 0"), _CLAIM.format(queue="replay > 0")
_EVENT = f"SELECT {EVENT_COLUMNS} FROM event e WHERE e.seq = ?"  # noqa: S608 - a constant of ours
_RETRY = """
UPDATE delivery SET due_at = ?, owner = NULL, tries = ?, reason = ?, detail = ?
 WHERE id = ? AND attempt = ? AND state = 'pending' RETURNING sink, order_key, replay > 0"""
_FINISH = """
UPDATE delivery SET state = ?, due_at = NULL, owner = NULL, settled_at = ?, receipt = ?, reason = ?, detail = ?
 WHERE id = ? AND attempt = ? AND state = 'pending' RETURNING sink, order_key, replay > 0"""
_FAILURE = "INSERT OR REPLACE INTO failure (delivery, attempt, at, reason, detail) VALUES (?, ?, ?, ?, ?)"
_WAKE = """
UPDATE delivery SET due_at = max(?, coalesce(replay_at, 0))
 WHERE id = (SELECT id FROM delivery WHERE sink = ? AND order_key = ? AND state = 'pending' AND {queue}
              ORDER BY {first} LIMIT 1)
   AND due_at IS NULL"""
_WAKE_FRESH = _WAKE.format(queue="replay = 0", first="id")
_WAKE_REPLAY = _WAKE.format(queue="replay > 0", first="event")
_NEXT_DUE = """
SELECT min(due_at) FROM (
    SELECT min(due_at) AS due_at FROM delivery
     WHERE sink = ?1 AND state = 'pending' AND replay = 0 AND due_at IS NOT NULL
    UNION ALL
    SELECT min(due_at) FROM delivery WHERE sink = ?1 AND state = 'pending' AND replay > 0 AND due_at IS NOT NULL)"""
# At once. But what was interrupted again and again may be what kills us, and must not always be in the company of the
# same others, or they die with it: after three begun attempts each comes back at a moment of its own, within 5 s.
_GIVE_BACK = """
UPDATE delivery
   SET due_at = min(due_at, ?1 + iif(tries > 2, abs(random()) % 5000000, 0)), owner = NULL
 WHERE {whose}"""
_RECOVER = _GIVE_BACK.format(whose="owner IS NOT NULL AND owner <> ?2")
_RELEASE = _GIVE_BACK.format(whose="owner = ?2")
_LATER = """
SELECT id FROM delivery WHERE sink = :sink AND state = 'pending' AND replay = 0 AND due_at > :latest AND owner IS NULL
UNION ALL
SELECT id FROM delivery WHERE sink = :sink AND state = 'pending' AND replay > 0 AND due_at > :latest AND owner IS NULL
                          AND due_at > replay_at + :longest
 LIMIT :limit"""
_BRING_FORWARD = """
UPDATE delivery SET due_at = max(?2, coalesce(replay_at, 0))
 WHERE id = ?1 AND state = 'pending' AND due_at > ?2 AND owner IS NULL"""


def claim(
    connection: apsw.Connection, sink: str, *, limit: int, now: datetime, lease: timedelta, owner: str
) -> Sequence[Delivery]:
    """Lease what is due, oldest first, and replays after everything else."""
    until, due = to_micros(now + lease), to_micros(now)
    rows: list[Row] = connection.execute(_CLAIM_FRESH, (until, owner, sink, due, limit)).fetchall()
    rows.sort()  # RETURNING promises no order; ids are in the order of acceptance
    if len(rows) < limit:
        rows += sorted(connection.execute(_CLAIM_REPLAY, (until, owner, sink, due, limit - len(rows))).fetchall())
    return [delivery(row[:-1], event(_event_row(connection, row[-1]))) for row in rows]


def settle(connection: apsw.Connection, results: Sequence[Settled], *, now: datetime) -> Sequence[bool]:
    """Record verdicts; False where the fence says that the lease was lost."""
    return [_settle_one(connection, delivery, verdict, to_micros(now)) for delivery, verdict in results]


def next_due(connection: apsw.Connection, sink: str) -> int | None:
    """When the sink's next delivery comes due, in microseconds."""
    due: int | None = connection.execute(_NEXT_DUE, (sink,)).get
    return due


def recover(connection: apsw.Connection, *, now: int, owner: str) -> int:
    """Give back what others than this owner hold; how many that were."""
    connection.execute(_RECOVER, (now, owner))
    return connection.changes()


def release(connection: apsw.Connection, *, now: int, owner: str) -> int:
    """Give back what this owner, who is gone, held; how many that were."""
    connection.execute(_RELEASE, (now, owner))
    return connection.changes()


def later(connection: apsw.Connection, sink: str, *, now: int, longest: int, limit: int) -> Sequence[int]:
    """Deliveries that are due later than any honest wait explains. It may walk over many replays that are planned for
    later, so it is no work for the one who holds the lock."""
    given = {"sink": sink, "latest": now + longest, "longest": longest, "limit": limit}
    return [row[0] for row in connection.execute(_LATER, given)]


def bring_forward(connection: apsw.Connection, deliveries: Sequence[int], *, latest: int) -> int:
    """Make these due then, unless they are by now; how many were not."""
    brought = 0
    for each in deliveries:
        connection.execute(_BRING_FORWARD, (each, latest))
        brought += connection.changes()
    return brought


def _event_row(connection: apsw.Connection, sequence: int) -> Row:
    row: Row | None = connection.execute(_EVENT, (sequence,)).fetchone()
    assert row is not None, "the foreign key keeps an event as long as its deliveries"  # noqa: S101
    return row


def _settle_one(connection: apsw.Connection, of: Delivery, verdict: Delivered | Retry | Dead, now: int) -> bool:
    match verdict:
        case Delivered(receipt=receipt):
            settled = connection.execute(
                _FINISH, (DeliveryState.DELIVERED, now, quoted_text(receipt), "", "", of.id, of.attempt)
            ).fetchone()
        case Dead(failure=failure):
            settled = connection.execute(
                _FINISH, (DeliveryState.DEAD, now, "", failure.reason, quoted_text(failure.detail), of.id, of.attempt)
            ).fetchone()
        case Retry(failure=failure, at=at, counted=counted):
            tries = of.tries - (not counted)  # not relative to the row: an answer may be lost, and settled again
            settled = connection.execute(
                _RETRY, (to_micros(at), tries, failure.reason, quoted_text(failure.detail), of.id, of.attempt)
            ).fetchone()
        case _:
            assert_never(verdict)
    if settled is None:
        return False
    if not isinstance(verdict, Delivered):
        _record(connection, of, verdict.failure, now)
    if not isinstance(verdict, Retry) and settled[1] is not None:
        sink, order_key, replay = settled
        connection.execute(_WAKE_REPLAY if replay else _WAKE_FRESH, (now, sink, order_key))
    return True


def _record(connection: apsw.Connection, of: Delivery, failure: Failure, now: int) -> None:
    """Keep the attempt's reason; giving a lease back at shutdown is no attempt that anybody asks about."""
    if failure.reason is not Reason.STOPPING:
        connection.execute(_FAILURE, (of.id, of.attempt, now, failure.reason, quoted_text(failure.detail)))
