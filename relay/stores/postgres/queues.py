"""The queues of pending deliveries, two for each sink; each kind is a partial index, so its condition stands word for
word."""

from __future__ import annotations

QUEUES = ("replay = 0", "replay > 0")
# One step down the index for each sink: there are few, and a DISTINCT would walk over a million that wait.
_FIRST_SINK = "(SELECT sink FROM relay.delivery WHERE state = 'pending' AND {queue}{behind} ORDER BY sink LIMIT 1)"
_SINKS = f"""
WITH RECURSIVE found (sink) AS (
    {_FIRST_SINK.format(queue="{queue}", behind="")}
    UNION ALL
    SELECT {_FIRST_SINK.format(queue="{queue}", behind=" AND sink > found.sink")}
      FROM found WHERE found.sink IS NOT NULL)
SELECT sink FROM found WHERE sink IS NOT NULL"""  # noqa: S608 - constants of ours
SINKS = {queue: _SINKS.format(queue=queue) for queue in QUEUES}
"""The sinks that have something in their queue of this kind."""
