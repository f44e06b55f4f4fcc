"""Who is at work: each node is heard of every second, and what the dead had begun is given back.

All times are the server's, so that no node's clock matters. A lease lasts a minute; this is how its deliveries come due
within five seconds after a node has died.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import inf

from relay.errors import StoreUnavailable
from relay.model import value
from relay.stores.postgres.connection import Connection
from relay.stores.postgres.pool import Pool

BEAT_SECONDS = 1.0
GAP = 2_500_000
"""Microseconds between two beats of one who was not away."""
PATIENCE = 3_500_000
"""Microseconds after which one who is not heard of is dead; such a one claims nothing until it has been heard of."""

_SURE = 0.9
"""Part of that time for which one who was heard of counts itself as living: its clock may be the slower one."""

_MOST = 10_000
"""So many deliveries are given back in one step; see `relay.give_back`."""

_JOIN = "SELECT * FROM relay.join($1, $2, $3, $4)"
_BEAT = "SELECT * FROM relay.beat($1, $2, $3, $4)"
_CLOCK = "SELECT relay.clock()"
_RELEASE = "SELECT relay.release($1, $2)"
_LEAVE = "UPDATE relay.node SET seen_at = 0 WHERE owner = $1"


@value
class Beat:
    """What came of being heard of."""

    given_back: int
    others: int
    """How many other nodes live."""


async def join(connection: Connection, owner: str, *, now: int) -> tuple[int, int]:
    """Be at work from now on; how much was given back of those of whom nothing is known, and how far this clock is
    ahead of the server's."""
    row = await connection.fetchrow(_JOIN, owner, GAP, PATIENCE, now)
    assert row is not None  # noqa: S101 - a function's results are always there
    return row[0], now - row[1]


async def beat(connection: Connection, owner: str, *, ahead: int) -> Beat:
    """Be heard of. What the dead had begun comes due now, by a clock that is so far ahead of the server's."""
    row = await connection.fetchrow(_BEAT, owner, GAP, PATIENCE, ahead)
    assert row is not None  # noqa: S101 - a function's results are always there
    return Beat(given_back=row[0], others=row[1])


async def clock(connection: Connection) -> int:
    """What time it is there, in microseconds."""
    micros: int = await connection.fetchval(_CLOCK)
    return micros


async def release(connection: Connection, owner: str, *, now: int) -> int:
    """Give back what this owner, who is gone, held; how many that were."""
    count: int = await connection.fetchval(_RELEASE, owner, now)
    return count


async def leave(connection: Connection, owner: str) -> None:
    """At work no more: whatever it still holds need not wait."""
    await connection.execute(_LEAVE, owner)


class Presence:
    """A node at work: it is heard of until it leaves."""

    def __init__(
        self, pool: Pool, owner: str, *, on_beat: Callable[[Beat], None], on_death: Callable[[BaseException], None]
    ) -> None:
        """`on_death` is told what ended the heartbeat, which nothing is meant to: such a node would take webhooks in
        and begin nothing, for ever."""
        self._pool = pool
        self._owner = owner
        self._on_beat = on_beat
        self._on_death = on_death
        self._ahead = 0
        self._tenure = 0
        self._heard_until = inf
        """Until then, by the event loop's time, nobody takes us for dead."""
        self._task: asyncio.Task[None] | None = None

    @property
    def tenure(self) -> int | None:
        """See `Outbox.tenure`. One who was frozen or cut off finds out here before it does anything: others have taken
        over what it had claimed."""
        return self._tenure if asyncio.get_running_loop().time() < self._heard_until else None

    async def join(self, *, now: int) -> int:
        """Be at work; how much was given back. May be said again."""
        given_back, step = 0, _MOST
        while step >= _MOST:
            asked = asyncio.get_running_loop().time()
            step, self._ahead = await self._pool.run(partial(join, owner=self._owner, now=now))
            given_back += step
            self._heard(asked)
        if self._task is None:
            self._task = asyncio.create_task(self._go_on(), name="store-beat")
            self._task.add_done_callback(self._ended)
        return given_back

    async def leave(self) -> None:
        """At work no more. Where that cannot be said, others find out."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None
        with suppress(StoreUnavailable):
            await self._pool.run(partial(leave, owner=self._owner))

    async def _go_on(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            asked = asyncio.get_running_loop().time()
            with suppress(StoreUnavailable):  # the server is away; the next beat says how long
                self._on_beat(await self._pool.run(partial(beat, owner=self._owner, ahead=self._ahead)))
                self._heard(asked)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_death(error)

    def _heard(self, asked: float) -> None:
        if asked >= self._heard_until:
            self._tenure += 1
        self._heard_until = asked + _SURE * PATIENCE / 1e6
