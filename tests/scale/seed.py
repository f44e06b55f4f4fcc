"""A store with a large backlog, written in seconds: straight into the tables, without the relay."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import apsw
import orjson

from relay.stores.migrations import migrations
from relay.stores.rows import to_micros
from relay.stores.sqlite import marks
from relay.stores.sqlite.connection import APPLICATION_ID
from tests.running import WEBHOOK_ID, payload

_BATCH = 20_000
_BODY = 1024
_MEETINGS_EVERY = 50
"""So many events make one meeting."""
_APART = 1000
"""Microseconds from one event to the next."""
_EVENT = """
INSERT INTO event (seq, id, source, type, state, detail, received_at, webhook_id, uuid, meeting, headers, body)
VALUES (?, ?, 'dyte', 'meeting.started', 'routed', '', ?, ?, ?, ?, '{}', ?)"""
_MARK = """
INSERT INTO mark (source, webhook_id, uuid, body_hash, seen_at, event_id, uuid_key, body_key)
VALUES ('dyte', ?1, ?2, ?3, ?4, ?5, mark_uuid_key(?2), mark_body_key('dyte', ?1, ?3))"""
_OLDER_MARK = "INSERT INTO mark (source, webhook_id, uuid, body_hash, seen_at, event_id) VALUES ('dyte', ?, ?, ?, ?, ?)"
_KEYS_SINCE = 4
"""The schema in which marks have keys."""
_DELIVERY = """
INSERT INTO delivery (event, route, sink, order_key, state, due_at, config)
VALUES (?, 'everything', ?, ?, 'pending', ?, 'seeded')"""


@dataclass(frozen=True)
class Seeded:
    """A sink for which each event waits."""

    name: str
    ordered: bool = False


@dataclass(frozen=True)
class _Row:
    """One event."""

    sequence: int
    id: str
    at: int
    uuid: str
    meeting: str
    body: bytes

    @property
    def first_of_meeting(self) -> bool:
        return (self.sequence - 1) % _MEETINGS_EVERY == 0


def seed(path: Path, *, events: int, sinks: Sequence[Seeded], oldest: datetime, schema: int | None = None) -> None:
    """Make a store (of an older schema, if one is named) in which so many events wait for each of these sinks."""
    connection = apsw.Connection(str(path))
    for pragma, setting in (("journal_mode", "off"), ("synchronous", "off"), ("cache_size", -256 * 1024)):
        connection.pragma(pragma, setting)
    marks.register(connection)
    steps = migrations("sqlite")[:schema]
    for step in steps:
        connection.execute(step.sql)
    connection.execute(f"PRAGMA user_version = {len(steps)}; PRAGMA application_id = {APPLICATION_ID}")
    rows = _rows(events, to_micros(oldest))
    connection.execute("BEGIN")
    while batch := list(islice(rows, _BATCH)):
        _insert(connection, batch, sinks, mark=_MARK if len(steps) >= _KEYS_SINCE else _OLDER_MARK)
    if len(steps) >= _KEYS_SINCE:
        marks.file_all(connection)
    connection.execute("COMMIT")
    connection.close()


def _insert(connection: apsw.Connection, batch: Sequence[_Row], sinks: Sequence[Seeded], *, mark: str) -> None:
    connection.executemany(
        _EVENT, ((row.sequence, row.id, row.at, WEBHOOK_ID, row.uuid, row.meeting, row.body) for row in batch)
    )
    connection.executemany(
        mark, ((WEBHOOK_ID, row.uuid, hashlib.sha256(row.body).digest(), row.at, row.id) for row in batch)
    )
    connection.executemany(_DELIVERY, (_delivery(row, sink) for row in batch for sink in sinks))


def _delivery(row: _Row, sink: Seeded) -> tuple[Any, ...]:
    if not sink.ordered:
        return row.sequence, sink.name, None, row.at
    return row.sequence, sink.name, row.meeting, row.at if row.first_of_meeting else None


def _rows(count: int, oldest: int) -> Iterator[_Row]:
    for number in range(1, count + 1):
        meeting = f"meeting-{(number - 1) // _MEETINGS_EVERY}"
        body = orjson.dumps(payload(meeting=meeting, number=number))
        yield _Row(
            sequence=number,
            id=f"01931b2e-7f00-7000-8000-{number:012d}",
            at=oldest + number * _APART,
            uuid=f"seeded-{number}",
            meeting=meeting,
            body=body + b" " * (_BODY - len(body)),
        )
