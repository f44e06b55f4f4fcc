"""What people want of sinks, and what their lanes say of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from relay.model import Failure, GateState, Wish
from relay.records import SinkRecord
from relay.stores import rows
from relay.stores.postgres.connection import Connection
from relay.stores.postgres.nodes import PATIENCE
from relay.stores.postgres.selection import ask
from relay.stores.rows import quoted_text, to_micros

_WISH = """
INSERT INTO relay.sink_wish AS known (sink, paused, at) VALUES ($1, $2, $3)
ON CONFLICT (sink) DO UPDATE SET paused = $2, at = greatest($3, known.at + 1)"""
_REPORT = "SELECT relay.report($1, $2, $3, $4, $5, $6, $7)"
_WITHDRAW = "DELETE FROM relay.sink_word WHERE sink = $1 AND owner = $2"
_LAST_WORDS = "SELECT sink, state, reason, detail, since FROM relay.sink_report"
_WORDS = """
SELECT w.sink, w.state, w.reason, w.detail, w.since, w.owner
  FROM relay.sink_word w JOIN relay.node n ON n.owner = w.owner AND n.seen_at >= relay.clock() - $1
 ORDER BY w.sink, w.since, w.owner"""
# Ids are nearly in the order of acceptance, so of each queue the lowest has waited longest. A replay of an event of
# last week is owed since it was asked for: its age would look like an outage.
_WAITING = """
SELECT w.sink, sum(w.pending)::bigint, sum(w.replays)::bigint, min(coalesce(d.replay_at, e.received_at))
  FROM (SELECT sink, count(*) AS pending, 0 AS replays, min(id) AS oldest
          FROM relay.delivery WHERE state = 'pending' AND replay = 0 GROUP BY sink
        UNION ALL
        SELECT sink, count(*), count(*), min(id)
          FROM relay.delivery WHERE state = 'pending' AND replay > 0 GROUP BY sink) w
  JOIN relay.delivery d ON d.id = w.oldest JOIN relay.event e ON e.seq = d.event
 GROUP BY w.sink"""
_DEAD = "SELECT sink, count(*) FROM relay.delivery WHERE state = 'dead' GROUP BY sink"


async def wish(connection: Connection, sink: str, wish: Wish) -> None:
    """Keep it. A later one always has a later time, whatever the clock did meanwhile."""
    await connection.execute(_WISH, sink, wish.paused, to_micros(wish.at))


async def wishes(connection: Connection) -> Mapping[str, Wish]:
    """All of them, by sink."""
    return rows.wishes(await ask(connection, "SELECT sink, paused, at FROM relay.sink_wish"))


async def report(
    connection: Connection, sink: str, owner: str, state: GateState, failure: Failure | None, *, now: datetime
) -> None:
    """Keep the state; `since` stays while the state does."""
    reason, detail = ("", "") if failure is None else (failure.reason, quoted_text(failure.detail))
    await connection.execute(_REPORT, sink, owner, state, reason, detail, to_micros(now), PATIENCE)


async def withdraw(connection: Connection, sink: str, owner: str) -> None:
    """This owner says no more of it."""
    await connection.execute(_WITHDRAW, sink, owner)


async def waiting(connection: Connection) -> Mapping[str, SinkRecord]:
    """The sinks for which something waits, and how much."""
    return rows.waiting(await ask(connection, _WAITING))


async def sinks(connection: Connection) -> Sequence[SinkRecord]:
    """All that is known of any sink."""
    dead = {row[0]: row[1] for row in await ask(connection, _DEAD)}
    reports = rows.worst(await ask(connection, _LAST_WORDS), await ask(connection, _WORDS, PATIENCE))
    return rows.sink_records(await waiting(connection), dead, await wishes(connection), reports)
