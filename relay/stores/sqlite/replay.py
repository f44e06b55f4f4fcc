"""Sending again: deliveries become pending once more, or are added, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence, Set
from datetime import datetime, timedelta

import apsw

from relay.model import DeliveryState, Selection, Target
from relay.records import Redelivered, Step
from relay.stores.rows import Row, to_micros
from relay.stores.sqlite.selection import delivery_conditions, where

_SELECTED = "SELECT d.id FROM delivery d JOIN event e ON e.seq = d.event"
_STATE = "SELECT state FROM delivery WHERE id = ?"
_OF_EVENT = "SELECT d.id FROM delivery d JOIN event e ON e.seq = d.event WHERE e.id = ? AND d.sink = ?"
# One replay of a meeting at a time, as with what comes in: only the first has a due time. `attempt` grows, so that no
# result of the delivery's first life can settle its second.
_REPLAY = """
UPDATE delivery
   SET state = 'pending', replay = replay + 1, replay_at = ?2, attempt = attempt + 1, tries = 0, owner = NULL,
       settled_at = NULL, receipt = '', reason = '', detail = '',
       due_at = CASE WHEN order_key IS NOT NULL
                      AND EXISTS (SELECT 1 FROM delivery o WHERE o.sink = delivery.sink
                                     AND o.order_key = delivery.order_key AND o.state = 'pending' AND o.replay > 0)
                     THEN NULL ELSE ?2 END
 WHERE id = ?1"""
# A replay that waits for its turn has a time too, before which it does not go.
_HURRY = """
UPDATE delivery SET due_at = iif(due_at IS NULL, NULL, ?2), replay_at = min(replay_at, ?2), tries = 0
 WHERE id = ?1 AND owner IS NULL AND (due_at > ?2 OR (due_at IS NULL AND replay_at > ?2))"""
_REDELIVER = """
INSERT INTO delivery (event, route, sink, order_key, state, due_at, replay, replay_at, config)
SELECT e.seq, ?2, ?3, ?4, 'pending',
       CASE WHEN ?4 IS NOT NULL
             AND EXISTS (SELECT 1 FROM delivery o WHERE o.sink = ?3 AND o.order_key = ?4
                            AND o.state = 'pending' AND o.replay > 0)
            THEN NULL ELSE ?5 END, 1, ?5, ?6
  FROM event e WHERE e.id = ?1
ON CONFLICT (event, sink) DO NOTHING"""
_ROUTED = "UPDATE event SET state = 'routed', detail = '' WHERE id = ?"


def find(connection: apsw.Connection, selection: Selection, *, after: int, limit: int) -> Step[Sequence[int]]:
    """The next `limit` of the deliveries that are meant. It may walk over millions that are not, so it is no work for
    the one who holds the lock."""
    clause, arguments = where(delivery_conditions(selection) | {"d.id > ?": after})
    rows: list[Row] = connection.execute(f"{_SELECTED}{clause} ORDER BY d.id LIMIT ?", (*arguments, limit)).fetchall()
    found = [row[0] for row in rows]
    return Step(done=found, next=found[-1] if len(found) == limit else None)


def replay(
    connection: apsw.Connection,
    deliveries: Sequence[int],
    *,
    states: Set[DeliveryState],
    now: datetime,
    first_at: datetime,
    spacing: timedelta,
) -> int:
    """Those of the deliveries that still stand in these states, pending once more; how many."""
    done = 0
    for delivery in deliveries:
        done += _again(connection, delivery, states, now=now, at=first_at + done * spacing)
    return done


def redeliver(
    connection: apsw.Connection,
    wanted: Sequence[tuple[str, Sequence[Target]]],
    *,
    states: Set[DeliveryState],
    now: datetime,
    first_at: datetime,
    spacing: timedelta,
    config: str,
) -> Redelivered:
    """The deliveries that the events lack, added; those that they have, replayed."""
    added = replayed = 0
    sinks: set[str] = set()
    for event_id, targets in wanted:
        added_before = added
        for target in targets:
            before = added + replayed
            at = first_at + before * spacing
            connection.execute(
                _REDELIVER, (event_id, target.route, target.sink, target.order_key, to_micros(at), config)
            )
            if connection.changes():
                added += 1
            elif (delivery := connection.execute(_OF_EVENT, (event_id, target.sink)).get) is not None:
                replayed += _again(connection, delivery, states, now=now, at=at)
            if added + replayed > before:
                sinks.add(target.sink)
        if added > added_before:
            connection.execute(_ROUTED, (event_id,))
    return Redelivered(added=added, replayed=replayed, sinks=frozenset(sinks))


def _again(
    connection: apsw.Connection, delivery: int, states: Set[DeliveryState], *, now: datetime, at: datetime
) -> int:
    """1 where it is on its way now, and was not before."""
    state = connection.execute(_STATE, (delivery,)).get
    if state not in states:  # what was read before may have changed; what is gone has none
        return 0
    if state == DeliveryState.PENDING:
        connection.execute(_HURRY, (delivery, to_micros(now)))
    else:
        connection.execute(_REPLAY, (delivery, to_micros(at)))
    return connection.changes()
