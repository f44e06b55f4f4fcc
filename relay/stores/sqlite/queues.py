"""The queues of pending deliveries, two for each sink; each kind is a partial index, so its condition stands word for
word."""

from __future__ import annotations

from collections.abc import Sequence

import apsw

QUEUES = ("replay = 0", "replay > 0")
# One step down the index for each sink: there are few, and a DISTINCT would walk over a million that wait.
NEXT_SINK = "SELECT sink FROM delivery WHERE state = 'pending' AND {queue} AND sink > ? ORDER BY sink LIMIT 1"


def sinks_of(connection: apsw.Connection, queue: str) -> Sequence[str]:
    """The sinks that have something in their queue of this kind."""
    found = [""]
    while (row := connection.execute(NEXT_SINK.format(queue=queue), (found[-1],)).fetchone()) is not None:
        found.append(row[0])
    return found[1:]
