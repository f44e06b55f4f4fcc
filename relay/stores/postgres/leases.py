"""What this node holds; and what it may hold without knowing, because the answer to a claim was lost.

A server that restarts, or a network that is cut, takes answers with it. What such a claim has leased would wait until
its lease ends; instead the node says what it knows that it holds, and the rest is due again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial

from relay.model import Delivery
from relay.stores.postgres.connection import Connection
from relay.stores.postgres.pool import Pool, Query

_LET_GO = "SELECT relay.let_go($1, $2, $3)"
_MANY = 10_000
"""When there are so many, those that have run out are forgotten."""


class Leases:
    """Claims of one node, as many at once as there are connections."""

    def __init__(self, pool: Pool, owner: str) -> None:
        self._pool = pool
        self._owner = owner
        self._held: dict[int, int] = {}
        """By number, until when."""
        self._asking = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._in_doubt = False
        self._clearing = asyncio.Lock()

    async def claim(self, query: Query[Sequence[Delivery]], *, now: int, until: int) -> Sequence[Delivery]:
        """Ask for leases, and know them."""
        if self._in_doubt:
            await self._clear(now)
        self._asking += 1
        self._quiet.clear()
        answered = False
        try:
            claimed = await self._pool.run(query)
            answered = True
        finally:
            self._in_doubt = self._in_doubt or not answered
            self._asking -= 1
            if not self._asking:
                self._quiet.set()
        for delivery in claimed:
            self._held[delivery.id] = until
        if len(self._held) > _MANY:
            self._held = {number: end for number, end in self._held.items() if end > now}
        return claimed

    def ended(self, deliveries: Iterable[Delivery]) -> None:
        """These are settled, or somebody else's."""
        for delivery in deliveries:
            self._held.pop(delivery.id, None)

    async def _clear(self, now: int) -> None:
        """Let go of what nobody here knows of. No claim may be under way: what it leases is not known yet."""
        async with self._clearing:
            if not self._in_doubt:
                return
            await self._quiet.wait()  # all that come now stand behind this one
            held = [number for number, end in self._held.items() if end > now]
            await self._pool.run(partial(_let_go, owner=self._owner, held=held, now=now))
            self._in_doubt = False


async def _let_go(connection: Connection, *, owner: str, held: Sequence[int], now: int) -> int:
    count: int = await connection.fetchval(_LET_GO, owner, held, now)
    return count
