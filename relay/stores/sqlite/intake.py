"""Accepting: the event, its mark and its deliveries, in the caller's transaction."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import apsw

from relay.model import Acceptance, Admission, DuplicateKind, Event, EventState, Target
from relay.stores.sqlite.rows import Row, headers_text, to_micros

_MARK = """
INSERT INTO mark (source, webhook_id, uuid, body_hash, event_id, seen_at) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING RETURNING 1"""
_MARKED = "SELECT event_id FROM mark WHERE source = ? AND webhook_id = ? AND uuid = ? AND body_hash = ?"
_OTHER_BODY = "SELECT 1 FROM mark WHERE source = ? AND webhook_id = ? AND uuid = ? AND body_hash <> ? LIMIT 1"
# Without ORDER BY: with it, SQLite compiles the statement anew each time that other values are bound to it (STAT4),
# which costs more than all the rest of accepting.
_SAME_BODY = """
SELECT seen_at, event_id FROM mark WHERE body_hash = ? AND seen_at >= ? AND source = ? AND webhook_id = ?"""
_EVENT = """
INSERT INTO event (id, source, type, state, detail, received_at, webhook_id, uuid, meeting, session, organization,
                   stream, defect, headers, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING seq"""
_DELIVERY = "INSERT INTO delivery (event, route, sink, state, due_at, config) VALUES (?, ?, ?, 'pending', ?, ?)"
_ORDERED_DELIVERY = """
INSERT INTO delivery (event, route, sink, order_key, state, due_at, config)
VALUES (?1, ?2, ?3, ?4, 'pending',
        CASE WHEN EXISTS (SELECT 1 FROM delivery
                           WHERE sink = ?3 AND order_key = ?4 AND state = 'pending' AND replay = 0)
             THEN NULL ELSE ?5 END, ?6)"""


def accept(connection: apsw.Connection, admission: Admission) -> Acceptance:
    """Write an admission, unless its event is a duplicate."""
    event = admission.event
    body_hash = hashlib.sha256(event.body).digest()
    # Without a uuid the mark stands for this event alone; then only the body can tell a retry.
    identity = (event.source, event.webhook_id or "", event.uuid or f"event:{event.id}", body_hash)
    seen_at = to_micros(event.received_at)
    repeated = _repeated_body(connection, event, body_hash, admission.replay_window)
    # A repeat's mark bears the time of the first, so that the window ends when it ends, however often it is repeated.
    marked = connection.execute(_MARK, (*identity, *(repeated or (event.id, seen_at)))).get
    if marked is None:
        first = connection.execute(_MARKED, identity).get
        return Acceptance(event_id=first, duplicate=DuplicateKind.UUID)
    if repeated is not None:
        return Acceptance(event_id=repeated[0], duplicate=DuplicateKind.BODY)
    conflict = event.uuid is not None and connection.execute(_OTHER_BODY, identity).get is not None
    sequence = _insert_event(connection, admission)
    for target in admission.targets:
        _insert_delivery(connection, sequence, target, seen_at, admission.config)
    return Acceptance(event_id=event.id, conflict=conflict)


def _repeated_body(connection: apsw.Connection, event: Event, body_hash: bytes, window: timedelta) -> Row | None:
    """The event that this one repeats under another uuid, inside the window: its id and when it was seen."""
    if not window:
        return None
    since = to_micros(event.received_at - window)
    found = connection.execute(_SAME_BODY, (body_hash, since, event.source, event.webhook_id or "")).fetchall()
    if not found:
        return None
    seen_at, event_id = min(found)
    return event_id, seen_at


def _insert_event(connection: apsw.Connection, admission: Admission) -> int:
    event = admission.event
    if admission.quarantine is not None:
        state, detail = EventState.QUARANTINED, str(admission.quarantine)
    else:
        state, detail = (EventState.ROUTED if admission.targets else EventState.UNROUTED), ""
    sequence: int = connection.execute(
        _EVENT,
        (
            event.id,
            event.source,
            event.type,
            state,
            detail,
            to_micros(event.received_at),
            event.webhook_id,
            event.uuid,
            event.meeting,
            event.session,
            event.organization,
            event.stream,
            event.defect,
            headers_text(event),
            event.body,
        ),
    ).get
    return sequence


def _insert_delivery(connection: apsw.Connection, sequence: int, target: Target, due_at: int, config: str) -> None:
    if target.order_key is None:
        connection.execute(_DELIVERY, (sequence, target.route, target.sink, due_at, config))
    else:
        connection.execute(_ORDERED_DELIVERY, (sequence, target.route, target.sink, target.order_key, due_at, config))
