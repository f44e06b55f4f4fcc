"""What a look at a PostgreSQL store costs: the same, whatever the store holds."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from relay.model import DeliveryState, EventState, Selection
from relay.stores import sample
from relay.stores.postgres import ledger, live, pace, replay, retention
from relay.stores.postgres.connection import Connection, connect
from relay.stores.postgres.horizon import Horizon
from relay.stores.postgres.server import parse
from relay.stores.rows import from_micros
from tests.contract.postgres import database_of
from tests.fakes.admissions import NOON
from tests.running import until

_SEED = (
    """
    INSERT INTO relay.event (id, source, type, state, detail, received_at, uuid, webhook_id, meeting, headers, body)
    SELECT 'event-' || n, 'dyte', 'meeting.started', CASE WHEN n % 10 = 0 THEN 'unrouted' ELSE 'routed' END, '',
           n::bigint * 1000000, 'uuid-' || n, 'hook', 'meeting-' || n / 50, '{}',
           convert_to(repeat(md5(n::text), 20), 'UTF8')
      FROM generate_series(1, $1) n""",
    """
    INSERT INTO relay.mark (source, webhook_id, uuid, body_hash, seen_at, event_id)
    SELECT source, webhook_id, uuid, sha256(body), received_at, id FROM relay.event WHERE seq <= $1""",
    """
    INSERT INTO relay.delivery (event, route, sink, order_key, state, due_at, settled_at, config)
    SELECT seq, 'r', s.sink, CASE WHEN s.sink = 'ordered' THEN meeting END, s.state,
           CASE WHEN s.state = 'pending' AND (s.sink = 'free' OR seq % 50 = 1) THEN received_at END,
           CASE WHEN s.state <> 'pending' THEN received_at END, ''
      FROM relay.event, (VALUES ('free', 'pending'), ('ordered', 'pending'), ('done', 'delivered')) s (sink, state)
     WHERE seq <= $1 ORDER BY seq""",
    """
    INSERT INTO relay.delivery (event, route, sink, state, settled_at, config)
    SELECT seq, 'r', 'dead', 'dead', received_at, '' FROM relay.event WHERE seq <= least($1, 10)""",
)


class Counting:
    """A connection that counts the pages which the server has looked at."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.pages = 0

    async def fetch(self, query: str, *arguments: object) -> Any:
        if "pg_locks" not in query:  # which are in no table
            explained = await self._connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}", *arguments)
            plan = json.loads(explained)[0]["Plan"]
            self.pages += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        return await self._connection.fetch(query, *arguments)

    async def fetchrow(self, query: str, *arguments: object) -> Any:
        return next(iter(await self.fetch(query, *arguments)), None)

    async def fetchval(self, query: str, *arguments: object) -> Any:
        row = await self.fetchrow(query, *arguments)
        return None if row is None else row[0]


_NOTHING = Selection(type_glob="no such type")
_DEAD = Selection(states=frozenset({DeliveryState.DEAD}))
_ANY: dict[str, Any] = {"sink": None, "state": None, "meeting": None, "event_id": None, "limit": 50}
_ALL: dict[str, Any] = {"before": None, "type_glob": None, "meeting": None, "source": None, "state": None, "limit": 50}
_KNOWN = Horizon()
_KNOWN.complete = 400
QUESTIONS: Mapping[str, Callable[[Connection], Awaitable[object]]] = {
    "end": partial(live.place, horizon=Horizon(), since=None),
    "since": partial(live.place, horizon=Horizon(), since=from_micros(300 * 10**6)),
    "arrived": partial(live.arrived, horizon=_KNOWN, selection=_NOTHING, after=10, limit=100),
    "waiting": partial(live.waiting, selection=_NOTHING, limit=10),
    "moved": partial(live.moved, ended=dict.fromkeys(range(1, 50), 0)),
    "paces": partial(pace.paces, now=NOON),
    "newest events": partial(ledger.events, **_ALL),
    "events of a meeting": partial(ledger.events, **_ALL | {"meeting": "meeting-3"}),
    "unrouted events": partial(ledger.events, **_ALL | {"state": EventState.UNROUTED}),
    "event by id": partial(ledger.event, event_id="event-300"),
    "event by uuid": partial(ledger.event, event_id="uuid-300"),
    "newest deliveries": partial(ledger.deliveries, **_ANY),
    "of a meeting": partial(ledger.deliveries, **_ANY | {"meeting": "meeting-3"}),
    "of an event": partial(ledger.deliveries, **_ANY | {"event_id": "event-300"}),
    "dead of a sink": partial(ledger.deliveries, **_ANY | {"sink": "dead", "state": DeliveryState.DEAD}),
    "no dead": partial(ledger.deliveries, **_ANY | {"sink": "free", "state": DeliveryState.DEAD}),
    "ahead": partial(ledger.ahead, delivery_id=41),
    "tally of the dead": partial(ledger.tally, selection=_DEAD),
    "tally of a meeting": partial(ledger.tally, selection=Selection(meeting="meeting-3")),
    "selected": partial(ledger.selected, selection=Selection(upto=400), after=200, limit=50),
    "found": partial(replay.find, selection=_DEAD, after=0, limit=50),
    "old": partial(retention.old, delivered_before=9 * 10**8, dead_before=0, after=0, limit=50),
    "old marks": partial(retention.has_old_marks, before=0),
}


async def pages(folder: Path, events: int) -> Mapping[str, int]:
    """How many pages each question takes, with so many events."""
    connection = await connect(parse(await database_of(folder)))
    try:
        for table in ("event", "mark", "delivery"):  # where rows come to lie depends on when vacuum was there
            await connection.execute(f"ALTER TABLE relay.{table} SET (autovacuum_enabled = off)")
        for statement in _SEED:
            await connection.execute(statement, events)
        for table in ("event", "mark", "delivery"):
            await _vacuumed(connection, f"relay.{table}")
        await connection.execute("SET plan_cache_mode = force_custom_plan")
        found = {}
        for name, question in QUESTIONS.items():
            counting = Counting(connection)
            await question(cast("Connection", counting))
            found[name] = counting.pages
    finally:
        connection.terminate()
    return found


async def _vacuumed(connection: Connection, table: str) -> None:
    """Let it be known of each page that all may see all of it: nothing is looked up in the table then. That has to
    wait for whoever else is in the middle of something, and be it the server's own vacuum in another database."""

    async def done() -> bool:
        await connection.execute(f"VACUUM (ANALYZE, DISABLE_PAGE_SKIPPING, INDEX_CLEANUP ON) {table}")
        known = "SELECT relallvisible >= relpages FROM pg_class WHERE oid = $1::text::regclass"
        return bool(await connection.fetchval(known, table))

    await until(done, f"a clean {table}")


async def test_a_question_costs_the_same_whatever_the_store_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample, "SAMPLE", 100)
    few, many = await pages(tmp_path / "few", 2_000), await pages(tmp_path / "many", 20_000)
    grown = {name: (few[name], count) for name, count in many.items() if count > 1.5 * few[name] + 60}
    assert grown == {}
