"""How fast sinks settle: samples of what was settled a moment ago."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from itertools import groupby

from relay.stores import sample
from relay.stores.postgres.connection import Connection
from relay.stores.postgres.queues import QUEUES, SINKS
from relay.stores.postgres.selection import ask

_HEADS = """
SELECT head.id FROM ({sinks}) queue CROSS JOIN LATERAL (
    SELECT id FROM relay.delivery
     WHERE sink = queue.sink AND state = 'pending' AND {queue} AND due_at IS NOT NULL
     ORDER BY due_at, id LIMIT 1) head"""
# Before which it is worth to look, and what is found there.
SAMPLES = f"""
WITH place (id) AS (
    SELECT coalesce(max(id), 0) FROM relay.delivery
    UNION {" UNION ".join(_HEADS.format(sinks=SINKS[queue], queue=queue) for queue in QUEUES)})
SELECT place.id, d.id, d.sink, d.settled_at FROM place CROSS JOIN LATERAL (
    SELECT id, sink, settled_at FROM relay.delivery WHERE id <= place.id ORDER BY id DESC LIMIT $1) d
 ORDER BY place.id"""  # noqa: S608 - constants of ours


async def paces(connection: Connection, *, now: datetime) -> Mapping[str, float]:
    """Deliveries a second, by sink."""
    rows = await ask(connection, SAMPLES, sample.SAMPLE)
    samples = [[row[1:] for row in group] for _, group in groupby(rows, key=lambda row: row[0])]
    return sample.paces(samples, now=now, size=sample.SAMPLE)
