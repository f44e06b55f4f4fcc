"""A `Selection` as a WHERE clause over `event e` and `delivery d`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from relay.model import DeliveryState, Selection
from relay.stores.postgres.connection import Connection
from relay.stores.postgres.glob import translated
from relay.stores.rows import Row, to_micros

MEETING = "hashtextextended(e.meeting, 0) = hashtextextended(?, 0) AND e.meeting = ?"
"""Found by the index, whose entries must be short."""
_LAST = {
    "event": "SELECT coalesce(max(seq), 0) FROM relay.event",
    "delivery": "SELECT coalesce(max(id), 0) FROM relay.delivery",
}
# A text ends at U+0000 for SQLite; how that is stored here is said in texts.py.
_TYPE = r"""(e.type {operator} ? AND strpos(e.type, E'\x01') = 0
  OR strpos(e.type, E'\x01') > 0
     AND replace(split_part(e.type, E'\x01\x01', 1), E'\x01\x02', E'\x01') {operator} ?)"""

WALK = 50_000
"""Rows over which one statement walks in search of what is meant."""


async def walk_end(connection: Connection, table: str, selection: Selection, *, after: int) -> int | None:
    """Where a statement ends that goes through a table behind a number; None: it may go to the end of what there is,
    because it is not much or an index leads there."""
    if selection.event_id is not None or selection.meeting is not None:
        return None
    last: int = await connection.fetchval(_LAST[table])
    end = after + WALK
    return end if end < min(last, last if selection.upto is None or table != "event" else selection.upto) else None


async def ask(connection: Connection, question: str, *arguments: object) -> list[Row]:
    """What a question yields."""
    return [tuple(row) for row in await connection.fetch(question, *arguments)]


def where(conditions: Mapping[str, Any], *, first: int = 1) -> tuple[str, list[Any]]:
    """A WHERE clause of the conditions that have a value, and of those values the ones for which there is a `?`; they
    are numbered from `first`."""
    texts: list[str] = []
    arguments: list[Any] = []
    for condition, argument in conditions.items():
        if argument is not None:
            texts.append(condition.replace("?", f"${first + len(arguments)}"))
            arguments += [argument] if "?" in condition else []
    return (" WHERE " + " AND ".join(texts) if texts else ""), arguments


def of_type(pattern: str | None) -> dict[str, Any]:
    """The condition that the event's type fits this pattern; None: any."""
    if pattern is None:
        return {}
    glob = translated(pattern)
    return {"false": True} if glob is None else {_TYPE.format(operator=glob.operator): glob.text}


def event_conditions(selection: Selection) -> dict[str, Any]:
    """What a selection says of events."""
    return {
        "e.id = ?": selection.event_id,
        MEETING: selection.meeting,
        "e.source = ?": selection.source,
        "e.received_at >= ?": None if selection.since is None else to_micros(selection.since),
        "e.received_at < ?": None if selection.until is None else to_micros(selection.until),
        "e.seq <= ?": selection.upto,
    } | of_type(selection.type_glob)


def delivery_conditions(selection: Selection) -> dict[str, Any]:
    """What a selection says of deliveries and their events."""
    states = selection.states
    some = None if states == frozenset(DeliveryState) else sorted(states)
    return event_conditions(selection) | {
        "d.sink = ?": selection.sink,
        "d.route = ?": selection.route,
        "d.state = ANY(?)": some,
    }
