"""A PostgreSQL store with a large backlog: the server writes it itself, tables first and indexes afterwards."""

from __future__ import annotations

import time
from typing import Any

from tests import postgres

_AGE = 2 * 3600 * 1_000_000
_APART = 1_000
"""Microseconds, from one event to the next."""
_BODY = 600
_MEETING = 50
"""Events of one meeting."""
_TIME = 600.0
_TABLES = (
    f"""
INSERT INTO relay.event (id, source, type, state, detail, received_at, webhook_id, uuid, meeting, headers, body)
SELECT '01931b2e-7f00-7000-8000-' || lpad(n::TEXT, 12, '0'), 'dyte', 'meeting.started', 'routed', '',
       $1::BIGINT + n * {_APART}, 'a-webhook', md5(n::TEXT)::UUID::TEXT, 'meeting-' || n / {_MEETING}, '{{}}',
       convert_to(rpad('{{"event":"meeting.started","number":' || n || '}}', {_BODY}), 'UTF8')
  FROM generate_series(1, $2::INTEGER) AS n""",
    """
INSERT INTO relay.mark (source, webhook_id, uuid, body_hash, seen_at, event_id)
SELECT source, webhook_id, uuid, sha256(body), received_at, id FROM relay.event ORDER BY seq""",
    """
INSERT INTO relay.delivery (event, route, sink, state, due_at, config)
SELECT seq, 'everything', 'downstream', 'pending', received_at, 'seeded' FROM relay.event ORDER BY seq""",
)
_INDEXES = """
SELECT c.relname AS name, t.oid::regclass::TEXT AS table, pg_get_indexdef(c.oid) AS made,
       k.conname AS constraint, pg_get_constraintdef(k.oid) AS constrains
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
  LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid
 WHERE t.oid IN ('relay.event'::regclass, 'relay.mark'::regclass, 'relay.delivery'::regclass)"""


async def seed(url: str, count: int) -> None:
    """Let so many events wait for the sink `downstream` in an empty store."""
    async with postgres.connected(url, maintenance_work_mem="256MB") as connection:
        indexes = await connection.fetch(_INDEXES)
        for index in indexes:
            await _run(connection, _dropped(index))
        oldest = time.time_ns() // 1_000 - _AGE
        for statement in _TABLES:
            arguments = (oldest, count) if "$1" in statement else ()
            await connection.execute(statement, *arguments, timeout=_TIME)
        for index in indexes:
            await _run(connection, _made(index))
        await _run(connection, "VACUUM (ANALYZE, FREEZE)")


def _dropped(index: Any) -> str:
    if index["constraint"]:
        return f'ALTER TABLE {index["table"]} DROP CONSTRAINT "{index["constraint"]}"'
    return f'DROP INDEX relay."{index["name"]}"'


def _made(index: Any) -> str:
    if index["constraint"]:
        return f'ALTER TABLE {index["table"]} ADD CONSTRAINT "{index["constraint"]}" {index["constrains"]}'
    made: str = index["made"]
    return made


async def _run(connection: Any, statement: str) -> None:
    await connection.execute(statement, timeout=_TIME)
