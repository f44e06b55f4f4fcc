"""How fast sinks settle, told from a sample: settled deliveries have no index by time, as it would cost every settle.

What was settled a moment ago is what came in last, or what stood just before the next delivery in a queue.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta

import apsw

from relay.stores.rows import Row, to_micros
from relay.stores.sqlite.queues import QUEUES, sinks_of

WINDOW = timedelta(minutes=1)
SAMPLE = 2000
"""Deliveries that are looked at before the end and before each queue's head."""
NEWEST = "SELECT coalesce(max(id), 0) FROM delivery"
HEAD = """
SELECT id FROM delivery WHERE sink = ? AND state = 'pending' AND {queue} AND due_at IS NOT NULL
 ORDER BY due_at, id LIMIT 1"""
BEFORE = "SELECT id, sink, settled_at FROM delivery WHERE id <= ? ORDER BY id DESC LIMIT ?"


def paces(connection: apsw.Connection, *, now: datetime) -> Mapping[str, float]:
    """Deliveries a second, by sink."""
    start, until = to_micros(now - WINDOW), to_micros(now)
    settled: dict[str, dict[int, int]] = defaultdict(dict)
    whole = True
    for place in _places(connection):
        rows: list[Row] = connection.execute(BEFORE, (place, SAMPLE)).fetchall()
        whole = whole and len(rows) < SAMPLE
        for delivery, sink, at in rows:
            if at is not None and at <= until:
                settled[sink][delivery] = at
    return {
        sink: pace
        for sink, times in settled.items()
        if (pace := _pace(list(times.values()), start=start, now=until, whole=whole))
    }


def _places(connection: apsw.Connection) -> set[int]:
    """Before which it is worth to look."""
    places = {int(connection.execute(NEWEST).get)}
    for queue in QUEUES:
        for sink in sinks_of(connection, queue):
            row = connection.execute(HEAD.format(queue=queue), (sink,)).fetchone()
            places.update(row or ())
    return places


def _pace(times: list[int], *, start: int, now: int, whole: bool) -> float:
    """A sample that does not reach back to the start of the window tells of a shorter time."""
    recent = [at for at in times if at >= start]
    if not recent:
        return 0.0
    reaches = whole or len(recent) < len(times)
    seconds = (now - (start if reaches else min(recent))) / 1e6
    return len(recent) / max(1.0, seconds)
