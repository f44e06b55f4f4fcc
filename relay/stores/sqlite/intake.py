"""Accepting: the event, its mark and its deliveries, in the caller's transaction.

Nearly always nothing of a group was seen before (`_new`), and each table is asked and written once for all of them.
Where anything may have been, one is accepted after the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import cache
from itertools import chain
from typing import TypeAlias

import apsw

from relay.model import Acceptance, Admission, DuplicateKind, Event, EventState
from relay.stores.rows import Row, headers_text, to_micros

_LARGEST_CHUNK = 64
_EVEN = 8
"""Chunks are as many rows as this at most, or a multiple of it."""
_Identity: TypeAlias = tuple[str, str, str, bytes]
"""Source, webhook id, uuid and hash of the body: a mark."""

_MARK = """
INSERT INTO mark (source, webhook_id, uuid, body_hash, event_id, seen_at) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING RETURNING 1"""
_MARKED = "SELECT event_id FROM mark WHERE source = ? AND webhook_id = ? AND uuid = ? AND body_hash = ?"
_OTHER_BODY = "SELECT 1 FROM mark WHERE source = ? AND webhook_id = ? AND uuid = ? AND body_hash <> ? LIMIT 1"
# Without ORDER BY: with it, SQLite compiles the statement anew each time that other values are bound to it (STAT4),
# which costs more than all the rest of accepting.
_SAME_BODY = """
SELECT seen_at, event_id FROM mark WHERE body_hash = ? AND seen_at >= ? AND source = ? AND webhook_id = ?"""
# Over any number of rows of values:
_SEEN = """
SELECT 1 FROM (VALUES {rows}) AS given CROSS JOIN mark
 WHERE source = given.column1 AND webhook_id = given.column2 AND uuid = given.column3 LIMIT 1"""
_SEEN_BODY = "SELECT 1 FROM (VALUES {rows}) AS given CROSS JOIN mark WHERE body_hash = given.column1 LIMIT 1"
_EVENTS = """
INSERT INTO event (id, source, type, state, detail, received_at, webhook_id, uuid, meeting, session, organization,
                   stream, defect, headers, body)
VALUES {rows}"""
_MARKS = "INSERT INTO mark (source, webhook_id, uuid, body_hash, event_id, seen_at) VALUES {rows}"
_DELIVERIES = """
INSERT INTO delivery (event, route, sink, order_key, state, due_at, config) VALUES {rows}"""
_BUSY = """
SELECT column1, column2 FROM (VALUES {rows}) AS given
 WHERE EXISTS (SELECT 1 FROM delivery
                WHERE sink = given.column1 AND order_key = given.column2 AND state = 'pending' AND replay = 0)"""


def accept_all(connection: apsw.Connection, admissions: Sequence[Admission]) -> Sequence[Acceptance]:
    """Write admissions, but those whose events are duplicates."""
    identities = [_identity(admission.event) for admission in admissions]
    if len(admissions) > 1 and _new(connection, admissions, identities):
        _insert_marks(connection, admissions, identities)
        _insert(connection, admissions)
        return [Acceptance(event_id=admission.event.id) for admission in admissions]
    return [_accept(connection, *each) for each in zip(admissions, identities, strict=True)]


def _identity(event: Event) -> _Identity:
    """What a retry has in common with it. Without a uuid it is this event alone, and only the body can tell a retry."""
    body_hash = hashlib.sha256(event.body).digest()
    return event.source, event.webhook_id or "", event.uuid or f"event:{event.id}", body_hash


def _accept(connection: apsw.Connection, admission: Admission, identity: _Identity) -> Acceptance:
    event, body_hash = admission.event, identity[-1]
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
    _insert(connection, [admission])
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


def _new(connection: apsw.Connection, admissions: Sequence[Admission], identities: Sequence[_Identity]) -> bool:
    """Whether surely none of these was seen before, neither in the store nor among themselves."""
    senders = [identity[:3] for identity in identities]
    watched = [(mark[3],) for mark, each in zip(identities, admissions, strict=True) if each.replay_window]
    # A body that may not repeat is compared with all: also with one that may.
    bodies = [mark[3] for mark in identities]
    if len(set(senders)) < len(senders) or (watched and len(set(bodies)) < len(bodies)):
        return False
    return not any(_ask(connection, _SEEN, senders)) and not any(_ask(connection, _SEEN_BODY, watched))


def _insert(connection: apsw.Connection, admissions: Sequence[Admission]) -> None:
    """Write events that are new, and their deliveries."""
    _write(connection, _EVENTS, [_event_row(admission) for admission in admissions])
    last = connection.last_insert_rowid()  # within a transaction rows are numbered without a gap
    _insert_deliveries(connection, admissions, range(last - len(admissions) + 1, last + 1))


def _event_row(admission: Admission) -> Row:
    event = admission.event
    if admission.quarantine is not None:
        state, detail = EventState.QUARANTINED, str(admission.quarantine)
    else:
        state, detail = (EventState.ROUTED if admission.targets else EventState.UNROUTED), ""
    return (
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
    )


def _insert_marks(
    connection: apsw.Connection, admissions: Sequence[Admission], identities: Sequence[_Identity]
) -> None:
    rows = [
        (*identity, admission.event.id, to_micros(admission.event.received_at))
        for admission, identity in zip(admissions, identities, strict=True)
    ]
    _write(connection, _MARKS, rows)


def _insert_deliveries(connection: apsw.Connection, admissions: Sequence[Admission], sequences: Sequence[int]) -> None:
    """Of the deliveries of one meeting to one sink only the first is due, and only if none waits already."""
    wanted = [
        (sequence, target, to_micros(admission.event.received_at), admission.config)
        for admission, sequence in zip(admissions, sequences, strict=True)
        for target in admission.targets
    ]
    keys = {(target.sink, target.order_key) for _, target, _, _ in wanted if target.order_key is not None}
    busy = set(_ask(connection, _BUSY, sorted(keys)))
    rows: list[Row] = []
    for sequence, target, due_at, config in wanted:
        key = (target.sink, target.order_key)
        rows.append(
            (sequence, target.route, target.sink, target.order_key, "pending", None if key in busy else due_at, config)
        )
        if target.order_key is not None:
            busy.add(key)
    _write(connection, _DELIVERIES, rows)


def _write(connection: apsw.Connection, statement: str, rows: Sequence[Row]) -> None:
    """Execute a statement over so many rows of values."""
    for chunk in _chunks(rows):
        connection.execute(_sql(statement, chunk), tuple(chain.from_iterable(chunk)))


def _ask(connection: apsw.Connection, statement: str, rows: Sequence[Row]) -> Iterator[Row]:
    """What a question about so many rows of values yields."""
    for chunk in _chunks(rows):
        yield from connection.execute(_sql(statement, chunk), tuple(chain.from_iterable(chunk)))


def _chunks(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Cut so that two are enough for nearly any group, and some dozen statements for any number: each is compiled
    once."""
    start = 0
    while left := len(rows) - start:
        size = min(left - left % _EVEN if left > _EVEN else left, _LARGEST_CHUNK)
        yield rows[start : start + size]
        start += size


def _sql(statement: str, rows: Sequence[Row]) -> str:
    return _filled(statement, len(rows), len(rows[0]))


@cache
def _filled(statement: str, rows: int, width: int) -> str:
    row = f"({', '.join('?' * width)})"
    return statement.format(rows=", ".join([row] * rows))
