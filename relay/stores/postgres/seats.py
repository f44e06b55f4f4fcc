"""Seats: who posts to a place that may be posted to only so often. All times are the server's."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta

from relay.records import Grant
from relay.stores.postgres.connection import Connection
from relay.stores.postgres.texts import stored

TERM = timedelta(seconds=3)
"""For how long a seat is granted: a few renewals, each a second after the one before."""
_MICROSECOND = timedelta(microseconds=1)

_TAKE = "SELECT * FROM relay.take_seats($1, $2, $3)"
_LEAVE = "SELECT relay.leave_seats($1, $2, $3)"


async def take(connection: Connection, owner: str, *, places: Collection[str]) -> Mapping[str, Grant]:
    """Take or keep the seats of these places; which are this owner's then."""
    rows = await connection.fetch(_TAKE, owner, [stored(each) for each in places], TERM // _MICROSECOND)
    return {
        place: Grant(alone=None if alone is None else max(0, alone) * _MICROSECOND, lasts=TERM) for place, alone in rows
    }


async def leave(connection: Connection, owner: str, *, unused: Mapping[str, timedelta]) -> None:
    """Let go of them, as if longer ago by that much."""
    places, times = [stored(each) for each in unused], [each // _MICROSECOND for each in unused.values()]
    await connection.execute(_LEAVE, owner, places, times)
