"""Accepting: the event, its mark and its deliveries, in the caller's transaction.

Nearly always nothing of a group was seen before (`_new`), and each table is asked and written once for all of them.
Where anything may have been, one is accepted after the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain

import apsw

from relay.model import Acceptance, Admission, DuplicateKind, Event, EventState
from relay.stores.rows import Row, headers_text, to_micros
from relay.stores.sqlite import marks

_LARGEST_CHUNK = 64
_EVEN = 8
"""Chunks are as many rows as this at most, or a multiple of it."""

# Over any number of rows of values:
_KNOWN = tuple(
    f"SELECT 1 FROM (VALUES {{rows}}) AS given CROSS JOIN {keys} k"  # noqa: S608 - words of ours
    " WHERE k.key = given.column1 AND k.detail >= given.column2 LIMIT 1"
    for keys in marks.KEYS
)
_EVENTS = """
INSERT INTO event (id, source, type, state, detail, received_at, webhook_id, uuid, meeting, session, organization,
                   stream, defect, headers, body)
VALUES {rows}"""
_MARKS = """
INSERT INTO mark (source, webhook_id, uuid, body_hash, uuid_key, body_key, event_id, seen_at) VALUES {rows}"""
_DELIVERIES = """
INSERT INTO delivery (event, route, sink, order_key, state, due_at, config) VALUES {rows}"""
_BUSY = """
SELECT column1, column2 FROM (VALUES {rows}) AS given
 WHERE EXISTS (SELECT 1 FROM delivery
                WHERE sink = given.column1 AND order_key = given.column2 AND state = 'pending' AND replay = 0)"""


def accept_all(connection: apsw.Connection, admissions: Sequence[Admission]) -> Sequence[Acceptance]:
    """Write admissions, but those whose events are duplicates. What was seen is looked at and written in the same
    transaction, in which nobody else writes: no index forbids a mark that is there."""
    identities = [_identity(admission.event) for admission in admissions]
    if _new(connection, admissions, identities):
        firsts = [_first(admission.event) for admission in admissions]
        _insert_marks(connection, identities, firsts)
        _insert(connection, admissions)
        return [Acceptance(event_id=admission.event.id) for admission in admissions]
    return [_accept(connection, *each) for each in zip(admissions, identities, strict=True)]


def _identity(event: Event) -> marks.Identity:
    """What a retry has in common with it. Without a uuid it is this event alone, and only the body can tell a retry."""
    body_hash = hashlib.sha256(event.body).digest()
    return event.source, event.webhook_id or "", event.uuid or f"event:{event.id}", body_hash


def _first(event: Event) -> Row:
    """What the mark of an event says that is none's repeat: its id and when it was seen."""
    return event.id, to_micros(event.received_at)


def _accept(connection: apsw.Connection, admission: Admission, identity: marks.Identity) -> Acceptance:
    event = admission.event
    if (first := marks.same(connection, identity)) is not None:
        return Acceptance(event_id=first, duplicate=DuplicateKind.UUID)
    since = _since(admission)
    repeated = None if since is None else marks.same_body(connection, identity, since=since)
    if repeated is not None:
        # Its mark bears the time of the first, so that the window ends when it ends, however often it is repeated.
        seen_at, event_id = repeated
        _insert_marks(connection, [identity], [(event_id, seen_at)])
        return Acceptance(event_id=event_id, duplicate=DuplicateKind.BODY)
    conflict = event.uuid is not None and marks.other_body(connection, identity)
    _insert_marks(connection, [identity], [_first(event)])
    _insert(connection, [admission])
    return Acceptance(event_id=event.id, conflict=conflict)


def _since(admission: Admission) -> int | None:
    """From when on the same body is a repeat."""
    return to_micros(admission.event.received_at - admission.replay_window) if admission.replay_window else None


def _new(connection: apsw.Connection, admissions: Sequence[Admission], identities: Sequence[marks.Identity]) -> bool:
    """Whether surely none of these was seen before, neither in the store nor among themselves."""
    senders = {identity[:3] for identity in identities}
    # A body that may not repeat is compared with all: also with one that may.
    bodies = {identity[3] for identity in identities}
    watched = any(admission.replay_window for admission in admissions)
    if len(senders) < len(identities) or (watched and len(bodies) < len(identities)):
        return False
    wanted: list[marks.Key] = []
    for admission, identity in zip(admissions, identities, strict=True):
        by_uuid, by_body = marks.keys_of(identity)
        wanted.append((by_uuid, marks.LEAST))
        if (since := _since(admission)) is not None:
            wanted.append((by_body, since))
    return not any(row for known in _KNOWN for row in _ask(connection, known, wanted))


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


def _insert_marks(connection: apsw.Connection, identities: Sequence[marks.Identity], events: Sequence[Row]) -> None:
    rows = [(*each, *marks.keys_of(each), *event) for each, event in zip(identities, events, strict=True)]
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
