"""The tables that every store has, with the same columns in each: what is copied from one to another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from relay.stores.rows import Row

TABLES: Mapping[str, Sequence[str]] = {
    "event": (
        "seq", "id", "source", "type", "state", "detail", "received_at", "webhook_id", "uuid", "meeting", "session",
        "organization", "stream", "defect", "headers", "body",
    ),
    "mark": ("source", "webhook_id", "uuid", "body_hash", "seen_at", "event_id"),
    "delivery": (
        "id", "event", "route", "sink", "order_key", "state", "due_at", "attempt", "tries", "replay", "settled_at",
        "receipt", "reason", "detail", "config", "owner", "replay_at",
    ),
    "failure": ("delivery", "attempt", "at", "reason", "detail"),
    "sink_wish": ("sink", "paused", "at"),
    "sink_report": ("sink", "state", "reason", "detail", "since"),
}  # fmt: skip
"""In the order in which they are filled. Numbers stay as they are: the order of deliveries is that of their ids."""
COUNTS: Mapping[str, str] = {
    "event": "state", "mark": "''", "delivery": "state", "failure": "''", "sink_wish": "''", "sink_report": "''"
}  # fmt: skip
"""By what the rows of a table are counted."""
PIECE = 50
"""Rows that are read at once; each may hold a body of a megabyte."""
_ROWS, _BYTES = 2000, 4 * 1024 * 1024


def select(table: str, *, schema: str = "") -> str:
    """All rows of a table, in the order of its numbers where it has any."""
    order = {"event": " ORDER BY seq", "delivery": " ORDER BY id"}.get(table, "")
    return f"SELECT {', '.join(TABLES[table])} FROM {schema}{table}{order}"  # noqa: S608 - words of ours


def count(table: str, *, schema: str = "") -> str:
    """How many rows there are in a table, by what they are counted by."""
    by = COUNTS[table]
    return f"SELECT {by}, count(*) FROM {schema}{table}{'' if by == repr('') else f' GROUP BY {by}'}"  # noqa: S608


def named(table: str, rows: Sequence[Row]) -> Iterator[tuple[str, int]]:
    """The counts of a table, each with its name."""
    for by, number in sorted(rows):
        yield f"{table} {by}".strip(), number


def in_use(counts: Mapping[str, int]) -> bool:
    """Whether a store holds more than what lanes say of their sinks, which they say again."""
    return any(number for name, number in counts.items() if name != "sink_report")


class Batch:
    """Rows that are written together: not too many, and not too large."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._bytes = 0

    def add(self, row: Row) -> None:
        """One more."""
        self.rows.append(row)
        self._bytes += sum(len(field) for field in row if isinstance(field, bytes | str))

    @property
    def is_full(self) -> bool:
        """Whether it should be written before there are more."""
        return len(self.rows) >= _ROWS or self._bytes >= _BYTES
