"""What a change reads of a PostgreSQL store: little, whatever the server knew of it when it made its plan."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from relay.model import Delivered, Delivery, DeliveryState, Target
from relay.stores.postgres import nodes, outbox, replay, retention
from relay.stores.postgres.connection import Connection, connect
from relay.stores.postgres.server import parse
from relay.stores.postgres.skipping import Look
from relay.stores.rows import to_micros
from tests.contract.postgres import database_of
from tests.fakes.admissions import NOON

_FEW, _MANY, _AT_ONCE = 40, 3_000, 20
_LEASE = timedelta(minutes=1)
_SEED = (
    """
INSERT INTO relay.event (id, source, type, state, detail, received_at, uuid, webhook_id, headers, body)
SELECT 'event-' || n, 'dyte', 't', 'routed', '', n, 'uuid-' || n, 'hook', '{}', n::text::bytea
  FROM generate_series($1::integer, $2) n""",
    """
INSERT INTO relay.mark (source, webhook_id, uuid, body_hash, seen_at, event_id)
SELECT source, webhook_id, uuid, sha256(body), received_at, id FROM relay.event WHERE seq BETWEEN $1 AND $2""",
    """
INSERT INTO relay.delivery (event, route, sink, order_key, state, due_at, settled_at, config)
SELECT seq, 'r', s.sink, CASE s.sink WHEN 'ordered' THEN 'meeting-' || seq % 5 END, s.state,
       CASE WHEN s.sink = 'free' OR s.sink = 'ordered' AND seq <= 5 THEN received_at END,
       CASE s.state WHEN 'delivered' THEN received_at END, ''
  FROM relay.event, (VALUES ('free', 'pending'), ('ordered', 'pending'), ('done', 'delivered')) s (sink, state)
 WHERE seq BETWEEN $1 AND $2 ORDER BY seq""",
)
_READS = """
SELECT sum(pg_stat_get_xact_tuples_returned(c.oid))::bigint FROM pg_class c
 WHERE c.relnamespace = 'relay'::regnamespace"""


async def _claim(connection: Connection, sink: str) -> list[Delivery]:
    given = {"limit": _AT_ONCE, "newest": 2, "now": NOON, "lease": _LEASE, "owner": "me", "seat": None, "look": Look()}
    return list(await outbox.claim(connection, sink, **given))  # type: ignore[arg-type]


async def _settle(connection: Connection) -> None:
    verdicts = [(each, Delivered(receipt="")) for each in await _claim(connection, "ordered")]
    assert verdicts
    await outbox.settle(connection, verdicts, now=NOON)


async def _redeliver(connection: Connection) -> None:
    targets = [Target(route="r", sink=sink, order_key="meeting-1") for sink in ("done", "more")]
    await replay.redeliver(
        connection, [(f"event-{number}", targets) for number in range(1, 10)], states={DeliveryState.DELIVERED},
        now=NOON, first_at=NOON, spacing=timedelta(0), config="",
    )  # fmt: skip


_CHANGES: Mapping[str, Callable[[Connection], Awaitable[object]]] = {
    "claim": lambda connection: _claim(connection, "free"),
    "claim and settle": _settle,
    "next due": lambda connection: outbox.next_due(connection, "free"),
    "redeliver": _redeliver,
    "old marks": lambda connection: retention.has_old_marks(connection, before=0),
    "forget": lambda connection: retention.forget(
        connection, range(1, 20), settled_before=to_micros(NOON), marks_before=to_micros(NOON), limit=5
    ),
    "join": lambda connection: nodes.join(connection, "me", now=to_micros(NOON)),
    "beat": lambda connection: nodes.beat(connection, "me", ahead=0),
}


async def _reads(connection: Connection) -> dict[str, int]:
    """How many entries and rows each change reads. None of them is kept."""
    found = {}
    for name, change in _CHANGES.items():
        transaction = connection.transaction()
        await transaction.start()
        before = await connection.fetchval(_READS)
        await change(connection)
        found[name] = await connection.fetchval(_READS) - before
        await transaction.rollback()
    return found


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[Connection]:
    connection = await connect(parse(url))
    try:
        yield connection
    finally:
        connection.terminate()


async def _seed(connection: Connection, first: int, last: int) -> None:
    for statement in _SEED:
        await connection.execute(statement, first, last)


@pytest.mark.parametrize("looked_at", [None, _FEW, _MANY])
async def test_a_change_reads_little_of_much_whenever_the_server_looked(tmp_path: Path, looked_at: int | None) -> None:
    """Never, while there was little, or just now; on a connection that has plans of then, and on a new one."""
    url = await database_of(tmp_path)
    async with _connected(url) as old, _connected(url) as other:
        for table in ("event", "mark", "delivery"):
            await other.execute(f"ALTER TABLE relay.{table} SET (autovacuum_enabled = off)")
        last = 0
        for count in (_FEW, _MANY):
            await _seed(other, last + 1, count)
            last = count
            if looked_at == count:
                await other.execute("ANALYZE")
            for _ in range(6 if count == _FEW else 0):  # from then on it keeps its plans
                await _reads(old)
        async with _connected(url) as new:
            for found in (await _reads(old), await _reads(new)):
                assert {name: reads for name, reads in found.items() if reads > _MANY // 4} == {}
