"""What people want of sinks, and what their lanes say of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import apsw

from relay.model import Failure, GateState, Wish
from relay.records import SinkRecord
from relay.stores import rows
from relay.stores.rows import quoted_text, to_micros

_WISH = """
INSERT INTO sink_wish (sink, paused, at) VALUES (?1, ?2, ?3)
ON CONFLICT (sink) DO UPDATE SET paused = ?2, at = max(?3, at + 1)"""
_REPORT = """
INSERT INTO sink_report (sink, state, reason, detail, since) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (sink) DO UPDATE SET since = iif(state = ?2, since, ?5), state = ?2, reason = ?3, detail = ?4"""
# Ids are in the order of acceptance, so of each queue the lowest has waited longest. A replay of an event of last week
# is owed since it was asked for: its age would look like an outage.
_WAITING = """
SELECT w.sink, sum(w.pending), sum(w.replays), min(coalesce(d.replay_at, e.received_at))
  FROM (SELECT sink, count(*) AS pending, 0 AS replays, min(id) AS oldest
          FROM delivery WHERE state = 'pending' AND replay = 0 GROUP BY sink
        UNION ALL
        SELECT sink, count(*), count(*), min(id) FROM delivery WHERE state = 'pending' AND replay > 0 GROUP BY sink) w
  JOIN delivery d ON d.id = w.oldest JOIN event e ON e.seq = d.event
 GROUP BY w.sink"""
_REPORTS = "SELECT sink, state, reason, detail, since FROM sink_report"
_DEAD = "SELECT sink, count(*) FROM delivery WHERE state = 'dead' GROUP BY sink"


def wish(connection: apsw.Connection, sink: str, wish: Wish) -> None:
    """Keep it. A later one always has a later time, whatever the clock did meanwhile."""
    connection.execute(_WISH, (sink, wish.paused, to_micros(wish.at)))


def wishes(connection: apsw.Connection) -> Mapping[str, Wish]:
    """All of them, by sink."""
    return rows.wishes(connection.execute("SELECT sink, paused, at FROM sink_wish"))


def report(connection: apsw.Connection, sink: str, state: GateState, failure: Failure | None, *, now: datetime) -> None:
    """Keep the state; `since` stays while the state does."""
    reason, detail = ("", "") if failure is None else (failure.reason, quoted_text(failure.detail))
    connection.execute(_REPORT, (sink, state, reason, detail, to_micros(now)))


def waiting(connection: apsw.Connection) -> Mapping[str, SinkRecord]:
    """The sinks for which something waits, and how much."""
    return rows.waiting(connection.execute(_WAITING))


def sinks(connection: apsw.Connection) -> Sequence[SinkRecord]:
    """All that is known of any sink."""
    dead = dict(connection.execute(_DEAD))
    # What a file's one relay says needs no name, and nobody says anything better.
    reports = [(*row, (), 0) for row in connection.execute(_REPORTS)]
    return rows.sink_records(waiting(connection), dead, wishes(connection), reports)
