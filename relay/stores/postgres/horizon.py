"""How far the ledger is complete.

Events get their numbers before they are committed, so one with a lower number may come to light after one with a
higher. Who goes on from number to number must not pass one that is still to come. Whoever inserts an event holds a
lock on the table before it gets a number, and until its transaction is seen to have ended. So when all those have
ended that held one after a number was the last, every event up to that number is to be seen, or will never be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Set

from relay.stores.postgres.connection import Connection

PATIENCE = 5.0
"""Seconds for which an end is waited for: longer than a transaction may stand idle."""
_PAUSE = 0.01
_LAST = "SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM relay.event_seq_seq"
_WRITING = """
SELECT virtualtransaction FROM pg_locks
 WHERE locktype = 'relation' AND relation = 'relay.event'::regclass AND mode = 'RowExclusiveLock' AND granted
   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""


class Horizon:
    """Remembers how far the ledger is complete, for one who goes on from there."""

    def __init__(self) -> None:
        self.complete = 0
        """Nothing will come to light up to this number."""
        self._next = 0
        self._writing: Set[str] = frozenset()
        """When these transactions have ended, it is complete up to `_next`."""

    async def look(self, connection: Connection, *, patience: float = 0.0) -> int:
        """How far it is complete now. So many seconds it may wait until it is as far as it was when it was asked."""
        loop = asyncio.get_running_loop()
        until = loop.time() + patience
        wanted: int = await connection.fetchval(_LAST)  # before it is asked who writes: only then nobody is forgotten
        while True:
            writing = {row[0] for row in await connection.fetch(_WRITING)}
            if not self._writing & writing:
                self.complete = self._next
            if self.complete == self._next and self.complete < wanted:
                self._next, self._writing = wanted, writing
                self.complete = wanted if not writing else self.complete
            if self.complete >= wanted or loop.time() >= until:
                return self.complete
            await asyncio.sleep(_PAUSE)


async def end(connection: Connection, horizon: Horizon | None = None) -> int:
    """Where the ledger ends now. What is accepted from now on lies beyond, and nothing before it is still to come,
    unless a transaction has stood still for long: what it writes may be either."""
    place: int = await connection.fetchval(_LAST)
    await (horizon or Horizon()).look(connection, patience=PATIENCE)
    return place
