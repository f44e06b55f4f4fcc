"""What the store of a run says, read past the relay."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from relay.stores.rows import Row
from tests.crash.history import Stored


@contextmanager
def reading(path: Path) -> Iterator[apsw.Connection]:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        connection.set_busy_timeout(1000)
        yield connection
    finally:
        connection.close()


def waits(path: Path) -> bool:
    """Whether a delivery waits. Asked so that the index of each queue answers it."""
    query = "SELECT EXISTS (SELECT 1 FROM delivery WHERE state = 'pending' AND {})"
    with reading(path) as connection:
        return any(connection.execute(query.format(queue)).get for queue in ("replay = 0", "replay > 0"))


def look(path: Path, *, sinks: int) -> Stored:
    """Read a store in which nothing waits any more; it must be sound, and each event in it have all its deliveries."""
    with reading(path) as connection:
        assert connection.pragma("integrity_check") == "ok"
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        rows: list[Row] = connection.execute("SELECT id, seq FROM event").fetchall()
        numbers: dict[str, int] = dict(rows)
        deliveries: int = connection.execute("SELECT count(*) FROM delivery WHERE state <> 'pending'").get
        assert deliveries == sinks * len(numbers), (deliveries, len(numbers))
        unmarked = connection.execute("SELECT count(*) FROM event WHERE id NOT IN (SELECT event_id FROM mark)").get
        assert unmarked == 0, f"{unmarked} events without a mark"
        return Stored(numbers=numbers, dead=_dead(connection), unanswered=_unanswered(connection))


def _dead(connection: apsw.Connection) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    rows = "SELECT d.sink, e.id FROM delivery d JOIN event e ON e.seq = d.event WHERE d.state = 'dead'"
    for sink, event_id in connection.execute(rows):
        found[sink].add(event_id)
    return {sink: frozenset(events) for sink, events in found.items()}


def _unanswered(connection: apsw.Connection) -> dict[str, int]:
    rows = (
        "SELECT d.sink, count(*) FROM failure f JOIN delivery d ON d.id = f.delivery "
        "WHERE f.reason IN ('timeout', 'reset') GROUP BY d.sink"
    )
    found: list[Row] = connection.execute(rows).fetchall()
    return dict(found)
