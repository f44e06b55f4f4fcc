"""Copying one store into another, in steps, while nobody works on either."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from relay.errors import StoreUnusable
from relay.ports import Copy, Origin
from relay.stores.tables import TABLES

Told = Callable[[str, int, int], None]
"""Hears of each step: the table, how many of its rows are copied, and how many there are."""


async def copy(origin: Origin, into: Copy, *, told: Told) -> Mapping[str, int]:
    """Copy all that there is; how much that was, by kind.

    Ended in the middle, it leaves a store that no relay opens, and begins anew the next time.

    Raises:
        StoreUnusable: what was written is not what was read, or somebody worked on one of them.
    """
    await into.begin()
    expected = await origin.counts()
    for table in TABLES:
        done, total = 0, sum(number for name, number in expected.items() if name.split()[0] == table)
        told(table, done, total)
        async for rows in origin.rows(table):
            await into.put(table, rows)
            done += len(rows)
            told(table, done, total)
    found = await into.counts()
    if found != expected:
        raise StoreUnusable(f"store: the copy holds {_listed(found)}, and not {_listed(expected)}", kind="corrupt")
    await origin.check()
    await into.finish()
    return found


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {number}" for name, number in counts.items()) or "nothing"
