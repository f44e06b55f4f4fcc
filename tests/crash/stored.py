"""What the store of a run says, read past the relay."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import apsw

from tests import postgres
from tests.crash.history import Stored

_PAUSE = 0.1

Rows: TypeAlias = list[tuple[Any, ...]]

# Asked so that the index of each queue answers it.
_WAITS = (
    "SELECT EXISTS (SELECT 1 FROM delivery WHERE state = 'pending' AND replay = 0)"
    " OR EXISTS (SELECT 1 FROM delivery WHERE state = 'pending' AND replay > 0)"
)
# EXCEPT is sorted or hashed; PostgreSQL goes through all of what `NOT IN` names for each row, minutes in a long run.
_SEEN = {
    "events": "SELECT id, seq FROM event",
    "dead": "SELECT d.sink, e.id FROM delivery d JOIN event e ON e.seq = d.event WHERE d.state = 'dead'",
    "unanswered": (
        "SELECT d.sink, count(*) FROM failure f JOIN delivery d ON d.id = f.delivery"
        " WHERE f.reason IN ('timeout', 'reset') GROUP BY d.sink"
    ),
    "orphans": (
        "SELECT (SELECT count(*) FROM (SELECT event FROM delivery EXCEPT SELECT seq FROM event) AS lost)"
        " + (SELECT count(*) FROM (SELECT delivery FROM failure EXCEPT SELECT id FROM delivery) AS lost)"
    ),
    "settled": "SELECT count(*) FROM delivery WHERE state <> 'pending'",
    "unmarked": "SELECT count(*) FROM (SELECT id FROM event EXCEPT SELECT event_id FROM mark) AS unmarked",
}


class Book(Protocol):
    """Reads one store; it must be sound."""

    @property
    def url(self) -> str:
        """What a relay calls it."""

    async def waits(self) -> bool:
        """Whether a delivery waits."""

    async def look(self, *, sinks: int) -> Stored:
        """Read a store in which nothing waits any more: each event in it must have all its deliveries."""


class SqliteBook:
    """A file."""

    def __init__(self, path: Path) -> None:
        self.url = f"sqlite:///{path}"
        self._path = path

    async def waits(self) -> bool:
        return await asyncio.to_thread(self._waits)

    async def look(self, *, sinks: int) -> Stored:
        return _judged(await asyncio.to_thread(self._look), sinks)

    def _waits(self) -> bool:
        with self._reading() as connection:
            return bool(connection.execute(_WAITS).get)

    def _look(self) -> Mapping[str, Rows]:
        with self._reading() as connection:
            assert connection.pragma("integrity_check") == "ok"
            return {name: connection.execute(query).fetchall() for name, query in _SEEN.items()}

    @contextmanager
    def _reading(self) -> Iterator[apsw.Connection]:
        connection = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            connection.set_busy_timeout(30_000)
            yield connection
        finally:
            connection.close()


class PostgresBook:
    """A database."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def waits(self) -> bool:
        await asyncio.sleep(_PAUSE)  # it is asked again and again, each time over another connection
        [(waits,)] = await self._read(_WAITS)
        return bool(waits)

    async def look(self, *, sinks: int) -> Stored:
        return _judged({name: await self._read(query) for name, query in _SEEN.items()}, sinks)

    async def _read(self, query: str) -> Rows:
        return [tuple(row) for row in await postgres.fetch(self.url, query, search_path="relay")]


def _judged(seen: Mapping[str, Rows], sinks: int) -> Stored:
    numbers: dict[str, int] = dict(seen["events"])
    [(orphans,)] = seen["orphans"]
    assert orphans == 0, f"{orphans} rows that belong to none"
    [(settled,)] = seen["settled"]
    assert settled == sinks * len(numbers), (settled, len(numbers))
    [(unmarked,)] = seen["unmarked"]
    assert unmarked == 0, f"{unmarked} events without a mark"
    return Stored(numbers=numbers, dead=_by_sink(seen["dead"]), unanswered=dict(seen["unanswered"]))


def _by_sink(rows: Iterable[tuple[str, str]]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for sink, event_id in rows:
        found[sink].add(event_id)
    return {sink: frozenset(events) for sink, events in found.items()}
