"""How fast sinks settle: samples of what was settled a moment ago."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import apsw

from relay.stores import sample
from relay.stores.rows import Row
from relay.stores.sqlite.queues import QUEUES, sinks_of

NEWEST = "SELECT coalesce(max(id), 0) FROM delivery"
HEAD = """
SELECT id FROM delivery WHERE sink = ? AND state = 'pending' AND {queue} AND due_at IS NOT NULL
 ORDER BY due_at, id LIMIT 1"""
BEFORE = "SELECT id, sink, settled_at FROM delivery WHERE id <= ? ORDER BY id DESC LIMIT ?"


def paces(connection: apsw.Connection, *, now: datetime) -> Mapping[str, float]:
    """Deliveries a second, by sink."""
    return sample.paces(_samples(connection), now=now, size=sample.SAMPLE)


def _samples(connection: apsw.Connection) -> Iterator[Sequence[Row]]:
    for place in _places(connection):
        yield connection.execute(BEFORE, (place, sample.SAMPLE)).fetchall()


def _places(connection: apsw.Connection) -> set[int]:
    """Before which it is worth to look."""
    places = {int(connection.execute(NEWEST).get)}
    for queue in QUEUES:
        for sink in sinks_of(connection, queue):
            row = connection.execute(HEAD.format(queue=queue), (sink,)).fetchone()
            places.update(row or ())
    return places
