"""Sending again: deliveries become pending once more, or are added, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import apsw

from relay.model import Selection, Target
from relay.ports import Step
from relay.stores.sqlite.rows import Row, to_micros
from relay.stores.sqlite.selection import delivery_conditions, where

_SELECTED = "SELECT d.id, d.state FROM delivery d JOIN event e ON e.seq = d.event"
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
_HURRY = """
UPDATE delivery SET due_at = ?2, tries = 0 WHERE id = ?1 AND owner IS NULL AND due_at > ?2"""
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


def replay(
    connection: apsw.Connection,
    selection: Selection,
    *,
    now: datetime,
    first_at: datetime,
    spacing: timedelta,
    after: int,
    limit: int,
) -> Step[int]:
    """The next `limit` of the deliveries that are meant, pending once more."""
    clause, arguments = where(delivery_conditions(selection) | {"d.id > ?": after})
    sql = f"{_SELECTED}{clause} ORDER BY d.id LIMIT ?"
    found: list[Row] = connection.execute(sql, (*arguments, limit)).fetchall()
    done = 0
    for delivery, state in found:
        at = to_micros(now if state == "pending" else first_at + done * spacing)
        connection.execute(_HURRY if state == "pending" else _REPLAY, (delivery, at))
        done += connection.changes()
    return Step(done=done, next=found[-1][0] if len(found) == limit else None)


def redeliver(
    connection: apsw.Connection, event_id: str, targets: Sequence[Target], *, due_at: datetime, config: str
) -> int:
    """The deliveries that the event lacks, added; how many."""
    added = 0
    for target in targets:
        connection.execute(
            _REDELIVER, (event_id, target.route, target.sink, target.order_key, to_micros(due_at), config)
        )
        added += connection.changes()
    if added:
        connection.execute(_ROUTED, (event_id,))
    return added
