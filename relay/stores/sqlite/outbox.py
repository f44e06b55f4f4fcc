"""Claiming and settling, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence, Set
from datetime import datetime, timedelta
from typing import assert_never

import apsw
import orjson

from relay.model import Dead, Delivered, Delivery, DeliveryState, Failure, Reason, Retry, Settled
from relay.stores.rows import CLAIMED_COLUMNS, Row, claimed, quoted_text, to_micros

# A claim is a lease in one column: `due_at` moves ahead. A worker that dies needs no reaper; its deliveries come due
# again, at once where `recover` finds that it is gone. `attempt` fences: a worker that wakes up late finds another
# number and changes nothing. Both queues are a partial index each, so their conditions stand here word for word.
_DUE = f"""
SELECT {CLAIMED_COLUMNS}
  FROM delivery d JOIN event e ON e.seq = d.event
 WHERE d.sink = ? AND d.state = 'pending' AND {{queue}} AND d.due_at <= ?
 ORDER BY d.due_at {{way}}, d.id {{way}} LIMIT ?"""  # noqa: S608 - constants of ours
_DUE_FRESH, _DUE_REPLAY = _DUE.format(queue="d.replay = 0", way=""), _DUE.format(queue="d.replay > 0", way="")
_DUE_LAST = _DUE.format(queue="d.replay = 0", way="DESC")
# Many rows with one call each, their numbers as one text: the loop is SQLite's, and lets go of Python's lock once.
_LEASE = """
UPDATE delivery SET attempt = attempt + 1, tries = tries + 1, due_at = ?, owner = ?
 WHERE id IN (SELECT value FROM json_each(?))"""
_ARRIVED = """
UPDATE delivery SET state = 'delivered', due_at = NULL, owner = NULL, settled_at = ?1, receipt = result.value ->> 2,
                    reason = '', detail = ''
  FROM json_each(?2) result
 WHERE delivery.id = result.value ->> 0 AND attempt = result.value ->> 1 AND state = 'pending'
RETURNING delivery.id, order_key IS NOT NULL"""
_RETRY = """
UPDATE delivery SET due_at = ?, owner = NULL, tries = ?, reason = ?, detail = ?
 WHERE id = ? AND attempt = ? AND state = 'pending' RETURNING order_key IS NOT NULL"""
_FINISH = """
UPDATE delivery SET state = ?, due_at = NULL, owner = NULL, settled_at = ?, receipt = ?, reason = ?, detail = ?
 WHERE id = ? AND attempt = ? AND state = 'pending' RETURNING order_key IS NOT NULL"""
_FAILURE = "INSERT OR REPLACE INTO failure (delivery, attempt, at, reason, detail) VALUES (?, ?, ?, ?, ?)"
# As old as its event, not as its turn: else a backlog of long meetings would look as new as what comes in meanwhile.
_WAKE = """
UPDATE delivery
   SET due_at = coalesce(replay_at, min(?1, (SELECT received_at FROM event WHERE seq = delivery.event)))
 WHERE due_at IS NULL AND id IN (
    SELECT iif(done.replay = 0,
               (SELECT id FROM delivery WHERE sink = done.sink AND order_key = done.order_key
                                          AND state = 'pending' AND replay = 0 ORDER BY id LIMIT 1),
               (SELECT id FROM delivery WHERE sink = done.sink AND order_key = done.order_key
                                          AND state = 'pending' AND replay > 0 ORDER BY event LIMIT 1))
      FROM delivery done WHERE done.id IN (SELECT value FROM json_each(?2)))"""
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
    connection: apsw.Connection, sink: str, *, limit: int, newest: int, now: datetime, lease: timedelta, owner: str
) -> Sequence[Delivery]:
    """Lease what is due, oldest first but for the newest, and replays after everything else."""
    due = to_micros(now)
    rows: list[Row] = connection.execute(_DUE_FRESH, (sink, due, limit - newest)).fetchall()
    if newest and len(rows) == limit - newest:
        rows = _without_twins(rows + connection.execute(_DUE_LAST, (sink, due, newest)).fetchall())
    rows.sort(key=_number)  # ids are in the order of acceptance
    if len(rows) < limit:
        rows += sorted(connection.execute(_DUE_REPLAY, (sink, due, limit - len(rows))).fetchall(), key=_number)
    if rows:
        leased = orjson.dumps([row[0] for row in rows]).decode()
        connection.execute(_LEASE, (to_micros(now + lease), owner, leased))
    return [claimed(row) for row in rows]


def settle(connection: apsw.Connection, results: Sequence[Settled], *, now: datetime) -> Sequence[bool]:
    """Record verdicts; False where the fence says that the lease was lost."""
    at = to_micros(now)
    if len({of.id for of, _ in results}) < len(results):  # one that stands there twice counts once
        return [_settle_one(connection, of, verdict, at) for of, verdict in results]
    arrived = _settle_arrived(connection, results, at)
    return [
        of.id in arrived if isinstance(verdict, Delivered) else _settle_one(connection, of, verdict, at)
        for of, verdict in results
    ]


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


def _without_twins(rows: Sequence[Row]) -> list[Row]:
    """Each once, where a backlog is so short that the newest are among the oldest."""
    return list({row[0]: row for row in rows}.values())


def _number(row: Row) -> int:
    number: int = row[0]
    return number


def _settle_arrived(connection: apsw.Connection, results: Sequence[Settled], now: int) -> Set[int]:
    """Record all of them that the sink has taken; which were recorded, by number."""
    taken = [(of.id, of.attempt, quoted_text(each.receipt)) for of, each in results if isinstance(each, Delivered)]
    if not taken:
        return frozenset()
    recorded: list[Row] = connection.execute(_ARRIVED, (now, orjson.dumps(taken).decode())).fetchall()
    if ordered := [number for number, has_key in recorded if has_key]:
        _wake(connection, ordered, now)
    return {number for number, _ in recorded}


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
    if not isinstance(verdict, Retry) and settled[0]:
        _wake(connection, [of.id], now)
    return True


def _wake(connection: apsw.Connection, done: Sequence[int], now: int) -> None:
    """Of each meeting in which one of these was settled, let the next one come due."""
    connection.execute(_WAKE, (now, orjson.dumps(done).decode()))


def _record(connection: apsw.Connection, of: Delivery, failure: Failure, now: int) -> None:
    """Keep the attempt's reason; giving a lease back at shutdown is no attempt that anybody asks about."""
    if failure.reason is not Reason.STOPPING:
        connection.execute(_FAILURE, (of.id, of.attempt, now, failure.reason, quoted_text(failure.detail)))
